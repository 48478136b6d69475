"""What a build would do, as text, and what it did, as a page with map and counts."""

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from earthtone import __version__
from earthtone.build.licences import licence_of
from earthtone.build.options import IMAGERY, RecordingsOptions, TilesOptions
from earthtone.build.pairs import rows_of_table, write_places
from earthtone.build.pictures import PagePicture, map_of_places
from earthtone.build.recipe import ArchiveOptions, BuildRecipe
from earthtone.build.recordings.recordings import recordings
from earthtone.build.regions import read_places
from earthtone.build.tile_grid import tile_at
from earthtone.build.tile_servers import TileServer, terms_of
from earthtone.build.web import Web, shown_url, without_secrets
from earthtone.data.grouped_split import id_number
from earthtone.data.pair import SPLITS
from earthtone.data.split_file import read_split
from earthtone.errors import one_line, one_line_each
from earthtone.pages import Page, PageTable
from earthtone.progress import duration_text, size_text

RECORDINGS = "recordings.parquet"
_ADDRESS = re.compile(r"https?://[^\s\"']+")
_SHOWN = 40  # rows of a table of the page
_LOOKED_AT = 50  # places by which requests are counted


@dataclass(frozen=True)
class StepDone:
    """What came of a step."""

    name: str
    identity: Any
    """What it was done from; null while it is being done, and for one that is done in every call."""
    files: Mapping[str, str]
    """What it wrote, by names from the build's folder, with digests."""
    result: Mapping[str, Any]
    lines: Sequence[str]
    """The same for people."""
    seconds: float = 0.0
    fresh: bool = False
    """Whether this call did it."""


@dataclass(frozen=True)
class BuildPlan:
    """What a build would do, of `--dry_run`."""

    lines: Sequence[str]
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(self.values)

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        return one_line_each(self.lines)


def plan_build(recipe: BuildRecipe, out: Path, web: Web) -> BuildPlan:
    """Return what a build would fetch, how much, from whom and under which licences.

    Recordings on this machine are looked at; of an archive the list is asked for, and kept in `out` for the build.
    Raises DataError, ConfigError.
    """
    lines, values = list[str](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / RECORDINGS
        asked, verb = recipe.recordings, cast(Any, recordings)
        if isinstance(asked, ArchiveOptions):
            found = _of_archive(asked, out, web, lines, values)
            places = [(longitude, latitude) for longitude, latitude in found]
        else:
            if isinstance(asked, RecordingsOptions):
                told = verb(replace(asked, out=rows))
                lines.append(f"recordings: {told.rows:,} rows of {told.files:,} files in {asked.folder}, "
                             f"{told.seconds / 3600:.2f} h; nothing to fetch")  # fmt: skip
                values["recordings"] = {"rows": told.rows, "bytes": 0}
            else:
                count, problems, _ = rows_of_table(asked.table, asked.columns, rows, pictures=not recipe.scales)
                lines.append(
                    f"recordings: {count:,} rows of {asked.table}, {problems.total():,} left out; nothing to fetch"
                )
                values["recordings"] = {"rows": count, "left_out": dict(problems), "bytes": 0}
            licences = Counter(
                licence_of(one).id for one in pq.read_table(rows, columns=["license"])["license"].to_pylist()
            )
            lines += [f"  licence {one}: {number:,} rows" for one, number in licences.most_common()]
            values["recordings"]["licences"] = dict(licences)
            places = _places(rows, recipe) if recipe.scales else []
    values["imagery"] = [_plan_of_scale(scale, places, web, lines) for scale in recipe.scales]
    steps = [name for name in ("curate", "split", "pack", "describe") if getattr(recipe, name) is not None]
    lines.append(f"then: {', '.join(steps) or 'nothing more'}; nothing of this was done")
    return BuildPlan(lines, {**values, "steps": steps})


def _of_archive(
    asked: ArchiveOptions, out: Path, web: Web, lines: list[str], values: dict[str, Any]
) -> set[tuple[float, float]]:
    from earthtone.build.sources.listing import list_recordings

    listing = list_recordings(asked.source, asked.folder(out), web=web, most=asked.most, fresh_days=asked.fresh_days)
    lines += [f"recordings of {asked.source.host or asked.source.name}", *listing.to_text().split("\n")]
    values["recordings"] = listing.to_dict()
    known = ((row.longitude, row.latitude) for row in listing)
    return {(round(x, 6), round(y, 6)) for x, y in known if x is not None and y is not None}


def _places(rows: Path, recipe: BuildRecipe) -> list[tuple[float, float]]:
    timed = recipe.scales[0].within_days is not None
    write_places(rows, rows.with_name("places.parquet"), timed=timed)
    return [(one.longitude, one.latitude) for one in read_places(rows.with_name("places.parquet"), timed=timed)[0]]


def _plan_of_scale(
    scale: TilesOptions, places: Sequence[tuple[float, float]], web: Web, lines: list[str]
) -> dict[str, Any]:
    """Add what is to be known of a scale, and return it as plain values. No host is asked."""
    kind = next(name for name in IMAGERY if getattr(scale, name) is not None)
    said, pixels = str(getattr(scale, kind)), scale.pixels or 0
    most = len(places) * pixels * pixels * 3
    terms = None if kind == "raster" else terms_of(said)
    license = scale.license or (terms.license if terms else None)
    values: dict[str, Any] = {
        "metres": scale.metres, "tiles": len(places), "kind": kind, "from": None, "bytes_at_most": most,
        "license": license, "requests": 0,
    }  # fmt: skip
    line = (
        f"imagery: {len(places):,} tiles of {scale.metres:g} m, {pixels} pixels, at most {size_text(most)} on the disk"
    )
    if kind == "raster":
        line += f", from {said}; nothing to fetch"
    else:
        values["from"] = urlsplit(said).hostname
        line += f", from {shown_url(said.partition('{')[0])}"
        if kind == "stac":
            line += ": parts of scenes, as many as it has there"
            values["requests"] = None
        else:
            each = 1.0
            if kind == "template":
                levels: dict[str, Any] = {"matrix_set": scale.matrix_set, "max_zoom": scale.max_zoom}
                server = TileServer(said, web, key="0", license=scale.license, **levels)
                some = [*places][:: max(1, len(places) // _LOOKED_AT)]
                tiles = [tile_at("x", *place, scale.metres or 1.0, pixels) for place in some]
                each = sum(server.requests_of(tile, pixels) for tile in tiles) / max(1, len(tiles))
            values["requests"] = round(each * len(places))
            line += (
                f": about {values['requests']:,} requests, {duration_text(values['requests'] / scale.rate)} at least"
            )
    lines += [line, f"  licence {license or 'not known: imagery.license states it'}"]
    return values


# The page.


def build_page(
    recipe: BuildRecipe, out: Path, steps: Sequence[StepDone], manifest: Path, split: Path | None, stopped: str
) -> Page:
    """Return the page of a build: what each step did and left out, a map, licences, the recipe."""
    notes = [f"Made by earthtone {__version__} with {recipe.path.name}."]
    notes += [f"Stopped: {one_line(stopped, 400)}"] if stopped else []
    head = ("step", "rows", "left out", "seconds", "")
    rows = [
        (one.name, f"{one.result['rows']:,}" if "rows" in one.result else "",
         "; ".join(f"{what}: {count:,}" for what, count in _left_out(one).items()), f"{one.seconds:.1f}",
         "now" if one.fresh else "done before")
        for one in steps
    ]  # fmt: skip
    tables = [PageTable("Steps", head, rows, lead="Rows that a step left, and why others went no further.")]
    pictures, more = _of_rows(manifest, split)
    lists = {one.name: [line.strip() for line in one.lines[:_SHOWN]] for one in steps}
    lines = [line for line in recipe.text.splitlines() if line.strip()][:200]
    lists["recipe"] = [_ADDRESS.sub(lambda found: without_secrets(found[0]), line) for line in lines]
    return Page(f"Build of {out.name}", notes, [*tables, *more], lists, "dataset.html.j2", {"pictures": pictures})


def _left_out(step: StepDone) -> Mapping[str, int]:
    found = step.result.get("left_out")
    return found if isinstance(found, dict) else {}


def _of_rows(manifest: Path, split: Path | None) -> tuple[list[PagePicture], list[PageTable]]:
    """Return the map of a manifest's rows by split, and tables of their licences and sources."""
    if not manifest.is_file():
        return [], []
    wanted = [
        name for name in ("id", "longitude", "latitude", "license", "source") if name in pq.read_schema(manifest).names
    ]
    table = pq.read_table(manifest, columns=wanted)
    longitude, latitude = (_numbers(table[name]) for name in ("longitude", "latitude"))
    placed = np.isfinite(longitude) & np.isfinite(latitude)
    layers = {"places": (longitude[placed], latitude[placed])}
    if split is not None and (split / "split.parquet").is_file():
        ids = np.array([id_number(name) for name in table["id"].to_pylist()], np.uint64)
        codes, _ = read_split(split).find(ids)
        layers = {}
        for code, name in ((None, "none"), *enumerate(SPLITS)):
            here = placed & (codes >= len(SPLITS) if code is None else codes == code)
            if here.any():
                layers[name] = longitude[here], latitude[here]
    pictures = []
    if placed.any():
        caption = "One dot for all rows of a split in one pixel."
        pictures = [PagePicture("Where the rows are", caption, map_of_places(layers))]
    tables = []
    for title, column in (("Licences", "license"), ("Sources", "source")):
        said = table[column].to_pylist() if column in table.column_names else []
        counts = Counter(licence_of(one).id if column == "license" else str(one or "not said") for one in said)
        if counts:
            cells = [(one_line(name, 120), f"{count:,}") for name, count in counts.most_common(_SHOWN)]
            tables.append(PageTable(title, (title.lower()[:-1], "rows"), cells))
    return pictures, tables


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.array([np.nan if one is None else one for one in column.to_pylist()], np.float64)
