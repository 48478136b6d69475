"""What the tasks on labelled sounds share on the command line."""

from typing import Any

from earthtone.cli.parsing import columns_argument
from earthtone.terminal import json_text


def sound_arguments(parser: Any, sets: str) -> None:
    parser.add_argument(
        "--model", required=True, type=str,
        help="a run's folder, a .safetensors file, a checkpoint of the SoundingEarth release, or random:NAME",
    )  # fmt: skip
    parser.add_argument("--data", required=True, type=str, help="folder of a set, of classes, or a manifest")
    parser.add_argument("--dataset", type=str | None, default=None, help=f"a published set's name, {sets}")
    parser.add_argument("--label", type=str | None, default=None, help="a manifest's label column")
    columns_argument(parser)
    parser.add_argument("--cache", type=str | None, default=None, help="folder that keeps features for other calls")
    parser.add_argument("--precision", type=str, default="auto", help="auto, bf16 or 32")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0, help="of random:NAME and of cross-validation")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of the intervals")
    parser.add_argument("--out", type=str | None, default=None, help="where the result with all test items is written")
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_sound_result(result: Any, options: Any, more: str) -> None:
    """Print a result, with `more` lines or without its items as JSON; with --out, write it whole."""
    from pathlib import Path

    from earthtone.evaluate.results import write_task_result

    if options.out is not None:
        write_task_result(Path(options.out), result)
    items = ("ids", "scores", "truth", "predicted")
    told = {name: value for name, value in result.to_dict().items() if name not in items}
    print(json_text(told) if options.json else f"{result.to_text()}\n{more}")
