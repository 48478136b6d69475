"""The verb build: recordings, imagery about each, curation, split, packed table and data card by one recipe.

A step is done once: its file in `steps/` says what it was done from - its options and digests of its inputs - and what
came of it. So a build that was stopped, also by kill -9, goes on, and one whose recordings have grown does what is new.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.build.build_report import RECORDINGS, BuildPlan, StepDone, build_page, plan_build
from earthtone.build.curate.curate import curate
from earthtone.build.describe import describe
from earthtone.build.options import BuildOptions, RecordingsOptions, SplitRowsOptions, TilesOptions
from earthtone.build.pairs import join_tiles, media_state, row_digests, rows_of_table, with_tiles_of, write_places
from earthtone.build.recipe import ArchiveOptions, BuildRecipe, TableOptions, read_build_recipe
from earthtone.build.recordings.recordings import recordings
from earthtone.build.split import split
from earthtone.build.tile_servers import refuse_forbidden
from earthtone.build.tiles import cache_folder, cut_tiles
from earthtone.build.web import RetryPolicy, Web, without_secrets
from earthtone.data.pack import pack
from earthtone.data.packed import Table, is_begun
from earthtone.errors import ConfigError, DataError, EarthtoneError, one_line_each
from earthtone.files import FORMATS, atomic_path, content_digest, format_of, only_writer, write_text_atomic
from earthtone.value_types import takes

_KIND = "step of a build"
_KEY_HOST = "EARTHTONE_TILE_KEY_HOST"
PAIRS, TABLE = "pairs.parquet", "pairs.lance"
_STEPS, _PACKED = "steps", "packed.parquet"

Came = tuple[Sequence[str], dict[str, Any], list[str]]
"""What came of a step: lines for people, plain values, and the files that it wrote, from the build's folder."""


@dataclass(frozen=True)
class BuildResult:
    """What was built."""

    out: Path
    steps: Sequence[StepDone]
    rows: int
    """Of the last step."""
    manifest: Path
    """The rows that stayed, a manifest."""
    split: Path | None
    """The folder of the split."""
    table: Path | None
    """The packed table."""
    recipe: str | None = None
    """The recipe of training that it is packed for, where one was said."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        named = {"manifest": self.manifest, "split": self.split, "table": self.table}
        paths = {name: None if path is None else str(path) for name, path in named.items()}
        steps = {one.name: {"done_now": one.fresh, "seconds": one.seconds, **one.result} for one in self.steps}
        return {"out": str(self.out), "rows": self.rows, **paths, "steps": steps}

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        lines = []
        for one in self.steps:
            lines.append(f"{one.name}{'' if one.fresh else ', done before'}: {one.lines[0].strip()}")
            lines += [f"  {line}" for line in one.lines[1:]]
        return one_line_each([*lines, f"{self.out}/build.html"])


@takes(BuildOptions)
def build_dataset(options: BuildOptions) -> BuildResult | BuildPlan:
    """Make a data set by a recipe, each step once; with `dry_run` only say what would be done.

    A stopped call goes on when it is repeated; one with new recordings adds them, and no row of an old split moves.
    Raises ConfigError, also while another process builds into the folder, and DataError, with what is done kept.

    >>> build_dataset("island.yaml", "island").rows  # doctest: +SKIP
    1440
    """
    recipe, out = read_build_recipe(options.recipe), Path(options.out)
    for scale in recipe.scales:
        for address in filter(None, (scale.template, scale.wms, scale.stac)):
            refuse_forbidden(address, scale.license)
            _refuse_key(address)
    web = Web(cache_folder(options.cache), policy=options.patience or RetryPolicy(), contact=options.contact)
    try:
        if options.dry_run:
            return plan_build(recipe, out, web)
        with only_writer(out, "building a data set"):
            return _Build(options, recipe, out, web).run()
    finally:
        web.close()


class _Build:
    """The steps in order; what one writes is what the next one reads."""

    def __init__(self, options: BuildOptions, recipe: BuildRecipe, out: Path, web: Web) -> None:
        self._options, self._recipe, self._out, self._web = options, recipe, out, web
        self._done: list[StepDone] = []
        wanted = {"imagery": recipe.scales, "curate": recipe.curate, "split": recipe.split, "pack": recipe.pack,
                  "describe": recipe.describe}  # fmt: skip
        self._steps: dict[str, Callable[[], None]] = {"recordings": self._do_recordings}
        self._steps |= {name: getattr(self, f"_do_{name}") for name, there in wanted.items() if there}
        self._manifest = out / RECORDINGS
        self._media = ""
        self._split: Path | None = None
        self._table: Path | None = None

    def run(self) -> BuildResult:
        try:
            for step in self._steps.values():
                step()
        except EarthtoneError as error:
            with suppress(EarthtoneError, OSError):  # that error counts, not that a page of it has no room
                self._write_page(str(error))
            raise
        self._write_page()
        said = self._recipe.sections.get("pack", {}).get("recipe")
        rows = next(int(one.result["rows"]) for one in reversed(self._done) if "rows" in one.result)
        return BuildResult(self._out, tuple(self._done), rows, self._manifest, self._split, self._table, said)

    def _write_page(self, stopped: str = "") -> None:
        if self._done:
            page = build_page(self._recipe, self._out, self._done, self._manifest, self._split, stopped)
            write_text_atomic(self._out / "build.html", page.html())

    def _once(self, name: str, identity: Any, work: Callable[[StepDone | None], Came]) -> StepDone:
        """Return what came of a step, which is done unless it was: from the same, and with the same files there.

        `work` is given what came of it before.
        """
        path = self._out / _STEPS / f"{name}.json"
        kept, asked = _read_step(path), json.loads(json.dumps(identity))
        same = kept is not None and asked is not None and kept.identity == asked
        if kept is not None and same and all(_digest(self._out / file) == one for file, one in kept.files.items()):
            self._done.append(kept)
            return kept
        self._options.say(f"[{len(self._done) + 1}/{len(self._steps)}] {name}")
        if kept is not None:  # until it is done again, it is not what it was
            _write_step(path, replace(kept, identity=None))
        start = time.monotonic()
        lines, result, files = work(kept)
        asked = None if result.get("unfinished") else asked  # faults that may pass: it is done again
        digests = {file: _digest(self._out / file) for file in files}
        done = StepDone(name, asked, digests, result, tuple(lines), round(time.monotonic() - start, 3), fresh=True)
        _write_step(path, done)
        self._done.append(done)
        return done

    # The steps.

    def _do_recordings(self) -> None:
        asked, out = self._recipe.recordings, self._out / RECORDINGS
        if isinstance(asked, RecordingsOptions):
            said = None if asked.deployments is None else _digest(Path(asked.deployments))
            identity = {"options": _plain(asked), "folder": _state(Path(asked.folder)), "deployments": said}
            self._once("recordings", identity, lambda _: _of_folder(replace(asked, out=out)))
        elif isinstance(asked, TableOptions):  # what lies beside the table is looked at in every call
            self._once("recordings", None, lambda _: self._of_table(asked))
        else:  # what was listed and fetched before is not asked for again
            self._once("recordings", None, lambda _: self._of_archive(asked))

    def _of_table(self, asked: TableOptions) -> Came:
        out, pictures = self._out / RECORDINGS, not self._recipe.scales
        rows, problems, told = rows_of_table(asked.table, asked.columns, out, pictures=pictures)
        lines = [
            f"{rows:,} rows of {asked.table}",
            *(f"left out: {what}: {count:,}" for what, count in problems.items()),
        ]
        return [*lines, *told], {"rows": rows, "left_out": dict(problems)}, [RECORDINGS]

    def _of_archive(self, asked: ArchiveOptions) -> Came:
        from earthtone.build.sources.fetching import fetch_recordings, write_table
        from earthtone.build.sources.listing import list_recordings

        listing = list_recordings(
            asked.source, asked.folder(self._out), web=self._web, most=asked.most, fresh_days=asked.fresh_days
        )
        fetched = fetch_recordings(asked.source, listing, self._out / "recordings", web=self._web)
        rows = write_table(fetched.files, self._out / RECORDINGS)
        failed = {reason: named.count for reason, named in fetched.failed.items()}
        values = {"rows": rows, "listed": len(listing), "bytes": fetched.bytes, "new": fetched.new, "left_out": failed}
        return [*listing.to_text().split("\n"), *fetched.to_text().split("\n")], values, [RECORDINGS]

    def _rows(self) -> dict[str, str]:
        """Return what tells the rows that the next step reads, and the files that they name."""
        self._media = self._media or media_state(self._manifest)
        return {"rows": _digest(self._manifest), "media": self._media}

    def _do_imagery(self) -> None:
        scales, raster = self._recipe.scales, self._recipe.scales[0].raster
        identity = {"rows": _digest(self._manifest), "options": [_plain(scale) for scale in scales],
                    "raster": None if raster is None else _state(Path(raster))}  # fmt: skip
        self._once("imagery", identity, lambda _: self._cut(scales))
        self._manifest = self._out / PAIRS

    def _cut(self, scales: Sequence[TilesOptions]) -> Came:
        places, rows, timed = self._out / "places.parquet", self._out / RECORDINGS, scales[0].within_days is not None
        count = write_places(rows, places, timed=timed)
        lines, values, files = [f"{count:,} places"], dict[str, Any](), list[str]()
        for scale in scales:
            size = f"{scale.metres:g}m"
            cut = cut_tiles(self._of_host(replace(scale, places=places, out=self._out / f"imagery-{size}")))
            files.append(f"pairs-{size}.parquet" if files else PAIRS)
            joined = join_tiles(rows, cut.manifest, self._out / files[-1], timed=timed)
            values.setdefault("rows", joined.rows)
            values.setdefault("left_out", joined.left_out)
            values["unfinished"] = values.get("unfinished", 0) + cut.unfinished
            values[size] = {"tiles": cut.tiles, "rows": joined.rows, "faults": dict(cut.faults)}
            lines += [f"{files[-1]}: {joined.rows:,} rows", *cut.to_text().split("\n")]
            lines += [f"left out: {what}: {number:,}" for what, number in joined.left_out.items()]
        return lines, values, files

    def _of_host(self, scale: TilesOptions) -> TilesOptions:
        """Return a scale with what the command line says of hosts, where it has one."""
        if scale.raster is not None:
            return scale
        asked = self._options
        return replace(scale, contact=asked.contact, cache=asked.cache, patience=asked.patience)

    def _do_curate(self) -> None:
        asked, manifest, folder = self._recipe.curate, self._manifest, self._out / "curate"
        if asked is None:
            raise AssertionError("a step that is in the recipe")
        sizes = [f"{scale.metres:g}m" for scale in self._recipe.scales[1:]]
        others = {size: self._out / f"pairs-{size}.parquet" for size in sizes}
        digests = {size: _digest(path) for size, path in others.items()}
        said = {**self._rows(), "options": _plain(asked), "others": digests}

        def work(_: StepDone | None) -> Came:
            found = _called(curate, replace(asked, data=manifest, out=folder))
            left_out = {rule: one.dropped for rule, one in found.rules.items() if one.dropped}
            values = {"rows": found.kept, "hours": found.hours, "left_out": left_out, "channel": found.channel}
            files, lines = ["curate/curated.parquet", "curate/dropped.parquet"], found.to_text().split("\n")
            for size, pairs in others.items():
                files.append(f"curate/curated-{size}.parquet")
                count = with_tiles_of(folder / "curated.parquet", pairs, self._out / files[-1])
                lines.append(f"{files[-1]}: {count:,} rows have a tile of {size}")
            return lines, values, files

        self._once("curate", said, work)
        self._manifest = folder / "curated.parquet"

    def _do_split(self) -> None:
        asked = self._recipe.split
        if asked is None:
            raise AssertionError("a step that is in the recipe")
        manifest, options = self._manifest, _plain(asked)
        done = self._once(
            "split", {**self._rows(), "options": options, "region": _content(asked.region)},
            lambda kept: self._dealt(replace(asked, data=manifest), options, kept),
        )  # fmt: skip
        self._split = self._out / str(done.result["folder"])

    def _dealt(self, asked: SplitRowsOptions, options: Any, kept: StepDone | None) -> Came:
        """Split the rows; those of the split before stay where they are. Each split is a folder of its own."""
        number, before = 1, None
        if kept is not None:
            before = str(kept.result["folder"])
            number = int(before.rpartition("-")[2]) + 1
            if kept.result["options"] != options:
                raise ConfigError(
                    f"{self._recipe.path}: split is other than that of {self._out / before}, whose rows do not move; "
                    "choose another --out, or take back what was changed"
                )
        folder = self._out / f"split-{number}"
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
        found = _called(split, replace(asked, out=folder, keep=None if before is None else self._out / before))
        counts = {str(name): int(count) for name, count in found.report.to_dict().get("rows", {}).items()}
        values = {"folder": folder.name, "options": options, "splits": counts, "leaks": list(found.report.faults)}
        return found.to_text().split("\n"), values, [f"{folder.name}/split.parquet"]

    def _do_pack(self) -> None:
        asked, manifest = self._recipe.pack, self._manifest
        if asked is None:
            raise AssertionError("a step that is in the recipe")
        table, digests = self._out / TABLE, self._out / _STEPS / _PACKED
        said = {**self._rows(), "options": _plain(asked), "exclude": _content(asked.exclude),
                "split": None if self._split is None else _digest(self._split / "split.parquet")}  # fmt: skip

        def work(_: StepDone | None) -> Came:
            now = row_digests(manifest)
            _refuse_changed(table, digests, now)
            _write_digests(digests, now)  # before: rows that a killed call packed are these
            by = None if self._split is None else str(self._split)
            found = _called(pack, replace(asked, data=manifest, out=table, split_by=by))
            values = {"rows": found.rows, "added": found.added, "left_out": dict(found.problems),
                      "splits": {name: str(one) for name, one in found.contents.items()}}  # fmt: skip
            return found.to_text().split("\n"), values, [TABLE]

        self._once("pack", said, work)
        self._table = table

    def _do_describe(self) -> None:
        asked, data = self._recipe.describe, self._table or self._manifest
        if asked is None:
            raise AssertionError("a step that is in the recipe")
        identity = {"options": _plain(asked), "before": [[one.name, dict(one.files), one.result.get("rows")]
                                                         for one in self._done]}  # fmt: skip

        def work(_: StepDone | None) -> Came:
            folder = self._out / "describe"
            shutil.rmtree(folder, ignore_errors=True)
            found = _called(
                describe, replace(asked, data=data, out=folder, title=asked.title or self._recipe.path.stem)
            )
            return found.to_text().split("\n"), {"hours": found.hours, "whole": found.whole}, ["describe/describe.json"]

        self._once("describe", identity, work)


def _called(verb: Any, options: Any) -> Any:
    """Return what the function of a verb gives for options that are read already, as `takes` allows."""
    return verb(options)


def _of_folder(asked: RecordingsOptions) -> Came:
    found = _called(recordings, asked)
    left_out = {what: named.count for what, named in found.left_out.items()}
    values = {"rows": found.rows, "files": found.files, "hours": found.seconds / 3600, "left_out": left_out}
    return found.to_text().split("\n"), values, [RECORDINGS]


def _refuse_changed(table: Path, digests: Path, now: Mapping[str, bytes]) -> None:
    """Raise DataError where rows that were packed are others now, or gone: a table is only added to."""
    if not is_begun(table) or not digests.exists():
        return
    columns, there = pq.read_table(digests).to_pydict(), set(Table(table).column("id"))
    before = dict(zip(columns["id"], columns["digest"], strict=True))
    changed = [name for name, digest in before.items() if name in there and now.get(name) != digest]
    if changed:
        raise DataError(
            f"{table}: {len(changed):,} of its rows have changed or gone since they were packed, such as {changed[0]}; "
            "delete it, and type the same again: all rows are packed anew"
        )


def _write_digests(path: Path, digests: Mapping[str, bytes]) -> None:
    table = pa.table({"id": pa.array([*digests], pa.string()), "digest": pa.array(digests.values(), pa.binary())})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


# Identities.


def _refuse_key(address: str) -> None:
    """Raise ConfigError where a recipe, perhaps a stranger's, would send the key of tiles to an unnamed host."""
    host = urlsplit(address).hostname or ""
    if "{key}" in address and os.environ.get("EARTHTONE_TILE_KEY") and os.environ.get(_KEY_HOST, "") != host:
        raise ConfigError(
            f"the recipe sends EARTHTONE_TILE_KEY to {host!r:.80}; if that is right, type: "
            f"export {_KEY_HOST}={host[:80]}"
        )


def _plain(options: Any) -> dict[str, Any]:
    """Return the options of a step as plain values for its identity: what has no part in what comes of it left out."""
    idle = ("out", "data", "places", "threads", "patience", "contact", "cache", "rate", "no_store")
    values = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if one.name in ("template", "wms", "stac", "sign") and isinstance(value, str):
            value = without_secrets(value)
        if one.name not in idle:
            values[one.name] = json.loads(json.dumps(value, default=_text))
    return values


def _text(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return str(value)


def _digest(path: Path) -> str:
    """Return a hash of a file, `folder` for a folder, nothing for what is not there."""
    if path.is_dir():
        return "folder"
    return content_digest(path).hex() if path.is_file() else ""


def _content(said: str | Path | None) -> str:
    """Return a hash of the file that an option may name; nothing for what names none."""
    with suppress(OSError, ValueError):  # a polygon as text is too long for a name
        return "" if said is None or not Path(said).is_file() else _digest(Path(said))
    return ""


def _state(path: Path) -> str:
    """Return a hash of the names, sizes and times of all files below a folder, or of one file."""
    digest = hashlib.blake2b(digest_size=16)
    files = [path] if path.is_file() else sorted(Path(here, name) for here, _, names in os.walk(path) for name in names)
    for file in files:
        with suppress(OSError):
            found = file.stat()
            digest.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _write_step(path: Path, done: StepDone) -> None:
    values = {"format": FORMATS[_KIND], **{one.name: getattr(done, one.name) for one in fields(done)}}
    del values["fresh"]
    write_text_atomic(path, json.dumps(values, indent=1, default=_text) + "\n")


def _read_step(path: Path) -> StepDone | None:
    """Return what came of a step; None where it was never done. Raises DataError for a damaged file."""
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        format_of(values, _KIND, path)
        del values["format"]
        return StepDone(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no step of a build ({error}); delete it, and type the same again") from error
