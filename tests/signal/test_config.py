"""The numbers that a table and a model agree on survive JSON, and nothing unknown slips in."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from earthtone.errors import ConfigError, DataError
from earthtone.options import FinetuneOptions
from earthtone.signal.config import (
    AudioConfig,
    ImageConfig,
    SignalConfig,
    check_signal_config,
    signal_from_dict,
    signal_to_dict,
)
from earthtone.train.recipe_file import load_recipe


def test_defaults() -> None:
    audio = AudioConfig()
    assert (audio.sample_rate_hz, audio.window_seconds, audio.mels, audio.input) == (32_000, 10.0, 64, "waveform")
    assert audio.window_frames == 1000


@pytest.mark.parametrize(
    ("window_seconds", "hop_seconds", "frames"), [(1.0, 0.02, 50), (10.0, 0.016, 625), (0.3, 0.1, 3), (2.5, 0.01, 250)]
)
def test_window_frames_are_counted_in_hops(window_seconds: float, hop_seconds: float, frames: int) -> None:
    assert AudioConfig(window_seconds=window_seconds, hop_seconds=hop_seconds).window_frames == frames


@pytest.mark.parametrize(
    "signal",
    [
        SignalConfig(),
        SignalConfig(AudioConfig(mels=128, max_hz=12_000.0), ImageConfig(bands=(4, 3, 2), footprint_m=1280.0)),
    ],
)
def test_json_and_back(signal: SignalConfig) -> None:
    back = signal_from_dict(json.loads(json.dumps(asdict(signal))))
    assert back == signal and hash(back) == hash(signal)


def test_a_view_is_written_only_where_there_is_one() -> None:
    """So that files and hashes of before stay what they were."""
    assert "view" not in signal_to_dict(SignalConfig())["image"]
    signal = SignalConfig(image=ImageConfig(view=0.75))
    assert signal_to_dict(signal)["image"]["view"] == 0.75
    for config in (SignalConfig(), signal):
        assert signal_from_dict(json.loads(json.dumps(signal_to_dict(config)))) == config


@pytest.mark.parametrize("value", [(0, 3000), (-0.5, 1.5), ((0, 1), (0.0, 2.5), (1, 3)), "sentinel2"])
def test_a_range_of_values_is_written_only_where_there_is_one(value: Any) -> None:
    assert "value_range" not in signal_to_dict(SignalConfig())["image"]
    signal = SignalConfig(image=ImageConfig(value_range=value))
    back = signal_from_dict(json.loads(json.dumps(signal_to_dict(signal))))
    assert back == signal and hash(back) == hash(signal)
    check_signal_config(signal)


@pytest.mark.parametrize(
    "value",
    [(3000, 0), (0, 0), (0,), (0, 1, 2), ((0, 1), (0, 1)), ((0, 1), (0, 1), (2, 1)), (0, float("nan")), (0, True), 7,
     "sentinel"],
)  # fmt: skip
def test_ranges_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"signal.image.value_range is .*low < high.*sentinel2"):
        check_signal_config(SignalConfig(image=ImageConfig(value_range=value)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None), ("reflectance", "reflectance"), ("0,3000", (0, 3000)), ("[-1.5, 2]", (-1.5, 2)),
        ("0,1,0,2,0,3", ((0, 1), (0, 2), (0, 3))), ("[[0,1],[0,2],[0,3]]", ((0, 1), (0, 2), (0, 3))),
    ],
)  # fmt: skip
def test_ranges_as_they_are_typed(text: Any, expected: Any) -> None:
    assert FinetuneOptions("model", "data", value_range=text).value_range == expected


@pytest.mark.parametrize("text", ["3000", "3000,0", "sentinl2", "0,a", "", "0,1,2,3"])
def test_wrong_ranges_as_they_are_typed(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"--value_range .*expected"):
        FinetuneOptions("model", "data", value_range=text)


def test_a_range_in_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    for text, expected in (("[0, 3000]", (0, 3000)), ("[[0, 1], [0, 2], [0, 3.5]]", ((0, 1), (0, 2), (0, 3.5)))):
        recipe.write_text(f"signal:\n  image:\n    value_range: {text}\n")
        assert load_recipe(recipe).signal.image.value_range == expected
    recipe.write_text("signal:\n  image:\n    value_range: [9, 3]\n")
    with pytest.raises(ConfigError, match=r"value_range is \(9.*expected"):
        load_recipe(recipe)


def unknown_key(values: dict[str, Any]) -> None:
    values["audio"]["loudness"] = 3


def missing_part(values: dict[str, Any]) -> None:
    del values["image"]


def missing_bands(values: dict[str, Any]) -> None:
    del values["image"]["bands"]


def no_mapping(values: dict[str, Any]) -> None:
    values["audio"] = 7


@pytest.mark.parametrize("change", [unknown_key, missing_part, missing_bands, no_mapping])
def test_another_version_is_refused(change: Any) -> None:
    values = asdict(SignalConfig())
    change(values)
    with pytest.raises(DataError, match="another version of earthtone"):
        signal_from_dict(values)
