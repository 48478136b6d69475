"""How many processors this process may use: as many as its affinity, its container and its batch job allow.

`os.cpu_count()` tells those of the machine. A process that starts as many threads where it may use fewer is slowed
down by its own: they wait for one another at every barrier.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

_PER_CPU = 100_000.0  # microseconds: the period where none is told
#: Variables by which SLURM tells the processors of a task, the one that knows most first.
_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
#: Threads of libraries that count the machine's processors themselves: OpenMP (PyTorch), BLAS (NumPy, SciPy), Lance.
_LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS")


def usable_processors(root: Path | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Return how many processors this process may use, at least 1.

    The least of: its affinity, the CPU quotas (cgroup, version 1 and 2) of its group and of all groups above, rounded
    down, and what SLURM gave its task. `root` is the folder that holds `proc` and `sys`, `environment` the variables;
    they are the machine's and the process's own unless given.
    """
    if root is None and environment is None:
        return _usable_here()
    return _least(Path("/") if root is None else root, os.environ if environment is None else environment)


@cache
def _usable_here() -> int:
    return _least(Path("/"), os.environ)


def _least(root: Path, environment: Mapping[str, str]) -> int:
    known = [float(_by_affinity()), *_quotas(root), *_of_slurm(environment)]
    return max(1, int(min(known)))


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _of_slurm(environment: Mapping[str, str]) -> Iterator[float]:
    for name in _SLURM:
        if re.fullmatch(r"[1-9][0-9]{0,5}", value := environment.get(name, "").strip()):
            yield float(value)
            return


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas, in processors, of the process's group and of all above it."""
    with suppress(OSError, UnicodeDecodeError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            controllers, _, group = rest.partition(":")
            if number == "0" and not controllers:
                for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                    yield from _up(root / mount, group, _quota_2)
            elif "cpu" in controllers.split(","):
                for name in {"cpu", controllers, "cpu,cpuacct", "cpuacct,cpu"}:
                    yield from _up(root / "sys/fs/cgroup" / name, group, _quota_1)


def _up(mount: Path, group: str, quota: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the quotas of a group's folders, from its own up to where the groups are mounted.

    In a container the folder may be missing, since the path is told as seen from outside: then the mount is the group.
    """
    parts = [part for part in group.split("/") if part not in ("", ".", "..")]
    for count in range(len(parts), -1, -1):
        with suppress(OSError, ValueError, ZeroDivisionError):
            found = quota(mount.joinpath(*parts[:count]))
            if found is not None:
                yield found


def _quota_2(folder: Path) -> float | None:
    """Return `cpu.max`, microseconds in a period, as processors; None where it is `max`."""
    quota, _, period = (folder / "cpu.max").read_text().strip().partition(" ")
    return None if quota == "max" else float(quota) / float(period or _PER_CPU)


def _quota_1(folder: Path) -> float | None:
    quota = float((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / float((folder / "cpu.cfs_period_us").read_text())


def limit_library_threads() -> None:
    """Tell libraries that are not imported yet how many threads to start, where they would start more.

    They know the affinity, not quotas and batch jobs. What the user has set stays.
    """
    if (usable := usable_processors()) < _by_affinity():
        for name in _LIBRARY_THREADS:
            os.environ.setdefault(name, str(usable))
