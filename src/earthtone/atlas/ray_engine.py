"""`earthtone embed --engine ray`: the parts of one data set, each embedded by a worker of a Ray cluster.

A part is what `embed --shard` makes of it, in the same files: on a folder that all nodes share, a worker that dies is
replaced, and goes on where the part's table ends; so does a later call, with Ray or without.
"""

import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from earthtone.atlas.embed import EmbedResult, embed_shard
from earthtone.atlas.embeddings import SHARDS
from earthtone.atlas.options import EmbedOptions
from earthtone.atlas.shards import Part
from earthtone.errors import ConfigError, DataError, EarthtoneError, one_line
from earthtone.models.two_tower import TwoTower
from earthtone.plugins import import_modules, modules_for_processes
from earthtone.progress import note, progress_bar

_RETRIES = 3
_CONNECT_SECONDS = 10.0
_START = "RAY_USAGE_STATS_ENABLED=0 ray start --head --include-dashboard=false"

Outcome = tuple[str, EmbedResult | str]
"""`done` and what was done, or the kind of an error of ours and its text; and who knows how others are pickled."""


def embed_on_ray(options: EmbedOptions) -> EmbedResult:
    """Embed the parts of `options.data` on the Ray cluster of RAY_ADDRESS, or of this machine, and return all that was
    done.

    There are `options.parts`, by default as many as the folder has begun, else one for each processor of the cluster.
    Each takes one processor, and one GPU where the cluster has some and `device` is not cpu. `model`, `data`
    and `out` are paths that mean the same on all nodes. Raises ConfigError where there is no cluster, and whatever
    a part raises, when those that run have ended.
    """
    if isinstance(options.model, TwoTower):
        raise ConfigError("--engine ray: workers open the model themselves; a path or random:NAME expected")
    out = Path(options.out).absolute()
    model, data = _absolute(options.model), _absolute(options.data)
    a_part = replace(options, model=model, data=data, out=out, engine="local", parts=None)
    modules = modules_for_processes(())
    with _cluster():
        resources = ray.cluster_resources()
        parts = _parts(options, out, int(resources.get("CPU", 0)))
        Part(out, 0, parts).refuse_others()
        gpus = 1 if resources.get("GPU", 0) and options.device != "cpu" else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(embed_part)
        note(f"{parts} parts on {sum(node['Alive'] for node in ray.nodes())} nodes of Ray")
        running = {task.remote(a_part, number, parts, modules): number for number in range(parts)}
        results = _ended(running, out)
    return _joined(results, out, parts)


def embed_part(options: EmbedOptions, number: int, parts: int, modules: list[str]) -> Outcome:
    """Embed one part in this process; what a worker does."""
    try:
        import_modules(modules)
        return "done", embed_shard(options, number, parts)
    except EarthtoneError as error:
        return type(error).__name__, str(error)


def _absolute(name: Any) -> str:
    """Return a path that means the same in other folders; a name or an address as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else str(name)


def _parts(options: EmbedOptions, out: Path, processors: int) -> int:
    begun = [re.fullmatch(r"\d+-of-(\d+)(\.lance)?", path.name) for path in (out / SHARDS).glob("*-of-*")]
    return options.parts or next((int(found[1]) for found in begun if found), 0) or max(1, processors)


def _ended(running: dict[Any, int], out: Path) -> list[EmbedResult]:
    """Return what each part did. Raises the first error when all that had begun have ended."""
    failed: list[tuple[int, str, str]] = []
    done: list[EmbedResult] = []
    with progress_bar(len(running), "parts", "part") as bar:
        while running:
            (ready, *_), _ = ray.wait(list(running))
            number = running.pop(ready)
            try:
                kind, found = ray.get(ready)
            except ray.exceptions.TaskCancelledError:
                continue
            except ray.exceptions.RayError as error:  # the worker died again and again, or has a fault
                kind, found = "DataError", _died(error)
            if isinstance(found, EmbedResult):
                done.append(_seen(found, number, out))
            else:
                failed.append((number, kind, found))
                for waiting in running:
                    ray.cancel(waiting)  # what has not begun; what runs is stopped at its next row
            bar.update()
    if failed:
        number, kind, said = failed[0]
        raise (ConfigError if kind == "ConfigError" else DataError)(f"part {number}: {said}")
    return done


def _died(error: Exception) -> str:
    """Return why a part has no outcome: its worker died again and again, or could not even begin."""
    if isinstance(error, ray.exceptions.RayTaskError):
        said = one_line(" ".join(f"{type(error.cause).__name__}: {error.cause}".split()), 300)
        return f"failed on its worker ({said}); is the same earthtone, with its extras, installed on every node?"
    said = one_line(" ".join(str(error).split()), 300)
    return f"its worker ended {_RETRIES + 1} times ({said}); has it memory enough? Repeat the call, which goes on"


def _seen(result: EmbedResult, number: int, out: Path) -> EmbedResult:
    """Return a part's result. Raises DataError where what it wrote is not here."""
    if not result.path.exists():
        raise DataError(
            f"part {number} was written on another node, whose {out} is another folder; choose one that all nodes share"
        )
    return result


def _joined(results: list[EmbedResult], out: Path, parts: int) -> EmbedResult:
    first = results[0]
    if odd := {result.precision for result in results} - {first.precision}:
        raise DataError(
            f"parts were embedded in the precisions {first.precision} and {odd.pop()}, as the nodes' processors "
            "differ; begin again in another --out with --precision 32"
        )
    added, problems = Counter[str](), Counter[str]()
    for result in results:
        added.update(result.added)
        problems.update(result.problems)
    kept = next((result.problems_path for result in results if result.problems_path is not None), None)
    return replace(
        first, path=out / SHARDS if parts > 1 else first.path, rows=sum(result.rows for result in results),
        added=dict(added), already_there=sum(result.already_there for result in results), problems=dict(problems),
        problems_path=kept if parts == 1 or kept is None else out / SHARDS, part=(0, 1),
    )  # fmt: skip


@contextmanager
def _cluster() -> Iterator[None]:
    """Be connected to a cluster: that of the program, of RAY_ADDRESS, or of this machine. Raises ConfigError."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to Ray's makers
    _refuse_deaf()
    try:
        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = one_line(" ".join(str(error).split()), 200)
        raise ConfigError(f"no Ray cluster is there ({said}); start one with: {_START}, or set RAY_ADDRESS") from error
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_deaf() -> None:
    """Raise ConfigError where nobody listens at the address that Ray would take; it would ask for minutes."""
    told, environment = os.environ.get("RAY_ADDRESS", ""), os.environ
    folder = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's own places
    file = Path(folder) / "ray" / "ray_current_cluster"
    address = told or (file.read_text(encoding="utf-8").strip() if file.is_file() else "")
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        which = "RAY_ADDRESS" if told else f"the last Ray cluster, as {file} says,"
        raise ConfigError(f"{which} is {address}, where nobody listens ({error}); start one with: {_START}") from error
