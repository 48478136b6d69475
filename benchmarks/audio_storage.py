"""In what form should a packed table keep sound? For 10 s windows of real-rate sound: bytes stored, windows a second
that a loader gets as log-mel spectrograms on one thread, and what the form costs in decibels.

Give a folder of recordings to measure on them: python benchmarks/audio_storage.py [FOLDER]
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import soundfile
import torch

from earthtone.data.packed import Table, table_schema
from earthtone.signal.audio import read_audio
from earthtone.signal.config import AudioConfig, SignalConfig
from earthtone.signal.spectrogram import LogMel, log_mel

CONFIG = AudioConfig()
SIZE = round(CONFIG.window_seconds * CONFIG.sample_rate_hz)
WINDOWS = 64
READS = 256


def recordings(folder: str | None) -> list[np.ndarray]:
    """Windows of the recordings in a folder, or of noise that rises and falls as wind does."""
    if folder is None:
        draw = np.random.default_rng(0)
        noise = draw.standard_normal((WINDOWS, SIZE)).astype(np.float32)
        slow = np.repeat(draw.random((WINDOWS, SIZE // 3200)), 3200, axis=1)
        return list((0.1 * noise * slow).astype(np.float32))
    samples = []
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and len(samples) < WINDOWS:
            whole = read_audio(path, CONFIG.sample_rate_hz)
            samples += [whole[start : start + SIZE] for start in range(0, len(whole) - SIZE + 1, SIZE)]
    return samples[:WINDOWS]


def encoded(samples: np.ndarray, kind: str, subtype: str) -> bytes:
    """A sound file's bytes, written in blocks of a second."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", CONFIG.sample_rate_hz, 1, format=kind, subtype=subtype) as file:
        for start in range(0, len(samples), CONFIG.sample_rate_hz):
            file.write(samples[start : start + CONFIG.sample_rate_hz])
    return out.getvalue()


def exact(samples: np.ndarray) -> np.ndarray:
    """The spectrogram in decibels before it is rounded to bytes."""
    transform = LogMel(CONFIG)
    half = transform.n_fft // 2
    padded = np.pad(samples, half)[: (CONFIG.window_frames - 1) * transform.hop + transform.n_fft]
    with torch.inference_mode():
        return transform(torch.from_numpy(padded)).numpy() * (120 / 255) - 80


def measure(name: str, stored: list[bytes], decode: Callable[[bytes], np.ndarray], truth: list[np.ndarray]) -> None:
    """Print one row: size, rate, error."""
    schema = table_schema(SignalConfig(), ())
    row = {"id": "x", "image": b"", "image_hash": "", "audio_hash": "", "audio_frames": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "t.lance")
        lance.write_dataset(pa.Table.from_pylist([{**row, "audio": data} for data in stored], schema=schema), path)
        dataset = lance.dataset(path)
        order = np.random.default_rng(0).integers(0, len(stored), READS).tolist()
        start = time.perf_counter()
        for first in range(0, READS, 32):
            for blob in dataset.take_blobs("audio", indices=order[first : first + 32]):
                decode(blob.read())
        rate = READS / (time.perf_counter() - start)
        assert len(Table(path)) == len(stored)
    error = max(float(np.abs(decode(data) - true).max()) for data, true in zip(stored, truth, strict=True))
    size = sum(map(len, stored)) / len(stored) / 1e3
    print(f"{name:<28} {size:8.1f} kB a window {rate:9.0f} windows/s   largest error {error:6.2f} dB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sounds = recordings(sys.argv[1] if len(sys.argv) > 1 else None)
    truth = [exact(sound) for sound in sounds]

    def from_sound(data: bytes) -> np.ndarray:
        return exact(soundfile.read(io.BytesIO(data), dtype="float32")[0][:SIZE])

    def from_bytes(data: bytes) -> np.ndarray:
        return np.frombuffer(data, np.uint8).reshape(-1, CONFIG.mels) * np.float32(120 / 255) - 80

    def from_halves(data: bytes) -> np.ndarray:
        return np.frombuffer(data, np.float16).reshape(-1, CONFIG.mels).astype(np.float32)

    print(
        f"{len(sounds)} windows of {CONFIG.window_seconds:.0f} s, {CONFIG.sample_rate_hz} Hz, {CONFIG.mels} mel bands"
    )
    measure("FLAC, 16 bit", [encoded(s, "FLAC", "PCM_16") for s in sounds], from_sound, truth)
    measure("Ogg Vorbis", [encoded(s, "OGG", "VORBIS") for s in sounds], from_sound, truth)
    measure("log-mel, float16", [t.astype(np.float16).tobytes() for t in truth], from_halves, truth)
    measure("log-mel, uint8 (chosen)", [log_mel(s, CONFIG).tobytes() for s in sounds], from_bytes, truth)
