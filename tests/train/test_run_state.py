"""A run goes on only as what it was begun as; options that came later had their default."""

from dataclasses import asdict
from pathlib import Path

import pytest

from earthtone.errors import ConfigError
from earthtone.train.recipe import Recipe
from earthtone.train.run_state import open_run, write_state
from earthtone.wording import flat

IDENTITY = {**flat(asdict(Recipe())), "data": "abc"}
LATER = ("model.unit", "model.sound_scale", "model.scale_input", "signal.image.view", "train.strategy")


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run that was begun before these options were."""
    write_state(tmp_path, {key: value for key, value in IDENTITY.items() if key not in LATER}, finished=False)
    return tmp_path


def test_a_run_of_before_goes_on(old_run: Path) -> None:
    assert open_run(old_run, IDENTITY, resume=True) is False


@pytest.mark.parametrize(("key", "value"), [("model.unit", False), ("signal.image.view", 0.75), ("data", "xyz")])
def test_but_not_as_something_else(old_run: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"--resume with something else .*{key}: .* -> {value!r}"):
        open_run(old_run, {**IDENTITY, key: value}, resume=True)
