"""`earthtone evaluate suite`."""

import sys

from earthtone.cli.labelled import bands_of, numbers, value_range_argument, value_range_of
from earthtone.cli.parsing import make_parser
from earthtone.terminal import json_text


def suite(words: list[str]) -> int:
    """Many models in all tasks that fit the sets in a folder: one table with intervals and paired comparisons.

    0: at least one cell has a figure (failed ones are named); 1: none has.
    """
    parser = make_parser("evaluate suite", "Models in every task on every set below a folder, as one table.")
    parser.add_argument("--models", required=True, type=str, nargs="+", help="as --model of the other tasks, several")
    parser.add_argument("--data_root", "--data-root", required=True, type=str, help="folder with a folder a data set")
    parser.add_argument("--out", required=True, type=str, help="folder for suite.html, .csv, .md and results/")
    parser.add_argument("--tasks", type=str | None, default=None, help="such as probe,segment; default: all")
    parser.add_argument("--datasets", type=str | None, default=None, help="such as ucmerced,esc50; default: all")
    parser.add_argument("--baseline", type=str | None, default=None, help="whom all are compared with; default: first")
    parser.add_argument("--seeds", type=str, default="0", help="a training each, where networks are trained: 0,1,2")
    parser.add_argument("--quick", action="store_true", help="few epochs, light heads: to see that everything runs")
    parser.add_argument("--epochs", type=int | None, default=None, help="of all trainings; default: each task's own")
    parser.add_argument("--pixels", type=int | None, default=None, help="side of pictures and patches; default: own")
    parser.add_argument("--bands", type=str | None, default=None, help="bands of GeoTIFFs as red, green, blue: 4,3,2")
    value_range_argument(parser)
    parser.add_argument("--resamples", type=int, default=1000, help="of every bootstrap")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", type=str, default="auto", help="auto, bf16 or 32")
    parser.add_argument("--json", action="store_true", help="print the cells as JSON, as they are in suite.csv")
    options = parser.parse_args(words)
    from earthtone.device import choose_device
    from earthtone.studies.suite import TASKS, SuiteOptions, run_suite
    from earthtone.studies.suite_page import DONE, FAILED, suite_rows

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    table = run_suite(
        options.models,
        options.data_root,
        options.out,
        tasks=tuple(TASKS) if options.tasks is None else tuple(options.tasks.split(",")),
        datasets=() if options.datasets is None else tuple(options.datasets.split(",")),
        baseline=options.baseline,
        options=SuiteOptions(
            seeds=numbers(options.seeds, "--seeds"), quick=options.quick, epochs=options.epochs, pixels=options.pixels,
            bands=bands_of(options.bands),
            value_range=value_range_of(options.value_range), resamples=options.resamples,
            device=choose_device(options.device), precision=options.precision,
        ),
        say=say,
    )  # fmt: skip
    if failed := table.count(FAILED):
        say(f"{failed} of {len(table.cells)} cells failed; they are named in the table and run again by the next call")
    print(json_text(suite_rows(table)) if options.json else f"{options.out}/suite.html")
    return 0 if table.count(DONE) else 1
