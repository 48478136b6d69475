"""What lies beside exported weights: `preprocessing.json`, all that a program must know; a README with a snippet."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import timm
import torch

from earthtone.errors import one_line
from earthtone.exports.card import card_sections, front_matter
from earthtone.exports.graphs import OUTPUTS, input_name, parameters
from earthtone.exports.towers import Subject
from earthtone.exports.weights import TORCHVISION, built_by_timm, features
from earthtone.files import FORMATS
from earthtone.models.encoders import is_timms_own
from earthtone.signal.config import SignalConfig

#: Target -> what a program needs, beside NumPy.
PACKAGES: Mapping[str, str] = {
    "onnx": "onnxruntime", "torch-export": "torch", "timm": "timm safetensors",
    "torchvision": "torchvision safetensors", "safetensors": "timm safetensors",
    "hf": "timm huggingface_hub safetensors",
}  # fmt: skip
_READING = "numpy opencv-python-headless pillow"
_HEARING = "soundfile soxr"


def facts_of(subject: Subject, to: str, precision: str) -> dict[str, Any]:
    """Return all that a program must know to make inputs and to read outputs, ready for JSON."""
    from earthtone import __version__

    signal = SignalConfig() if subject.model is None else subject.model.signal
    dimensions = features(subject, "image") if subject.model is None else subject.model.config.dimensions
    unit = subject.model is not None and subject.model.config.unit
    image = {
        "pixels": subject.pixels, "channels": subject.channels,
        "centre": subject.picture.mean.flatten().tolist(), "width": subject.picture.std.flatten().tolist(),
        # tasks on labelled images show a backbone the centre square, without a stored tile and its JPEG
        "stored_pixels": subject.pixels if subject.model is None else signal.image.stored_pixels,
        "jpeg_quality": None if subject.model is None else signal.image.jpeg_quality,
        "view": 1.0 if subject.model is None else signal.image.view,
        "footprint_m": None if subject.model is None else signal.image.footprint_m,
        "usual_side_m": _usual_side_m(subject),
    }  # fmt: skip
    found: dict[str, Any] = {
        "format": FORMATS["export"], "earthtone": __version__, "to": to, "precision": precision,
        "model": {
            "name": Path(subject.name).name or subject.name, "fingerprint": subject.fingerprint,
            "dimensions": dimensions, "unit": unit, "compared_by": "cosine" if unit else "Euclidean distance",
        },
        "image": {**_tower(subject, "image", to, dimensions), **image},
    }  # fmt: skip
    if subject.sound is not None:
        audio = signal.audio
        n_fft = None if subject.sound.front is None else 2 * subject.sound.front.margin
        found["audio"] = {
            **_tower(subject, "audio", to, dimensions), "channels": 1, "input": audio.input,
            "sample_rate_hz": audio.sample_rate_hz, "channel": audio.channel, "min_seconds": audio.min_seconds,
            "window_seconds": audio.window_seconds, "window_frames": audio.window_frames,
            "hop": round(audio.hop_seconds * audio.sample_rate_hz), "n_fft": n_fft,
            "window_samples": round(audio.fft_seconds * audio.sample_rate_hz), "mels": audio.mels,
            "min_hz": audio.min_hz, "max_hz": audio.max_hz or audio.sample_rate_hz / 2,
            "floor_db": audio.floor_db, "ceiling_db": audio.ceiling_db,
            "centre": subject.sound.scale[0], "width": subject.sound.scale[1],
            "windows": subject.model.config.windows if subject.model else "mean",
        }  # fmt: skip
    return found


def _usual_side_m(subject: Subject) -> float | None:
    if subject.channels == 3:
        return None
    if subject.model is not None:
        return float(subject.model.usual_side_m)
    assert subject.backbone is not None and subject.backbone.usual_gsd_m is not None  # noqa: S101 - it has 4 channels
    return subject.backbone.usual_gsd_m * subject.backbone.pixels


def _tower(subject: Subject, medium: str, to: str, dimensions: int) -> dict[str, Any]:
    name = subject.architecture[medium]
    found = {
        "architecture": name, "features": features(subject, medium), "projection": subject.projection,
        "dimensions": dimensions, "parameters": parameters([subject.program(medium)]),
    }  # fmt: skip
    if to == "torchvision":
        found["torchvision"] = TORCHVISION[name.partition(".")[0]]
    if to in ("hf", "safetensors") and is_timms_own(name):
        found["arguments"] = dict(built_by_timm(subject, medium).arguments)
    if to in ("onnx", "torch-export"):
        found["graph_input"], found["graph_outputs"] = input_name(subject, medium), list(OUTPUTS[medium])
    return found


def snippet(subject: Subject, to: str) -> str | None:
    """Return a program that embeds a picture and a recording without earthtone; None where no library builds it."""
    graph = to in ("onnx", "torch-export")
    if not graph and not all(map(_builds(to), subject.architecture.values())):
        return None
    sound, read = subject.sound is not None, "samples_of" if subject.waveform else "spectrogram_of"
    parts = ["picture"]
    if sound:
        parts.append("samples" if subject.waveform else "spectrograms")
    if not graph:
        parts += ["windows", "projection"]
    parts.append(f"{to}.picture")
    if not graph:
        parts.append("image_of_weights")
    if sound:
        parts.append(f"{to}.sound")
    if sound and not graph:
        parts.append("sound_of_weights")
    grey = 'bytes_of_samples(samples_of(path), PARTS["window"], PARTS["mel_filters"])'
    given = {
        "input": input_name(subject, "audio") if sound else "", "read": read,
        "grey": grey if subject.waveform else "torch.from_numpy(spectrogram_of(path)).float().T",
    }  # fmt: skip
    texts = [re.sub(r"\{\{(\w+)\}\}", lambda found: given[found[1]], _template(part)) for part in parts]
    return _with_imports_first("\n\n".join(text.strip("\n") + "\n" for text in texts), windows=subject.waveform)


def _builds(to: str) -> Any:
    return is_timms_own if to != "torchvision" else lambda name: name.partition(".")[0] in TORCHVISION


def _template(name: str) -> str:
    return (files("earthtone") / "templates" / "export" / f"{name}.txt").read_text(encoding="utf-8")


def _with_imports_first(text: str, *, windows: bool) -> str:
    """Return a program whose imports, of several parts, stand at its top: first Python's own."""
    lines = text.split("\n")
    brought = sorted(
        {line for line in lines if line.startswith(("import ", "from "))}, key=lambda line: line.split()[1]
    )
    own = [line for line in brought if line.split()[1] in ("json", "math", "pathlib")]
    body = "\n".join(line for line in lines if line not in brought).strip("\n")
    body = re.sub(r"\n{3,}(?=def |class |@)", "\n\n\n", re.sub(r"\n{4,}", "\n\n\n", body))
    if not windows and "bytes_of_samples" in body:  # of recordings alone
        body = re.sub(r"def bytes_of_samples.*?\n\n\n", "", body, flags=re.DOTALL)
    return "\n".join([*own, "", *(line for line in brought if line not in own), "", body, ""])


def write_description(
    folder: Path, subject: Subject, facts: Mapping[str, Any], said: Sequence[str], *, license_name: str | None = None
) -> None:
    """Write `preprocessing.json` and `README.md`; `said` are lines on how near the vectors are to Earthtone's."""
    (folder / "preprocessing.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(folder, subject, facts, said, license_name), encoding="utf-8")


def _readme(
    folder: Path, subject: Subject, facts: Mapping[str, Any], said: Sequence[str], license_name: str | None
) -> str:
    to = str(facts["to"])
    code = snippet(subject, to)
    tags = ["model_hub_mixin", "pytorch_model_hub_mixin"] if to == "hf" else []
    library = {"timm": "timm", "onnx": "onnx", "hf": "pytorch", "torch-export": "pytorch"}.get(to, "pytorch")
    needed = " ".join([PACKAGES[to], _READING, *([_HEARING] if subject.waveform else [])])
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = [
        front_matter(library, tags, license_name), f"# {one_line(str(facts['model']['name']), 80)}, as {to}", "",
        f"Made by Earthtone {facts['earthtone']} (PyTorch {torch.__version__.partition('+')[0]}, timm "
        f"{timm.__version__}) of the model with the fingerprint `{subject.fingerprint}`.", "",
        "| file | |", "|---|---|", *(f"| `{name}` | {_what(name, to)} |" for name in names),
        "| `preprocessing.json` | how bytes become inputs, and what comes out: the snippet reads it |", "",
        "## What goes in, what comes out", "", *_interface(subject, facts), "",
        "## How near to Earthtone", "", *(f"- {one_line(line)}" for line in said), "",
    ]  # fmt: skip
    if code is None:
        lines += [
            "## Without Earthtone", "",
            f"The network `{', '.join(dict.fromkeys(subject.architecture.values()))}` is in no other library: this "
            "file has its weights by the names of its layers, and a program must build it. `--to onnx` and "
            "`--to torch-export` run as they are.", "",
        ]  # fmt: skip
    else:
        lines += ["## Without Earthtone", "", f"`pip install {needed}`", "", "```python", code.rstrip(), "```", ""]
    return "\n".join([*lines, *card_sections(subject.card, license_name), ""])


def _what(name: str, to: str) -> str:
    if name.endswith(".safetensors") and "projection" in name:
        return "the projection, for which timm has no place"
    if name == "sound_parts.safetensors":
        return "Hann window, mel filters, weights of windows"
    if name == "transforms.json":
        return "torchvision's transforms of pictures"
    if name.endswith("config.json"):
        return "how the network is built"
    medium = "image" if name.startswith("image") else "sound" if name.startswith("audio") else "both"
    return {"both": "both towers"}.get(medium, f"the {medium} tower")


def _interface(subject: Subject, facts: Mapping[str, Any]) -> list[str]:
    graph, image, model = facts["to"] in ("onnx", "torch-export"), facts["image"], facts["model"]
    layout = "red, green, blue" + (", metres a pixel as a byte" if image["channels"] == 4 else "")
    out = f"{model['dimensions']} numbers" + (", of length 1" if model["unit"] else "")
    lines = [
        f"Vectors are {out}, compared by {model['compared_by']}. Resizing and resampling are outside: see the snippet."
    ]
    lines.append("")
    if graph:
        lines.append(
            f"- `image`: `pixels` uint8 (batch, {image['pixels']}, {image['pixels']}, {image['channels']}), {layout}, "
            "channels last, any batch; `embedding` (batch, D). Normalisation is inside."
        )
    else:
        lines.append(f"- image: float32 (batch, {image['channels']}, {image['pixels']}, {image['pixels']}), {layout}.")
    if subject.sound is None:
        return lines
    audio = facts["audio"]
    if not graph:
        lines.append(f"- sound: float32 (windows, 1, {audio['mels']}, {audio['window_frames']}), lowest band first.")
        return lines
    given = (
        f"`samples` float32 (batch, time), mono at {audio['sample_rate_hz']} Hz, full scale 1, of any length"
        if subject.waveform
        else f"`spectrograms` uint8 (batch, frames, {audio['mels']}), of any length"
    )
    lines.append(
        f"- `audio`: {given}; `embedding` (batch, D) of whole recordings, `windows` (batch, W, D) and `scores` (batch, "
        f"W) of their windows of {audio['window_seconds']:g} s, where W follows from the length. A recording's vector "
        "is the mean of its windows' vectors by the softmax of their scores"
        + (" (all scores are 0: the plain mean)" if audio["windows"] == "mean" else " (learned)")
        + (", scaled to length 1" if model["unit"] else "")
        + "; so parts of a recording too long for memory can be put together. Silence fills what is shorter than a "
        "window. Spectrogram, rounding to the bytes that Earthtone stores, and windows are inside."
    )
    return lines
