"""The whole verb on a miniature of all its data: real processes, stopped and continued."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from labelled_sounds import write_advance

from earthtone.cli import main
from earthtone.train.checkpoint import read_history

pytestmark = pytest.mark.slow

SHORT = ["--finetune_epochs=1", "--segment_epochs=1", "--pixels=32", "--device=cpu"]
NO_HUB = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def words(world: Path, out: Path, recipe: Path, *more: str) -> list[str]:
    return ["reproduce", "paper", f"--data={world}", f"--out={out}", f"--recipe={recipe}", *SHORT, *more]


def table(out: Path) -> list[dict[str, str]]:
    with (out / "reproduction.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def row(out: Path, **wanted: str) -> dict[str, str]:
    (found,) = (line for line in table(out) if all(line[key] == value for key, value in wanted.items()))
    return found


@pytest.fixture(scope="module")
def whole(world: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reproduction without a stop."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert main(words(world, out, recipe_file)) == 0
    return out


def test_the_table_has_published_ours_and_honest(whole: Path) -> None:
    found = row(whole, step="retrieval", figure="image_to_sound median_rank")
    assert found["published"] == "not known"  # 565 is of ResNet-18, this is another network
    assert found["ours"].endswith("]") and found["honest"].endswith("]")
    assert "rank < k" in found["protocol"] and "takes identical items for right" in found["honest_protocol"]
    scenes = row(whole, step="ucmerced", model="ours")
    assert scenes["ours"].startswith("0.") or scenes["ours"].startswith("1.")
    assert "even ones train" in scenes["protocol"] and scenes["honest_protocol"].startswith("modern")
    assert "UC Merced Land Use was published with 21 classes and 2,100 images, found 3 and 36" in scenes["protocol"]
    assert "12 test pairs (the release's 50,545 pairs have about a fifth)" in found["protocol"]
    few = row(whole, step="aid_few_shot", model="random test_resnet", figure="centroid_accuracy")
    assert "nearest centroid" in few["protocol"] and "mean of 5 draws" in few["honest_protocol"]
    land = row(whole, step="deepglobe", model="ours", figure="mIoU")
    assert "patches of 32 px at stride 347" in land["protocol"] and "valid_ids.txt is not public" in land["protocol"]
    assert "803 masks, found 6 and 8" in land["protocol"]
    heard = row(whole, step="advance", model="ours", figure="concat weighted_f1")
    assert heard["published"].startswith("not known (0.860") and "TalissaMoura" in heard["source"]
    assert "copies of a recording are on both sides" in heard["protocol"]
    assert "all pairs of one recording are in one split" in heard["honest_protocol"]
    assert all(line["published"] in ("", "not known") or line["source"] for line in table(whole))


def test_the_head_says_that_the_schedule_is_another(whole: Path) -> None:
    for suffix in ("md", "html"):
        text = (whole / f"reproduction.{suffix}").read_text().replace("\\", "")
        assert "This is NOT the paper" in text and "train.epochs: 300 -> 8" in text.replace("&gt;", ">")
        assert "--finetune_epochs 1" in text and "DeepGlobe land cover (mIoU)" in text


def test_the_page_loads_nothing(whole: Path) -> None:
    loaded = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loaded.extend(name for name, _ in attrs if name == "src" or (tag == "link" and name == "href"))
            assert tag != "script"

    text = (whole / "reproduction.html").read_text()
    Page().feed(text)
    assert not loaded and len(text) < 200_000


def test_what_is_missing_is_named_with_what_to_type(whole: Path, world: Path) -> None:
    lacking = row(whole, step="resisc45", model="ours")
    assert lacking["ours"] == lacking["honest"] == "none"
    assert f"type: earthtone fetch resisc45 --out {world / 'resisc45'}" in lacking["protocol"]
    assert "--tile2vec FILE" in row(whole, step="aid", model="Tile2Vec")["protocol"]
    assert "--imagenet timm:resnet18@FILE" in row(whole, step="aid", model="ImageNet timm:resnet18")["protocol"]
    assert (whole / "reproduction.md").read_text().count(
        "earthtone fetch resisc45"
    ) == 2  # a note, and what was left out


def test_stopped_in_the_middle_and_continued_it_is_the_same(
    whole: Path,
    world: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, run = tmp_path / "out", tmp_path / "out" / "runs" / "paper"
    for stopped in (run, out / "steps" / "ucmerced-model-published.json"):  # in training, and among the steps
        process = subprocess.Popen(
            [sys.executable, "-m", "earthtone", *words(world, out, recipe_file)],
            env={**os.environ, **NO_HUB}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while process.poll() is None and not (read_history(run) if stopped == run else stopped.exists()):
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        told, error = process.communicate(timeout=120)
        assert process.returncode == (0 if stopped == run else -signal.SIGTERM), error
        if stopped == run:
            assert "stopped in pretrain-model-training, step" in told and "go on with: earthtone reproduce" in told
            assert not (out / "steps" / "pretrain-model-training.json").exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(words(world, out, recipe_file)) == 0
    assert "pretrain-model-training" not in capsys.readouterr().err
    assert (out / "reproduction.csv").read_text() == (whole / "reproduction.csv").read_text()


def test_what_is_done_is_not_done_again(
    whole: Path, world: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "steps").iterdir()}
    assert main([*words(world, whole, recipe_file, "--steps=retrieval,ucmerced", "--json")]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (whole / "steps").iterdir()}
    told = json.loads(capsys.readouterr().out)
    assert "retrieval-model-honest" in told["done"] and "resisc45-model-honest" in told["left_out"]


def test_another_recipe_is_refused_with_the_difference(
    whole: Path, world: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(recipe_file.read_text().replace("dimensions: 8", "dimensions: 16"))
    before = (whole / "reproduction.md").read_bytes()
    assert main(words(world, whole, other)) == 2
    error = capsys.readouterr().err
    assert "recipe.model.dimensions: 8 -> 16" in error and "choose another --out" in error and error.count("\n") == 1
    assert main([*words(world, whole, recipe_file), "--finetune_epochs=2"]) == 2
    assert "epochs: 1 -> 2" in capsys.readouterr().err
    assert (whole / "reproduction.md").read_bytes() == before


def test_other_data_is_refused_with_the_difference(
    whole: Path, world: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    next((copy / "aid").rglob("*.jpg")).unlink()
    assert main(words(copy, whole, recipe_file)) == 2
    assert "aid-model-published was made from something else (data.files: 24 -> 23" in capsys.readouterr().err


def test_a_given_model_is_measured_and_losses_are_compared(
    whole: Path, world: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["reproduce", "paper", f"--data={world}", "--device=cpu", f"--model={whole / 'runs' / 'paper'}"]
    assert main([*given, f"--out={tmp_path / 'given'}", "--steps=retrieval"]) == 0
    ours, theirs = (row(at, step="retrieval", figure="sound_to_image R@10") for at in (whole, tmp_path / "given"))
    assert theirs["model"] == "given" and theirs["honest"] == ours["honest"]
    assert "not trained here but given" in (tmp_path / "given" / "reproduction.md").read_text()
    out = tmp_path / "losses"
    asked = ["--steps=losses,places", "--losses=SymmetricCL,BarlowTwins", "--published_only"]
    assert main(words(world, out, recipe_file, *asked, "--places")) == 0
    assert {line["model"] for line in table(out) if line["step"] == "losses"} == {"SymmetricCL", "BarlowTwins"}
    found = row(out, step="losses", model="SymmetricCL", figure="sound_to_image median_rank")
    assert found["ours"].endswith("]") and found["honest_protocol"] == "not asked for"
    assert found["published"] == "not known"
    apart = row(out, step="places", figure="image_to_sound median_rank")
    assert "buffered-blocks: blocks of 10 km" in apart["protocol"] and "key-digit" in found["protocol"]
    assert main(words(world, out, recipe_file, "--steps=resisc45", "--published_only")) == 0
    assert apart in table(out) and found in table(out)  # results of before stay in the table


def test_broken_data_of_one_step_does_not_keep_the_others(
    world: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    write_advance(copy / "advance", recordings=1)  # recordings, which a model of spectrograms cannot hear
    (copy / "ucmerced" / "Images").mkdir(parents=True)  # nothing in it
    shutil.copytree(world / "aid", copy / "aid")
    out = tmp_path / "out"
    assert main(words(copy, out, recipe_file, "--published_only", "--steps=ucmerced,aid_few_shot")) == 2
    assert "failed, ucmerced-random-published" in capsys.readouterr().out
    assert row(out, step="aid_few_shot", model="random test_resnet", figure="centroid_accuracy")["ours"].endswith("]")
    assert (
        "holds recordings; get the .npy arrays"
        in row(out, step="advance", model="ours", figure="concat weighted_f1")["protocol"]
    )
    assert "needs pretrain-model-training" in row(out, step="aid_few_shot", model="ours")["protocol"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--steps=aid,retreival"], "did you mean retrieval"),
        (["--backbone=resnet34"], "resnet18 or resnet50 expected"),
        (["--model=a", "--epochs=3"], "have no effect"),
        (["--steps=losses"], "needs --losses"),
        (["--steps=places"], "needs --places"),
        (["--model=a", "--places"], "leave one of them out"),
        (["--losses=nonsense"], "unknown loss"),
        (["--epochs=0"], "1 or more"),
        (["--tile2vec=nothing.ckpt"], "no such file"),
    ],
)
def test_wrong_options(given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "paper", f"--data={tmp_path}", f"--out={tmp_path / 'out'}", *given]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_there_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "paper", f"--data={tmp_path / 'none'}", f"--out={tmp_path / 'out'}"]) == 2
    assert "earthtone fetch soundingearth --out" in capsys.readouterr().err
    assert main(["reproduce", "thesis"]) == 2
    assert "earthtone reproduce paper --data DIR" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
