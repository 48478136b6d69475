"""ADVANCE (Hu et al., ECCV 2020, arXiv 2005.08449): images and sounds of 13 kinds of scene, paired by name."""

from pathlib import Path

from earthtone.data.datasets.finish import Found
from earthtone.data.datasets.media import IMAGES, SOUNDS, counted, files, folders
from earthtone.data.labelled import LabelledItem
from earthtone.data.manifest import listed
from earthtone.errors import DataError

_VISION = ("vision", "ADVANCE_vision", "Dataset_v3_vision")
_SOUND = ("sound", "ADVANCE_sound", "Dataset_v3_sound")
_SPECTROGRAMS = (".npy",)
_RECORDING = 5  # characters of a file's name that say of which recording it is a part


def looks_like_advance(path: Path) -> bool:
    """Return whether a folder has the release's two folders."""
    return _side(path, _VISION) is not None and _side(path, _SOUND) is not None


def read_advance(path: Path) -> Found:
    """Return the pairs CLASS/NAME; `group` is the recording, the first five characters of the name. Raises DataError.

    The authors' own partition keeps recordings together by these five characters: small classes were enlarged by
    shifted images of one recording. Sounds are `.wav` and the like, or, where there is none, spectrograms as `.npy`.
    Files without a partner are counted and named. Two files of one name and kind are refused.
    """
    vision, sound = _side(path, _VISION), _side(path, _SOUND)
    if vision is None or sound is None:
        lacking = " and ".join(name for name, side in (("vision/", vision), ("sound/", sound)) if side is None)
        raise DataError(
            f"{path} has no {lacking}; ADVANCE as vision/CLASS/NAME.jpg beside sound/CLASS/NAME.wav (or .npy) expected"
        )
    images = _by_name(vision, IMAGES)
    sounds, ready = _by_name(sound, SOUNDS), _by_name(sound, _SPECTROGRAMS)
    found = Found()
    if sounds and ready:
        found.notes.append(
            f"sound/ holds {len(sounds)} recordings and {len(ready)} .npy spectrograms: the former count"
        )
    sounds = sounds or ready
    for name in sorted(images.keys() & sounds.keys()):
        label, stem = name.split("/", 1)
        found.items.append(LabelledItem(name, label, images[name], sounds[name], group=stem[:_RECORDING]))
    found.notes += counted(
        len(images.keys() - sounds.keys()), "images without a sound", [*images.keys() - sounds.keys()]
    )
    found.notes += counted(
        len(sounds.keys() - images.keys()), "sounds without an image", [*sounds.keys() - images.keys()]
    )
    return found


def _side(path: Path, names: tuple[str, ...]) -> Path | None:
    """Return the folder of one medium; archives may have put it into a folder of its own name again."""
    found = next((path / name for name in names if (path / name).is_dir()), None)
    if found is None:
        return None
    inside = folders(found)
    return inside[0] if len(inside) == 1 and inside[0].name in names else found


def _by_name(side: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return CLASS/STEM -> file. Raises DataError when two files have one name."""
    found: dict[str, Path] = {}
    for folder in folders(side):
        for file in files(folder):
            if file.suffix.lower() not in suffixes:
                continue
            name = f"{folder.name}/{file.stem}"
            if name in found:
                raise DataError(f"{folder} holds {listed([found[name].name, file.name])}: keep the one that is meant")
            found[name] = file
    return found
