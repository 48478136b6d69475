"""What is in train and test is told by every task, by bytes, pixels and recording; and how little was measured on."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.data.labelled.items import MaskedItem, MaskedSet, Palette
from earthtone.data.pack import pack
from earthtone.evaluate.audio_probe import evaluate_audio
from earthtone.evaluate.audiovisual import evaluate_audiovisual
from earthtone.evaluate.finetune import evaluate_finetune
from earthtone.evaluate.overlap import overlap_of, same_pixels
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.retrieval import evaluate_retrieval
from earthtone.evaluate.segment import segment
from earthtone.evaluate.segment_network import SEGMENT_PLANS
from earthtone.models.backbone import open_backbone
from earthtone.models.two_tower import TwoTower
from earthtone.options import SegmentOptions
from earthtone.signal.config import SignalConfig
from earthtone.studies.pretrain import warn_of_overlap

MODEL = "random:test_resnet"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pairs of two classes, half of them test: of these two share an image with train and one a recording."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(1)
    rows = []
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / f"{number}.png")
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(8000), 8000)
        split = "train" if number < 16 else "val" if number < 20 else "test"
        rows.append([f"p{number}", f"{number}.png", f"{number}.wav", "ab"[number % 2], split])
    Image.open(folder / "0.png").save(folder / "30.bmp")  # the same pixels in other bytes
    rows[30][1] = "30.bmp"
    shutil.copy(folder / "1.png", folder / "31.png")
    shutil.copy(folder / "2.wav", folder / "32.wav")
    for number in (3, 33):
        soundfile.write(folder / f"{number}.wav", np.zeros(8000), 8000)  # silence is nothing that is shared
    with (folder / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "image", "audio", "label", "split"], *rows])
    return folder / "m.csv"


def images_are_told(facts: dict, text: str) -> None:  # type: ignore[type-arg]
    told = facts["shared_with_train"]
    assert (told["items"], told["of"], told["by"]["image"]) == (2, 20, 2)
    assert sorted(told["examples"]) == ["p30 = p0", "p31 = p1"]
    assert facts["contents"]["test"]["images"] == 20
    assert "caution: 2 of 20 test images share an image with training images; the figures flatter the model" in text


def test_the_probe_tells(pairs: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    found = evaluate_probe(MODEL, pairs, pixels=24)
    images_are_told(dict(found.facts), found.to_text())
    assert "share an image with training images" in caplog.text
    val = evaluate_probe(MODEL, pairs, pixels=24, split="val")
    assert val.facts["shared_with_train"]["items"] == 0 and "val holds 4 rows of 4 images" in val.to_text()


def test_fine_tuning_tells(pairs: Path) -> None:
    found = evaluate_finetune(MODEL, pairs, pixels=24, epochs=1, batch_size=8, resamples=20)
    images_are_told(dict(found.facts), found.to_text())


def test_sounds_are_told_and_silence_is_none(pairs: Path, tiny_model: TwoTower) -> None:
    found = evaluate_audio(tiny_model, pairs, resamples=20)
    told = found.facts["shared_with_train"]
    assert (told["items"], told["by"], told["examples"]) == (1, {"recording": 1}, ["p32 = p2"])
    assert "caution: 1 of 20 test sounds share a recording with training sounds" in found.to_text()


def test_folds_that_share_a_recording_are_told(pairs: Path, tiny_model: TwoTower, tmp_path: Path) -> None:
    shutil.copytree(pairs.parent, tmp_path / "folds")
    with pairs.open() as file:
        rows = list(csv.reader(file))
    rows = [
        ["id", "audio", "label", "fold"],
        *([row[0], row[2], row[3], n % 10 // 2 + 1] for n, row in enumerate(rows[1:])),
    ]
    with (tmp_path / "folds" / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert evaluate_audio(tiny_model, tmp_path / "folds" / "m.csv", resamples=20).facts["cautions"] == []
    rows[33][3] = 5  # the copy of p2, which is in fold 2
    with (tmp_path / "folds" / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    told = evaluate_audio(tiny_model, tmp_path / "folds" / "m.csv", resamples=20).facts["shared_with_train"]
    assert (told["items"], told["of"], sorted(told["examples"])) == (2, 40, ["p2 = p32", "p32 = p2"])


@pytest.mark.slow
def test_pairs_tell_of_both(pairs: Path, tiny_model: TwoTower) -> None:
    found = evaluate_audiovisual(tiny_model, pairs, resamples=20)
    told = found.facts["shared_with_train"]
    assert (told["items"], told["of"], told["by"]) == (3, 20, {"image": 2, "recording": 1})


def test_tables_tell_before_training_and_in_every_figure(
    pairs: Path, tiny_model: TwoTower, tiny_signal: SignalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line for line in pairs.read_text().splitlines(keepends=True) if not line.startswith(("p3,", "p33,"))]
    heard = pairs.with_name("heard.csv")  # without the silent ones
    heard.write_text("".join(lines))
    pack(heard, tmp_path / "t.lance", signal=tiny_signal)
    tables = []
    found = evaluate_retrieval(
        tiny_model, tmp_path / "t.lance", resamples=20, then=lambda table, *_: tables.append(table)
    )
    told = found.to_dict()["shared_with_train"]
    assert (told["items"], told["of"], told["by"]) == (3, 19, {"image": 2, "recording": 1})
    assert "caution: 3 of 19 test pairs share an image or a recording with training pairs" in found.to_text()
    probed = evaluate_probe(tiny_model, tmp_path / "t.lance", label="label")
    assert probed.facts["shared_with_train"]["by"] == {"image": 2}
    caplog.clear()
    warn_of_overlap(tables[0])
    assert "3 of 19 test pairs share" in caplog.text and "val holds 4 rows of 4 images, 4 recordings" in caplog.text


def test_segmentation_tells(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = []
    for number in range(15):
        image, mask = tmp_path / f"{number}.png", tmp_path / f"mask-{number}.png"
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(image)
        Image.fromarray(rng.integers(0, 2, (32, 32)).astype(np.uint8)).save(mask)
        items.append(MaskedItem(f"t{number}", image, mask, ("train", "test", "val")[number % 3]))
    copy = tmp_path / "copy.bmp"
    Image.open(items[0].image).save(copy)
    items[1] = replace(items[1], image=copy)
    data = MaskedSet("noise", tuple(items), Palette(("a", "b"), values={0: 0, 1: 1}))
    options = SegmentOptions(MODEL, data, head="linear", precision="32", resamples=20)
    plan = replace(SEGMENT_PLANS["modern"], epochs=1, batch_size=4, patch_pixels=32)
    found = segment(lambda seed: open_backbone(MODEL, pixels=32, seed=seed), data, plan, options)
    assert found.facts["shared_with_train"]["examples"] == ["t1 = t0"]
    assert "1 of 5 test images share an image with training images" in found.to_text()
    assert found.facts["contents"]["test"]["images"] == 5


def test_equal_features_alone_are_no_equal_pixels(pairs: Path) -> None:
    files = [pairs.parent / name for name in ("0.png", "30.bmp", "5.png")]
    part = np.array([0, 1, 1])
    for alike in (None, np.zeros((3, 4), np.float32)):
        assert same_pixels(files, part, alike=alike).tolist().count(int(same_pixels(files, part)[0])) == 2
    apart = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert len(set(same_pixels(files, part, alike=apart).tolist())) == 3  # not decoded: features say that they differ


def test_shared_with_another_part_alone_counts() -> None:
    keys = {"image": np.array([1, 1, 2, 2, -1, -1, 3]), "recording": np.array([5, 6, 7, 7, 8, 8, 8])}
    part = np.array([0, 1, 1, 1, 0, 1, -1])
    found = overlap_of("abcdefg", keys, part, part == 1)
    assert (found.items, found.of, found.by) == (2, 4, {"image": 1, "recording": 1})
    assert list(found.examples) == ["b = a", "f = e"]
    assert found.to_text("test pairs").startswith(
        "2 of 4 test pairs share an image or a recording with training pairs;"
    )
