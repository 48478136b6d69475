"""Any data - a packed table, a manifest, a release folder - as a packed table."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from earthtone.data.pack import pack, unfinished_marker
from earthtone.data.table import Table
from earthtone.errors import DataError
from earthtone.signal.config import SignalConfig


def is_packed(data: str | Path) -> bool:
    """Whether `data` is a packed table rather than something to pack."""
    return Path(data).is_dir() and (Path(data) / "_versions").is_dir()


@contextmanager
def open_table(
    data: str | Path, signal: SignalConfig, *, columns: Mapping[str, str] | None = None, keep: Path | None = None
) -> Iterator[Table]:
    """Yield `data` as a packed table; what is not packed yet is packed into `keep`, or for this once only.

    Raises DataError when nothing in it is usable.
    """
    if is_packed(data):
        if (marker := unfinished_marker(Path(data))).exists():
            raise DataError(
                f"{data}: its packing has not ended; wait for it or repeat the earthtone pack that was stopped "
                f"(to use what is there, delete {marker.name})"
            )
        yield Table(data)
    elif keep is not None:
        pack(data, keep, signal=signal, columns=columns)
        yield Table(keep)
    else:
        with tempfile.TemporaryDirectory(prefix="earthtone-") as folder:
            once = Path(folder) / "once.lance"
            pack(data, once, signal=signal, columns=columns, preview_seconds=5.0)
            yield Table(once)
