"""`earthtone check`."""

from typing import TYPE_CHECKING, Any

from earthtone.cli.parsing import columns_mapping, data_arguments, make_parser, split_arguments
from earthtone.errors import ConfigError, printable
from earthtone.terminal import json_text

if TYPE_CHECKING:
    from earthtone.signal.config import SignalConfig

_OF_FILES = ("--columns", "--bands", "--recipe", "--split_by", "--buffer_km")  # without effect on what is packed


def check(words: list[str]) -> int:
    """Look at data before it is packed: counts, sizes, places, missing and broken files, duplicates, licences.

    Of a packed table: whether it is what was packed.
    """
    parser = make_parser(
        "check",
        "Look at a manifest or a release folder; exit 1 when nothing in it is usable. Of a packed table: is it all "
        "as it was packed; exit 1 when it is not.",
    )
    data_arguments(parser, ", or a packed table")
    parser.add_argument("--headers_only", action="store_true", help="do not decode the files: faster, finds less")
    parser.add_argument("--recipe", type=str | None, default=None, help="take what pack takes with this recipe")
    parser.add_argument("--bands", type=tuple[int, int, int] | None, default=None, help="GeoTIFF bands: [4,3,2]")
    split_arguments(parser)
    parser.add_argument("--sample", type=int | None, default=None, help="look into this many rows only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    if options.headers_only and options.bands:
        raise ConfigError("--bands has no effect with --headers_only; leave one of them out")
    from earthtone.data.remote import is_remote
    from earthtone.data.source import is_packed

    if not is_remote(options.data) and is_packed(options.data):
        return _check_table(options, words)
    from earthtone.data.check import check as run
    from earthtone.data.splits import MANIFEST
    from earthtone.progress import progress_calls

    result = run(
        options.data,
        columns=columns_mapping(options.columns),
        decode=not options.headers_only,
        signal=None if options.recipe is None else _signal_of(options.recipe),
        bands=options.bands,
        split_by=options.split_by or MANIFEST,
        buffer_km=options.buffer_km,
        sample=options.sample,
        progress=progress_calls("check"),
    )
    print(json_text(result.to_dict()) if options.json else printable(result.to_text()))
    return 0 if result.ok else 1


def _signal_of(recipe: str) -> "SignalConfig":
    from earthtone.train.recipe_file import read_recipe, recipe_from_dict  # brings torch: only when it is asked for

    return recipe_from_dict(read_recipe(recipe), recipe).signal


def _check_table(options: Any, words: list[str]) -> int:
    from earthtone.data.check_table import check_table
    from earthtone.progress import progress_calls

    idle = [name for name in _OF_FILES if any(word.split("=")[0] == name for word in words)]
    if idle:
        raise ConfigError(f"{options.data} is packed: {idle[0]} has no effect on it; leave it out")
    result = check_table(
        options.data, decode=not options.headers_only, sample=options.sample, progress=progress_calls("check")
    )
    print(json_text(result.to_dict()) if options.json else printable(result.to_text()))
    return 0 if result.ok else 1
