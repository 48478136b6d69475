"""What can be said to the verbs that use a trained model: one dataclass a verb, as in `earthtone.options`. Light."""

import re
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from earthtone.errors import ConfigError
from earthtone.options import AnyModel, ColumnOptions, DeviceOptions, Precision
from earthtone.value_types import NonNegativeInt, PositiveFloat, PositiveInt, PythonOnly, Rule, Typed

Shard = tuple[int, int]
"""Which part, from 0, and of how many."""


def _shard(text: str) -> Shard:
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None:
        raise ConfigError(f"{text}; PART/PARTS expected, such as 0/16 for the first and 15/16 for the last of 16")
    part, parts = int(found[1]), int(found[2])
    if part >= parts:
        raise ConfigError(
            f"{text}; parts count from 0: 0/{max(parts, 1)} to {max(parts, 1) - 1}/{max(parts, 1)} expected"
        )
    return part, parts


@dataclass(frozen=True)
class EmbedOptions(DeviceOptions, ColumnOptions):
    """Vectors of images and sounds as one table. A stopped call goes on when it is repeated; so does one whose data has
    got more rows."""

    usual = ("modality", "windows", "shard", "vectors", "device")

    model: AnyModel
    """a run's folder, a .safetensors file, a SoundingEarth checkpoint, or random:NAME"""
    data: str | Path
    """manifest, folder of files or of classes, of tiles, packed table, release folder, hf://datasets/OWNER/NAME"""
    out: str | Path
    """folder to write, of embeddings.lance"""
    _: KW_ONLY
    modality: Literal["image", "audio", "both"] | None = None
    """what is embedded; default: what is there"""
    windows: bool = False
    """a row for each window of a recording, with its start, instead of one for the whole"""
    shard: (
        Annotated[Shard, Typed(_shard), Rule("a part from 0 on below the number of parts", lambda s: 0 <= s[0] < s[1])]
        | None
    ) = None
    """embed one part of several, from 0: 3/16; default: as torchrun or a SLURM array say, else all. 0/1: all"""
    vectors: Literal["float16", "float32"] = "float16"
    """numbers of the stored vectors"""
    precision: Precision = "auto"
    """in which the networks multiply: auto (bf16 where the device does that itself), bf16 or 32. As embed_images: 32"""
    batch: PositiveInt | None = None
    """inputs a pass; default: 4 on a processor, 32 elsewhere. Another one changes the last digits"""
    seed: NonNegativeInt = 0
    """of random:NAME"""
    commit_rows: PythonOnly[PositiveInt] = 4096
    """at most so many rows wait to be written, and are lost when the process is killed ..."""
    commit_seconds: PythonOnly[PositiveFloat] = 60.0
    """... or the rows of so many seconds"""
