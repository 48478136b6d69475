"""YAML of strangers."""

import pytest

from earthtone.plain_yaml import read_yaml

BOMB = "model: {image_encoder: [&a0 [x, x, x, x, x, x, x, x, x]" + "".join(
    f", &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
)


@pytest.mark.parametrize("text", [BOMB + "]}", "&a [*a]", "a: 2020-13-45", "a: " + "9" * 5000, "[" * 5000, "!!int ''"])
def test_what_is_no_plain_value_is_one_line(text: str) -> None:
    with pytest.raises(ValueError) as told:
        read_yaml(text)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) <= 300


def test_plain_values_are_read() -> None:
    assert read_yaml("a: [1, 2.5, null, text]\nb: {c: true}") == {"a": [1, 2.5, None, "text"], "b": {"c": True}}
