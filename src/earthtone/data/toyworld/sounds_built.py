"""The sounds of people and machines; each function adds one kind to the mix."""

import numpy as np

from earthtone.data.toyworld.sounds_nature import Take
from earthtone.data.toyworld.synth import add_at, glide, line, low_noise, tone, voice


def traffic(take: Take, level: float, per_second: float) -> None:
    """Vehicles that pass: tyre noise and an engine, louder and higher as they come near."""
    for _ in range(take.many(per_second)):
        length = take.samples(take.stream.uniform(1.6, 4.5))
        peak = level * take.stream.uniform(0.3, 1.0)
        shape = line([0, 0.06 * peak, 0.25 * peak, peak, 0.3 * peak, 0.1 * peak, 0], length)
        tyres = low_noise(take.stream, length, take.hz, take.stream.uniform(700, 1_700))
        pitch = take.stream.uniform(45, 110)
        engine = voice(line([pitch * 1.08, pitch * 1.06, pitch * 0.95, pitch * 0.93], length), take.hz, (0.5, 0.4, 0.2))
        add_at(take.mix, (tyres + engine) * shape, int(take.stream.uniform(-0.25, 0.9) * take.count))


def hum(take: Take, level: float) -> None:
    """The far roar of a city, and the mains."""
    take.mix += low_noise(take.stream, take.count, take.hz, take.stream.uniform(120, 380)) * np.float32(level)
    take.mix += tone(take.count, take.hz, 100.0) * np.float32(level * take.stream.uniform(0, 0.12))


def voices(take: Take, level: float, per_second: float) -> None:
    """Something like speech: syllables of a buzzing tone under moving resonances. No words, no real voice."""
    for _ in range(take.many(per_second)):
        pitch = take.stream.uniform(95, 250)
        syllables = 2 + take.stream.below(5)
        length = take.samples(syllables * take.stream.uniform(0.14, 0.22))
        loud = level * take.stream.uniform(0.25, 1.0)
        shape, melody = [0.0], [pitch]
        for _syllable in range(syllables):
            shape += [loud * take.stream.uniform(0.5, 1), 0.08 * loud]
            melody += [pitch * take.stream.uniform(0.85, 1.2)] * 2
        vowel = [take.stream.uniform(0.1, 1.0) for _ in range(10)]
        sound = voice(line(melody, length), take.hz, vowel)
        add_at(take.mix, sound * line(shape, length) * np.float32(0.5), take.somewhere())


def horn(take: Take, level: float, low_hz: float, high_hz: float) -> None:
    """One or two tones held for a moment, with many harmonics."""
    length, pitch = take.samples(take.stream.uniform(0.25, 0.9)), take.stream.uniform(low_hz, high_hz)
    steady = line([pitch, pitch], length)
    sound = voice(steady, take.hz, (0.5, 0.6, 0.5, 0.3)) + voice(steady * np.float32(1.26), take.hz, (0.5, 0.5, 0.4))
    start = take.somewhere()
    sound *= line([0, level, level, level, 0], length)
    for number in range(1 + take.stream.below(2)):
        add_at(take.mix, sound, start + int(number * length * 1.4))


def siren(take: Take, level: float) -> None:
    """Two tones in turn."""
    low = take.stream.uniform(420, 640)
    path = np.repeat(np.array([low, low, low * 1.34, low * 1.34] * 6, dtype=np.float32), 2)
    sound = voice(line(path, take.count), take.hz, (1, 0.5, 0.3))
    take.mix += sound * line([0.1 * level, level * take.stream.uniform(0.2, 1), 0.2 * level], take.count)


def dogs(take: Take, level: float) -> None:
    """Barks in series."""
    for _ in range(1 + take.stream.below(2)):
        length, pitch, start = take.samples(0.13), take.stream.uniform(320, 800), take.somewhere()
        bark = voice(line([pitch * 0.8, pitch * 1.3, pitch * 0.7], length), take.hz, (1, 0.8, 0.5, 0.3))
        bark += low_noise(take.stream, length, take.hz, 1_800) * np.float32(0.8)
        bark *= line([0, level, level * 0.6, 0], length) * np.float32(take.stream.uniform(0.3, 1))
        for number in range(1 + take.stream.below(5)):
            add_at(take.mix, bark, start + int(number * take.hz * take.stream.uniform(0.3, 0.42)))


def rooster(take: Take, level: float) -> None:
    """A crow in four syllables."""
    length, pitch = take.samples(1.5), take.stream.uniform(550, 800)
    crow = voice(
        line([pitch, pitch * 1.2, pitch, pitch * 1.5, pitch * 1.6, pitch * 1.1], length), take.hz, (0.6, 1, 0.6)
    )
    add_at(take.mix, crow * line([0, level, 0.1 * level, level, level, 0.8 * level, 0], length), take.somewhere())


def bells(take: Take, level: float) -> None:
    """Strokes of a church bell with its uneven partials."""
    pitch, length = take.stream.uniform(240, 560), take.samples(2.4)
    stroke = np.zeros(length, dtype=np.float32)
    for ratio, amplitude in ((0.5, 0.4), (1.0, 1.0), (1.2, 0.7), (1.5, 0.4), (2.0, 0.5), (2.67, 0.25)):
        stroke += tone(length, take.hz, pitch * ratio) * np.float32(amplitude)
    stroke *= line([1, 0.5, 0.27, 0.15, 0.07, 0.03, 0], length) * np.float32(level)
    stroke[: take.hz // 200] *= line([0, 1], take.hz // 200)
    start = take.somewhere()
    for number in range(1 + take.stream.below(4)):
        add_at(take.mix, stroke, start + int(number * 1.4 * take.hz))


def train(take: Take, level: float) -> None:
    """Rumble that passes, with the beat of axles on joints, and sometimes a squeal."""
    peak = take.stream.uniform(0.5, 1.0) * level
    points = [take.stream.uniform(0.1, 0.5), take.stream.uniform(0.4, 1), 1, take.stream.uniform(0.4, 1), 0.4]
    shape = line([point * peak for point in points], take.count)
    rumble = low_noise(take.stream, take.count, take.hz, take.stream.uniform(160, 420))
    rumble += low_noise(take.stream, take.count, take.hz, take.stream.uniform(900, 2_200)) * np.float32(0.4)
    length, every = take.samples(0.07), take.stream.uniform(0.45, 1.1)
    knock = low_noise(take.stream, length, take.hz, 1_300) * line([2.2, 0.8, 0.3, 0], length)
    beat = 0.0
    while beat < take.seconds:
        for axle in (0.0, 0.1, 0.24 * every / 0.45):
            add_at(rumble, knock, int((beat + axle) * take.hz))
        beat += every
    take.mix += rumble * shape
    if take.stream.chance(0.35):
        pitch = take.stream.uniform(2_300, 4_200)
        squeal = glide(line([pitch, pitch * 1.03, pitch * 0.98], take.count), take.hz)
        take.mix += squeal * shape * np.float32(take.stream.uniform(0.05, 0.2))


def crossing_bell(take: Take, level: float) -> None:
    """The quick bell of a level crossing."""
    length, pitch = take.samples(0.3), take.stream.uniform(900, 1_500)
    stroke = tone(length, take.hz, pitch) + tone(length, take.hz, pitch * 2.4) * np.float32(0.5)
    stroke *= line([1, 0.4, 0.1, 0], length) * np.float32(level)
    for number in range(int(take.seconds / 0.42)):
        add_at(take.mix, stroke, int(number * 0.42 * take.hz))


def propeller(take: Take, level: float) -> None:
    """A drone with harmonics that sinks as the aeroplane passes."""
    pitch = take.stream.uniform(65, 125)
    path = line([pitch * 1.1, pitch * 1.07, pitch * 0.94, pitch * 0.9], take.count)
    drone = voice(path, take.hz, (0.8, 1, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2))
    shape = line([take.stream.uniform(0.2, 0.6), 1, take.stream.uniform(0.3, 1)], take.count)
    take.mix += drone * shape * np.float32(level * 0.6)


def jet(take: Take, level: float) -> None:
    """A roar that swells and dies away, with a whine."""
    shape = line(
        [take.stream.uniform(0.1, 0.7), take.stream.uniform(0.5, 1), 1, take.stream.uniform(0.1, 0.6)], take.count
    )
    roar = low_noise(take.stream, take.count, take.hz, take.stream.uniform(450, 1_000))
    roar += low_noise(take.stream, take.count, take.hz, 3_600) * np.float32(0.35)
    pitch = take.stream.uniform(1_500, 3_200)
    roar += glide(line([pitch, pitch * 1.02, pitch * 0.8], take.count), take.hz) * np.float32(
        take.stream.uniform(0.05, 0.3)
    )
    take.mix += roar * shape * np.float32(level)


def tractor(take: Take, level: float) -> None:
    """A slow engine whose strokes can be told apart."""
    pitch = take.stream.uniform(18, 34)
    knock = voice(
        line([pitch, pitch * take.stream.uniform(0.9, 1.1)], take.count), take.hz, (0.3, 0.8, 1, 0.9, 0.7, 0.6, 0.4)
    )
    knock += low_noise(take.stream, take.count, take.hz, 600) * np.float32(0.4)
    take.mix += (
        knock * line([take.stream.uniform(0.3, 1), 1, take.stream.uniform(0.3, 1)], take.count) * np.float32(level)
    )


def boat(take: Take, level: float) -> None:
    """An outboard engine some way off."""
    pitch = take.stream.uniform(70, 160)
    sound = voice(line([pitch, pitch * 1.05], take.count), take.hz, (0.5, 1, 0.5, 0.6, 0.2))
    take.mix += sound * line([take.stream.uniform(0.1, 1), take.stream.uniform(0.1, 1)], take.count) * np.float32(level)


def steps(take: Take, level: float) -> None:
    """Footsteps on stone."""
    every, length = take.stream.uniform(0.45, 0.65), take.samples(0.05)
    step = low_noise(take.stream, length, take.hz, 1_600) * line([level, level * 0.3, 0], length)
    for number in range(int(take.seconds / every)):
        add_at(take.mix, step * np.float32(take.stream.uniform(0.5, 1)), int(number * every * take.hz))
