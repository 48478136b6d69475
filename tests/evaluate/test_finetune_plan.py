"""Protocols of fine-tuning, and what may be changed of them."""

from typing import Any

import pytest

from earthtone.errors import ConfigError
from earthtone.evaluate.finetune import FINETUNE_PLANS, FinetunePlan, finetune_plan, warmup_cosine
from earthtone.options import FinetuneOptions


def plan_of(dataset: str, **options: Any) -> FinetunePlan:
    return finetune_plan(FinetuneOptions("random:test_resnet", "data", **options), dataset)


def test_the_release_as_published() -> None:
    for dataset, batch in (("ucmerced", 48), ("resisc45", 48), ("aid", 8)):
        plan = plan_of(dataset, protocol="soundingearth")
        assert (plan.epochs, plan.learning_rate, plan.batch_size) == (5, 1e-3, batch)
        assert not plan.augment and not plan.weight_decay and not plan.label_smoothing and not plan.choose_epoch


def test_changes_are_applied() -> None:
    plan = plan_of("ucmerced", epochs=3, batch_size=4, learning_rate=0.1)
    assert (plan.epochs, plan.batch_size, plan.learning_rate) == (3, 4, 0.1)
    assert plan.layer_decay == FINETUNE_PLANS["modern"].layer_decay
    assert plan_of("aid", protocol="soundingearth", batch_size=16).batch_size == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"batch_size": 1}, "--batch_size 1; 2 or more"),
        ({"learning_rate": 0.0}, "learning_rate 0"),
        ({"learning_rate": 10.0}, "--learning_rate 10.0; above 0"),
        ({"protocol": "moderm"}, "moderm"),
    ],
)
def test_senseless_changes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of("toy", **changes)


def test_the_learning_rate_rises_and_falls() -> None:
    assert [warmup_cosine(done, 0.2) for done in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert warmup_cosine(0.1, 0.2, peak=3.0) == pytest.approx(1.5)
