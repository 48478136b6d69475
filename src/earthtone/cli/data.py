"""The verbs that make, bring, look at and pack data, and convert a released checkpoint."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from earthtone.cli.parsing import (
    bands_argument,
    columns_mapping,
    data_arguments,
    early_option,
    flat_recipe,
    make_parser,
    option_words,
    split_arguments,
    typed_options,
)
from earthtone.errors import ConfigError, one_line_each, printable, shell_line
from earthtone.terminal import json_text

if TYPE_CHECKING:
    from earthtone.build.fetch import Fetched, PublicSet, Recheck
    from earthtone.signal.config import SignalConfig


def toyworld(words: list[str]) -> int:
    """Make a synthetic planet: images, sounds, places, true land cover."""
    parser = make_parser("toyworld", "Write a synthetic world: a manifest, image tiles, sounds. Never real data.")
    parser.add_argument("--out", required=True, type=str, help="folder to write")
    parser.add_argument("--rows", type=int, default=1000, help="places")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes everywhere")
    parser.add_argument("--pixels", type=int, default=128, help="side of a tile")
    parser.add_argument("--size_m", type=float, default=256.0, help="ground width of a tile in metres")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a recording")
    parser.add_argument("--hz", type=int, default=32_000, help="sample rate")
    parser.add_argument("--masks", action="store_true", help="also write land-cover masks")
    parser.add_argument("--geotiff", action="store_true", help="tiles as GeoTIFF instead of PNG")
    options = vars(parser.parse_args(words))
    from pathlib import Path

    from earthtone.build.toyworld import write_toyworld
    from earthtone.progress import progress_calls

    out = Path(options.pop("out"))
    manifest = write_toyworld(out, **options, progress=progress_calls("toy world"))
    print(f"{manifest}: {options['rows']} synthetic places\nnext: {shell_line('earthtone', 'check', manifest)}")
    return 0


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
    bands_argument(parser)
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


def pack(words: list[str]) -> int:
    """Decode pairs once into one table that training reads fast; appends, resumes."""
    from earthtone.signal.config import SignalConfig
    from earthtone.train.recipe_file import check_recipe, read_recipe, recipe_from_dict

    words = option_words(words, SignalConfig, "signal")
    name = early_option(words, "--recipe", "default")
    base = recipe_from_dict(read_recipe(name), name)
    parser = make_parser("pack", "Decode pairs into a packed table. A stopped call goes on when it is repeated.")
    data_arguments(parser)
    parser.add_argument("--out", required=True, type=str, help="the table, such as pairs.lance")
    parser.add_argument("--recipe", type=str, default=name, help="recipe whose `signal` section is used")
    parser.add_argument("--model", type=str | None, default=None, help="pack as this run's model wants it instead")
    split_arguments(parser)
    parser.add_argument("--threads", type=int | None, default=None, help="default: one a core")
    parser.add_class_arguments(SignalConfig, "signal")
    parser.set_defaults({key: value for key, value in flat_recipe(base).items() if key.startswith("signal.")})
    options = parser.parse_args(words)
    from dataclasses import replace

    from earthtone.data.pack import pack as run
    from earthtone.data.splits import MANIFEST

    if options.model is not None:
        if any(word.startswith(("--recipe", "--signal")) for word in words):
            raise ConfigError("--model decides how to pack: leave --recipe and --signal out")
        from earthtone.models.storage import open_model

        signal = open_model(options.model).signal
    else:
        signal = parser.instantiate(options).signal
        check_recipe(replace(base, signal=signal), "command line")
    columns = columns_mapping(options.columns)
    result = run(
        options.data, options.out, signal=signal, columns=columns, split_by=options.split_by or MANIFEST,
        buffer_km=options.buffer_km, threads=options.threads,
    )  # fmt: skip
    print(result.to_text())
    if options.model is not None:
        line = ["evaluate", "retrieval", "--model", options.model, "--data", result.path]
    else:
        same = typed_options(words, "--signal")
        line = ["pretrain", result.path, "--recipe", options.recipe, *same, "--out", "runs/first"]
    print(f"next: {shell_line('earthtone', *line)}")
    return 0


def convert(words: list[str]) -> int:
    """Write a checkpoint of the SoundingEarth release as a model of ours."""
    parser = make_parser("convert", "Write a checkpoint of the SoundingEarth release as a model that every verb takes.")
    parser.add_argument("checkpoint", type=str, help="the release's .pt file; with --backbone_only also a run")
    parser.add_argument("out", type=str, help="folder to write; must not hold anything yet")
    parser.add_argument("--unit", action="store_true", help="trained by a contrastive loss: compare by cosine")
    parser.add_argument("--backbone_only", action="store_true", help="the image encoder alone, for open_backbone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from earthtone.models.convert import convert as run

    found = run(options.checkpoint, options.out, unit=options.unit, backbone_only=options.backbone_only)
    if options.json:
        loss = None if found.loss_path is None else str(found.loss_path)
        print(json_text({"path": str(found.path), "loss_path": loss, "card": dict(found.card)}))
        return 0
    print(f"{found.path}: written from {options.checkpoint}")
    if found.loss_path is not None:
        print(f"{found.loss_path}: learnt parts of the loss, which have no part in the embeddings")
    if not options.backbone_only:
        compared = "cosine" if options.unit else "Euclidean distance"
        print(f"embeddings are compared by {compared}{'' if options.unit else ' (--unit: by cosine)'}")
        line = shell_line("earthtone", "evaluate", "retrieval", "--model", options.out, "--data", "DATA")
        print(f"next: {line}")
    return 0
