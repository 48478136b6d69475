"""How many processors may be used: made trees of groups, SLURM's variables, and a process that is held to one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from earthtone.processors import usable_processors

HERE = usable_processors(Path("/no/such/folder"), {})


def tree(root: Path, groups: str, files: Mapping[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def usable(root: Path, **variables: str) -> int:
    return usable_processors(root, variables)


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 32),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "600000\n"}, 6),
        ("0::/\n", {}, 32),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "what is this"}, 32),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000 0"}, 32),
        (
            "0::/user.slice/job\n",
            {"sys/fs/cgroup/user.slice/cpu.max": "300000 100000", "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000"},
            3,
        ),
        ("0::/../../seen/from/outside\n", {"sys/fs/cgroup/cpu.max": "700000 100000"}, 7),
        ("4:memory:/x\n3:cpu:/\n0::/\n", {"sys/fs/cgroup/unified/cpu.max": "500000 100000"}, 5),
        (
            "4:cpu,cpuacct:/docker/a\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "800000",
                "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us": "200000",
            },
            4,
        ),
        (  # as in a container: the path is that of the host, the quota lies where the group is mounted
            "4:cpu:/docker/a\n3:cpuset:/docker/a\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            3,
        ),
        (
            "4:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            32,
        ),
        ("nonsense\n::\n", {"sys/fs/cgroup/cpu.max": "100000 100000"}, 32),
    ],
)
def test_quotas_of_groups(tmp_path: Path, groups: str, files: Mapping[str, str], expected: int) -> None:
    assert usable(tree(tmp_path, groups, files)) == expected


def test_the_least_of_all_counts(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "900000 100000"})
    assert usable(root, SLURM_CPUS_PER_TASK="12") == 9
    assert usable(root, SLURM_CPUS_PER_TASK="6", SLURM_CPUS_ON_NODE="4") == 6
    assert usable(root, SLURM_CPUS_ON_NODE="4") == 4
    assert usable(root, SLURM_CPUS_PER_TASK="0") == usable(root, SLURM_CPUS_PER_TASK="two") == 9


SAID = """
import os, sys
from earthtone.processors import limit_library_threads, usable_processors
from earthtone.progress import decoding_threads
limit_library_threads()
print(usable_processors(), decoding_threads(), os.environ.get("OMP_NUM_THREADS"))
"""


def said(*before: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMP_"))}
    told = subprocess.run(
        [*before, sys.executable, "-c", SAID], env={**kept, **variables}, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset here")
def test_a_process_held_to_one_processor_uses_one() -> None:
    assert said("taskset", "-c", "0") == "1 2 None"  # libraries see that themselves


@pytest.mark.skipif(HERE < 2, reason="one processor here")
def test_libraries_are_told_what_a_batch_job_may_use_unless_the_user_said() -> None:
    assert said(SLURM_CPUS_PER_TASK="1").endswith("1")
    assert said(SLURM_CPUS_PER_TASK="1", OMP_NUM_THREADS="2").endswith("2")
