"""The sound tower's probe: folds as they are published, against scikit-learn by hand, short and broken sounds told."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_sounds import write_esc50, write_tone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from earthtone.cli import main
from earthtone.data.labelled import open_labelled
from earthtone.encode.engine import tower_features
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.audio_probe import evaluate_audio
from earthtone.evaluate.classifiers import STRENGTHS
from earthtone.evaluate.results import TaskResult, read_task_result
from earthtone.models.two_tower import TwoTower

QUICK = {"precision": "32", "resamples": 50}


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_esc50(tmp_path_factory.mktemp("esc") / "esc50")


@pytest.fixture(scope="module")
def result(esc50: Path, tiny_model: TwoTower) -> TaskResult:
    return evaluate_audio(tiny_model, esc50, dataset="esc50", **QUICK)  # type: ignore[arg-type]


@pytest.mark.slow
def test_tones_are_told_fold_by_fold(result: TaskResult) -> None:
    assert result.figures["accuracy"].value > 0.7
    assert list(result.facts["accuracy_by_fold"]) == ["1", "2", "3", "4", "5"]
    assert result.figures["accuracy"].value == pytest.approx(np.mean(list(result.facts["accuracy_by_fold"].values())))
    assert len(result.ids) == 45 and np.sum(result.facts["confusion"]) == 45
    assert result.facts["groups"] == 30  # two of three takes are of one recording


@pytest.mark.slow
def test_the_folds_by_hand(result: TaskResult, esc50: Path, tiny_model: TwoTower) -> None:
    items = open_labelled(esc50, dataset="esc50").items
    values = tower_features(tiny_model, items, "audio", precision="32").encoder.astype(np.float64)
    truth, fold = np.array([item.label for item in items]), np.array([item.fold for item in items])
    expected = {}
    for number in range(1, 6):
        following = number % 5 + 1
        outer, check, test = fold != number, fold == following, fold == number
        inner = outer & ~check

        def right(c: float, fit: np.ndarray, on: np.ndarray) -> float:
            scaler = StandardScaler().fit(values[fit])
            model = LogisticRegression(C=c, max_iter=1000).fit(scaler.transform(values[fit]), truth[fit])
            return float((model.predict(scaler.transform(values[on])) == truth[on]).mean())

        best = max(STRENGTHS, key=lambda c: (right(c, inner, check), -c))
        expected[str(number)] = right(best, outer, test)
    assert result.facts["accuracy_by_fold"] == pytest.approx(expected)


def test_a_sound_gives_the_same_features_alone(esc50: Path, tiny_model: TwoTower) -> None:
    items = open_labelled(esc50, dataset="esc50").items
    together = tower_features(tiny_model, items, "audio", precision="32").values
    alone = tower_features(tiny_model, items[7:8], "audio", precision="32").values
    assert np.array_equal(together[7:8], alone)


def test_features_are_kept_until_a_file_changes(tmp_path: Path, tiny_model: TwoTower) -> None:
    folder, cache = write_esc50(tmp_path / "esc50", classes=2, a_fold=1), tmp_path / "cache"
    items = open_labelled(folder, dataset="esc50").items
    first = tower_features(tiny_model, items, "audio", cache=cache)
    again = tower_features(tiny_model, items, "audio", cache=cache)
    assert not first.cached and again.cached and np.array_equal(first.values, again.values)
    assert items[0].audio is not None
    write_tone(items[0].audio, 4, 999, seconds=1.7)
    changed = tower_features(tiny_model, items, "audio", cache=cache)
    assert not changed.cached and not np.array_equal(first.values[0], changed.values[0])


def test_what_lacked_a_package_is_read_again(
    tiny_model: TwoTower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = open_labelled(write_esc50(tmp_path / "esc50", classes=2, a_fold=1), dataset="esc50").items[:2]
    aac = tmp_path / "sound.aac"
    aac.write_bytes(bytes.fromhex("fff15080") * 64)  # begins as AAC in ADTS does
    items = (replace(items[0], audio=aac), items[1])
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "av", None)
        for _ in range(2):
            first = tower_features(tiny_model, items, "audio", cache=tmp_path / "cache")
            assert not first.cached and "needs av, which is not installed" in first.broken[items[0].id]
    assert "needs av" not in str(tower_features(tiny_model, items, "audio", cache=tmp_path / "cache").broken)
    assert tower_features(tiny_model, items, "audio", cache=tmp_path / "cache").cached


@pytest.mark.slow
def test_broken_and_short_sounds_are_told(
    tmp_path: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_esc50(tmp_path / "esc50")
    items = open_labelled(folder, dataset="esc50").items
    assert items[0].audio is not None and items[1].audio is not None
    items[0].audio.write_bytes(b"no sound")
    write_tone(items[1].audio, 0, 1, seconds=0.1)
    found = evaluate_audio(tiny_model, folder, dataset="esc50", **QUICK)  # type: ignore[arg-type]
    assert list(found.facts["broken_sounds"]) == [items[0].id] and found.facts["short_sounds"] == [items[1].id]
    assert len(found.ids) == 44
    assert "cannot be read" in caplog.text and "very short" in caplog.text


def test_folders_of_classes_and_their_split(tmp_path: Path, tiny_model: TwoTower) -> None:
    for kind in range(3):
        for number in range(10):
            write_tone(tmp_path / f"tone {kind}" / f"{number}.wav", kind, number)
    found = evaluate_audio(tiny_model, tmp_path, **QUICK)  # type: ignore[arg-type]
    assert len(found.ids) == 6 and found.facts["accuracy_by_fold"] == {}
    assert "measured on test" in found.protocol


def test_folds_of_unequal_size_count_alike(tmp_path: Path, tiny_model: TwoTower) -> None:
    lines = ["slice_file_name,fsID,fold,classID,class"]
    for fold, count in ((1, 2), (2, 5), (3, 3)):
        for kind in range(2):
            for number in range(count):
                name = f"{100 * fold + number}-{kind}-0-0.wav"
                write_tone(tmp_path / "audio" / f"fold{fold}" / name, kind, 10 * fold + number)
                lines.append(f"{name},{100 * fold + number},{fold},{kind},{'dog_bark' if kind else 'siren'}")
    tones = tmp_path / "audio" / "fold2" / "200-1-0-0.wav"  # a siren that is called a bark: one error at least
    write_tone(tones, 0, 77)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines) + "\n")
    found = evaluate_audio(tiny_model, tmp_path, dataset="urbansound8k", **QUICK)  # type: ignore[arg-type]
    right = np.array(found.truth) == np.array(found.predicted)
    folds = [right[[f"{fold}" == name[len("fold")] for name in _folders(tmp_path, found)]].mean() for fold in (1, 2, 3)]
    assert found.figures["accuracy"].value == pytest.approx(np.mean(folds)) == pytest.approx(np.mean(found.scores))
    assert found.facts["deviation_over_folds"] == pytest.approx(np.std(folds, ddof=1)) and not right.all()
    assert found.figures["accuracy"].value != pytest.approx(right.mean())


def _folders(root: Path, result: TaskResult) -> list[str]:
    """The folder of each test item."""
    parent = {item.id: item.audio.parent.name for item in open_labelled(root).items if item.audio}
    return [parent[name] for name in result.ids]


def test_a_class_that_one_fold_lacks_is_told(
    tmp_path: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["file,label,fold"]
    for fold in range(1, 4):
        for kind in range(3 if fold == 3 else 2):  # the third class is in the last fold alone
            for number in range(3):
                name = f"{fold}-{kind}-{number}.wav"
                write_tone(tmp_path / name, kind, 10 * fold + number)
                lines.append(f"{name},tone {kind},{fold}")
    (tmp_path / "sounds.csv").write_text("\n".join(lines) + "\n")
    found = evaluate_audio(tiny_model, tmp_path / "sounds.csv", **QUICK)  # type: ignore[arg-type]
    assert found.facts["labels_that_train_lacks"] == ["tone 2"] and found.facts["accuracy_by_class"]["tone 2"] == 0
    assert "3 of 9 test items have a label that train lacks" in caplog.text


def test_a_model_of_spectrograms_wants_spectrograms(esc50: Path, tiny_model: TwoTower) -> None:
    audio = replace(tiny_model.signal.audio, input="spectrogram")
    model = TwoTower(tiny_model.config, replace(tiny_model.signal, audio=audio)).eval()
    with pytest.raises(DataError, match=r"45 recordings, such as .*, but this model reads ready spectrograms alone"):
        evaluate_audio(model, esc50, dataset="esc50")


def test_what_cannot_be_is_one_line(tmp_path: Path, esc50: Path, tiny_model: TwoTower) -> None:
    with pytest.raises(ConfigError, match="did you mean encoder"):
        evaluate_audio(tiny_model, esc50, features="encoders")
    (tmp_path / "audio").mkdir()
    lines = ["file,label,fold", *(f"audio/{n}.wav,tone {n % 2},1" for n in range(4))]
    for number in range(4):
        write_tone(tmp_path / "audio" / f"{number}.wav", number % 2, number)
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="fold 1; two or more expected"):
        evaluate_audio(tiny_model, tmp_path / "metadata.csv")


@pytest.mark.slow
def test_the_verb(esc50: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "audio", "--model", "random:test_resnet", "--data", str(esc50), "--dataset", "esc50"]
    assert main([*words, "--resamples=20", "--cache", str(tmp_path), "--out", str(tmp_path / "result.json")]) == 0
    shown = capsys.readouterr().out
    assert "by fold" in shown and "hardest classes" in shown
    assert len(read_task_result(tmp_path / "result.json").ids) == 45
    assert main([*words, "--resamples=20", "--cache", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "audio"
