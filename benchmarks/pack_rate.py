"""How fast is packing, beside the plain loop: Pillow at full size, soundfile, one resampling, one spectrogram, one row
after the other? Both read the same 1024 px JPEGs and 30 s stereo recordings."""

import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from PIL import Image

from earthtone.data.pack import pack
from earthtone.signal.config import SignalConfig
from earthtone.signal.spectrogram import mel_filters
from files import write_files

ROWS = 96


def plain_row(image: Path, audio: Path, config: SignalConfig, filters: torch.Tensor) -> tuple[bytes, bytes]:
    """A row as a first script would make it."""
    tile = Image.open(image).convert("RGB").resize((config.image.stored_pixels,) * 2)
    out = io.BytesIO()
    tile.save(out, "JPEG", quality=config.image.jpeg_quality)
    samples, hz = soundfile.read(audio, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), hz, config.audio.sample_rate_hz)
    spectrum = torch.stft(torch.from_numpy(mono), 1024, 320, window=torch.hann_window(1024), return_complex=True)
    mel = 10 * torch.log10((filters @ spectrum.abs().square()).clamp_min(1e-10))
    return out.getvalue(), ((mel + 80) * (255 / 120)).clamp(0, 255).to(torch.uint8).numpy().tobytes()


if __name__ == "__main__":
    config = SignalConfig()
    filters = torch.from_numpy(mel_filters(config.audio, 1024))
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_files(Path(folder), ROWS)
        rows = [(Path(folder) / f"images/{row}.jpg", Path(folder) / f"audio/{row}.flac") for row in range(ROWS)]
        start = time.perf_counter()
        sizes = [sum(map(len, plain_row(*row, config, filters))) for row in rows]
        plain = ROWS / (time.perf_counter() - start)
        rates = {}
        for preview in (0.0, 10.0):
            start = time.perf_counter()
            pack(manifest, Path(folder) / f"{preview}.lance", signal=config, preview_seconds=preview)
            rates[preview] = ROWS / (time.perf_counter() - start)
    print(
        f"{os.cpu_count()} cores, {ROWS} rows of a 1024 px JPEG and 30 s of stereo; {np.mean(sizes) / 1e3:.0f} kB a row"
    )
    print(f"plain loop, not written anywhere  {plain:6.1f} rows/s")
    print(f"pack, written, without previews   {rates[0.0]:6.1f} rows/s   ratio {rates[0.0] / plain:.2f}")
    print(f"pack, written, with 10 s previews {rates[10.0]:6.1f} rows/s   ratio {rates[10.0] / plain:.2f}")
