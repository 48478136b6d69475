"""The sounds of water, weather, plants and animals; each function adds one kind to the mix."""

from dataclasses import dataclass

import numpy as np

from earthtone.data.toyworld.hashing import Float32s, Stream
from earthtone.data.toyworld.synth import add_at, band_noise, glide, line, low_noise, tone, voice


@dataclass
class Take:
    """One recording in the making."""

    mix: Float32s
    hz: int
    stream: Stream
    region: Stream
    """Draws the same for all recordings of a region: its kinds of birds."""

    @property
    def count(self) -> int:
        return len(self.mix)

    @property
    def seconds(self) -> float:
        return len(self.mix) / self.hz

    def somewhere(self) -> int:
        """Return a random sample to start at."""
        return int(self.stream.uniform(-0.05, 1.0) * self.count)

    def many(self, per_second: float) -> int:
        """Return how many events there are, about half to twice as many as expected."""
        expected = per_second * self.seconds * self.stream.uniform(0.5, 1.6)
        return int(expected) + self.stream.chance(expected - int(expected))

    def samples(self, seconds: float) -> int:
        """Return the number of samples, at least 16."""
        return max(16, int(seconds * self.hz))


def wind(take: Take, level: float) -> None:
    """Low rumble in gusts, and some hiss."""
    gusts = take.stream.units(max(3, int(take.seconds * 1.1) + 2)) + np.float32(0.25)
    rumble = low_noise(take.stream, take.count, take.hz, take.stream.uniform(90, 320))
    rumble *= line(gusts * gusts, take.count)
    take.mix += rumble * np.float32(level)


def leaves(take: Take, level: float) -> None:
    """Rustle of leaves: a soft, high noise in gusts."""
    gusts = take.stream.units(max(3, int(take.seconds * 1.5) + 2)) + np.float32(0.2)
    rustle = low_noise(take.stream, take.count, take.hz, take.stream.uniform(2_500, 5_000))
    rustle *= line(gusts, take.count)
    take.mix += rustle * np.float32(level)


def surf(take: Take, level: float) -> None:
    """Breaking waves: broad noise that swells fast and ebbs slowly, every few seconds."""
    every = take.stream.uniform(0.3, 0.65)
    points: list[float] = []
    while len(points) < take.seconds / every + 12:
        height = take.stream.uniform(0.5, 1.0)
        points += [0.18, 0.55 * height, height, 0.75 * height, 0.5 * height, 0.3 * height]
        points += [0.22] * take.stream.below(4)
    skip = take.stream.below(6)
    swell = line(points[skip : skip + int(take.seconds / every) + 2], take.count)
    crash = low_noise(take.stream, take.count, take.hz, take.stream.uniform(1_200, 3_200))
    crash += low_noise(take.stream, take.count, take.hz, 350) * np.float32(0.6)
    take.mix += crash * swell * np.float32(level)


def lapping(take: Take, level: float) -> None:
    """Small waves against a hull or stones: short bubbling splashes."""
    for _ in range(take.many(3.2)):
        length = take.samples(take.stream.uniform(0.08, 0.28))
        pitch = take.stream.uniform(350, 1_100)
        splash = glide(line([pitch, pitch * take.stream.uniform(0.8, 1.6)], length), take.hz)
        splash *= low_noise(take.stream, length, take.hz, 260)
        add_at(take.mix, splash * line([0, level * take.stream.uniform(0.5, 1.5), 0], length), take.somewhere())
    take.mix += low_noise(take.stream, take.count, take.hz, 700) * np.float32(0.22 * level)


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
        pitch *= take.stream.uniform(0.85, 1.18)
        loud = level * take.stream.uniform(0.15, 1.0)
        start, length = take.somewhere(), take.samples(length_s * take.stream.uniform(0.8, 1.2))
        note = glide(line([pitch, pitch * rise, pitch * take.stream.uniform(0.8, 1.25)], length), take.hz)
        note *= line([0, loud, loud * 0.7, 0], length)
        for number in range(max(1, notes + take.stream.below(3) - 1)):
            add_at(take.mix, note, start + int(number * length * 1.35))


def gulls(take: Take, level: float) -> None:
    """Falling, harsh cries."""
    for _ in range(take.many(0.5)):
        start, pitch = take.somewhere(), take.stream.uniform(900, 1_500)
        length = take.samples(take.stream.uniform(0.2, 0.45))
        cry = voice(line([pitch * 0.8, pitch * 1.25, pitch], length), take.hz, (0.5, 1.0, 0.6, 0.3))
        cry *= line([0, level, level * 0.8, 0], length) * np.float32(take.stream.uniform(0.2, 0.8))
        for number in range(1 + take.stream.below(5)):
            add_at(take.mix, cry, start + int(number * length * 1.5))


def crickets(take: Take, level: float) -> None:
    """Pulses of one high tone, many a second, from one or two animals."""
    for _ in range(1 + take.stream.below(3)):
        pitch, rate = take.stream.uniform(3_200, 5_600), take.stream.uniform(1.5, 9.0)
        pulse = take.samples(0.018)
        beats = int(rate * take.seconds) + 1
        chirp = (
            tone(pulse, take.hz, pitch) * line([0, 1, 1, 0], pulse) * np.float32(level * take.stream.uniform(0.3, 1))
        )
        offset = take.stream.uniform()
        for beat in range(beats):
            for pulses in range(3):
                add_at(take.mix, chirp, int((beat + offset) / rate * take.hz) + pulses * int(pulse * 1.6))


def cicadas(take: Take, level: float) -> None:
    """A buzzing band of noise without pause, in the heat of the day."""
    buzz = band_noise(take.stream, take.count, take.hz, take.stream.uniform(4_200, 6_600), 900)
    buzz *= line(take.stream.units(6) * np.float32(0.7) + np.float32(0.3), take.count)
    take.mix += buzz * np.float32(level)


def frogs(take: Take, level: float) -> None:
    """Croaks: trains of short pulses of a low tone, answering one another."""
    for _ in range(2 + take.stream.below(3)):
        pitch, rate = take.stream.uniform(500, 1_700), take.stream.uniform(14, 40)
        length = take.samples(take.stream.uniform(0.15, 0.5))
        pulses = max(4, int(rate * length / take.hz) * 2 + 1)
        shape = np.zeros(pulses, dtype=np.float32)
        shape[1::2] = np.float32(level * take.stream.uniform(0.3, 1.0))
        croak = voice(line([pitch, pitch * 1.06], length), take.hz, (1.0, 0.35, 0.15)) * line(shape, length)
        for _ in range(take.many(0.8)):
            add_at(take.mix, croak, take.somewhere())


def cattle(take: Take, level: float) -> None:
    """Long, low calls with many harmonics."""
    for _ in range(1 + take.many(0.12)):
        length, pitch = take.samples(take.stream.uniform(0.6, 1.4)), take.stream.uniform(110, 380)
        call = voice(line([pitch * 0.85, pitch * 1.15, pitch * 0.8], length), take.hz, (0.7, 1, 0.8, 0.5, 0.35, 0.2))
        add_at(take.mix, call * line([0, level, level * 0.8, 0], length), take.somewhere())


def raptor(take: Take, level: float) -> None:
    """A long falling whistle over bare land."""
    length, pitch = take.samples(take.stream.uniform(0.5, 1.1)), take.stream.uniform(2_300, 3_400)
    cry = voice(line([pitch, pitch * 1.1, pitch * 0.6], length), take.hz, (1, 0.4))
    add_at(take.mix, cry * line([0, level, level * 0.5, 0], length), take.somewhere())


def tinkling(take: Take, level: float) -> None:
    """Loose stones and sand: single clicks."""
    for _ in range(take.many(1.6)):
        length = take.samples(take.stream.uniform(0.006, 0.02))
        click = take.stream.white(length) * line([level, level * 0.2, 0], length)
        add_at(take.mix, click, take.somewhere())
