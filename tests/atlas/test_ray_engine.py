"""Embedding on a Ray cluster of two nodes on this machine: the rows of a plain run, bit for bit, whoever is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earthtone.atlas.embed import embed
from earthtone.atlas.embeddings import open_embeddings
from earthtone.errors import ConfigError, DataError, MissingExtraError
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower

pytestmark = pytest.mark.extras
ray = pytest.importorskip("ray")

STORE = 80 * 2**20  # bytes of each node's object store; results are small


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of a processor each, reached over loopback alone."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # not 127.0.0.1, which Ray takes for the machine's outer address
        node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, "node_ip_address": "127.0.0.2"}
        found = Cluster(initialize_head=True, head_node_args=node)
        found.add_node(**node)
        found.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", found.address)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield found
        if ray.is_initialized():
            ray.shutdown()
        found.shutdown()


@pytest.fixture(scope="module")
def connected(cluster: Any) -> Iterator[None]:
    """One connection for several calls, as a program may have: its workers, which take seconds to start, stay."""
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model(tiny_model: TwoTower, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, tiny_model, {})
    return folder


def test_without_a_cluster_it_says_what_to_type(
    model: Path, tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS is 127\.0\.0\.2:1, where nobody listens .* ray start --head"):
        embed(model, tiny_pairs, tmp_path, engine="ray")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.2:1")
    with pytest.raises(ConfigError, match=r"the last Ray cluster, as .* says, is 127\.0\.0\.2:1, where nobody"):
        embed(model, tiny_pairs, tmp_path, engine="ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "earthtone.atlas.ray_engine")
    with pytest.raises(MissingExtraError, match=r"embed needs ray, which is not installed; .*'earthtone\[ray\]'"):
        embed(model, tiny_pairs, tmp_path, engine="ray")


def rows_of(tables: list[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return all rows by id and modality; fails where one is there twice."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in tables:
        table = open_embeddings(path)
        columns = table.columns(table.names).to_pylist()
        for row, vector in zip(columns, table.vectors(), strict=True):
            key = row["id"], row["modality"]
            assert key not in found, f"{key} is there twice"
            found[key] = {**row, "vector": vector.tobytes()}
    return found


def shards(out: Path) -> list[Path]:
    return sorted((out / "shards").glob("*.lance"))


@pytest.fixture(scope="module")
def plain(model: Path, tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """The rows of a run in this process."""
    return rows_of([embed(model, tiny_pairs, tmp_path_factory.mktemp("plain"), vectors="float32").path])


def test_the_rows_are_those_of_a_plain_run(
    cluster: Any, model: Path, tiny_pairs: Path, plain: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    result = embed(model, tiny_pairs, tmp_path / "E", vectors="float32", engine="ray")
    assert [path.name for path in shards(tmp_path / "E")] == ["0-of-2.lance", "1-of-2.lance"]
    assert rows_of(shards(tmp_path / "E")) == plain
    assert (result.rows, dict(result.added)) == (48, {"image": 24, "audio": 24})
    assert result.path == tmp_path / "E" / "shards" and not ray.is_initialized()
    again = embed(model, tiny_pairs, tmp_path / "E", vectors="float32", engine="ray", parts=2)
    assert (again.rows, again.already_there, sum(again.added.values())) == (48, 48, 0)
    assert rows_of(shards(tmp_path / "E")) == plain


def workers() -> set[int]:
    """Return the processes of tasks that embed a part now, by the name that Ray gives them."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.strip().partition(" ") for line in listed.splitlines())
    return {int(pid) for pid, _, name in rows if name.strip().startswith("ray::embed_part")}


def test_a_killed_worker_is_replaced_and_nothing_is_doubled(
    connected: None, model: Path, tiny_pairs: Path, plain: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    """kill -9 of a worker in the middle of its part, when some of its rows are written and some are not."""
    out = tmp_path / "E"
    killed: list[tuple[int, int]] = []
    given_up = threading.Event()

    def kill() -> None:
        while not given_up.is_set():
            begun = [path for path in shards(out) if len(list((path / "_versions").glob("*.manifest"))) > 2]
            if begun and (found := workers()):
                os.kill(min(found), signal.SIGKILL)
                killed.append((min(found), len(begun)))
                return
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    result = embed(model, tiny_pairs, out, vectors="float32", engine="ray", parts=2, commit_rows=1)
    given_up.set()
    killer.join()
    assert len(killed) == 1
    assert rows_of(shards(out)) == plain
    assert result.rows == 48 and result.already_there > 0  # the next worker found rows of the killed one


def test_a_broken_file_costs_itself_and_is_named(
    connected: None, model: Path, write_pairs: Any, tmp_path: Path
) -> None:
    manifest = write_pairs(tmp_path / "pairs", 6)
    (manifest.parent / "3.png").write_bytes(b"no picture")
    result = embed(model, manifest, tmp_path / "E", engine="ray", parts=3)
    assert len(shards(tmp_path / "E")) == 3 and ray.is_initialized()
    assert result.rows == 11 and dict(result.problems) == {"broken image": 1}
    named = "".join(path.read_text() for path in (tmp_path / "E" / "shards").rglob("problems.csv"))
    assert named.count("pair-3") == 1


def test_what_a_part_refuses_is_one_line_here(
    connected: None, model: Path, tiny_pairs: Path, tiny_model: TwoTower, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"part \d: .*nowhere\.csv"):
        embed(model, tmp_path / "nowhere.csv", tmp_path / "E", engine="ray")
    with pytest.raises(ConfigError, match=r"part \d: device is 'cuda'"):
        embed(model, tiny_pairs, tmp_path / "E", engine="ray", device="cuda")
    with pytest.raises(ConfigError, match="workers open the model themselves"):
        embed(tiny_model, tiny_pairs, tmp_path / "E", engine="ray")
    embed(model, tiny_pairs, tmp_path / "E", engine="ray", parts=2)
    with pytest.raises(DataError, match="holds parts of 2, this call has part 0 of 3"):
        embed(model, tiny_pairs, tmp_path / "E", engine="ray", parts=3)


def test_options_without_effect_are_refused(model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--parts has no effect without --engine ray"):
        embed(model, tiny_pairs, tmp_path, parts=2)
    with pytest.raises(ConfigError, match="leave --shard out"):
        embed(model, tiny_pairs, tmp_path, shard=(0, 2), engine="ray")


def test_a_part_without_an_outcome_is_one_line(connected: None, tmp_path: Path) -> None:
    """A node without our package; a worker that dies whenever it is begun."""
    from earthtone.atlas.ray_engine import _ended

    @ray.remote(num_cpus=1)
    def lacks() -> None:
        import no_such_package  # noqa: F401

    @ray.remote(num_cpus=1, max_retries=1)
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DataError, match=r"part 7: failed on its worker \(ModuleNotFoundError: No module .*every node"):
        _ended({lacks.remote(): 7}, tmp_path)
    with pytest.raises(DataError, match=r"part 8: its worker ended 4 times .* Repeat the call"):
        _ended({dies.remote(): 8}, tmp_path)
