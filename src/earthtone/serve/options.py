"""What can be said to `earthtone serve`. Light: imports nothing heavy."""

import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from earthtone.errors import ConfigError
from earthtone.options import AnyModel, Names
from earthtone.value_types import Options, PositiveFloat, PositiveInt, PythonOnly, Rule, Typed, without_brackets

_PREFIX = re.compile(r"(/[A-Za-z0-9._~@-]+)*/?")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in without_brackets(text).split(",") if name.strip())


@dataclass(frozen=True)
class ServeOptions(Options):
    """A folder of embeddings as a page in the browser: a map, the embedding space, search by sound and image,
    listening. Needs no network."""

    positional = ("index",)
    usual = ("model", "map", "host", "port", "root_path", "token_env", "marks", "who", "title", "open")

    index: str | Path
    """folder that `earthtone embed` wrote and `earthtone index` placed on a plane"""
    _: KW_ONLY
    model: AnyModel | None = None
    """where the index's model lies; default: where it lay. Without it stored vectors are searched by alone"""
    map: Annotated[Sequence[str | Path], Typed(_listed)] | Path = ()
    """folders that `earthtone map` wrote, as layers: map1,map2"""
    host: str = "127.0.0.1"
    """address to listen at; any other than this machine's own shows the page to others, who should need a token"""
    port: Annotated[int, Rule("0 to 65535", lambda port: 0 <= port <= 65_535)] = 8080
    """port to listen at; 0: any that is free"""
    root_path: Annotated[str, Rule("a path such as /earthtone", lambda path: bool(_PREFIX.fullmatch(path)))] | None = (
        None
    )
    """path below which a proxy shows the page, such as /earthtone; one that takes it away before is fine, too"""
    hosts: Names = ()
    """names under which the page is asked for beside --host, as behind a proxy: maps.example.org; * for any"""
    forwarded: bool = False
    """believe the proxy before it who asks: the last address of X-Forwarded-For; only where all come through it"""
    token_env: str | None = None
    """environment variable with a token of 16 letters or more, without which nothing is shown"""
    token_file: str | Path | None = None
    """file with such a token"""
    marks: str | Path | None = None
    """file of marks that the page appends to; default: marks.csv in the folder"""
    who: str | None = None
    """whose marks they are, where the page is not told another name"""
    title: str | None = None
    """of the page; default: the folder's name"""
    basemap: str | None = None
    """address of tiles below the points, with {z}, {x} and {y}; default: outlines of the land, which need no network"""
    basemap_attribution: str | None = None
    """whom to name for --basemap"""
    device: str = "auto"
    """cpu, cuda, mps, or auto: the best that is there"""
    open: bool = False
    """open the page in this machine's browser"""
    upload_mb: PositiveInt = 64
    """largest file that may be searched by"""
    sound_seconds: PositiveInt = 1800
    """longest sound that may be searched by"""
    image_mpx: PositiveInt = 64
    """largest picture that may be searched by, in millions of pixels"""
    queue: PositiveInt = 64
    """so many queries may wait for the model; more are told to come again"""
    patience: PythonOnly[PositiveFloat] = 15.0
    """seconds that a client may take for the head of a request, and between two parts of its body"""
    frames: PythonOnly[Sequence[str]] = ()
    """origins that may show the page in a frame beside its own, such as a notebook's"""
    started: PythonOnly[Callable[[str], object] | None] = None
    """is told the page's address once it answers"""

    def check(self) -> None:
        if self.token_env is not None and self.token_file is not None:
            raise ConfigError("--token_env and --token_file both give a token; leave one of them out")
        if self.basemap is not None and not _is_template(self.basemap):
            raise ConfigError(
                f"--basemap {self.basemap:.80}; the address of tiles expected, such as "
                "https://tiles.example.org/{z}/{x}/{y}.png"
            )
        if self.basemap is not None and not self.basemap_attribution:
            raise ConfigError("--basemap needs --basemap_attribution: whom to name for its tiles")
        if self.basemap is None and self.basemap_attribution is not None:
            raise ConfigError("--basemap_attribution has no effect without --basemap; leave it out")


def _is_template(address: str) -> bool:
    try:
        parts = urlsplit(address)
        named = re.fullmatch(r"[A-Za-z0-9.\[\]:-]+", parts.netloc)  # becomes a part of the page's security policy
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and named is not None and all(f"{{{name}}}" in address for name in "zxy")
