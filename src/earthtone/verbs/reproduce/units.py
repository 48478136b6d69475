"""What a reproduction is made of: units, each one measurement or one training, and the folders of data they read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthtone.data.soundingearth import looks_like_release
from earthtone.verbs.reproduce.fingerprint import folder_identity
from earthtone.verbs.reproduce.measures import Measured
from earthtone.wording import shell_line

PAIRS = "soundingearth"
PUBLISHED, HONEST = "published", "honest"
PROTOCOLS = (PUBLISHED, HONEST)


@dataclass(frozen=True)
class Unit:
    """One measurement, one packing or one training; its result is one file."""

    step: str
    contender: str
    protocol: str
    """`published`, `honest`, or what else it is: `packing`, `training`."""
    title: str
    """Of the contender, as the table shows it."""
    data: str
    identity: Mapping[str, Any]
    """What it is made from, flat; what is not known now is left out."""
    measure: Callable[[], Measured]
    lacking: str | None = None
    """Why it cannot be done, with what to type."""
    needs: tuple[str, ...] = ()
    """Names of units that must be done before."""
    unreachable: Callable[[], str | None] = lambda: None
    """Looks for weights at the moment they are needed: why there are none, or None."""

    @property
    def name(self) -> str:
        """Of its file in `steps/`."""
        return f"{self.step}-{self.contender}-{self.protocol}"


@dataclass(frozen=True)
class Source:
    """A folder of data, there or not."""

    name: str
    folder: Path
    identity: Mapping[str, Any]
    """Nothing where the folder is not there."""
    lacking: str | None


def find_source(data: Path, name: str) -> Source:
    """Return the folder of a set below `data`; for the pairs also `data` itself."""
    folder = data / name
    if name == PAIRS and not folder.is_dir() and data.is_dir() and looks_like_release(data):
        folder = data
    if folder.is_dir():
        return Source(name, folder, folder_identity(folder), None)
    return Source(
        name, folder, {}, f"{folder} is not there; type: {shell_line('earthtone', 'fetch', name, '--out', folder)}"
    )
