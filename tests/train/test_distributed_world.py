"""Who this process is, by what launchers set; which wishes for several processes make sense."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earthtone.data.packed import Table
from earthtone.errors import ConfigError, ProcessError
from earthtone.train.distributed import World, find_world
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe, TrainConfig
from earthtone.train.recipe_file import recipe_from_dict

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "GROUP_RANK": "1"}
SLURM = {
    "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
    "SLURM_JOB_ID": "7", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODELIST": "host[3-4]",
}  # fmt: skip


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_one_process_by_default() -> None:
    world = find_world(TrainConfig())
    assert (world.rank, world.size, world.first) == (0, 1, True)
    assert world.largest(7) == 7
    world.wait()


@pytest.mark.parametrize(("environment", "rank"), [(TORCHRUN, 3), (SLURM, 2)])
def test_launchers_are_recognised(environment: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, environment)
    world = find_world(TrainConfig(devices=2, nodes=2))
    assert (world.rank, world.size, world.first) == (rank, 4, False)
    with pytest.raises(ConfigError, match=r"has started 4 processes, but train.devices x train.nodes is 2 x 1"):
        find_world(TrainConfig(devices=2))


def test_processes_that_lightning_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_world(TrainConfig(devices=2)).first
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_world(TrainConfig(devices=2)).rank == 1


def test_a_batch_job_without_srun_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**SLURM, "SLURM_PROCID": "0"})
    assert find_world(TrainConfig()).size == 1


def test_several_nodes_need_a_launcher() -> None:
    with pytest.raises(ConfigError, match=r"train.nodes is 2, but neither torchrun nor srun"):
        find_world(TrainConfig(nodes=2))


def test_a_batch_is_shared_evenly() -> None:
    with pytest.raises(ConfigError, match=r"batch_size is 128; a multiple of train.devices x train.nodes = 3"):
        recipe_from_dict({"train": {"devices": 3}}, "test")
    with pytest.raises(ConfigError, match=r"chunk_size is 32; 1 to 31 expected"):
        recipe_from_dict({"train": {"devices": 4, "chunk_size": 32}}, "test")


def test_only_lost_connections_are_told_as_such() -> None:
    with (
        pytest.raises(
            ProcessError, match=r"process 1 of 2 stops: another process .*Connection closed by peer.*--resume"
        ),
        World(1, 2).watched(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711. long")
    for world, error in ((World(1, 2), RuntimeError("shape mismatch")), (World(), RuntimeError("Connection closed"))):
        with pytest.raises(RuntimeError) as caught, world.watched():
            raise error
        assert caught.value is error


def test_processes_share_the_batch_of_one(tiny_table: Path, tiny_recipe: Recipe) -> None:
    """Augmentation included; each reads its own rows only."""
    recipe, table = replace(tiny_recipe, train=replace(tiny_recipe.train, windows=2)), Table(tiny_table)
    rows = table.rows_of("train")
    whole = list(TrainLoader(table, rows, recipe))
    shares = [list(TrainLoader(table, rows, recipe, rank=rank, processes=2)) for rank in range(2)]
    read: list[int] = []
    images = table.images

    def counted(wanted: list[int]) -> list[bytes]:
        read.extend(wanted)
        return images(wanted)

    table.images = counted  # type: ignore[method-assign]
    list(TrainLoader(table, rows, recipe, rank=1, processes=2))
    assert len(read) == len(whole) * 2
    for batch, first, second in zip(whole, *shares, strict=True):
        for rank, share in enumerate((first, second)):
            assert np.array_equal(share.image, batch.image[rank::2]) and np.array_equal(
                share.audio, batch.audio[rank::2]
            )
            assert np.array_equal(share.rows, batch.rows) and np.array_equal(share.groups, batch.groups)
