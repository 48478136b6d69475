"""Packed tables in an S3 store on the loopback: they equal those on a disk, and each process reads only its rows."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import lance
import numpy as np
import pyarrow as pa
import pytest
import torch
from s3 import environment, free_port, relay, s3_server, upload
from safetensors.torch import load_file

from earthtone.cli import main
from earthtone.data import remote as object_store
from earthtone.data.pack import open_table
from earthtone.data.packed import Table, table_schema
from earthtone.data.remote import is_remote, last_part, unreadable
from earthtone.errors import ConfigError, DataError
from earthtone.models.config import ModelConfig
from earthtone.signal.config import SignalConfig
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe, TrainConfig

pytestmark = pytest.mark.extras

TINY = [
    "--model.image_encoder=test_resnet", "--model.audio_encoder=test_resnet", "--model.dimensions=16",
    "--train.batch_size=8", "--train.epochs=2", "--train.device=cpu",
    "--signal.audio.sample_rate_hz=16000", "--signal.audio.window_seconds=1", "--signal.audio.mels=32",
    "--signal.audio.hop_seconds=0.02", "--signal.audio.fft_seconds=0.032",
    "--signal.image.pixels=32", "--signal.image.stored_pixels=40",
]  # fmt: skip


@pytest.fixture(scope="module")
def store() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture(scope="module")
def remote(store: int, tiny_table: Path) -> str:
    """The address of a copy of the tiny table."""
    return upload(store, tiny_table, "bucket")


@pytest.fixture(autouse=True)
def _variables(store: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(store).items():
        monkeypatch.setenv(name, value)


def test_a_remote_table_is_the_one_on_the_disk(remote: str, tiny_table: Path, tiny_signal: SignalConfig) -> None:
    here = Table(tiny_table)
    with open_table(f"{remote}/", tiny_signal) as there:
        assert there.path == remote and there.name == here.name == tiny_table.name and len(there) == 24
        assert there.fingerprint == here.fingerprint
        for name in ("id", "split", "label", "longitude"):
            assert there.column(name) == here.column(name)
        assert there.images([3, 23, 3]) == here.images([3, 23, 3])
        windows = [3, 23, 3], [0, 5, 1], [50, 40, 30]
        pairs = zip(there.sound(*windows), here.sound(*windows), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_pretrain_and_evaluate_as_from_the_disk(
    remote: str, tiny_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, name in ((str(tiny_table), "disk"), (remote, "store")):
        assert main(["pretrain", data, "--recipe", "small", "--out", str(tmp_path / name), *TINY]) == 0
    shown = capsys.readouterr().out
    assert f"next: earthtone evaluate retrieval --model {tmp_path / 'store'} --data {remote} --split test" in shown
    disk, same = (load_file(tmp_path / name / "model.safetensors") for name in ("disk", "store"))
    assert disk.keys() == same.keys() and all(torch.equal(disk[key], same[key]) for key in disk)
    assert json.loads((tmp_path / "store" / "card.json").read_text())["data"]["path"] == tiny_table.name
    assert not list(tmp_path.glob("s3:*")) and not (tmp_path / "store" / "table.lance").exists()
    found = []
    for data in (str(tiny_table), remote):
        words = ["evaluate", "retrieval", "--model", str(tmp_path / "disk"), "--data", data, "--json"]
        assert main([*words, "--report", str(tmp_path / "report.html")]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] and "24" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_wrong_use_is_one_line(
    remote: str, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    for words, told in (
        (
            ["pretrain", "s3://no-such-bucket/t.lance", "--out", out, *TINY],
            "s3://no-such-bucket/t.lance: no such bucket",
        ),
        (
            ["pretrain", "s3://bucket/none.lance", "--out", out, *TINY],
            "no packed table, or not all of it; pack on a disk",
        ),
        (["pretrain", remote, "--out", out, "--split_by", "blocks", *TINY], "is packed: --split_by has no effect"),
        (["pretrain", remote, "--out", "s3://bucket/run", *TINY], "nothing is written into object stores; choose a"),
        (
            ["pack", str(tiny_pairs), "--out", "s3://bucket/t.lance"],
            "aws s3 cp --recursive t.lance s3://bucket/t.lance",
        ),
        (["check", remote], "of object stores packed tables alone are read, by pretrain and evaluate"),
    ):
        assert main(words) == 2
        shown = capsys.readouterr()
        assert told in shown.err and shown.err.count("\n") == 1 and shown.out == ""
    assert not Path(out).exists()


def test_a_table_of_something_else(store: int, tmp_path: Path) -> None:
    lance.write_dataset(pa.table({"id": ["a"]}), str(tmp_path / "other.lance"))
    with pytest.raises(DataError, match=r"other\.lance: not a packed table; make one with"):
        Table(upload(store, tmp_path / "other.lance", "other"))


def test_a_copy_that_is_not_whole(store: int, tiny_table: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.lance"
    shutil.copytree(tiny_table, part)
    for file in (part / "data").rglob("*.*"):
        if file.is_file():
            file.unlink()
    table = Table(upload(store, part, "part"))
    for read in (lambda: table.column("id"), lambda: table.images([0]), lambda: list(table.sound([0], [0], [50]))):
        with pytest.raises(DataError, match=r"part\.lance: no packed table, or not all of it") as error:
            read()
        assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials .* set AWS_ACCESS_KEY_ID"),
        ({"AWS_ALLOW_HTTP": None}, "plain http is refused; .* AWS_ALLOW_HTTP=true"),
        ({"AWS_ENDPOINT_URL": "nobody"}, "does not answer; check the network, and AWS_ENDPOINT_URL"),
    ],
)
def test_a_store_that_cannot_be_asked(
    changed: dict[str, str | None], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name, value in changed.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    bucket = f"fresh-{next(iter(changed)).lower().replace('_', '-')}"  # Lance remembers how it has reached a bucket
    with pytest.raises(DataError, match=f"^s3://{bucket}/t.lance: .*{told}") as error:
        Table(f"s3://{bucket}/t.lance")
    assert "\n" not in str(error.value)


def test_a_silent_store_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(object_store, "OPEN_SECONDS", 0.3)
        started = time.monotonic()
        with pytest.raises(DataError, match=r"s3://silent/t.lance: no answer within 0.3 s"):
            Table("s3://silent/t.lance")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Generic S3 error: status code: 403 Forbidden: <Code>AccessDenied</Code>", "refuses it; check AWS_ACCESS"),
        ("Generic S3 error: <Code>ExpiredToken</Code>", "refuses it; check AWS_ACCESS_KEY_ID"),
        ("Generic S3 error: <Code>PermanentRedirect</Code>", "in another region; set AWS_REGION"),
        ("odd GET https://x/y?sig=secret&sv=1 in 3 ms\nmore", r"cannot be read \(odd GET https://x/y in 3 ms\)$"),
        ("", r"cannot be read \(OSError\)$"),
        ("Fault { code: 500, {", r"cannot be read \(Fault \{ code: 500, \{\)$"),
    ],
)
def test_what_lance_says_in_one_line(text: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(unreadable("s3://bucket/t.lance", OSError(text)))


def test_other_stores_name_their_own_variables() -> None:
    refused = OSError("Failed to get credentials")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in unreadable("gs://bucket/t.lance", refused)
    assert "AZURE_STORAGE_ACCOUNT_NAME" in unreadable("az://container/t.lance", refused)
    assert is_remote("s3://a/b") and not is_remote(Path("s3/a")) and not is_remote("hf://datasets/a/b")
    assert last_part("az://container/folder/t.lance") == last_part(Path("folder/t.lance")) == "t.lance"
    with pytest.raises(ConfigError, match="gs://a/b: nothing is written into object stores; do else"):
        object_store.refuse_remote("gs://a/b", "do else")


_SHARE = """
import sys
from earthtone.data.packed import Table
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe_file import load_recipe
table, rank = Table(sys.argv[1]), int(sys.argv[3])
for batch in TrainLoader(table, table.rows_of("train"), load_recipe(sys.argv[2]), rank=rank, processes=2):
    assert len(batch.image) == 4
"""


@pytest.mark.slow
def test_each_of_two_processes_reads_its_share(store: int, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    """Counted between them and the store; pictures are large enough not to be read along with their neighbours."""
    signal = replace(tiny_signal, image=replace(tiny_signal.image, stored_pixels=256))
    _write_noise(tmp_path / "noise.lance", signal, rows=48)
    recipe = Recipe(
        signal=signal,
        model=ModelConfig("test_resnet", "test_resnet", dimensions=16),
        train=TrainConfig(epochs=1, batch_size=8, threads=2, device="cpu"),
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    address = upload(store, tmp_path / "noise.lance", "noise")
    with relay(store) as first, relay(store) as second:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _SHARE, address, str(tmp_path / "recipe.yaml"), str(rank)],
                env={**os.environ, **environment(book.server_port)},
            )
            for rank, book in enumerate((first, second))
        ]
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
        read = [sum(entry.size for entry in book.reads) for book in (first, second)]
    here = Table(tmp_path / "noise.lance")
    loader = TrainLoader(here, here.rows_of("train"), recipe)
    for rank in range(2):
        rows = [int(row) for step in range(loader.steps) for row in loader.sampler.batch(step)[rank::2]]
        window = signal.audio.window_frames * signal.audio.mels
        own = sum(len(data) + window for data in here.images(rows))
        assert len(set(rows)) == 24 and min(map(len, here.images(rows))) > 2**16
        assert own < read[rank] < 1.5 * own  # the rest: columns of facts, footers, where each row lies


def _write_noise(path: Path, signal: SignalConfig, rows: int) -> None:
    """A packed table of pictures that do not shrink, and of recordings of 20 windows."""
    draw = np.random.default_rng(0)
    side, frames = signal.image.stored_pixels, 20 * signal.audio.window_frames
    images = [cv2.imencode(".jpg", draw.integers(0, 256, (side, side, 3), np.uint8))[1].tobytes() for _ in range(rows)]
    columns = [
        {
            "id": str(row), "image": images[row], "audio": draw.bytes(frames * signal.audio.mels), "split": "train",
            "image_hash": str(row), "audio_hash": str(row), "audio_frames": frames,
        }
        for row in range(rows)
    ]  # fmt: skip
    lance.write_dataset(pa.Table.from_pylist(columns, schema=table_schema(signal, ())), str(path))


@pytest.mark.parametrize("address", ["s3://AKIA:SECRET@bucket/x.lance", "s3://bucket/x.lance?X-Amz-Signature=SECRET"])
def test_keys_in_an_address_are_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigError, match="environment variables") as error:
        object_store.is_remote(address)
    assert "SECRET" not in str(error.value)
