"""Fingerprints and hashes: what is near by a plain count of bits is found, and nothing else; properties of both."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone.build.curate import duplicates
from earthtone.build.curate.duplicates import Seen, Twin, print_distance, twins_of
from earthtone.build.curate.measure import HOP, HZ, WINDOW, Facts, ImageFacts, SoundFacts, fingerprint, picture_bits

Words = NDArray[np.uint32]


def noise(seed: int, seconds: float = 4.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.05, round(seconds * HZ)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gain=st.floats(0.05, 3.0),
    late=st.integers(0, 960),
    hiss=st.floats(0, 0.05),
    seconds=st.floats(4.0, 6.0),
)
def test_a_fingerprint_survives_level_delay_and_hiss(
    seed: int, gain: float, late: int, hiss: float, seconds: float
) -> None:
    """Up to 60 ms later, at another level, with noise 26 dB below it; another sound stays far off."""
    sound = noise(seed, seconds)
    other = np.random.default_rng(seed + 1).normal(0, 0.05 * hiss, len(sound))
    changed = (gain * np.concatenate([np.zeros(late), sound + other])).astype(np.float32)
    assert print_distance(fingerprint(sound), fingerprint(changed)) < 0.25
    assert print_distance(fingerprint(sound), fingerprint(noise(seed + 20_000, seconds))) > 0.3


@given(samples=st.integers(0, 5 * HZ))
@settings(max_examples=20, deadline=None)
def test_a_word_is_told_for_each_step_of_sound_and_none_for_silence(samples: int) -> None:
    expected = max(0, (samples - WINDOW) // HOP)
    assert len(fingerprint(np.zeros(samples, np.float32))) == expected
    assert not fingerprint(np.zeros(samples, np.float32)).any()
    assert fingerprint(noise(1, 5.0)[:samples]).all()


def sound_facts(words: Words, seconds: float, digest: int) -> Facts:
    import base64

    text = base64.b64encode(words.astype("<u4").tobytes()).decode()
    return Facts(SoundFacts(seconds, HZ, 1, -20.0, -20.0, 1.0, 0.0, 0.0, False, 0.1, f"{digest:032x}", text))


def image_facts(bits: NDArray[np.uint8]) -> Facts:
    return Facts(image=ImageFacts(False, bits.tobytes().hex()))


def same_sounds(seen: Seen, max_distance: float = 0.25) -> Mapping[int, Twin]:
    return twins_of(seen, max_distance, 32)["same-audio"]


def flipped(words: Words, bits: int, draw: np.random.Generator) -> Words:
    """Words with so many bits other than before; none of them becomes 0."""
    flat = np.unpackbits(words.view(np.uint8))
    flat[draw.choice(flat.size, bits, replace=False)] ^= 1
    return np.packbits(flat).view(np.uint32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(2, 40), block=st.sampled_from([4, 16, 1024]))
def test_pairs_are_those_of_a_plain_loop(seed: int, count: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    prints: list[Words] = []
    for _ in range(count):
        if prints and draw.random() < 0.5:
            other = prints[int(draw.integers(len(prints)))]
            prints.append(flipped(other, int(draw.integers(0, other.size * 12)), draw))
        else:
            prints.append(draw.integers(1, 2**32, int(draw.integers(12, 30)), dtype=np.uint32))
    seconds = draw.choice([5.0, 5.2, 8.0], count)
    seen = Seen(prints=True, pictures=False)
    for row, words in enumerate(prints):
        seen.add(row, sound_facts(words, float(seconds[row]), row), False)
    gone: set[int] = set()
    for row in range(count):
        for before in range(row):
            short, long = sorted((seconds[before], seconds[row]))
            alike = long <= short * 1.01 + 0.25
            if alike and before not in gone and print_distance(prints[before], prints[row]) <= 0.25:
                gone.add(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_BLOCK", block)
        patch.setattr(duplicates, "_FIRST_SLACK", 1.0)  # all words, as the plain loop
        twins = same_sounds(seen)
    assert set(twins) == gone
    assert all(twin.row < row and twin.row not in gone for row, twin in twins.items())


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(150, 300),
    pictures=st.booleans(),
    flips=st.integers(0, 2),
    others=st.integers(0, 20),
)
def test_of_many_that_are_the_same_the_first_stays(
    seed: int, count: int, pictures: bool, flips: int, others: int
) -> None:
    draw = np.random.default_rng(seed)
    words = draw.integers(1, 2**32, (others + 1, 12), dtype=np.uint32)
    kind = draw.permutation(np.concatenate([np.zeros(count, int), np.arange(1, others + 1)]))
    seen = Seen(prints=not pictures, pictures=pictures)
    for row, of in enumerate(kind):
        own = flipped(words[of], flips, draw)
        if pictures:
            seen.add(row, image_facts(own[:8].view(np.uint8)), True)
        else:
            seen.add(row, sound_facts(own, 5.0, row), False)
    twins = twins_of(seen, 0.1, 8)["same-image" if pictures else "same-audio"]
    assert sorted(set(range(len(kind))) - set(twins)) == sorted(np.unique(kind, return_index=True)[1])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 40), block=st.sampled_from([1, 4, 1024]))
def test_a_twin_is_the_nearest_row_before_that_stays(seed: int, count: int, block: int) -> None:
    """A row goes for its sound or its picture; whatever it went for, it is nobody's twin."""
    draw = np.random.default_rng(seed)
    sounds = draw.integers(1, 2**32, (5, 12), dtype=np.uint32)
    pictures = draw.integers(0, 256, (5, 32), dtype=np.uint8)
    seen, rows = Seen(prints=True, pictures=True), []
    for row in range(count):
        sound, picture = draw.integers(0, 5, 2)
        words = flipped(sounds[sound], int(draw.choice([0, 0, 20])), draw)
        digest = int(words.sum())
        image = image_facts(np.packbits(flipped_bits(pictures[picture], int(draw.choice([0, 3])), draw))).image
        rows.append((words, digest, image))
        seen.add(row, Facts(sound_facts(words, 5.0, digest).sound, image), True)
    expected: dict[str, dict[int, Twin]] = {"same-audio": {}, "same-image": {}}
    for row, (words, digest, image) in enumerate(rows):
        before = [at for at in range(row) if not any(at in gone for gone in expected.values())]
        near = [(rows[at][1] != digest, print_distance(rows[at][0], words), at) for at in before]
        if near and (not min(near)[0] or min(near)[1] <= 0.1):
            unlike, how, at = min(near)
            expected["same-audio"][row] = Twin(at, how, not unlike)
        assert image is not None
        bits = [(hash_distance(rows[at][2], image), at) for at in before]
        if bits and min(bits)[0] <= 8:
            expected["same-image"][row] = Twin(min(bits)[1], min(bits)[0], False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_BLOCK", block)
        assert twins_of(seen, 0.1, 8) == expected


def flipped_bits(hash: NDArray[np.uint8], bits: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    flat = np.unpackbits(hash)
    flat[draw.choice(flat.size, bits, replace=False)] ^= 1
    return flat


def hash_distance(one: ImageFacts | None, other: ImageFacts | None) -> int:
    assert one is not None and other is not None
    return (int(one.bits, 16) ^ int(other.bits, 16)).bit_count()


def test_copies_that_begin_with_silence_are_found() -> None:
    draw = np.random.default_rng(1)
    words = np.concatenate([np.zeros(20, np.uint32), draw.integers(1, 2**32, 20, dtype=np.uint32)])
    seen = Seen(prints=True, pictures=False)
    for row, own in enumerate((words, np.zeros(0, np.uint32), words, np.zeros(0, np.uint32))):
        seen.add(row, sound_facts(own, 11.0, row), False)
    assert same_sounds(seen) == {2: Twin(0, 0.0, False)}


def test_the_first_words_alone_leave_out_no_copy() -> None:
    draw = np.random.default_rng(3)
    seen = Seen(prints=True, pictures=False)
    first = draw.integers(1, 2**32, 120, dtype=np.uint32)
    seen.add(0, sound_facts(first, 31.0, 0), False)
    for row in range(1, 200):
        seen.add(row, sound_facts(flipped(first, int(0.24 * first.size * 32), draw), 31.0, row), False)
    assert len(same_sounds(seen)) == 199


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), limit=st.integers(0, 60))
def test_pictures_within_the_limit_are_found(seed: int, limit: int) -> None:
    draw = np.random.default_rng(seed)
    one = draw.integers(0, 256, 32, dtype=np.uint8)
    near, far = (np.unpackbits(one) for _ in range(2))
    near[draw.choice(256, limit, replace=False)] ^= 1
    far[draw.choice(256, limit + 1, replace=False)] ^= 1
    seen = Seen(prints=False, pictures=True)
    for row, bits in enumerate((one, np.packbits(far), np.packbits(near))):
        seen.add(row, image_facts(bits), True)
    twins = twins_of(seen, 0.25, limit)["same-image"]
    assert 1 not in twins and twins[2].difference <= limit


@given(shade=st.integers(1, 255))
@settings(max_examples=10, deadline=None)
def test_a_picture_keeps_its_bits_when_it_is_darker(shade: int) -> None:
    rough = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
    pixels = np.repeat(np.repeat(rough, 8, 0), 8, 1)[..., None].repeat(3, 2)
    darker = (pixels * (0.5 + shade / 512)).astype(np.uint8)
    assert int((picture_bits(pixels) != picture_bits(darker)).sum()) <= 16
