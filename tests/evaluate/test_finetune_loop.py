"""Fine-tuning learns, chooses its epoch on val, and is the same again with the same seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from earthtone.data.labelled.items import LabelledItem
from earthtone.errors import DataError, ModelError
from earthtone.evaluate import finetune as finetune_loop
from earthtone.evaluate.finetune import FINETUNE_PLANS, Classifier, FinetunePlan, TrainingData, finetune
from earthtone.models.backbone import Backbone, open_backbone

PLAN = replace(FINETUNE_PLANS["modern"], epochs=3, batch_size=8, learning_rate=5e-3)
EPOCHS = 25  # enough on any processor: with 12, one of two kinds was at 0.5
CLASSES = ("desert", "forest", "lake", "town")


def backbone() -> Backbone:
    return open_backbone("random:test_resnet", pixels=32)


def divided(items: list[LabelledItem]) -> TrainingData:
    return TrainingData(items[::2], items[1::4], items[3::4], CLASSES)


@pytest.mark.slow
def test_learns_and_tests_once(class_items: list[LabelledItem], monkeypatch: pytest.MonkeyPatch) -> None:
    data = divided(class_items)
    asked = []
    whole = finetune_loop.logits_of
    monkeypatch.setattr(
        finetune_loop,
        "logits_of",
        lambda model, items, *more: (asked.append(len(items)), whole(model, items, *more))[1],
    )
    ticks: list[int] = []
    found = finetune(backbone(), data, replace(PLAN, epochs=EPOCHS), tick=ticks.append)
    truth = [item.label for item in data.test]
    assert found.ids == tuple(item.id for item in data.test)
    assert np.mean([a == b for a, b in zip(found.predicted, truth, strict=True)]) >= 0.6
    assert len(found.val_accuracy) == EPOCHS and asked == [10] * (EPOCHS + 1)
    assert found.val_accuracy[found.epoch - 1] == max(found.val_accuracy)
    assert sum(ticks) == EPOCHS * (20 + 10) + 10


def test_a_seed_is_the_same_again_and_another_is_not(class_items: list[LabelledItem]) -> None:
    plan = replace(PLAN, epochs=1, choose_epoch=False)
    weights = []
    for seed in (0, 0, 1):
        trained = backbone()
        finetune(trained, divided(class_items), plan, seed=seed, precision="32")
        weights.append(torch.cat([value.flatten() for value in trained.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_best_epoch_is_what_is_tested(class_items: list[LabelledItem], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([(0.2, 1.0), (0.9, 1.0), (0.9, 2.0)])
    monkeypatch.setattr(finetune_loop, "validation_scores", lambda *_: next(scores))
    tested: list[Classifier] = []
    kept: list[torch.Tensor] = []
    train_epoch = finetune_loop.train_epoch

    def watched(model: Classifier, *more: object) -> None:
        train_epoch(model, *more)  # type: ignore[arg-type]
        kept.append(model.head.weight.detach().clone())
        tested[:] = [model]

    monkeypatch.setattr(finetune_loop, "train_epoch", watched)
    assert finetune(backbone(), divided(class_items), PLAN).epoch == 2
    assert torch.equal(tested[0].head.weight, kept[1])


def test_shallow_layers_learn_slower(class_items: list[LabelledItem]) -> None:
    model = Classifier(backbone(), 4)
    optimizer = finetune_loop.finetune_optimizer(model, replace(PLAN, layer_decay=0.5))
    share = {id(value): group["share"] for group in optimizer.param_groups for value in group["params"]}
    decay = {id(value): group["weight_decay"] for group in optimizer.param_groups for value in group["params"]}
    assert share.keys() == {id(value) for value in model.parameters()}
    groups = model.backbone.layer_groups()
    for depth, layer in enumerate(groups):
        assert {share[id(value)] for value in layer} == {0.5 ** (len(groups) - 1 - depth)}
    assert share[id(model.head.weight)] == 1 and decay[id(model.head.bias)] == 0 < decay[id(model.head.weight)]
    plain = finetune_loop.finetune_optimizer(model, FINETUNE_PLANS["soundingearth"])
    assert type(plain) is torch.optim.Adam and {group["share"] for group in plain.param_groups} == {1.0}


def test_without_augmentation_a_view_is_the_centre_square(class_items: list[LabelledItem]) -> None:
    data, plan = divided(class_items), replace(FINETUNE_PLANS["soundingearth"], batch_size=8)
    views = list(finetune_loop.training_views(data, plan, 32, 0, 0))
    assert [len(pixels) for pixels, _, _ in views] == [8, 8, 4] and sum(count for _, _, count in views) == 20
    again = list(finetune_loop.training_views(data, plan, 32, 0, 1))  # another epoch, another order, the same pictures
    first, second = (np.concatenate([pixels for pixels, _, _ in found]) for found in (views, again))
    assert not np.array_equal(first, second)
    assert sorted(p.tobytes() for p in first) == sorted(p.tobytes() for p in second)
    varied = list(finetune_loop.training_views(data, PLAN, 32, 0, 0))
    assert not np.array_equal(varied[0][0], views[0][0])


def test_broken_images_are_left_out(class_items: list[LabelledItem], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    bad = LabelledItem("bad", "lake", tmp_path / "broken.png")
    data = TrainingData([*class_items[::3], bad], [bad, class_items[1]], [bad, class_items[2]], CLASSES)
    found = finetune(backbone(), data, replace(PLAN, epochs=1))
    assert found.ids == (class_items[2].id,) and list(data.broken) == ["bad"]
    with pytest.raises(DataError, match="fewer than two of 2 training images can be read; bad: "):
        finetune(backbone(), TrainingData([bad, class_items[0]], [], class_items[:2], CLASSES), PLAN)


def test_a_loss_that_is_not_finite(class_items: list[LabelledItem]) -> None:
    model = backbone()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="the loss is nan in epoch 1; lower --learning_rate"):
        finetune(model, divided(class_items), PLAN)


def test_twelve_bands(tmp_path: Path) -> None:
    import rasterio

    items = []
    for n in range(8):
        path = tmp_path / f"{n}.tif"
        with rasterio.open(path, "w", driver="GTiff", width=40, height=40, count=12, dtype="uint8") as file:
            file.write(np.full((12, 40, 40), 20 * n, np.uint8))
        items.append(LabelledItem(str(n), "ab"[n % 2], path))
    plan = FinetunePlan(epochs=1, batch_size=4)
    with pytest.raises(DataError, match="12 bands; choose three"):
        finetune(backbone(), TrainingData(items[:4], [], items[4:], ("a", "b")), plan)
    found = finetune(backbone(), TrainingData(items[:4], [], items[4:], ("a", "b"), bands=(4, 3, 2)), plan)
    assert len(found.ids) == 4


def test_pictures_smaller_than_the_view(tmp_path: Path) -> None:
    items = []
    for n in range(8):
        Image.new("RGB", (20, 12), (30 * n, 0, 0)).save(tmp_path / f"{n}.png")
        items.append(LabelledItem(str(n), "ab"[n % 2], tmp_path / f"{n}.png"))
    data = TrainingData(items[:4], [], items[4:], ("a", "b"))
    for plan in (PLAN, FINETUNE_PLANS["soundingearth"]):
        assert len(finetune(backbone(), data, replace(plan, epochs=1)).predicted) == 4
