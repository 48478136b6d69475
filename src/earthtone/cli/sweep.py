"""`earthtone sweep`."""

import sys
from typing import Any

from earthtone.cli.labelled import numbers
from earthtone.cli.parsing import columns_mapping, data_arguments, make_parser, split_arguments
from earthtone.errors import ConfigError, shell_line


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
    parser.add_argument("--seeds", type=str | None, default=None, help="a run each: 0,1,2; default 0")
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

    seeds = None if options.seeds is None else numbers(options.seeds, "--seeds")
    if options.grid is None:
        if not options.set and seeds is None:
            raise ConfigError("nothing to vary; type --set loss.name=infonce,siglip, --grid FILE.yaml or --seeds 0,1,2")
        return Grid(read_axes(options.set), seeds=(0,) if seeds is None else seeds)
    if options.set:
        raise ConfigError("--set and --grid both say what is varied; put it all into the file, or all into --set")
    found = read_grid(Path(options.grid))
    return found if seeds is None else replace(found, seeds=seeds)
