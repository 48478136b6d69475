"""`earthtone fetch`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from earthtone.cli.parsing import make_parser
from earthtone.errors import ConfigError, one_line_each, shell_line
from earthtone.terminal import json_text

if TYPE_CHECKING:
    from earthtone.build.fetch import Fetched, PublicSet, Recheck


def fetch(words: list[str]) -> int:
    """List public data sets, bring one to a folder, or look again at what was fetched (1: it is damaged)."""
    options = _parser().parse_args(words)
    _refuse_idle(options)
    from earthtone.build import fetch as fetching

    catalogue = options.catalogue or fetching.CATALOGUE
    if options.name is None or options.list:
        sets = fetching.read_catalogue(catalogue)
        if options.name is not None:
            sets = {options.name: fetching.find_set(sets, options.name)}
        print(json_text(_plain(sets)) if options.json else _table(sets))
        return 0
    if options.check:
        found = fetching.recheck(options.name, options.out, catalogue=catalogue)
        print(json_text(found.to_dict()) if options.json else _recheck_text(found, options.catalogue))
        return 0 if found.ok else 1
    patience = fetching.Patience(retries=options.retries, read_seconds=options.timeout_seconds)
    result = fetching.fetch(
        options.name,
        options.out,
        subset=options.subset,
        catalogue=catalogue,
        downloaded=options.downloaded,
        patience=patience,
    )
    print(json_text(result.to_dict()) if options.json else _fetched_text(result))
    return 0


def _parser() -> Any:
    parser = make_parser("fetch", "Bring a public data set to a folder; without a name: the catalogue.")
    parser.add_argument("name", type=str | None, nargs="?", default=None, help="data set; --list shows all")
    parser.add_argument("--list", action="store_true", help="print the catalogue (or one entry) and fetch nothing")
    parser.add_argument("--out", type=str | None, default=None, help="folder to write; default: data/NAME")
    parser.add_argument("--subset", type=str | None, default=None, help="parts, and how many Parquet files: images,2")
    parser.add_argument("--check", action="store_true", help="verify what was fetched before, download nothing")
    parser.add_argument("--downloaded", type=str | None, default=None, help="folder with files downloaded by hand")
    parser.add_argument("--catalogue", type=str | None, default=None, help="another catalogue, such as a mirror's")
    parser.add_argument("--retries", type=int, default=8, help="faults in a row, without a new byte, to bear")
    parser.add_argument("--timeout_seconds", type=float, default=60.0, help="silence of a server to bear")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _refuse_idle(options: Any) -> None:
    """Raise ConfigError for options that would have no effect."""
    if options.retries < 0 or options.timeout_seconds <= 0:
        raise ConfigError("--retries must be at least 0 and --timeout_seconds above 0")
    idle = []
    if options.name is None or options.list:
        idle = [name for name in ("out", "subset", "check", "downloaded") if getattr(options, name)]
    elif options.check:
        idle = [name for name in ("subset", "downloaded") if getattr(options, name)]
    if idle:
        instead = "a data set's name and without --list" if not options.check or options.list else "no --check"
        raise ConfigError(f"--{idle[0]} has no effect here; give it with {instead}")


def _plain(sets: "Mapping[str, PublicSet]") -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [{**asdict(entry), "bytes": entry.bytes, "part_names": entry.part_names} for entry in sets.values()]


def _table(sets: "Mapping[str, PublicSet]") -> str:
    from earthtone.build.fetch.fetch import long_text, row

    if len(sets) == 1:
        return long_text(next(iter(sets.values())))
    rows = [("NAME", "DOWNLOAD", "LICENCE", "ITEMS", "WHAT"), *(row(entry) for entry in sets.values())]
    widths = [max(len(cells[column]) for cells in rows) for column in range(4)]
    lines = ["  ".join([*(cells[k].ljust(widths[k]) for k in range(4)), cells[4]]) for cells in rows]
    return one_line_each(
        [*lines, "", "earthtone fetch NAME --list tells more; earthtone fetch NAME brings it to data/NAME"]
    )


def _fetched_text(result: "Fetched") -> str:
    lines = [f"{result.name}: {len(result.fetched)} files fetched, {len(result.already_there)} were there already"]
    lines += [f"  note: {remark}" for remark in result.remarks]
    return one_line_each([*lines, f"it lies in {result.out}", f"next: {result.next}"])


def _recheck_text(found: "Recheck", catalogue: str | None) -> str:
    from earthtone.build.fetch.download import size_text

    lines = [f"{found.out}: {found.files} files, {size_text(found.bytes)}, checked against their SHA-256"]
    for label, paths in (("damaged", found.damaged), ("missing", found.missing), ("unfinished", found.unfinished)):
        lines += [f"  {label}: {path}" for path in paths[:20]]
        lines += [f"  {label}: {len(paths) - 20} more; --json names all"] if len(paths) > 20 else []
    again = ["fetch", found.name, "--out", found.out, *([] if catalogue is None else ["--catalogue", catalogue])]
    repair = f"delete the damaged ones and type: {shell_line('earthtone', *again)}"
    return one_line_each([*lines, "all is as it was fetched" if found.ok else repair])
