"""The whole task on a miniature ADVANCE: what either side tells, what leaks, what is paired with what."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_sounds import write_advance, write_tone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support

from earthtone.cli import main
from earthtone.data.labelled import open_labelled
from earthtone.encode.engine import release_view, tower_features
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.audiovisual import evaluate_audiovisual, random_division
from earthtone.evaluate.results import TaskResult, read_task_result
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

QUICK = {"precision": "32", "resamples": 50}


@pytest.fixture(scope="module")
def advance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_advance(tmp_path_factory.mktemp("advance") / "advance")


@pytest.fixture(scope="module")
def result(advance: Path, tiny_model: TwoTower) -> TaskResult:
    return evaluate_audiovisual(tiny_model, advance, dataset="advance", **QUICK)  # type: ignore[arg-type]


@pytest.mark.slow
def test_colours_and_tones_are_told(result: TaskResult) -> None:
    assert result.headline == "concat accuracy" and result.task == "audiovisual"
    for view in ("image", "sound", "mean", "concat"):
        for figure in ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1"):
            found = result.figures[f"{view} {figure}"]
            assert found.low <= found.value <= found.high
    assert result.figures["concat accuracy"].value > 0.8 > (result.figures["concat accuracy"].chance or 1)
    assert result.figures["concat accuracy"].value == pytest.approx(np.mean(result.scores))


def test_recordings_stay_on_one_side_but_for_the_random_split(result: TaskResult, advance: Path) -> None:
    assert result.facts["recordings_on_both_sides"] == 0
    assert "random split, concat weighted_f1" in result.figures
    items = open_labelled(advance, dataset="advance").items
    groups = {split: {i.group for i in items if i.split == split} for split in ("train", "val", "test")}
    assert not groups["train"] & groups["test"] and not groups["val"] & groups["test"]
    division = random_division([item.label for item in items])
    assert {items[i].group for i in division.fits[0][0]} & {items[i].group for i in division.test}


@pytest.mark.slow
def test_the_published_protocol_by_hand(advance: Path, tiny_model: TwoTower) -> None:
    found = evaluate_audiovisual(
        tiny_model, advance, dataset="advance", protocol="soundingearth", **QUICK  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.facts["C"]["concat"] == [1.0] * 5
    assert found.facts["trainings"] == 5 and found.facts["recordings_on_both_sides"] > 0
    items = open_labelled(advance, dataset="advance").items
    image = release_view(tiny_model, items, "image").embedding
    sound = tower_features(tiny_model, items, "audio", precision="32").embedding
    truth = np.array([item.label for item in items])
    division = random_division(truth.tolist())
    for view, values in (("image", image), ("mean", (image + sound) / 2), ("concat", np.hstack([image, sound]))):
        scores = []
        for train, _ in division.fits:
            model = LogisticRegression(C=1.0, max_iter=5000).fit(values[train].astype(np.float64), truth[train])
            said = model.predict(values[division.test].astype(np.float64))
            scores.append(
                precision_recall_fscore_support(truth[division.test], said, average="weighted", zero_division=0)
            )
        precision, recall, f1, _ = np.array(scores, dtype=object).T
        assert found.figures[f"{view} weighted_precision"].value == pytest.approx(np.mean(precision.astype(float)))
        assert found.figures[f"{view} weighted_recall"].value == pytest.approx(np.mean(recall.astype(float)))
        assert found.figures[f"{view} weighted_f1"].value == pytest.approx(np.mean(f1.astype(float)))


@pytest.mark.slow
def test_one_missing_sound_shifts_no_pair(tmp_path: Path, tiny_model: TwoTower) -> None:
    folder = write_advance(tmp_path / "advance")
    (folder / "sound" / "scene 0" / "00000_0.wav").unlink()
    items = open_labelled(folder, dataset="advance").items
    assert len(items) == 47
    assert all(item.image and item.audio and item.image.stem == item.audio.stem for item in items)
    found = evaluate_audiovisual(tiny_model, folder, dataset="advance", **QUICK)  # type: ignore[arg-type]
    assert any("images without a sound" in note for note in found.facts["notes"])
    assert found.figures["sound accuracy"].value > 0.8


@pytest.mark.slow
def test_broken_files_are_left_out_of_both_sides(tmp_path: Path, tiny_model: TwoTower) -> None:
    folder = write_advance(tmp_path / "advance")
    (folder / "vision" / "scene 1" / "10000_0.jpg").write_bytes(b"no picture")
    (folder / "sound" / "scene 1" / "10001_0.wav").write_bytes(b"no sound")
    found = evaluate_audiovisual(tiny_model, folder, dataset="advance", **QUICK)  # type: ignore[arg-type]
    assert list(found.facts["broken_images"]) == ["scene 1/10000_0"]
    assert list(found.facts["broken_sounds"]) == ["scene 1/10001_0"]
    assert sum(found.facts["pairs"].values()) == 46


@pytest.mark.slow
def test_fusion_learns_and_leaves_the_model_alone(advance: Path, tiny_model: TwoTower) -> None:
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    plan = {"fusion": True, "fusion_epochs": 6, "fusion_batch": 8, "fusion_rate": 1e-2}
    found = evaluate_audiovisual(tiny_model, advance, dataset="advance", **plan, **QUICK)  # type: ignore[arg-type]
    assert found.figures["fusion accuracy"].value > 0.6
    assert all(value.equal(before[name]) for name, value in tiny_model.state_dict().items())
    again = evaluate_audiovisual(tiny_model, advance, dataset="advance", **plan, **QUICK)  # type: ignore[arg-type]
    assert again.figures == found.figures


@pytest.mark.slow
def test_a_model_that_is_told_metres_a_pixel(advance: Path, tiny_signal: SignalConfig) -> None:
    config = ModelConfig("test_resnet", "test_resnet", dimensions=16, scale_input=True)
    model = TwoTower(config, tiny_signal).eval()
    plan = {"fusion": True, "fusion_epochs": 1, "fusion_batch": 8}
    found = evaluate_audiovisual(model, advance, dataset="advance", **plan, **QUICK)  # type: ignore[arg-type]
    assert "fusion accuracy" in found.figures
    item = open_labelled(advance, dataset="advance").items[0]
    first = [release_view(model, [replace(item, image_gsd_m=gsd_m)], "image").embedding for gsd_m in (0.1, 9.0)]
    assert not np.allclose(first[0], first[1], atol=1e-4)


@pytest.mark.slow
def test_a_broken_file_moves_no_other_pair_to_another_part(tmp_path: Path, tiny_model: TwoTower) -> None:
    folder = write_advance(tmp_path / "advance")
    ask = {"dataset": "advance", "protocol": "soundingearth", **QUICK}
    whole = evaluate_audiovisual(tiny_model, folder, **ask)  # type: ignore[arg-type]
    (folder / "vision" / f"{whole.ids[0]}.jpg").write_bytes(b"no picture")
    lacking = evaluate_audiovisual(tiny_model, folder, **ask)  # type: ignore[arg-type]
    assert lacking.ids == whole.ids[1:] and list(lacking.facts["broken_images"]) == [whole.ids[0]]


@pytest.mark.slow
def test_very_short_recordings_are_heard_and_told(
    tmp_path: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_advance(tmp_path / "advance")
    write_tone(folder / "sound" / "scene 1" / "10001_0.wav", 1, 1, seconds=0.05)
    found = evaluate_audiovisual(tiny_model, folder, dataset="advance", **QUICK)  # type: ignore[arg-type]
    assert found.facts["short_sounds"] == ["scene 1/10001_0"] and sum(found.facts["pairs"].values()) == 48
    assert "very short and were filled up with silence: 'scene 1/10001_0'" in caplog.text


@pytest.mark.slow
def test_classes_that_one_side_lacks_are_told(
    tmp_path: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_advance(tmp_path / "set")
    lines = ["id,image,audio,label,split"]
    for kind in range(3):
        for number in range(8):
            name = f"scene {kind}/{kind}{number:04d}_0"
            split = {0: "train", 1: "test"}.get(kind) or ("train", "val", "test", "train")[number % 4]
            lines.append(f"{name},vision/{name}.jpg,sound/{name}.wav,scene {kind},{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    found = evaluate_audiovisual(tiny_model, folder / "manifest.csv", **QUICK)  # type: ignore[arg-type]
    assert "8 of 10 test items have a label that train lacks and count as wrong: 'scene 1'" in caplog.text
    assert found.facts["accuracy_by_class"]["scene 1"] == 0 and found.figures["concat accuracy"].value <= 0.2
    assert any("classes in train that test lacks" in note and "scene 0" in note for note in found.facts["notes"])
    assert any("no random split stands beside" in note for note in found.facts["notes"])
    assert not any(name.startswith("random split") for name in found.figures)


def test_a_model_without_a_sound_tower_is_one_line(advance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("audiovisual", "audio"):
        assert main(["evaluate", task, "--model", "timm:resnet18", "--data", str(advance)]) == 2
        told = capsys.readouterr().err
        assert "has no sound tower" in told and len(told.splitlines()) == 1


def test_images_alone_are_no_pairs(tmp_path: Path, tiny_model: TwoTower) -> None:
    for kind in range(2):
        for number in range(3):
            write_tone(tmp_path / f"tone {kind}" / f"{number}.wav", kind, number)
    with pytest.raises(DataError, match="no item has both an image and a sound"):
        evaluate_audiovisual(tiny_model, tmp_path, **QUICK)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"protocol": "groupd"}, "did you mean grouped"),
        ({"protocol": "soundingearth", "features": "encoder"}, "leave --features and --fusion out"),
        ({"features": "embeddings"}, "did you mean embedding"),
    ],
)
def test_options_without_effect_are_refused(
    advance: Path, tiny_model: TwoTower, options: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        evaluate_audiovisual(tiny_model, advance, **options)  # type: ignore[arg-type]


def test_a_model_of_spectrograms_wants_spectrograms(advance: Path, tiny_model: TwoTower) -> None:
    audio = replace(tiny_model.signal.audio, input="spectrogram")
    model = TwoTower(tiny_model.config, replace(tiny_model.signal, audio=audio)).eval()
    with pytest.raises(DataError, match="this model reads ready spectrograms alone"):
        evaluate_audiovisual(model, advance, dataset="advance")


@pytest.mark.slow
def test_the_verb(advance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "audiovisual", "--model", "random:test_resnet", "--data", str(advance), "--dataset", "advance"]
    out = tmp_path / "result.json"
    assert main([*words, "--resamples=20", "--out", str(out), "--cache", str(tmp_path / "cache")]) == 0
    shown = capsys.readouterr().out
    assert "sound adds" in shown and "random split, concat weighted_f1" in shown
    assert read_task_result(out).ids
    assert main([*words, "--json", "--resamples=20", "--cache", str(tmp_path / "cache")]) == 0
    assert json.loads(capsys.readouterr().out)["headline"] == "concat accuracy"
    assert main([*words, "--fusion_epochs=2"]) == 2
    assert "no effect without --fusion" in capsys.readouterr().err
