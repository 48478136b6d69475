"""The grids that experiments are made of can be planned: a key that got another name is noticed."""

from pathlib import Path

import pytest

from earthtone.studies.sweep_grid import plan, read_grid

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
@pytest.mark.parametrize("grid", [path.name for path in sorted(EXPERIMENTS.glob("toy_*.yaml"))])
def test_grids_of_the_toy_world(grid: str, tmp_path: Path) -> None:
    assert plan(EXPERIMENTS / "toy.yaml", read_grid(EXPERIMENTS / grid), tmp_path)
