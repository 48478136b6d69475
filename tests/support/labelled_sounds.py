"""Miniatures of the published layouts, written by the tests: scenes are colours, sounds are tones."""

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

HZ = 16_000


def write_tone(path: Path, kind: int, number: int, seconds: float = 1.2) -> None:
    """A tone whose pitch says the kind, in some noise."""
    draw = np.random.default_rng([3, kind, number])
    time = np.arange(int(HZ * seconds)) / HZ
    sound = 0.3 * np.sin(2 * np.pi * 300 * 2.0 ** (1.3 * kind) * time) + draw.normal(0, 0.02, len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, HZ)


def write_scene(path: Path, kind: int, number: int) -> None:
    """A tile whose colour says the kind, in some noise."""
    draw = np.random.default_rng([4, kind, number])
    base = np.array([[220, 60, 60], [60, 220, 60], [60, 60, 220]])[kind % 3]
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(base + draw.normal(0, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def write_esc50(folder: Path, classes: int = 3, a_fold: int = 3) -> Path:
    """ESC-50's layout: five folds, the fold, recording and class number in the file's name."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for kind in range(classes):
            for take in range(a_fold):
                source = 1000 * fold + 10 * kind + take // 2  # two takes of one recording
                name = f"{fold}-{source}-{'ABC'[take]}-{kind}.wav"
                write_tone(folder / "audio" / name, kind, 100 * fold + take)
                lines.append(f"{name},{fold},{kind},tone {kind},False,{source},{'ABC'[take]}")
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_advance(folder: Path, classes: int = 3, recordings: int = 8, copies: int = 2) -> Path:
    """ADVANCE's layout: vision/ and sound/ by class; several shifted images of one recording share five characters."""
    for kind in range(classes):
        for recording in range(recordings):
            for copy in range(copies):
                stem = f"{kind}{recording:04d}_{copy}"
                write_scene(folder / "vision" / f"scene {kind}" / f"{stem}.jpg", kind, 10 * recording + copy)
                write_tone(folder / "sound" / f"scene {kind}" / f"{stem}.wav", kind, recording)
    return folder
