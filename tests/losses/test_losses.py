"""Losses by name, by the release's name, with their options."""

from inspect import signature
from typing import get_args, get_type_hints

import pytest
import torch

from earthtone.errors import ConfigError
from earthtone.losses import LOSSES, PUBLISHED, VIEW_LOSSES, LossEntry, loss_class, make_loss
from earthtone.losses.infonce import InfoNCE
from earthtone.losses.triplet import BatchTriplet
from earthtone.train.recipe import WithinConfig


def test_names_and_options_reach_the_class() -> None:
    assert list(LOSSES) == [
        "infonce", "siglip", "batch_triplet", "triplet_margin", "infonce_memory", "place_distillation", "simclr",
        "barlow_twins",
    ]  # fmt: skip
    triplet = make_loss("batch_triplet", margin=0.5)
    assert isinstance(triplet, BatchTriplet)
    assert triplet.margin == 0.5
    assert all(type(make_loss(name)) is loss_class(name) for name in LOSSES)


@pytest.mark.parametrize("entry", [*LOSSES.values(), *VIEW_LOSSES.values()], ids=lambda entry: str(entry.home))
def test_listed_options_are_those_of_the_class(entry: LossEntry) -> None:
    """The list is read without PyTorch."""
    hints = get_type_hints(entry.load().__init__, include_extras=True)  # type: ignore[misc]
    assert [(name, hints[name]) for name in signature(entry.load()).parameters] == list(entry.options.items())
    assert entry.has_queue == entry.load().has_queue
    assert get_args(get_type_hints(WithinConfig)["name"]) == ("none", *VIEW_LOSSES)
    if entry in LOSSES.values():
        assert entry.has_negatives == entry.load().has_negatives


def test_names_of_the_release_bring_its_options_and_given_ones_go_first() -> None:
    assert isinstance(make_loss("TripletLoss", margin=0.2), BatchTriplet)
    assert all(type(make_loss(name)) is loss_class(field_name) for name, (field_name, _) in PUBLISHED.items())
    loss = make_loss("ContrastiveLoss", temperature=0.5)
    assert isinstance(loss, InfoNCE)
    assert loss.directions == "image_to_audio"
    assert loss.temperature == pytest.approx(0.5)
    assert not loss.log_scale.requires_grad
    assert make_loss("SymmetricCL").temperature == pytest.approx(0.2)
    assert make_loss("SymmetricCLWithMemory").temperature == 0.1
    assert make_loss("SimCLRLoss").temperature == make_loss("SymmetricSimCLR").temperature == 0.2


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'infonse'; did you mean infonce\?.*batch_triplet.*barlow_twins.*SimCLRLos"):
        make_loss("infonse")
    with pytest.raises(ConfigError, match=r"did you mean TripletLoss\?"):
        make_loss("TripletLos")
    with pytest.raises(ConfigError, match="'zzz'; known are"):
        make_loss("zzz")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'infonce'.*'temprature'; did you mean temperature\?"):
        make_loss("infonce", temprature=0.1)
    with pytest.raises(ConfigError, match="'margin'"):
        make_loss("siglip", margin=1.0)
    with pytest.raises(ConfigError, match="a number expected"):
        make_loss("SymmetricCLWithMemory", temperature="warm")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("batch_triplet", {"margin": 0.0}),
        ("batch_triplet", {"margin": float("nan")}),
        ("triplet_margin", {"margin": -1.0}),
        ("infonce", {"temperature": 0.0}),
        ("infonce", {"temperature": 0.001}),
        ("infonce", {"temperature": float("inf")}),
        ("infonce", {"directions": "both"}),
        ("siglip", {"temperature": -1.0}),
        ("siglip", {"bias": float("nan")}),
        ("infonce_memory", {"temperature": 0.0}),
        ("infonce_memory", {"batches": 0}),
        ("place_distillation", {"nu": 0.0}),
        ("place_distillation", {"batch_size": 0}),
        ("place_distillation", {"batches": 1.5}),
        ("simclr", {"temperature": 0.0}),
        ("simclr", {"directions": "up"}),
        ("simclr", {"hidden": 0}),
        ("barlow_twins", {"redundancy": 0.0}),
        ("barlow_twins", {"normality": -0.1}),
    ],
)
def test_an_impossible_value_is_named(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {next(iter(options))} is"):
        make_loss(name, **options)


@pytest.mark.parametrize("name", ["infonce_memory", "place_distillation", "simclr"])
def test_embeddings_of_another_width_are_told_what_to_type(name: str) -> None:
    points = torch.eye(3)
    with pytest.raises(ConfigError, match=r"64 dimensions, its (queue|projection) 128; give it dimensions=64"):
        make_loss(name)(torch.ones(3, 64), torch.ones(3, 64), points=points)
