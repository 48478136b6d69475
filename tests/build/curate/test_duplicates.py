"""Fingerprints and hashes: what is near by a plain count of bits is found, and nothing else; properties of both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone.build.curate import duplicates
from earthtone.build.curate.duplicates import Seen, print_distance
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
        twins = seen.same_sounds(0.25)
    assert set(twins) == gone
    assert all(twin.row < row and twin.row not in gone for row, twin in twins.items())


def test_the_first_words_alone_leave_out_no_copy() -> None:
    draw = np.random.default_rng(3)
    seen = Seen(prints=True, pictures=False)
    first = draw.integers(1, 2**32, 120, dtype=np.uint32)
    seen.add(0, sound_facts(first, 31.0, 0), False)
    for row in range(1, 200):
        seen.add(row, sound_facts(flipped(first, int(0.24 * first.size * 32), draw), 31.0, row), False)
    assert len(seen.same_sounds(0.25)) == 199


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
        seen.add(row, Facts(image=ImageFacts(False, bits.tobytes().hex())), True)
    twins = seen.same_pictures(limit)
    assert 1 not in twins and twins[2].difference <= limit


@given(shade=st.integers(1, 255))
@settings(max_examples=10, deadline=None)
def test_a_picture_keeps_its_bits_when_it_is_darker(shade: int) -> None:
    rough = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
    pixels = np.repeat(np.repeat(rough, 8, 0), 8, 1)[..., None].repeat(3, 2)
    darker = (pixels * (0.5 + shade / 512)).astype(np.uint8)
    assert int((picture_bits(pixels) != picture_bits(darker)).sum()) <= 16
