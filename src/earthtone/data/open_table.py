"""Any data - a packed table, a manifest, a release folder - as a packed table."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.data.hub import is_hub
from earthtone.data.named_splits import MANIFEST, check_split_by
from earthtone.data.object_store import is_remote
from earthtone.data.pack import PackResult, pack, unfinished_marker
from earthtone.data.source import is_packed
from earthtone.data.table import Table
from earthtone.errors import ConfigError, DataError
from earthtone.signal.config import SignalConfig

_log = logging.getLogger(__name__)


@contextmanager
def open_table(
    data: str | Path,
    signal: SignalConfig,
    *,
    columns: Mapping[str, str] | None = None,
    split_by: str | None = None,
    buffer_km: float | None = None,
    keep: Path | None = None,
) -> Iterator[Table]:
    """Yield `data` as a packed table; what is not packed yet is packed into `keep`, or for this once only.

    `split_by` and `buffer_km` are those of `pack`, by default the data's own splits. Raises DataError when nothing in
    it is usable, ConfigError for options without effect.
    """
    options: dict[str, Any] = {"split_by": split_by or MANIFEST, "buffer_km": buffer_km}
    check_split_by(options["split_by"], buffer_km)
    if is_packed(data):
        for name, value in (("columns", columns), ("split_by", split_by), ("buffer_km", buffer_km)):
            if value:
                raise ConfigError(f"{data} is packed: --{name} has no effect on it; leave it out")
        if not is_remote(data) and (marker := unfinished_marker(Path(data))).exists():
            raise DataError(
                f"{data}: its packing has not ended; wait for it or repeat the earthtone pack that was stopped "
                f"(to use what is there, delete {marker.name})"
            )
        yield Table(data)
    elif keep is not None:
        note, source = _source_note(data, keep)
        _tell(pack(data, keep, signal=signal, columns=columns, **options))
        write_text_atomic(note, source)
        yield Table(keep)
    else:
        with tempfile.TemporaryDirectory(prefix="earthtone-") as folder:
            once = Path(folder) / "once.lance"
            _tell(pack(data, once, signal=signal, columns=columns, preview_seconds=5.0, **options), kept=False)
            yield Table(once)


def _source_note(data: str | Path, keep: Path) -> tuple[Path, str]:
    """Return the file beside `keep` that says whose pairs it holds, and its text: a run's own table is of one source.

    Raises DataError when it holds the pairs of other data.
    """
    note, source = keep.with_name(f"{keep.name}.source"), str(data if is_hub(data) else Path(data).resolve())
    if note.exists() and (before := note.read_text(encoding="utf-8").strip()) != source:
        raise DataError(
            f"{keep} holds the pairs of {before}; choose another --out, or name the table itself as the data"
        )
    return note, f"{source}\n"


def _tell(result: PackResult, *, kept: bool = True) -> None:
    """Warn of skipped and of odd rows: what is measured or learned is not all that was given."""
    where = f"each is named in {result.problems_path}" if kept else "earthtone check names each"
    if result.problems:
        _log.warning("%s; %s", result.skipped_text, where)
    if result.notes:
        _log.warning("%s; %s", result.notes_text, where)
    if result.splits.get("none"):
        _log.warning("%s: those are not used", result.split_text)
