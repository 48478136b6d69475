"""A map of the toy planet for three sounds, and how well it agrees with the land cover that makes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform
from scipy.stats import rankdata

from earthtone.atlas.index import build_index
from earthtone.atlas.map_output import SimilarityMap
from earthtone.atlas.maps import map_similarity
from earthtone.atlas.search import open_index
from earthtone.build.toyworld.region import Region, write_region, write_sounds

TILE_M, TILES = 256.0, 20
_PIXELS = 96  # a tile
_HITS = 10
#: Where a map is called better than chance: its area is beyond that of 97.5 in 100 shifted truths.
_BEYOND = 97.5


@dataclass(frozen=True)
class Agreement:
    """How well scores tell the tiles where a sound is made from the others."""

    sound: str
    area: float
    """Area under the receiver's curve: how likely a tile where it is made has a higher score than one where not."""
    low: float
    """2.5th percentile of the area by chance: of the truth shifted around the region, by every number of tiles."""
    high: float
    """97.5th percentile."""
    tiles: int
    """Where the sound is made."""
    of: int
    hits: int
    """Of the first `searched` tiles that a search of the index by the sound finds, those where it is made."""
    searched: int

    def to_text(self) -> str:
        """Return two lines: the map, and the search."""
        below = "" if self.area > self.high else "   not beyond chance"
        return (
            f"  {self.sound:<10} area {self.area:.3f}   chance 0.5, of shifted truths {self.low:.3f} to "
            f"{self.high:.3f}   ({self.tiles} of {self.of} tiles){below}\n"
            f"  {'':<10} {self.hits} of the first {self.searched} tiles found by it make it; "
            f"by chance {self.searched * self.tiles / self.of:.1f}"
        )


@dataclass(frozen=True)
class ToyMap:
    """The map with its agreements."""

    drawn: SimilarityMap
    agreements: tuple[Agreement, ...]

    def to_text(self) -> str:
        """Return two lines a sound, and where the page is."""
        head = (
            "Map and index of a toy region, asked with three sounds recorded elsewhere: do tiles that make a sound "
            "have higher scores?"
        )
        return "\n".join([head, *(each.to_text() for each in self.agreements), f"map: {self.drawn.files['page']}"])


def map_toy_region(run: Path, out: Path, *, seed: int = 0, views: int = 1, tiles: int = TILES) -> ToyMap:
    """Return a map of `tiles` x `tiles` of the toy planet for surf, birds and traffic, beside the truth."""
    region = write_region(out / "region", seed=seed, side_m=tiles * TILE_M, pixels=tiles * _PIXELS)
    sounds = write_sounds(out / "region", seed=seed)
    drawn = map_similarity(
        [str(path) for path in sounds.values()], out / "map", model=run, raster=region.raster, metres=TILE_M,
        views=views, attribution="synthetic, computed by earthtone toyworld",
    )  # fmt: skip
    build_index(out / "map")  # of the tiles, which the map has embedded
    index = open_index(out / "map", model=run)
    agreements = []
    for number, (name, path) in enumerate(sounds.items()):
        hits = index.search(path, k=_HITS).hits
        places = np.array([(hit.longitude, hit.latitude) for hit in hits])
        agreements.append(agreement(drawn, number, region, name, places))
    return ToyMap(drawn, tuple(agreements))


def agreement(drawn: SimilarityMap, number: int, region: Region, sound: str, found: NDArray[np.float64]) -> Agreement:
    """Return how well scores of a sound tell where it is made, and at how many of the places `found` (N, 2) it is."""
    side_m = drawn.grid.tile_x

    def makes(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.bool_]:
        x, y = transform("EPSG:4326", "EPSG:3857", longitude, latitude)
        return np.array([region.has(sound, *place, side_m) for place in zip(x, y, strict=True)], bool)

    made = makes(drawn.longitude, drawn.latitude)
    truth = drawn.grid.filled(made.astype(np.float32), drawn.cells)
    scores = drawn.image("score", number)
    area = area_under_curve(scores, truth)
    shifts = [
        area_under_curve(scores, np.roll(truth, (down, right), axis=(0, 1)))
        for down in range(truth.shape[0])
        for right in range(truth.shape[1])
        if (down, right) != (0, 0)
    ]
    low, high = np.nanpercentile(shifts, (100 - _BEYOND, _BEYOND)) if made.any() and not made.all() else (0.5, 0.5)
    hits = int(makes(*found.T).sum())
    return Agreement(sound, area, float(low), float(high), int(made.sum()), len(made), hits, len(found))


def area_under_curve(scores: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return how likely one score where `truth` is 1 is higher than one where it is 0; equal ones count half.

    NaN of either is left out. NaN where either kind lacks.
    """
    there = ~np.isnan(scores) & ~np.isnan(truth)
    made = truth[there] == 1
    positives, negatives = int(made.sum()), int((~made).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores[there])
    return float((ranks[made].sum() - positives * (positives + 1) / 2) / (positives * negatives))
