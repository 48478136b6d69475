"""The verbs that train: one run, a grid of runs, the whole way on a toy world, the steps of the paper."""

import sys
from typing import Any

from earthtone.cli.parsing import (
    columns_mapping,
    data_arguments,
    early_option,
    flat_recipe,
    make_parser,
    option_words,
    split_arguments,
)
from earthtone.errors import ConfigError, one_line_each, shell_line
from earthtone.terminal import json_text


def demo(words: list[str]) -> int:
    """The whole way on a toy world in a few minutes."""
    parser = make_parser("demo", "Toy world, pack, pretrain, retrieval, linear probe, report.")
    parser.add_argument("--out", type=str, default="demo", help="folder to write")
    parser.add_argument("--rows", type=int, default=1500, help="places of the toy world")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of world and training")
    options = parser.parse_args(words)
    from earthtone.studies.demo import demo as run

    result = run(
        options.out,
        rows=options.rows,
        epochs=options.epochs,
        seed=options.seed,
        say=lambda line: print(line, flush=True),
    )
    if result is None:
        print(f"stopped; go on with: {shell_line('earthtone', 'demo', *words)}", file=sys.stderr)
        return 130
    print(result.to_text())
    return 0


def pretrain(words: list[str]) -> int:
    """Train two encoders on pairs; logs, checkpoints, a report."""
    from earthtone.train.recipe import Recipe
    from earthtone.train.recipe_file import drop_options, read_recipe, recipe_from_dict, shipped_recipes

    typed_words = words  # as the next call would be typed
    words = option_words(words, Recipe)
    name = early_option(words, "--recipe", "default")
    values = read_recipe(name)
    typed = {key: early_option(words, f"--{key}", "") for key in ("loss.name", "within.name")}
    drop_options(values, {key: value for key, value in typed.items() if value})
    base = recipe_from_dict(values, name)
    parser = make_parser("pretrain", "Train two encoders on pairs. Options below 'recipe' change single values of it.")
    data_arguments(parser, ", or a packed table (or s3://...)")
    parser.add_argument("--out", required=True, type=str, help="folder of the run")
    parser.add_argument("--recipe", type=str, default=name, help=f"{', '.join(shipped_recipes())}, or a .yaml file")
    split_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the stopped run in --out")
    parser.add_class_arguments(Recipe)
    parser.set_defaults(flat_recipe(base))
    options = parser.parse_args(words)
    from dataclasses import fields

    from earthtone.studies.pretrain import pretrain as run
    from earthtone.train.recipe_file import check_recipe

    sections = parser.instantiate(options)
    recipe = Recipe(**{field.name: sections[field.name] for field in fields(Recipe)})
    check_recipe(recipe, "command line")
    columns = columns_mapping(options.columns)
    result = run(
        options.data, options.out, recipe=recipe, resume=options.resume, columns=columns, split_by=options.split_by,
        buffer_km=options.buffer_km,
    )  # fmt: skip
    if result.rank:
        return 0  # the first process tells
    if not result.finished:
        again = [word for word in typed_words if word != "--resume"]
        print(
            f"stopped by {result.stopped_by} after step {result.progress.step} of {result.steps}; "
            f"go on with: {shell_line('earthtone', 'pretrain', *again, '--resume')}",
            file=sys.stderr,
        )
        return 130 if result.stopped_by == "SIGINT" else 0  # SIGTERM is how schedulers ask: the work is safe
    print(f"{result.folder}: {result.steps} steps, {result.progress.seconds:.0f} s of training")
    print(f"report: {result.folder}/report.html")
    table = result.folder / "table.lance"
    data = table if table.exists() else options.data
    line = ["evaluate", "retrieval", "--model", result.folder, "--data", data, "--split", "test"]
    device = [] if recipe.train.device == "auto" else ["--device", recipe.train.device]
    print(f"next: {shell_line('earthtone', *line, *device)}")
    return 0


def sweep(words: list[str]) -> int:
    """Train every combination of a grid with every seed; one table of what they reach on val.

    0: every run is done, or SIGTERM has stopped them; 1: some failed, which the table names; 130: Ctrl-C.
    """
    parser = make_parser(
        "sweep", "Train every combination of a grid with every seed, and compare them on val. Repeat the call to go on."
    )
    data_arguments(parser, ", or a packed table")
    parser.add_argument("--out", required=True, type=str, help="folder of the runs and of sweep.html, .csv, .md")
    parser.add_argument("--recipe", type=str, default="default", help="what all runs begin with; its name, or a .yaml")
    parser.add_argument(
        "--set", type=str, action="append", default=[], help="an axis: loss.name=infonce,siglip; several times: a grid"
    )
    parser.add_argument("--grid", type=str | None, default=None, help=".yaml with grid, variants, seeds; for --set")
    parser.add_argument("--seeds", type=list[int] | None, default=None, help="a run each: 0,1,2; default 0")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share threads and GPUs")
    parser.add_argument("--match", type=str | None, default=None, help="also hits by label: scene=sound:concepts.json")
    parser.add_argument("--probe", type=str | None, default=None, help="also a linear probe: a labelled set with val")
    parser.add_argument("--probe_label", type=str | None, default=None, help="label column of --probe's manifest")
    parser.add_argument("--probe_columns", type=str | None, default=None, help="other names of its columns")
    split_arguments(parser)
    options = parser.parse_args(words)
    from earthtone.studies.sweep import sweep as run
    from earthtone.studies.sweep_grid import Measure

    result = run(
        options.data, options.out, recipe=options.recipe, grid=_grid(options), jobs=options.jobs,
        measure=Measure(options.match, options.probe, options.probe_label, columns_mapping(options.probe_columns)),
        columns=columns_mapping(options.columns), split_by=options.split_by, buffer_km=options.buffer_km,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    if result.stopped_by is not None:
        told = f"stopped by {result.stopped_by} with {result.count('done')} of {len(result.table.runs)} runs done"
        print(f"{told}; go on with: {shell_line('earthtone', 'sweep', *words)}", file=sys.stderr)
        return 130 if result.stopped_by == "SIGINT" else 0  # SIGTERM is how schedulers ask: the work is safe
    if failed := result.count("failed"):
        print(f"{failed} runs failed; they are named in the table and tried again by the next call", file=sys.stderr)
    print(f"{result.out}/sweep.html")
    return 1 if failed else 0


def _grid(options: Any) -> Any:
    """The grid of the file, or that of the words; seeds are in one of them."""
    from dataclasses import replace
    from pathlib import Path

    from earthtone.studies.sweep_grid import Grid, read_axes, read_grid

    seeds = None if options.seeds is None else tuple(options.seeds)
    if options.grid is None:
        if not options.set and seeds is None:
            raise ConfigError("nothing to vary; type --set loss.name=infonce,siglip, --grid FILE.yaml or --seeds 0,1,2")
        return Grid(read_axes(options.set), seeds=(0,) if seeds is None else seeds)
    if options.set:
        raise ConfigError("--set and --grid both say what is varied; put it all into the file, or all into --set")
    found = read_grid(Path(options.grid))
    return found if seeds is None else replace(found, seeds=seeds)


def reproduce(words: list[str]) -> int:
    """The paper's steps in order, and one table of published figures and ours."""
    if not words or words[0] not in ("paper", "-h", "--help"):
        raise ConfigError(f"reproduce {words[0] if words else 'nothing'}; type: earthtone reproduce paper --data DIR")
    parser = make_parser(
        "reproduce paper",
        "Run the steps of Heidler et al. (arXiv 2108.00688) and put our figures beside theirs.",
    )
    _arguments(parser)
    options = parser.parse_args(words[1:] if words[0] == "paper" else words)
    from pathlib import Path

    from earthtone.studies.reproduce import reproduce_paper
    from earthtone.studies.reproduce_units import ReproduceOptions

    asked = ReproduceOptions(
        data=Path(options.data), out=Path(options.out), backbone=options.backbone, recipe=options.recipe,
        model=options.model, imagenet=options.imagenet,
        tile2vec=None if options.tile2vec is None else Path(options.tile2vec), losses=_names(options.losses),
        places=options.places,
        steps=_names(options.steps), honest=not options.published_only, epochs=options.epochs,
        finetune_epochs=options.finetune_epochs, segment_epochs=options.segment_epochs, pixels=options.pixels,
        seed=options.seed, device=options.device,
    )  # fmt: skip
    result = reproduce_paper(asked, say=lambda line: print(line, file=sys.stderr, flush=True))
    print(json_text(_plain(result)) if options.json else _text(result, words))
    return 2 if result.failed else 0


def _arguments(parser: Any) -> None:
    from earthtone.studies.reproduce_units import STEPS

    told = "; ".join(f"{name}: {text}" for name, text in STEPS.items())
    parser.add_argument(
        "--data", required=True, type=str,
        help="what earthtone fetch brings, in soundingearth/, ucmerced/, resisc45/, aid/, deepglobe/, advance/",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=str, help="folder of the table, steps and runs; repeat to go on")
    parser.add_argument("--steps", type=str, default="", help=f"only these, such as retrieval,aid ({told})")
    parser.add_argument("--backbone", type=str | None, default=None, help="resnet18 (default) or resnet50")
    parser.add_argument("--recipe", type=str | None, default=None, help="another recipe than the paper's")
    parser.add_argument("--model", type=str | None, default=None, help="a trained or converted model; trains none")
    parser.add_argument("--imagenet", type=str | None, default=None, help="default: timm:resnet18, as the backbone")
    parser.add_argument("--tile2vec", type=str | None, default=None, help="file of Tile2Vec's weights")
    parser.add_argument("--losses", type=str, default="", help="also train with each: TripletLoss,SymmetricCL")
    parser.add_argument("--places", action="store_true", help="also train and measure on places that lie apart")
    parser.add_argument("--published_only", action="store_true", help="leave the honest protocols out")
    parser.add_argument("--epochs", type=int | None, default=None, help="of pre-training; default: the recipe's")
    parser.add_argument("--finetune_epochs", type=int | None, default=None, help="default: the protocol's")
    parser.add_argument("--segment_epochs", type=int | None, default=None, help="default: the protocol's")
    parser.add_argument("--pixels", type=int | None, default=None, help="side of labelled images; default: the paper's")
    parser.add_argument("--seed", type=int, default=0, help="of weights, orders, draws and bootstrap")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _plain(result: Any) -> dict[str, Any]:
    return {
        "out": str(result.out), "tables": [str(path) for path in result.tables], "done": list(result.done),
        "left_out": dict(result.left_out), "failed": dict(result.failed), "stopped": result.stopped,
    }  # fmt: skip


def _text(result: Any, words: list[str]) -> str:
    lines = [f"{len(result.done)} measurements and trainings done, {len(result.left_out)} left out"]
    lines += [f"  failed, {name}: {reason}" for name, reason in result.failed.items()]
    lines += [f"table: {path}" for path in result.tables]
    if result.stopped:
        lines.append(f"stopped in {result.stopped}; go on with: {shell_line('earthtone', 'reproduce', *words)}")
    return one_line_each(lines)
