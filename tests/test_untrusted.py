"""Files from strangers: nothing in them is executed, fetched or followed."""

import http.server
import json
import threading
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from earthtone.cli import main
from earthtone.errors import ModelError, SignalError
from earthtone.models.storage import load_model, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.audio import read_audio
from earthtone.signal.config import SignalConfig
from earthtone.signal.image import read_picture

RECIPE = """
loss:
  name: infonce
  options:
    temperature:
      class_path: torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler
      init_args: {entrypoint: touch, args: [TARGET], env: {}, stdout: null, stderr: null, local_rank_id: 0}
"""


def test_a_recipe_runs_nothing(tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.yaml").write_text(RECIPE.replace("TARGET", str(tmp_path / "ran")))
    words = [str(tiny_pairs), "--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "evil.yaml")]
    for verb in ("pack", "pretrain"):
        assert main([verb, *words]) == 2
        assert "loss.options" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def asked() -> "tuple[str, list[str]]":  # type: ignore[misc]
    """A server on loopback and the list of what it was asked for."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_a_model_file_fetches_nothing(
    tiny_model: TwoTower, tmp_path: Path, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://{asked[0]}")
    path = save_model(tmp_path, tiny_model, {})
    card = json.loads((tmp_path / "card.json").read_text())
    for name in ("hf-hub:attacker/beacon", "local-dir:/", "resnet81", 5, None):
        card["model"]["image_encoder"] = name
        save_file(load_file(path), tmp_path / "evil.safetensors", metadata={"earthtone": json.dumps(card)})
        with pytest.raises(ModelError, match="no timm model"):
            load_model(tmp_path / "evil.safetensors")
    assert asked[1] == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "dimensions", 10**12), ("model", "dimensions", -1), ("signal", "audio", {"mels": 0}),
        ("signal", "audio", []), ("signal", "image", {"bands": "abc"}), ("model", "projection", "x"),
    ],
)  # fmt: skip
def test_a_card_of_nonsense_is_one_line(
    tiny_model: TwoTower, tmp_path: Path, section: str, key: str, value: object
) -> None:
    path = save_model(tmp_path, tiny_model, {})
    card = json.loads((tmp_path / "card.json").read_text())
    card[section][key] = card[section][key] | value if isinstance(value, dict) else value
    save_file(load_file(path), tmp_path / "odd.safetensors", metadata={"earthtone": json.dumps(card)})
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "odd.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_sound_files_are_no_playlists(
    tmp_path: Path, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", [0.1] * 16_000, 16_000)
    Path("list.m4a").write_text("ffconcat version 1.0\nfile a.wav\n")
    folder = Path(f"http:/{asked[0]}")
    folder.mkdir(parents=True)
    (folder / "x.m4a").write_bytes(b"junk")
    for path in (Path("list.m4a"), folder / "x.m4a"):
        with pytest.raises(SignalError, match="not a sound file"):
            read_audio(path, 16_000)
    assert asked[1] == []


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bin" / "gs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    picture = tmp_path / "a.eps"
    picture.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(SignalError, match="not an image"):
        read_picture(picture)
    assert not (tmp_path / "ran").exists()


def test_another_manifest_is_not_mixed_into_a_runs_table(
    tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from earthtone.data.pack import open_table
    from earthtone.data.packed import Table
    from earthtone.errors import DataError

    signal = SignalConfig()
    copy = tiny_pairs.with_name("copy.csv")
    copy.write_text(tiny_pairs.read_text().replace("pair-", "other-"))
    try:
        with open_table(tiny_pairs, signal, keep=tmp_path / "table.lance") as table:
            count = len(table)
        with (
            pytest.raises(DataError, match="holds the pairs of"),
            open_table(copy, signal, keep=tmp_path / "table.lance"),
        ):
            pass
        assert len(Table(tmp_path / "table.lance")) == count
    finally:
        copy.unlink()


def test_names_cannot_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.csv").write_text("id,image,audio\n\x1b]0;renamed\x07,a.png,a.wav\n")
    assert main(["check", str(tmp_path / "pairs.csv")]) == 1
    (tmp_path / "bad.yaml").write_text('"a\\e[31mb": 2\n')
    assert main(["pretrain", "pairs.csv", "--recipe", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "out")]) == 2
    said = "".join(capsys.readouterr())
    assert "\\x1b" in said
    assert "\x1b" not in said
    assert "\x07" not in said


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "/".join(["y" * 200] * 40)])
@pytest.mark.parametrize(
    "words",
    [
        ["check", "PATH"],
        ["pretrain", "PATH", "--out", "out"],
        ["pretrain", "PATH", "--recipe", "PATH.yaml", "--out", "PATH"],
        ["convert", "in.pt", "PATH"],
        ["fetch", "ucmerced", "--check", "--out", "PATH"],
        ["evaluate", "suite", "--models", "random:test_resnet", "--data_root", "PATH", "--out", "out"],
        ["reproduce", "paper", "--data", "PATH", "--out", "out"],
    ],
)
def test_impossible_paths_are_one_line(words: list[str], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word.replace("PATH", path) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) < 2100


def test_a_card_nested_without_end_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "deep.safetensors", metadata={"earthtone": "[" * 100_000})
    with pytest.raises(ModelError, match="card is no JSON"):
        load_model(tmp_path / "deep.safetensors")
