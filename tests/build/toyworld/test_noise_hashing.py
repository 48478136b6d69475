import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.toyworld.noise import Stream, key_of, mix, mix_array


def test_mix_is_splitmix64():
    # The first outputs of SplitMix64 with seed 0, from its authors' C code: state advances by the same constant.
    step = 0x9E3779B97F4A7C15
    assert [mix(k * step % 2**64) for k in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8))
def test_arrays_mix_as_numbers_do(numbers):
    assert mix_array(np.array(numbers, dtype=np.uint64)).tolist() == [mix(number) for number in numbers]


def test_keys_depend_on_order_and_names():
    assert len({key_of(1, 2), key_of(2, 1), key_of("a", 1), key_of("b", 1), key_of("a"), key_of(1)}) == 6


def test_stream_is_uniform_and_repeats():
    units = Stream(7).units(20_000)
    assert abs(units.mean() - 0.5) < 0.01 and abs(units.std() - 12**-0.5) < 0.01
    white = Stream(7, "white").white(20_001)
    assert len(white) == 20_001 and abs(white.mean()) < 0.02 and white.min() >= -1 and white.max() < 1
    assert abs(np.corrcoef(white[1:], white[:-1])[0, 1]) < 0.03
    first, second = Stream(3, "x"), Stream(3, "x")
    assert [first.uniform() for _ in range(5)] == [second.uniform() for _ in range(5)]
