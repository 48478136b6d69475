"""The sounds of the toy planet: what is heard at a place and an hour, and how it is made."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from earthtone.build.toyworld.land import LAND_COVER, Classes
from earthtone.build.toyworld.noise import SINE, Float32s, Stream

Samples = npt.NDArray[np.int16]

# Sounds from whole-number phases, tables and straight lines: noises, tones, envelopes.

_PHASES = 2.0**32


def line(points: Sequence[float] | Float32s, count: int) -> Float32s:
    """Return `count` samples of straight lines through evenly spaced points."""
    values = np.asarray(points, dtype=np.float32)
    gaps = len(values) - 1
    step = -(-count // gaps)
    share = np.arange(step, dtype=np.int64).astype(np.float32) / np.float32(step)
    rise = (values[1:] - values[:-1])[:, None] * share
    rise += values[:-1, None]
    return rise.ravel()[:count]


def low_noise(stream: Stream, count: int, hz: int, below_hz: float) -> Float32s:
    """Return noise in [-1, 1) with most of its power below a frequency (lines between random values)."""
    step = max(1, round(hz / (2.0 * below_hz)))
    if step == 1:
        return stream.white(count)
    return line(stream.white(-(-count // step) + 1), step * -(-count // step))[:count]


def tone(count: int, hz: int, frequency_hz: float, turn: float = 0.0) -> Float32s:
    """Return a sine; `turn` in [0, 1) is where it begins."""
    step = np.uint32(int(frequency_hz / hz * _PHASES) & 0xFFFFFFFF)
    phases = np.arange(count, dtype=np.uint32)
    phases *= step
    phases += np.uint32(int(turn * _PHASES))
    return _sine(phases)


def _sine(phases: npt.NDArray[np.uint32]) -> Float32s:
    """Return the sine of phases of which 2**32 are one turn."""
    sines: Float32s = SINE[phases >> np.uint32(20)]
    return sines


def glide(frequencies_hz: Float32s, hz: int) -> Float32s:
    """Return a sine whose frequency is given for each sample (limited to half the rate)."""
    return _sine(_phases(frequencies_hz, hz))


def _phases(frequencies_hz: Float32s, hz: int) -> npt.NDArray[np.uint32]:
    steps = np.clip(frequencies_hz, 0, np.float32(hz * 0.49)).astype(np.float64) * (_PHASES / hz)
    return np.cumsum(steps.astype(np.int64)).astype(np.uint32)


def voice(frequencies_hz: Float32s, hz: int, harmonics: Sequence[float]) -> Float32s:
    """Return a sound with harmonics; `harmonics` are the amplitudes of 1, 2, 3 ... times the frequency."""
    phases = _phases(frequencies_hz, hz)
    highest = float(frequencies_hz.max())
    sound = np.zeros(len(phases), dtype=np.float32)
    for number, amplitude in enumerate(harmonics, 1):
        if amplitude and highest * number < hz * 0.49:
            sound += _sine(phases * np.uint32(number)) * np.float32(amplitude)
    return sound


class Take:
    """One recording in the making: the mix so far, and what its sounds are made of."""

    def __init__(self, count: int, hz: int, stream: Stream, region: Stream) -> None:
        """`region` draws the same for all recordings of a region: its kinds of birds."""
        self.mix: Float32s = np.zeros(count, dtype=np.float32)
        self.count, self.hz, self.seconds = count, hz, count / hz
        self.stream, self.region = stream, region
        self.uniform = stream.uniform

    def somewhere(self) -> int:
        """Return a random sample to start at."""
        return int(self.uniform(-0.05, 1.0) * self.count)

    def many(self, per_second: float) -> int:
        """Return how many events there are, about half to twice as many as expected."""
        expected = per_second * self.seconds * self.uniform(0.5, 1.6)
        return int(expected) + self.stream.chance(expected - int(expected))

    def samples(self, low_seconds: float, high_seconds: float | None = None) -> int:
        """Return a number of samples, at least 16: of this time, or of a random one between two."""
        seconds = low_seconds if high_seconds is None else self.uniform(low_seconds, high_seconds)
        return max(16, int(seconds * self.hz))

    def noise(self, below_hz: float, high_hz: float | None = None, *, count: int | None = None) -> Float32s:
        """Return low noise, as long as the recording unless told: below a frequency, or a random one between two."""
        below_hz = below_hz if high_hz is None else self.uniform(below_hz, high_hz)
        return low_noise(self.stream, self.count if count is None else count, self.hz, below_hz)

    def line(self, *points: float) -> Float32s:
        """Return straight lines through evenly spaced points, as long as the recording."""
        return line(points, self.count)

    def voice(self, path_hz: Sequence[float], harmonics: Sequence[float], count: int | None = None) -> Float32s:
        """Return `voice` along evenly spaced frequencies, as long as the recording unless told."""
        return voice(line(path_hz, self.count if count is None else count), self.hz, harmonics)

    def add(self, sound: Float32s, start: int, to: Float32s | None = None) -> None:
        """Add a sound to the mix, or to one as long, from sample `start`; what hangs over either end is cut."""
        first, last = max(0, -start), min(len(sound), self.count - start)
        if last > first:
            longer = self.mix if to is None else to
            longer[start + first : start + last] += sound[first:last]


# Water, weather, plants and animals; each function adds one kind of sound to the mix.


def wind(take: Take, level: float) -> None:
    """Low rumble in gusts, and some hiss."""
    gusts = take.stream.units(max(3, int(take.seconds * 1.1) + 2)) + np.float32(0.25)
    take.mix += take.noise(90, 320) * line(gusts * gusts, take.count) * np.float32(level)


def leaves(take: Take, level: float) -> None:
    """Rustle of leaves: a soft, high noise in gusts."""
    gusts = take.stream.units(max(3, int(take.seconds * 1.5) + 2)) + np.float32(0.2)
    take.mix += take.noise(2_500, 5_000) * line(gusts, take.count) * np.float32(level)


def surf(take: Take, level: float) -> None:
    """Breaking waves: broad noise that swells fast and ebbs slowly, every few seconds."""
    every = take.uniform(0.3, 0.65)
    points: list[float] = []
    while len(points) < take.seconds / every + 12:
        height = take.uniform(0.5, 1.0)
        points += [0.18, 0.55 * height, height, 0.75 * height, 0.5 * height, 0.3 * height]
        points += [0.22] * take.stream.below(4)
    skip = take.stream.below(6)
    swell = line(points[skip : skip + int(take.seconds / every) + 2], take.count)
    crash = take.noise(1_200, 3_200)
    crash += take.noise(350) * np.float32(0.6)
    take.mix += crash * swell * np.float32(level)


def lapping(take: Take, level: float) -> None:
    """Small waves against a hull or stones: short bubbling splashes."""
    for _ in range(take.many(3.2)):
        length = take.samples(0.08, 0.28)
        pitch = take.uniform(350, 1_100)
        splash = glide(line([pitch, pitch * take.uniform(0.8, 1.6)], length), take.hz)
        splash *= take.noise(260, count=length)
        take.add(splash * line([0, level * take.uniform(0.5, 1.5), 0], length), take.somewhere())
    take.mix += take.noise(700) * np.float32(0.22 * level)


def rain(take: Take, level: float) -> None:
    """Steady hiss, which hides much else."""
    take.mix += take.stream.white(take.count) * np.float32(level)


def songbirds(take: Take, level: float, per_second: float, low_hz: float = 2_200.0, high_hz: float = 6_800.0) -> None:
    """Phrases of whistles and trills; each region has its own few kinds."""
    kinds = [
        (take.region.uniform(low_hz, high_hz), take.region.uniform(0.6, 1.5), take.region.uniform(0.04, 0.3),
         2 + take.region.below(7))
        for _ in range(3)
    ]  # fmt: skip
    for _ in range(take.many(per_second)):
        pitch, rise, length_s, notes = kinds[take.stream.below(len(kinds))]
        pitch *= take.uniform(0.85, 1.18)
        loud = level * take.uniform(0.15, 1.0)
        start, length = take.somewhere(), take.samples(length_s * take.uniform(0.8, 1.2))
        note = glide(line([pitch, pitch * rise, pitch * take.uniform(0.8, 1.25)], length), take.hz)
        note *= line([0, loud, loud * 0.7, 0], length)
        for number in range(max(1, notes + take.stream.below(3) - 1)):
            take.add(note, start + int(number * length * 1.35))


def gulls(take: Take, level: float) -> None:
    """Falling, harsh cries."""
    for _ in range(take.many(0.5)):
        start, pitch = take.somewhere(), take.uniform(900, 1_500)
        length = take.samples(0.2, 0.45)
        cry = take.voice([pitch * 0.8, pitch * 1.25, pitch], (0.5, 1.0, 0.6, 0.3), length)
        cry *= line([0, level, level * 0.8, 0], length) * np.float32(take.uniform(0.2, 0.8))
        for number in range(1 + take.stream.below(5)):
            take.add(cry, start + int(number * length * 1.5))


def crickets(take: Take, level: float) -> None:
    """Pulses of one high tone, many a second, from one or two animals."""
    for _ in range(1 + take.stream.below(3)):
        pitch, rate = take.uniform(3_200, 5_600), take.uniform(1.5, 9.0)
        pulse = take.samples(0.018)
        beats = int(rate * take.seconds) + 1
        chirp = tone(pulse, take.hz, pitch) * line([0, 1, 1, 0], pulse) * np.float32(level * take.uniform(0.3, 1))
        offset = take.uniform()
        for beat in range(beats):
            for pulses in range(3):
                take.add(chirp, int((beat + offset) / rate * take.hz) + pulses * int(pulse * 1.6))


def cicadas(take: Take, level: float) -> None:
    """A buzzing band of noise without pause, in the heat of the day."""
    pitch = take.uniform(4_200, 6_600)
    buzz = take.noise(450)
    buzz *= tone(take.count, take.hz, pitch, take.uniform())  # low noise around a frequency
    buzz *= line(take.stream.units(6) * np.float32(0.7) + np.float32(0.3), take.count)
    take.mix += buzz * np.float32(level)


def frogs(take: Take, level: float) -> None:
    """Croaks: trains of short pulses of a low tone, answering one another."""
    for _ in range(2 + take.stream.below(3)):
        pitch, rate = take.uniform(500, 1_700), take.uniform(14, 40)
        length = take.samples(0.15, 0.5)
        pulses = max(4, int(rate * length / take.hz) * 2 + 1)
        shape = np.zeros(pulses, dtype=np.float32)
        shape[1::2] = np.float32(level * take.uniform(0.3, 1.0))
        croak = take.voice([pitch, pitch * 1.06], (1.0, 0.35, 0.15), length) * line(shape, length)
        for _ in range(take.many(0.8)):
            take.add(croak, take.somewhere())


def cattle(take: Take, level: float) -> None:
    """Long, low calls with many harmonics."""
    for _ in range(1 + take.many(0.12)):
        length, pitch = take.samples(0.6, 1.4), take.uniform(110, 380)
        call = take.voice([pitch * 0.85, pitch * 1.15, pitch * 0.8], (0.7, 1, 0.8, 0.5, 0.35, 0.2), length)
        take.add(call * line([0, level, level * 0.8, 0], length), take.somewhere())


def raptor(take: Take, level: float) -> None:
    """A long falling whistle over bare land."""
    length, pitch = take.samples(0.5, 1.1), take.uniform(2_300, 3_400)
    cry = take.voice([pitch, pitch * 1.1, pitch * 0.6], (1, 0.4), length)
    take.add(cry * line([0, level, level * 0.5, 0], length), take.somewhere())


def tinkling(take: Take, level: float) -> None:
    """Loose stones and sand: single clicks."""
    for _ in range(take.many(1.6)):
        length = take.samples(0.006, 0.02)
        take.add(take.stream.white(length) * line([level, level * 0.2, 0], length), take.somewhere())


# People and machines.


def traffic(take: Take, level: float, per_second: float) -> None:
    """Vehicles that pass: tyre noise and an engine, louder and higher as they come near."""
    for _ in range(take.many(per_second)):
        length = take.samples(1.6, 4.5)
        peak = level * take.uniform(0.3, 1.0)
        shape = line([0, 0.06 * peak, 0.25 * peak, peak, 0.3 * peak, 0.1 * peak, 0], length)
        tyres = take.noise(700, 1_700, count=length)
        pitch = take.uniform(45, 110)
        engine = take.voice([pitch * 1.08, pitch * 1.06, pitch * 0.95, pitch * 0.93], (0.5, 0.4, 0.2), length)
        take.add((tyres + engine) * shape, int(take.uniform(-0.25, 0.9) * take.count))


def hum(take: Take, level: float) -> None:
    """The far roar of a city, and the mains."""
    take.mix += take.noise(120, 380) * np.float32(level)
    take.mix += tone(take.count, take.hz, 100.0) * np.float32(level * take.uniform(0, 0.12))


def voices(take: Take, level: float, per_second: float) -> None:
    """Something like speech: syllables of a buzzing tone under moving resonances. No words, no real voice."""
    for _ in range(take.many(per_second)):
        pitch = take.uniform(95, 250)
        syllables = 2 + take.stream.below(5)
        length = take.samples(syllables * take.uniform(0.14, 0.22))
        loud = level * take.uniform(0.25, 1.0)
        shape, melody = [0.0], [pitch]
        for _syllable in range(syllables):
            shape += [loud * take.uniform(0.5, 1), 0.08 * loud]
            melody += [pitch * take.uniform(0.85, 1.2)] * 2
        vowel = [take.uniform(0.1, 1.0) for _ in range(10)]
        sound = take.voice(melody, vowel, length)
        take.add(sound * line(shape, length) * np.float32(0.5), take.somewhere())


def horn(take: Take, level: float, low_hz: float, high_hz: float) -> None:
    """One or two tones held for a moment, with many harmonics."""
    length, pitch = take.samples(0.25, 0.9), take.uniform(low_hz, high_hz)
    steady = line([pitch, pitch], length)
    sound = voice(steady, take.hz, (0.5, 0.6, 0.5, 0.3)) + voice(steady * np.float32(1.26), take.hz, (0.5, 0.5, 0.4))
    start = take.somewhere()
    sound *= line([0, level, level, level, 0], length)
    for number in range(1 + take.stream.below(2)):
        take.add(sound, start + int(number * length * 1.4))


def siren(take: Take, level: float) -> None:
    """Two tones in turn."""
    low = take.uniform(420, 640)
    path = np.repeat([low, low, low * 1.34, low * 1.34] * 6, 2).tolist()
    sound = take.voice(path, (1, 0.5, 0.3))
    take.mix += sound * take.line(0.1 * level, level * take.uniform(0.2, 1), 0.2 * level)


def dogs(take: Take, level: float) -> None:
    """Barks in series."""
    for _ in range(1 + take.stream.below(2)):
        length, pitch, start = take.samples(0.13), take.uniform(320, 800), take.somewhere()
        bark = take.voice([pitch * 0.8, pitch * 1.3, pitch * 0.7], (1, 0.8, 0.5, 0.3), length)
        bark += take.noise(1_800, count=length) * np.float32(0.8)
        bark *= line([0, level, level * 0.6, 0], length) * np.float32(take.uniform(0.3, 1))
        for number in range(1 + take.stream.below(5)):
            take.add(bark, start + int(number * take.hz * take.uniform(0.3, 0.42)))


def rooster(take: Take, level: float) -> None:
    """A crow in four syllables."""
    length, pitch = take.samples(1.5), take.uniform(550, 800)
    crow = take.voice([pitch, pitch * 1.2, pitch, pitch * 1.5, pitch * 1.6, pitch * 1.1], (0.6, 1, 0.6), length)
    take.add(crow * line([0, level, 0.1 * level, level, level, 0.8 * level, 0], length), take.somewhere())


def bells(take: Take, level: float) -> None:
    """Strokes of a church bell with its uneven partials."""
    pitch, length = take.uniform(240, 560), take.samples(2.4)
    stroke = np.zeros(length, dtype=np.float32)
    for ratio, amplitude in ((0.5, 0.4), (1.0, 1.0), (1.2, 0.7), (1.5, 0.4), (2.0, 0.5), (2.67, 0.25)):
        stroke += tone(length, take.hz, pitch * ratio) * np.float32(amplitude)
    stroke *= line([1, 0.5, 0.27, 0.15, 0.07, 0.03, 0], length) * np.float32(level)
    stroke[: take.hz // 200] *= line([0, 1], take.hz // 200)
    start = take.somewhere()
    for number in range(1 + take.stream.below(4)):
        take.add(stroke, start + int(number * 1.4 * take.hz))


def train(take: Take, level: float) -> None:
    """Rumble that passes, with the beat of axles on joints, and sometimes a squeal."""
    peak = take.uniform(0.5, 1.0) * level
    points = [take.uniform(0.1, 0.5), take.uniform(0.4, 1), 1, take.uniform(0.4, 1), 0.4]
    shape = take.line(*(point * peak for point in points))
    rumble = take.noise(160, 420)
    rumble += take.noise(900, 2_200) * np.float32(0.4)
    length, every = take.samples(0.07), take.uniform(0.45, 1.1)
    knock = take.noise(1_300, count=length) * line([2.2, 0.8, 0.3, 0], length)
    beat = 0.0
    while beat < take.seconds:
        for axle in (0.0, 0.1, 0.24 * every / 0.45):
            take.add(knock, int((beat + axle) * take.hz), to=rumble)
        beat += every
    take.mix += rumble * shape
    if take.stream.chance(0.35):
        pitch = take.uniform(2_300, 4_200)
        squeal = glide(take.line(pitch, pitch * 1.03, pitch * 0.98), take.hz)
        take.mix += squeal * shape * np.float32(take.uniform(0.05, 0.2))


def crossing_bell(take: Take, level: float) -> None:
    """The quick bell of a level crossing."""
    length, pitch = take.samples(0.3), take.uniform(900, 1_500)
    stroke = tone(length, take.hz, pitch) + tone(length, take.hz, pitch * 2.4) * np.float32(0.5)
    stroke *= line([1, 0.4, 0.1, 0], length) * np.float32(level)
    for number in range(int(take.seconds / 0.42)):
        take.add(stroke, int(number * 0.42 * take.hz))


def propeller(take: Take, level: float) -> None:
    """A drone with harmonics that sinks as the aeroplane passes."""
    pitch = take.uniform(65, 125)
    harmonics = (0.8, 1, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2)
    drone = take.voice([pitch * 1.1, pitch * 1.07, pitch * 0.94, pitch * 0.9], harmonics)
    shape = take.line(take.uniform(0.2, 0.6), 1, take.uniform(0.3, 1))
    take.mix += drone * shape * np.float32(level * 0.6)


def jet(take: Take, level: float) -> None:
    """A roar that swells and dies away, with a whine."""
    shape = take.line(take.uniform(0.1, 0.7), take.uniform(0.5, 1), 1, take.uniform(0.1, 0.6))
    roar = take.noise(450, 1_000)
    roar += take.noise(3_600) * np.float32(0.35)
    pitch = take.uniform(1_500, 3_200)
    roar += glide(take.line(pitch, pitch * 1.02, pitch * 0.8), take.hz) * np.float32(take.uniform(0.05, 0.3))
    take.mix += roar * shape * np.float32(level)


def tractor(take: Take, level: float) -> None:
    """A slow engine whose strokes can be told apart."""
    pitch = take.uniform(18, 34)
    knock = take.voice([pitch, pitch * take.uniform(0.9, 1.1)], (0.3, 0.8, 1, 0.9, 0.7, 0.6, 0.4))
    knock += take.noise(600) * np.float32(0.4)
    take.mix += knock * take.line(take.uniform(0.3, 1), 1, take.uniform(0.3, 1)) * np.float32(level)


def boat(take: Take, level: float) -> None:
    """An outboard engine some way off."""
    pitch = take.uniform(70, 160)
    sound = take.voice([pitch, pitch * 1.05], (0.5, 1, 0.5, 0.6, 0.2))
    take.mix += sound * take.line(take.uniform(0.1, 1), take.uniform(0.1, 1)) * np.float32(level)


def steps(take: Take, level: float) -> None:
    """Footsteps on stone."""
    every, length = take.uniform(0.45, 0.65), take.samples(0.05)
    step = take.noise(1_600, count=length) * line([level, level * 0.3, 0], length)
    for number in range(int(take.seconds / every)):
        take.add(step * np.float32(take.uniform(0.5, 1)), int(number * every * take.hz))


# Which sounds are heard at a place and an hour, and how loud.

#: How much of the surroundings a class must cover to be heard fully.
FULL_SHARE = {
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
    return {name: min(1.0, int(total[k]) / full / FULL_SHARE[name]) for k, name in enumerate(LAND_COVER)}


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
    take = Take(count, hz, stream, region)
    dark = _between(hour, 21.5, 28.5)
    _wind_and_water(take, near, dark)
    _plants_and_animals(take, near, hour, dark)
    _people(take, near, hour, dark)
    _machines(take, near, hour, dark)
    return _record(take)


def _heard(take: Take, near: float, probability: float) -> float:
    """Return a random loudness of a source, 0 when it is silent this time or too far away."""
    loud = near * take.uniform(0.25, 1.0)
    return loud if take.stream.chance(probability * min(1.0, 0.25 + near)) and near > 0.04 else 0.0


def _perhaps(take: Take, near: float, odds: float, sound: Callable[..., None], level: float, *how: float) -> None:
    """Add a source to the mix if it is heard, at most as loud as `level`; `how` are further arguments of `sound`."""
    if loud := _heard(take, near, odds):
        sound(take, level * loud, *how)


def _wind_and_water(take: Take, near: dict[str, float], dark: float) -> None:
    windy = take.uniform() * take.uniform()
    open_land = max(near["bare"], near["water"], near["beach"], near["airfield"], 0.6 * near["grassland"])
    wind(take, 0.04 + windy * (0.35 + 0.75 * open_land))
    if take.stream.chance(0.08):
        rain(take, take.uniform(0.03, 0.2))
    if near["forest"] > 0.1:
        leaves(take, near["forest"] * (0.01 + 0.16 * windy))
    _perhaps(take, near["bare"], 0.6, tinkling, 0.4)
    _perhaps(take, near["beach"], 0.92, surf, 0.5)
    _perhaps(take, near["water"], 0.85, lapping, 0.4)
    _perhaps(take, max(near["beach"], 0.35 * near["water"]), 0.5 * (1 - dark), gulls, 0.3)
    _perhaps(take, near["water"], 0.18 * (1 - 0.7 * dark), boat, 0.18)


def _plants_and_animals(take: Take, near: dict[str, float], hour: float, dark: float) -> None:
    dawn = _between(hour, 4.5, 7.5)
    day = 1 - dark
    chorus = 0.25 + 1.5 * dawn
    _perhaps(take, near["forest"], 0.93 * max(day, dawn), songbirds, 0.4, chorus * 1.2)
    meadow = max(near["grassland"], near["farmland"], 0.7 * near["village"])
    _perhaps(take, meadow, 0.6 * max(day, dawn), songbirds, 0.25, chorus * 0.5, 3_000.0, 7_600.0)
    grass = max(near["grassland"], 0.7 * near["farmland"], 0.5 * near["village"])
    _perhaps(take, grass, 0.15 + 0.75 * dark, crickets, 0.2)
    _perhaps(take, max(near["grassland"], 0.6 * near["forest"]), 0.5 * _between(hour, 11, 16), cicadas, 0.2)
    _perhaps(take, near["wetland"], 0.45 + 0.5 * max(dark, dawn), frogs, 0.45)
    _perhaps(take, near["farmland"], 0.45, cattle, 0.35)
    _perhaps(take, near["bare"], 0.3 * day, raptor, 0.25)


def _people(take: Take, near: dict[str, float], hour: float, dark: float) -> None:
    quiet = 1 - 0.75 * dark
    _perhaps(take, near["village"], 0.7 * quiet, voices, 0.3, 0.3)
    if loud := _heard(take, near["city"], 0.85 * quiet):
        voices(take, 0.3 * loud, 0.9)
        if take.stream.chance(0.5):
            steps(take, 0.35 * loud)
    _perhaps(take, max(near["village"], 0.3 * near["farmland"]), 0.5, dogs, 0.4)
    _perhaps(take, max(near["village"], 0.4 * near["farmland"]), 0.6 * _between(hour, 4, 8), rooster, 0.3)
    _perhaps(take, near["village"], 0.35 * quiet, bells, 0.25)


def _machines(take: Take, near: dict[str, float], hour: float, dark: float) -> None:
    rush = max(_between(hour, 7, 9), _between(hour, 16, 18.5))
    busy = (0.35 + rush) * (1 - 0.6 * dark)
    _perhaps(take, near["road"], 0.95, traffic, 0.6, 0.7 * busy)
    if loud := _heard(take, near["city"], 0.98):
        hum(take, 0.5 * loud)
        traffic(take, 0.35 * loud, 0.5 * busy)
        if take.stream.chance(0.3):
            horn(take, 0.3 * loud, 330, 520)
        if take.stream.chance(0.1):
            siren(take, 0.2 * loud)
    _perhaps(take, near["village"], 0.5, traffic, 0.3, 0.2 * busy)
    if loud := _heard(take, near["rail"], 0.85):
        train(take, 0.6 * loud)
        if take.stream.chance(0.3):
            horn(take, 0.35 * loud, 210, 330)
        if take.stream.chance(0.25):
            crossing_bell(take, 0.25 * loud)
    if loud := _heard(take, near["airfield"], 0.78):
        (propeller if take.stream.chance(0.55) else jet)(take, 0.7 * loud)
    _perhaps(take, near["farmland"], 0.4 * (1 - dark), tractor, 0.25)
    # Aeroplanes and roads far away are heard anywhere.
    if take.stream.chance(0.06):
        jet(take, take.uniform(0.03, 0.15))
    if take.stream.chance(0.12):
        traffic(take, take.uniform(0.05, 0.2), 0.2)


def _record(take: Take) -> Samples:
    """Return 16-bit samples: the recorder's own hiss and hum, and a level set by whoever recorded."""
    stream, mix, uniform = take.stream, take.mix, take.uniform
    mix += stream.white(take.count) * np.float32(0.002 + 0.03 * uniform() * uniform() * uniform())
    if stream.chance(0.15):
        hum(take, 0.02)
    if stream.chance(0.3):
        # A dull microphone, or one in a cover: the mean of two neighbours.
        mix[1:] = (mix[1:] + mix[:-1]) * np.float32(0.5)
    loudest: Float32s = np.maximum(np.abs(mix).max(), np.float32(1e-4))
    mix *= np.float32(32_767 * uniform(0.15, 0.95)) / loudest
    return np.rint(mix).astype(np.int16)
