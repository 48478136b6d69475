"""What a run is: of which recipe and data, and whether its training has ended; decides what a resume may do."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.errors import ConfigError, DataError
from earthtone.train.recipe import Recipe
from earthtone.wording import changes, flat

STATE_FILE = "run.json"


def open_run(folder: Path, identity: Mapping[str, Any], *, resume: bool) -> bool:
    """Return whether the run in `folder` has ended already; nothing is written.

    `identity` is flat: the recipe's values and the data's fingerprint. Raises ConfigError where a run would be written
    over, or resumed with something else than it was begun with.
    """
    state = _read(folder)
    refuse_other_run(folder, resume=resume)
    if state is None:
        if (folder / "model.safetensors").exists():
            raise ConfigError(f"{folder} holds a model but no {STATE_FILE}: no run to go on with; choose another --out")
        return False
    began = {**{key: value for key, value in flat(asdict(Recipe())).items() if key in identity}, **state["identity"]}
    if changed := changes(began, identity):  # a key that the run does not know came later: it had the default
        raise ConfigError(
            f"{folder}: --resume with something else than it was begun with ({changed}); undo it, such as by "
            f"--recipe {folder / 'recipe.yaml'}, which has all it was begun with, or start anew with another --out"
        )
    return bool(state["finished"])


def refuse_other_run(folder: Path, *, resume: bool) -> None:
    """Raise ConfigError where a run would be written over; cheap, before anything is packed."""
    if not resume and ((folder / STATE_FILE).exists() or (folder / "model.safetensors").exists()):
        raise ConfigError(f"{folder} holds a run already; go on with --resume, or choose another --out")


def write_state(
    folder: Path, identity: Mapping[str, Any], *, finished: bool, start: Mapping[str, Any] | None = None
) -> None:
    """Write the state, whole or not at all; `start` tells which weights the towers began with."""
    state = {"finished": finished, "identity": dict(identity), **({"start": dict(start)} if start else {})}
    write_text_atomic(folder / STATE_FILE, json.dumps(state, indent=1) + "\n")


def read_start(folder: Path) -> dict[str, Any]:
    """Return which weights the towers of the run in `folder` began with; nothing where they were random."""
    state = _read(folder)
    return {} if state is None else dict(state["start"])


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(state, dict):
            raise ValueError(f"{type(state).__name__}, a mapping expected")
        finished, identity, start = state["finished"], state["identity"], state.get("start", {})
        if type(finished) is not bool or not isinstance(identity, dict) or not isinstance(start, dict):
            raise ValueError("finished, identity or start of another type")
    except KeyError as error:
        raise DataError(f"{path} cannot be read (it has no {error}); choose another --out") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); choose another --out") from error
    return {"identity": identity, "finished": finished, "start": start}
