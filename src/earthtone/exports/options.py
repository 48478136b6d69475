"""What can be said to export, push and pull: one dataclass a verb, as in `earthtone.options`. Light."""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from earthtone.errors import ConfigError
from earthtone.options import AnyModel, ColumnOptions, DeviceOptions, SplitName, refuse_folder
from earthtone.value_types import NonNegativeInt, Options, Rule

#: Target of an export -> the precisions that it can be written in.
PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "timm": ("32", "bf16", "fp16"),
    "torchvision": ("32", "bf16", "fp16"),
    "onnx": ("32", "fp16", "int8"),
    "torch-export": ("32", "bf16", "fp16"),
    "safetensors": ("32", "bf16", "fp16"),
    "hf": ("32", "bf16", "fp16"),
}
_WHY_NOT: Mapping[tuple[str, str], str] = {
    ("onnx", "bf16"): "ONNX Runtime has no convolutions in bf16 on processors",
}
_REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
License = Annotated[
    str,
    Rule("a short name such as cc-by-4.0", lambda text: re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,63}", text) is not None),
]
Repository = Annotated[str, Rule("OWNER/NAME on the hub", lambda text: _REPO.fullmatch(text) is not None)]


@dataclass(frozen=True)
class ExportOptions(ColumnOptions):
    """Write a model's towers for other programs, each with a snippet that needs no earthtone, checked before they are
    left there."""

    usual: ClassVar[tuple[str, ...]] = ("precision", "calibrate", "license", "json")

    model: AnyModel
    """a run's folder, a .safetensors file, a SoundingEarth checkpoint, random:NAME, or a backbone: its file or
    timm:NAME"""
    to: Literal["timm", "torchvision", "onnx", "torch-export", "safetensors", "hf"]
    """timm, torchvision, onnx, torch-export, safetensors or hf (the hub's PyTorchModelHubMixin)"""
    out: str | Path
    """folder to write; must not hold anything yet"""
    _: KW_ONLY
    precision: Literal["32", "bf16", "fp16", "int8"] = "32"
    """32, bf16, fp16 (weights and products), or int8 (onnx alone, needs --calibrate)"""
    calibrate: str | Path | None = None
    """pairs (packed table, manifest, release folder): int8 is calibrated on 100 or more of them; what fewer bits cost
    is measured on others"""
    license: License | None = None
    """of the weights, for the card: cc-by-4.0"""
    seed: NonNegativeInt = 0
    """of the draw of pairs, of noise and of random:NAME"""

    def check(self) -> None:
        known = PRECISIONS[self.to]
        if self.precision not in known:
            why = _WHY_NOT.get((self.to, self.precision), f"--to {self.to} has no {self.precision}")
            others = [to for to, has in PRECISIONS.items() if self.precision in has]
            raise ConfigError(
                f"--precision {self.precision}: {why}; {', '.join(known)} expected, or --to {' or '.join(others)}"
            )
        if self.precision == "int8" and self.calibrate is None:
            raise ConfigError("--precision int8 needs --calibrate DATA: 100 or more pairs of the kind it will see")
        if self.calibrate is None and self.columns is not None:
            raise ConfigError("--columns has no effect without --calibrate; leave it out")
        if not Path(self.out).name:
            raise ConfigError(f"--out {self.out}; the name of a new folder expected, such as exported")


@dataclass(frozen=True)
class PushOptions(DeviceOptions, ColumnOptions):
    """Put a model, or a folder that export wrote, on the Hugging Face hub, with a card that says what is known of it.
    The token is read from HF_TOKEN."""

    positional: ClassVar[tuple[str, ...]] = ("repo",)
    usual: ClassVar[tuple[str, ...]] = ("public", "license", "data", "split", "card", "json")

    model: str | Path
    """a run's folder, its file, a backbone's file, or a folder that export wrote"""
    repo: Repository
    """where to: OWNER/NAME; made where it is not there yet"""
    _: KW_ONLY
    public: bool = False
    """everybody may see it; else a new repository is private"""
    license: License | None = None
    """of the weights, for the card: cc-by-4.0"""
    data: str | Path | None = None
    """pairs to measure retrieval on, for the card's figures with intervals"""
    split: SplitName = "test"
    """of --data: train, val, test or all"""
    card: str | Path | None = None
    """write the card to this file to look at it, and push nothing"""

    def check(self) -> None:
        refuse_folder("card", self.card)
        if self.data is None and (idle := self.changed("split", "columns")):
            raise ConfigError(f"{', '.join(idle)} has no effect without --data; leave it out")
        if self.card is not None and self.public:
            raise ConfigError("--public has no effect with --card, which pushes nothing; leave one of them out")


@dataclass(frozen=True)
class PullOptions(Options):
    """Fetch a model of ours from the Hugging Face hub: its weights and its card; never code, never pickles. The token
    is read from HF_TOKEN, where one is needed."""

    positional: ClassVar[tuple[str, ...]] = ("repo",)

    repo: Repository
    """OWNER/NAME on the hub"""
    out: str | Path
    """folder to write; must not hold anything yet"""
    _: KW_ONLY
    revision: str | None = None
    """a branch, a tag or a commit; default: main"""

    def check(self) -> None:
        if not Path(self.out).name:
            raise ConfigError(f"--out {self.out}; the name of a new folder expected, such as models/theirs")
