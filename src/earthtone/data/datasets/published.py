"""What was published about the sets we know by name: how many classes and files, and how their folders look."""

import re
from dataclasses import dataclass
from pathlib import Path

from earthtone.errors import ConfigError
from earthtone.wording import did_you_mean


@dataclass(frozen=True, slots=True)
class Published:
    """A set's own title, its figures, its layout in one line, and the names its folder goes by (small, no marks)."""

    title: str
    classes: int
    items: int
    layout: str
    folders: tuple[str, ...]
    unit: str = "images"

    def differences(self, classes: int, items: int) -> list[str]:
        """Return a line when the classes or items found are not as many as published."""
        if (classes, items) == (self.classes, self.items):
            return []
        return [
            f"{self.title} was published with {self.classes} classes and {self.items:,} {self.unit}, "
            f"found {classes} and {items:,}"
        ]


#: Classes of images or sounds; sources: the papers and release pages named in docs/labelled-data.md.
LABELLED: dict[str, Published] = {
    "ucmerced": Published(
        "UC Merced Land Use", 21, 2_100, "Images/CLASS/*.tif", ("ucmerced", "ucmercedlanduse", "ucm")
    ),
    "resisc45": Published("NWPU-RESISC45", 45, 31_500, "CLASS/*.jpg", ("resisc45", "nwpuresisc45")),
    "aid": Published("AID", 30, 10_000, "CLASS/*.jpg", ("aid", "aiddataset")),
    "eurosat": Published("EuroSAT", 10, 27_000, "CLASS/*.jpg", ("eurosat", "eurosatrgb", "2750")),
    "rsscn7": Published("RSSCN7", 7, 2_800, "CLASS/*.jpg", ("rsscn7", "rsscn7master")),
    "advance": Published(
        "ADVANCE", 13, 5_075, "vision/CLASS/NAME.jpg beside sound/CLASS/NAME.wav (or .npy)", ("advance",), "pairs"
    ),
    "esc50": Published("ESC-50", 50, 2_000, "audio/*.wav and meta/esc50.csv", ("esc50", "esc50master"), "sounds"),
    "urbansound8k": Published(
        "UrbanSound8K", 10, 8_732, "audio/fold1..10/*.wav and metadata/UrbanSound8K.csv", ("urbansound8k",), "sounds"
    ),
}  # fmt: skip

#: Images with masks; counted are images whose masks were published.
MASKED: dict[str, Published] = {
    "deepglobe": Published(
        "DeepGlobe land cover", 6, 803, "train/ID_sat.jpg beside train/ID_mask.png", ("deepglobe",), "masks"
    ),
    "loveda": Published(
        "LoveDA", 7, 4_191, "Train|Val|Test/Urban|Rural/images_png/*.png and masks_png/*.png", ("loveda",), "masks"
    ),
    "potsdam": Published(
        "ISPRS Potsdam", 6, 38, "2_Ortho_RGB/top_potsdam_R_C_RGB.tif and 5_Labels_all/top_potsdam_R_C_label.tif",
        ("potsdam",), "masks",
    ),
    "vaihingen": Published(
        "ISPRS Vaihingen", 6, 33, "top/top_mosaic_09cm_areaN.tif and a folder of ground truth with the same names",
        ("vaihingen",), "masks",
    ),
}  # fmt: skip


def known_set(name: str, sets: dict[str, Published]) -> str:
    """Return the key of a set that was asked for by name. Raises ConfigError for an unknown one."""
    key = _plain(name)
    for known, published in sets.items():
        if key in (_plain(known), *published.folders):
            return known
    raise ConfigError(f"dataset {name!r:.60} is unknown; {did_you_mean(key, sets)}known: {', '.join(sets)}")


def recognised(folder: Path, sets: dict[str, Published]) -> str | None:
    """Return the key of the set whose name the folder, or file's folder, bears; None for others."""
    key = _plain(folder.resolve().name)
    return next((known for known, published in sets.items() if key in published.folders), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
