"""Which sounds are heard at a place and an hour, and how loud: the score of a recording."""

import numpy as np
import numpy.typing as npt

from earthtone.data.toyworld import sounds_built as built
from earthtone.data.toyworld import sounds_nature as nature
from earthtone.data.toyworld.hashing import Float32s, Stream
from earthtone.data.toyworld.sounds_nature import Take
from earthtone.data.toyworld.terrain import LAND_COVER, Classes

Samples = npt.NDArray[np.int16]

#: How much of the surroundings a class must cover to be heard fully.
_FULL_SHARE = {
    "water": 0.5, "beach": 0.12, "wetland": 0.3, "grassland": 0.5, "forest": 0.5, "farmland": 0.5, "bare": 0.5,
    "village": 0.25, "city": 0.4, "road": 0.05, "rail": 0.04, "airfield": 0.2,
}  # fmt: skip


def nearness(inner: Classes, outer: Classes) -> dict[str, float]:
    """Return how near each class is, 0 to 1, from its weighted share of both squares around the listener."""
    total = np.zeros(len(LAND_COVER), dtype=np.int64)
    full = 0
    for cover, weight in ((inner, 5), (outer, 2)):
        falloff = _falloff(cover.shape[0])
        scale = weight * (1 << 40) // int(falloff.sum())
        # Whole numbers below 2**53: the sum does not depend on its order.
        counted = np.bincount(cover.ravel(), weights=falloff.ravel(), minlength=len(LAND_COVER)).astype(np.int64)
        total += counted * scale
        full += int(falloff.sum()) * scale
    return {name: min(1.0, int(total[k]) / full / _FULL_SHARE[name]) for k, name in enumerate(LAND_COVER)}


def _falloff(pixels: int) -> npt.NDArray[np.int64]:
    offset = 2 * np.arange(pixels, dtype=np.int64) - (pixels - 1)
    square = offset[:, None] * offset[:, None] + offset[None, :] * offset[None, :]
    return (1 << 20) * pixels * pixels // (square * 3 + pixels * pixels)


def _between(hour: float, low: float, high: float, soft: float = 1.5) -> float:
    """Return 1 between two hours, falling to 0 within `soft` hours outside; around midnight too."""
    middle, half = (low + high) / 2, (high - low) / 2
    off = abs((hour - middle + 12.0) % 24.0 - 12.0) - half
    return min(1.0, max(0.0, 1.0 - off / soft))


def compose(near: dict[str, float], hour: float, count: int, hz: int, stream: Stream, region: Stream) -> Samples:
    """Return a recording of `count` samples for what is near at an hour of the local day."""
    take = Take(np.zeros(count, dtype=np.float32), hz, stream, region)
    dark = _between(hour, 21.5, 28.5)
    _background(take, near)
    _shore(take, near, dark)
    _plants_and_animals(take, near, hour, dark)
    _people(take, near, hour, dark)
    _machines(take, near, hour, dark)
    return _record(take)


def _heard(take: Take, nearness_: float, probability: float) -> float:
    """Return a random loudness of a source, 0 when it is silent this time or too far away."""
    loud = nearness_ * take.stream.uniform(0.25, 1.0)
    return loud if take.stream.chance(probability * min(1.0, 0.25 + nearness_)) and nearness_ > 0.04 else 0.0


def _background(take: Take, near: dict[str, float]) -> None:
    stream = take.stream
    windy = stream.uniform() * stream.uniform()
    open_land = max(near["bare"], near["water"], near["beach"], near["airfield"], 0.6 * near["grassland"])
    nature.wind(take, 0.04 + windy * (0.35 + 0.75 * open_land))
    if stream.chance(0.08):
        nature.rain(take, stream.uniform(0.03, 0.2))
    if near["forest"] > 0.1:
        nature.leaves(take, near["forest"] * (0.01 + 0.16 * windy))
    if loud := _heard(take, near["bare"], 0.6):
        nature.tinkling(take, 0.4 * loud)


def _shore(take: Take, near: dict[str, float], dark: float) -> None:
    if loud := _heard(take, near["beach"], 0.92):
        nature.surf(take, 0.5 * loud)
    if loud := _heard(take, near["water"], 0.85):
        nature.lapping(take, 0.4 * loud)
    if loud := _heard(take, max(near["beach"], 0.35 * near["water"]), 0.5 * (1 - dark)):
        nature.gulls(take, 0.3 * loud)
    if loud := _heard(take, near["water"], 0.18 * (1 - 0.7 * dark)):
        built.boat(take, 0.18 * loud)


def _plants_and_animals(take: Take, near: dict[str, float], hour: float, dark: float) -> None:
    dawn = _between(hour, 4.5, 7.5)
    day = 1 - dark
    chorus = 0.25 + 1.5 * dawn
    if loud := _heard(take, near["forest"], 0.93 * max(day, dawn)):
        nature.songbirds(take, 0.4 * loud, chorus * 1.2)
    meadow = max(near["grassland"], near["farmland"], 0.7 * near["village"])
    if loud := _heard(take, meadow, 0.6 * max(day, dawn)):
        nature.songbirds(take, 0.25 * loud, chorus * 0.5, 3_000.0, 7_600.0)
    if loud := _heard(take, max(near["grassland"], 0.7 * near["farmland"], 0.5 * near["village"]), 0.15 + 0.75 * dark):
        nature.crickets(take, 0.2 * loud)
    if loud := _heard(take, max(near["grassland"], 0.6 * near["forest"]), 0.5 * _between(hour, 11, 16)):
        nature.cicadas(take, 0.2 * loud)
    if loud := _heard(take, near["wetland"], 0.45 + 0.5 * max(dark, dawn)):
        nature.frogs(take, 0.45 * loud)
    if loud := _heard(take, near["farmland"], 0.45):
        nature.cattle(take, 0.35 * loud)
    if loud := _heard(take, near["bare"], 0.3 * day):
        nature.raptor(take, 0.25 * loud)


def _people(take: Take, near: dict[str, float], hour: float, dark: float) -> None:
    quiet = 1 - 0.75 * dark
    if loud := _heard(take, near["village"], 0.7 * quiet):
        built.voices(take, 0.3 * loud, 0.3)
    if loud := _heard(take, near["city"], 0.85 * quiet):
        built.voices(take, 0.3 * loud, 0.9)
        if take.stream.chance(0.5):
            built.steps(take, 0.35 * loud)
    if loud := _heard(take, max(near["village"], 0.3 * near["farmland"]), 0.5):
        built.dogs(take, 0.4 * loud)
    if loud := _heard(take, max(near["village"], 0.4 * near["farmland"]), 0.6 * _between(hour, 4, 8)):
        built.rooster(take, 0.3 * loud)
    if loud := _heard(take, near["village"], 0.35 * quiet):
        built.bells(take, 0.25 * loud)


def _machines(take: Take, near: dict[str, float], hour: float, dark: float) -> None:
    rush = max(_between(hour, 7, 9), _between(hour, 16, 18.5))
    busy = (0.35 + rush) * (1 - 0.6 * dark)
    if loud := _heard(take, near["road"], 0.95):
        built.traffic(take, 0.6 * loud, 0.7 * busy)
    if loud := _heard(take, near["city"], 0.98):
        built.hum(take, 0.5 * loud)
        built.traffic(take, 0.35 * loud, 0.5 * busy)
        if take.stream.chance(0.3):
            built.horn(take, 0.3 * loud, 330, 520)
        if take.stream.chance(0.1):
            built.siren(take, 0.2 * loud)
    if loud := _heard(take, near["village"], 0.5):
        built.traffic(take, 0.3 * loud, 0.2 * busy)
    if loud := _heard(take, near["rail"], 0.85):
        built.train(take, 0.6 * loud)
        if take.stream.chance(0.3):
            built.horn(take, 0.35 * loud, 210, 330)
        if take.stream.chance(0.25):
            built.crossing_bell(take, 0.25 * loud)
    if loud := _heard(take, near["airfield"], 0.78):
        (built.propeller if take.stream.chance(0.55) else built.jet)(take, 0.7 * loud)
    if loud := _heard(take, near["farmland"], 0.4 * (1 - dark)):
        built.tractor(take, 0.25 * loud)
    # Aeroplanes and roads far away are heard anywhere.
    if take.stream.chance(0.06):
        built.jet(take, take.stream.uniform(0.03, 0.15))
    if take.stream.chance(0.12):
        built.traffic(take, take.stream.uniform(0.05, 0.2), 0.2)


def _record(take: Take) -> Samples:
    """Return 16-bit samples: the recorder's own hiss and hum, and a level set by whoever recorded."""
    stream, mix = take.stream, take.mix
    mix += stream.white(take.count) * np.float32(0.002 + 0.03 * stream.uniform() * stream.uniform() * stream.uniform())
    if stream.chance(0.15):
        built.hum(take, 0.02)
    if stream.chance(0.3):
        # A dull microphone, or one in a cover: the mean of two neighbours.
        mix[1:] = (mix[1:] + mix[:-1]) * np.float32(0.5)
    loudest: Float32s = np.maximum(np.abs(mix).max(), np.float32(1e-4))
    mix *= np.float32(32_767 * stream.uniform(0.15, 0.95)) / loudest
    return np.rint(mix).astype(np.int16)
