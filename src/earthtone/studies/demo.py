"""A demonstration on the toy world: make it, pack it, train, measure, report, map; each step is one verb."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.build.toyworld import write_toyworld
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.evaluate.chance import against_chance
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.protocols import RetrievalResult, standing
from earthtone.evaluate.report import REPORT_FILE, write_run_report
from earthtone.evaluate.results import TaskResult
from earthtone.evaluate.retrieval import evaluate_retrieval
from earthtone.models.storage import load_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import DemoOptions
from earthtone.progress import progress_calls
from earthtone.studies.pretrain import pretrain
from earthtone.studies.toy_map import TILES, ToyMap, map_toy_region
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import load_recipe
from earthtone.value_types import takes

_FEW_ROWS, _FEW_TILES = 1000, 8  # of a demo in small, the side of its map


@dataclass(frozen=True)
class DemoResult:
    """What the demo reached: retrieval on the test pairs, land cover read off trained and off untrained features."""

    run: Path
    report: Path
    retrieval: RetrievalResult
    probe: TaskResult
    untrained_probe: TaskResult
    map: ToyMap
    """A region for three sounds, beside the land cover that makes them."""

    def to_text(self) -> str:
        """Return what was reached beside chance, and what to type for one's own data."""
        lines = ["", "Reached on the toy world's test places (synthetic: it shows that the way works, no more):"]
        for direction, figures in self.retrieval.figures.items():
            for name, digits in (("R@10", 3), ("median_rank", 1)):
                figure = figures[name]
                lines.append(
                    f"  {direction.replace('_', ' '):<15} {name.replace('_', ' '):<12} {figure.value:>7.{digits}f}"
                    f"   chance {figure.chance:.{digits}f}{_below(standing(name, figure))}"
                )
        trained, untrained = (probe.figures[probe.headline] for probe in (self.probe, self.untrained_probe))
        lines.append(
            f"  land cover from frozen features: {trained.value:.3f}   untrained {untrained.value:.3f}   "
            f"chance {trained.chance:.3f}"
            + _below(against_chance(trained.value, trained.chance, trained.low, trained.high))
        )
        lines += ["", *self.map.to_text().splitlines(), ""]
        lines += [
            f"report: {self.report}", "", "Your own data (a CSV with the columns id, image, audio):",
            "  earthtone check my/manifest.csv",
            "  earthtone pretrain my/manifest.csv --recipe small --out runs/first",
            "  earthtone evaluate retrieval --model runs/first --data runs/first/table.lance",
        ]  # fmt: skip
        return "\n".join(lines)


@takes(DemoOptions)
def demo(options: DemoOptions) -> DemoResult | None:
    """Run all steps in the folder `out`; a stopped demo goes on when it is called again. None: training was stopped.

    `say` gets a line before each step.
    """
    out, rows, epochs, seed, say = Path(options.out), options.rows, options.epochs, options.seed, options.say
    overrides = {"train.seed": seed} | ({} if epochs is None else {"train.epochs": epochs})
    recipe = load_recipe("demo", overrides)
    say(f"1/6 a toy planet of {rows} places: synthetic images and sounds, nothing real")
    manifest = write_toyworld(
        out / "world", rows=rows, seed=seed, pixels=recipe.signal.image.stored_pixels, seconds=5.0, hz=16_000,
        progress=progress_calls("toy world"),
    )  # fmt: skip
    say("2/6 pack it into one table")
    table = pack(manifest, out / f"world-{rows}.lance", signal=recipe.signal).path
    say(f"3/6 train two encoders, {recipe.train.epochs} epochs, without a label")
    run = out / "run"
    if not pretrain(table, run, recipe=recipe, resume=run.exists(), report=False).finished:
        return None
    model = load_model(run)
    say("4/6 read the land cover off frozen features: trained, and untrained for comparison")
    probe = evaluate_probe(model, table, label="land_cover")
    untrained = evaluate_probe(_untrained(recipe), table, label="land_cover")
    say("5/6 search images by sound and sounds by image, on test places that training never saw")

    def write(opened: Table, test_rows: NDArray[np.int64], result: RetrievalResult) -> None:
        probes = {"land cover, trained": probe, "land cover, untrained": untrained}
        write_run_report(run, model, opened, test_rows, result, probes=probes)

    retrieval = evaluate_retrieval(model, table, then=write)
    say("6/6 map and search a region by surf, birds and traffic, recorded elsewhere on the planet")
    drawn = map_toy_region(run, out, seed=seed, tiles=TILES if rows >= _FEW_ROWS else _FEW_TILES)
    return DemoResult(run, run / REPORT_FILE, retrieval, probe, untrained, drawn)


def _below(standing: str) -> str:
    return f"   {standing}" if standing.startswith("below") else ""


def _untrained(recipe: Recipe) -> TwoTower:
    torch.manual_seed(recipe.train.seed)
    return TwoTower(recipe.model, recipe.signal).eval()
