"""Losses by name."""

import pytest

from earthtone.errors import ConfigError
from earthtone.losses import LOSSES, BatchTriplet, SigLIP, SymmetricInfoNCE, make_loss


def test_names_and_options_reach_the_class() -> None:
    assert list(LOSSES) == ["batch_triplet", "infonce", "siglip"]
    triplet = make_loss("batch_triplet", margin=0.5)
    assert isinstance(triplet, BatchTriplet)
    assert triplet.margin == 0.5
    assert isinstance(make_loss("infonce"), SymmetricInfoNCE)
    assert isinstance(make_loss("siglip"), SigLIP)


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'infonse'; did you mean infonce\?.*batch_triplet, infonce, siglip"):
        make_loss("infonse")
    with pytest.raises(ConfigError, match="'zzz'; known are"):
        make_loss("zzz")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'infonce'.*'temprature'; did you mean temperature\?"):
        make_loss("infonce", temprature=0.1)
    with pytest.raises(ConfigError, match="'margin'"):
        make_loss("siglip", margin=1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("batch_triplet", {"margin": 0.0}),
        ("batch_triplet", {"margin": float("nan")}),
        ("infonce", {"temperature": 0.0}),
        ("infonce", {"temperature": 0.001}),
        ("infonce", {"temperature": float("inf")}),
        ("siglip", {"temperature": -1.0}),
        ("siglip", {"bias": float("nan")}),
    ],
)
def test_an_impossible_value_is_named(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {next(iter(options))} is"):
        make_loss(name, **options)
