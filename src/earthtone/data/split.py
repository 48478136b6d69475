"""Training, validation and test splits that depend on nothing but the row: by place, by id, or by the release's key."""

import hashlib
import math

from earthtone.data.pair import SPLITS, Pair
from earthtone.errors import ConfigError, DataError

Shares = tuple[float, float, float]
_EARTH_KM = 6371.0088  # mean radius (IUGG)


def key_digit_split(key: int) -> str:
    """Return SoundingEarth's published split: keys ending in 2 or 5 test, in 7 validate. Its sites have neighbours
    in other splits: figures on it say how well a model remembers places."""
    return {2: "test", 5: "test", 7: "val"}.get(key % 10, "train")


def hash_split(id: str, *, seed: int = 0, shares: Shares = (0.7, 0.1, 0.2)) -> str:
    """Return train, val or test from the id alone, with probabilities `shares`."""
    return _draw(f"id/{seed}/{id}", _checked_shares(shares))


def block_split(
    longitude: float,
    latitude: float,
    *,
    block_km: float = 10.0,
    seed: int = 0,
    shares: Shares = (0.7, 0.1, 0.2),
) -> str:
    """Return the split of the block that a place (degrees) lies in; all places in a block share it.

    Blocks are cells of nearly equal area: bands of latitude `block_km` high, cut into as many equal parts as fit at
    the middle of the band; each pole is one round cell. Shares hold over the cells, not exactly over the rows.
    Places on both sides of a border are still neighbours: use `buffered_block_split` to leave them out.
    """
    cells = _Cells(block_km)
    return _draw_cell(cells.cell(longitude, latitude), seed, _checked_shares(shares))


def block_cell(longitude: float, latitude: float, *, block_km: float = 10.0) -> tuple[int, int]:
    """Return the block that a place (degrees) lies in, as (band, number in the band); see `block_split`."""
    return _Cells(block_km).cell(longitude, latitude)


def buffered_block_split(
    longitude: float,
    latitude: float,
    *,
    block_km: float = 10.0,
    buffer_km: float = 0.0,
    seed: int = 0,
    shares: Shares = (0.7, 0.1, 0.2),
) -> str | None:
    """Return the block's split, or None within `buffer_km` of a block of another split.

    Any two places that are kept in different splits are then more than `buffer_km` apart on the sphere
    (twice that across a straight border).
    """
    if not 0 <= buffer_km < math.inf:
        raise ConfigError(f"buffer_km is {buffer_km}; 0 or more expected")
    cells = _Cells(block_km)
    shares = _checked_shares(shares)
    split = _draw_cell(cells.cell(longitude, latitude), seed, shares)
    if buffer_km > 0:
        for cell in cells.around(longitude, latitude, buffer_km):
            if _draw_cell(cell, seed, shares) != split and cells.km_to(longitude, latitude, cell) <= buffer_km:
                return None
    return split


def assign_split(
    pair: Pair,
    *,
    block_km: float = 10.0,
    buffer_km: float = 0.0,
    seed: int = 0,
    shares: Shares = (0.7, 0.1, 0.2),
) -> str | None:
    """Return the pair's own split if it has one, else its block's, else (no coordinates) that of its id's hash.

    None only when `buffer_km` is given and the pair lies too near a block of another split.
    """
    if pair.split is not None:
        return pair.split
    if pair.longitude is None or pair.latitude is None:
        return hash_split(pair.id, seed=seed, shares=shares)
    return buffered_block_split(
        pair.longitude, pair.latitude, block_km=block_km, buffer_km=buffer_km, seed=seed, shares=shares
    )


class _Cells:
    """The grid of blocks; a cell is (band, bin), counted from the south pole and from the date line eastwards."""

    def __init__(self, block_km: float) -> None:
        if not 0.01 <= block_km <= 10_000:
            raise ConfigError(f"block_km is {block_km}; 0.01 to 10000 expected")
        self.bands = max(2, round(math.pi * _EARTH_KM / block_km))
        self._block_km = block_km

    def bins(self, band: int) -> int:
        """Return the number of cells in a band; the caps at the poles are whole."""
        if band in (0, self.bands - 1):
            return 1
        middle = math.pi * ((band + 0.5) / self.bands - 0.5)
        return max(1, round(math.tau * _EARTH_KM * math.cos(middle) / self._block_km))

    def band(self, latitude: float) -> int:
        return min(max(int((latitude + 90) / 180 * self.bands), 0), self.bands - 1)

    def cell(self, longitude: float, latitude: float) -> tuple[int, int]:
        if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
            raise DataError(f"longitude {longitude}, latitude {latitude}; -180 to 180 and -90 to 90 degrees expected")
        band = self.band(latitude)
        bins = self.bins(band)
        return band, int((longitude + 180) / 360 * bins) % bins  # 180 is -180

    def around(self, longitude: float, latitude: float, km: float) -> list[tuple[int, int]]:
        """Return all cells that may lie within `km` of a place; a few more for certainty."""
        angle = km / _EARTH_KM
        degrees = math.degrees(angle)
        found = []
        reach = math.pi  # a circle around a pole touches every meridian
        if abs(latitude) + degrees < 89.9:
            reach = math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(latitude))))
        for band in range(self.band(latitude - degrees - 1e-9), self.band(latitude + degrees + 1e-9) + 1):
            bins = self.bins(band)
            middle = (longitude + 180) / 360 * bins
            half = reach / math.tau * bins + 1e-9
            first, last = math.floor(middle - half), math.floor(middle + half)
            found += [(band, bin_ % bins) for bin_ in range(first, min(last, first + bins - 1) + 1)]
        return found

    def km_to(self, longitude: float, latitude: float, cell: tuple[int, int]) -> float:
        """Return the great-circle distance from a place to the nearest point of a cell; 0 inside."""
        band, bin_ = cell
        bins = self.bins(band)
        south, north = (math.pi * (edge / self.bands - 0.5) for edge in (band, band + 1))
        west, width = math.tau * bin_ / bins, math.tau / bins
        east_of_west = (math.radians(longitude + 180) - west) % math.tau
        phi = math.radians(latitude)
        if bins == 1 or east_of_west <= width:  # straight up or down
            return _EARTH_KM * max(0.0, south - phi, phi - north)
        return min(_km_to_meridian(phi, east_of_west - side, south, north) for side in (0.0, width))


def _km_to_meridian(phi: float, turn: float, south: float, north: float) -> float:
    """Return the distance from latitude `phi` to the part of a meridian, `turn` to the east, between two latitudes.

    With phi' along that meridian, cos(distance) = a cos(phi' - peak): largest at the peak, or at an end.
    """
    peak = math.atan2(math.sin(phi), math.cos(phi) * math.cos(turn))
    ends = (south, north, min(max(peak, south), north))
    return _EARTH_KM * min(_angle(phi, other, turn) for other in ends)


def _angle(phi: float, other: float, turn: float) -> float:
    """Return the central angle between two places (haversine: exact also for near ones)."""
    half = math.sin((other - phi) / 2) ** 2 + math.cos(phi) * math.cos(other) * math.sin(turn / 2) ** 2
    return 2 * math.asin(math.sqrt(min(1.0, half)))


def _draw_cell(cell: tuple[int, int], seed: int, shares: Shares) -> str:
    return _draw(f"cell/{seed}/{cell[0]}/{cell[1]}", shares)


def _draw(text: str, shares: Shares) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = (int.from_bytes(digest, "big") >> 11) / 2**53  # below 1, evenly spaced
    if number < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if number < shares[0] + shares[1] else SPLITS[2]


def _checked_shares(shares: Shares) -> Shares:
    if len(shares) != 3 or min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise ConfigError(f"shares are {shares}; three numbers for {', '.join(SPLITS)} that sum to 1 expected")
    return shares
