"""Models pushed to a hub on loopback come back the same; what is no model of ours, or not whole, is refused."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from model_hub import TOKEN, Hub, serving_models
from safetensors.torch import save

import earthtone
from earthtone.cli import main
from earthtone.data.packed import Table
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError
from earthtone.models.backbone import encoder_of_model, write_encoder
from earthtone.models.storage import model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower

Make = Callable[..., TwoTower]
REPO = "forest/sounds"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_models() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield server


@pytest.fixture
def run(make: Make, tiny_table: Path, tmp_path: Path) -> Path:
    """A run's folder with a card as training writes it, names of this machine's folders in it."""
    table = Table(tiny_table)
    card = {
        "data": {"path": "/home/secret-person/pairs.lance", "rows": 24, "fingerprint": table.fingerprint,
                 "split": {"by": "manifest"}},
        "recipe": {"loss": {"name": "infonce"}, "train": {"batch_size": 8, "epochs": 3, "seed": 0},
                   "model": {"image_weights": "timm:test_resnet@/home/secret-person/w.safetensors"}},
        "validation": {"score": 0.25},
        "versions": {"earthtone": "0.1.0"},
    }  # fmt: skip
    save_model(tmp_path / "run", make(), card)
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"optimizer")
    return tmp_path / "run"


@pytest.mark.slow
def test_what_was_pushed_comes_back_the_same(
    hub: Hub, run: Path, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", REPO, "--model", str(run)]) == 0
    assert set(hub.repos[REPO]) == {"model.safetensors", "card.json", "README.md"} and hub.private == {REPO}
    assert not any(b"secret-person" in data for data in hub.repos[REPO].values())
    assert main(["pull", REPO, "--out", str(tmp_path / "theirs"), "--json"]) == 0
    shown = capsys.readouterr()
    assert TOKEN not in shown.out + shown.err and hub.tokens == {TOKEN}
    told = json.loads(shown.out[shown.out.index("{") :])
    ours, theirs = earthtone.load_model(run), earthtone.load_model(tmp_path / "theirs")
    assert told["fingerprint"] == model_fingerprint(ours) == model_fingerprint(theirs)
    picture = [tiny_pairs.parent / "0.png"]
    assert np.array_equal(ours.embed_images(picture), theirs.embed_images(picture))
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert names == {"model.safetensors", "card.json", "README.md"}


@pytest.mark.slow
def test_the_card_says_what_is_known_and_what_is_not(hub: Hub, run: Path, tiny_table: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_table, run / "table.lance")
    options = {"data": tiny_table, "license": "cc-by-4.0", "device": "cpu"}
    earthtone.push(run, REPO, card=tmp_path / "card.md", **options)
    assert not hub.requests  # nothing goes anywhere
    card = (tmp_path / "card.md").read_text()
    assert card.startswith('---\nlibrary_name: earthtone\nlicense: "cc-by-4.0"\n')
    assert "- pairs of image and sound: 24" in card and "- weights: cc-by-4.0" in card
    assert "- training data: not stated" in card and "loss infonce, batches of 8" in card
    assert "| image to sound | R@1 |" in card and " to " in card.split("R@1 |")[1].split("|")[1]
    for title in ("Training data", "Licence", "Figures", "Intended use", "What it must not be used for"):
        assert f"## {title}" in card
    earthtone.push(run, REPO, card=tmp_path / "plain.md")
    plain = (tmp_path / "plain.md").read_text()
    assert "- weights: not stated" in plain and "| score | 0.25 | not stated |" in plain


def test_text_of_a_card_is_no_markup(make: Make, tmp_path: Path) -> None:
    save_model(tmp_path / "run", make(), {"data": {"path": "a|b](x)\x1b[2J<script>\n# Own", "rows": 3}})
    earthtone.push(tmp_path / "run", REPO, card=tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    assert "<script>" not in card.replace("\\<script\\>", "") and "\x1b" not in card and "\n# Own" not in card


@pytest.mark.slow
def test_a_backbone_comes_back(hub: Hub, make: Make, tmp_path: Path) -> None:
    write_encoder(tmp_path / "ours" / "backbone.safetensors", encoder_of_model(make()), {})
    earthtone.push(tmp_path / "ours", REPO, public=True)
    assert hub.private == set()
    pulled = earthtone.pull(REPO, tmp_path / "theirs")
    assert pulled.fingerprint == earthtone.open_backbone(tmp_path / "ours").fingerprint
    assert set(pulled.files) == {"README.md", "backbone.safetensors"}


@pytest.mark.slow
def test_an_exported_folder_goes_as_it_is(hub: Hub, make: Make, tmp_path: Path) -> None:
    earthtone.export(make(), "hf", tmp_path / "exported")
    earthtone.push(tmp_path / "exported", REPO)
    for path in (tmp_path / "exported").iterdir():
        assert hub.repos[REPO][path.name] == path.read_bytes()
    with pytest.raises(ModelError, match="of another project"):  # timm's and the mixin's business, not ours
        earthtone.pull(REPO, tmp_path / "theirs")
    (tmp_path / "exported" / "notes.py").write_text("print()")
    with pytest.raises(ModelError, match=r"notes\.py: not what earthtone export writes"):
        earthtone.push(tmp_path / "exported", REPO)
    with pytest.raises(ConfigError, match="--license has no effect on a folder that export wrote"):
        earthtone.push(tmp_path / "exported", REPO, license="mit")


def nothing_came(told: str, tmp_path: Path, error: type[EarthtoneError] = ModelError) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=told) as got:
        earthtone.pull(REPO, tmp_path / "theirs")
    assert sorted(tmp_path.iterdir()) == before and "\n" not in str(got.value) and TOKEN not in str(got.value)


def test_code_and_pickles_are_never_fetched(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.repos[REPO] = {"pytorch_model.bin": pickle.dumps({}), "modeling.py": b"import os", "config.json": b"{}"}
    nothing_came(r"holds config.json, modeling.py, pytorch_model.bin; model.safetensors or backbone", tmp_path)
    earthtone.push(run, REPO)
    assert earthtone.pull(REPO, tmp_path / "ours").left == ("config.json", "modeling.py", "pytorch_model.bin")
    assert not any(name in " ".join(hub.requests) for name in ("resolve/main/modeling", "modeling.py", "pytorch_model"))


def test_what_is_no_model_of_ours_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.repos[REPO] = {"model.safetensors": save({"weight": torch.zeros(3)})}
    nothing_came("no model of earthtone's .*of another project", tmp_path)
    hub.repos[REPO] = {"model.safetensors": pickle.dumps({"weight": 1})}
    nothing_came("no model of earthtone's .*cannot be read as safetensors", tmp_path)
    hub.repos[REPO] = {"backbone.safetensors": save({"weight": torch.zeros(3)})}
    nothing_came("no model of earthtone's", tmp_path)


def test_what_is_not_what_the_hub_says_is_refused(hub: Hub, run: Path, tmp_path: Path) -> None:
    earthtone.push(run, REPO)
    data = hub.repos[REPO]["model.safetensors"]
    hub.lies["model.safetensors"] = data[:-8] + bytes(8)
    nothing_came(r"SHA-256 .*, the hub says .*; nothing was kept", tmp_path, DataError)
    hub.lies["model.safetensors"] = data[: len(data) // 2]
    nothing_came("forest/sounds/model.safetensors: ", tmp_path, DataError)


@pytest.mark.slow
def test_a_hub_that_refuses_is_one_line_without_the_token(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing_came("not on the hub, or private|the hub refuses", tmp_path, DataError)
    earthtone.push(run, REPO)
    monkeypatch.delenv("HF_TOKEN")
    nothing_came("the hub refuses|not on the hub, or private", tmp_path, DataError)  # it is private
    assert main(["push", REPO, "--model", str(run)]) == 2
    assert "HF_TOKEN is not set" in capsys.readouterr().err
    for status in (403, 500):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.refuses = status
        assert main(["push", "other/repo", "--model", str(run)]) == 2
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err and "Traceback" not in said.err
        lines = [line for line in said.err.splitlines() if line.startswith("earthtone: ")]
        assert len(lines) == 1 and "other/repo: the hub" in lines[0]


def test_a_token_never_goes_over_plain_http_to_others(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    with pytest.raises(ConfigError, match="a token is never sent over plain http"):
        earthtone.push(run, REPO)
    nothing_came("a token is never sent over plain http", tmp_path, ConfigError)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"repo": "no-owner"}, "OWNER/NAME on the hub"),
        ({"repo": "../../etc"}, "OWNER/NAME on the hub"),
        ({"split": "val"}, "--split has no effect without --data"),
        ({"public": True, "card": "card.md"}, "--public has no effect with --card"),
        ({"model": "latest.pt"}, "a pickle, which is never put on the hub; type: earthtone convert"),
        ({"model": "nothing"}, "no model.safetensors there"),
    ],
)
def test_what_cannot_be_pushed(
    options: dict[str, object], told: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(EarthtoneError, match=told):
        earthtone.push(**{"model": run, "repo": REPO, **options})


def test_a_folder_in_use_is_not_written_into(hub: Hub, run: Path) -> None:
    with pytest.raises(ConfigError, match="exists and is not empty"):
        earthtone.pull(REPO, run)
    assert not hub.requests
