"""What the tasks on labelled images share on the command line."""

from typing import Any

from earthtone.cli.parsing import columns_argument
from earthtone.errors import ConfigError
from earthtone.terminal import json_text


def labelled_arguments(parser: Any) -> None:
    parser.add_argument(
        "--model", required=True, type=str,
        help="a run's folder, a .safetensors file, timm:NAME, timm:NAME@FILE, random:NAME, torchgeo:WEIGHTS, ...",
    )  # fmt: skip
    parser.add_argument("--data", required=True, type=str, help="folder of classes, manifest, or packed table")
    parser.add_argument("--dataset", type=str | None, default=None, help="a published set's name, such as ucmerced")
    parser.add_argument("--label", type=str | None, default=None, help="a manifest's label column")
    columns_argument(parser)
    parser.add_argument("--pixels", type=int | None, default=None, help="side the model sees; default: its own")
    parser.add_argument("--bands", type=str | None, default=None, help="bands of GeoTIFFs as red, green, blue: 4,3,2")
    value_range_argument(parser)
    parser.add_argument("--precision", type=str, default="auto", help="auto, bf16 or 32")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--out", type=str | None, default=None, help="where the result with all test items is written")
    parser.add_argument("--json", action="store_true", help="print JSON")


def numbers(text: str, option: str) -> tuple[int, ...]:
    """`1,5,10` or `[1,5,10]` as numbers."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    try:
        return tuple(int(part) for part in inner.split(",")) if inner else ()
    except ValueError:
        raise ConfigError(f"{option} {text}; whole numbers expected, such as 1,5,10") from None


def bands_of(text: str | None) -> tuple[int, int, int] | None:
    """`4,3,2` as three band numbers."""
    if text is None:
        return None
    found = numbers(text.strip("[]() "), "--bands")
    if len(found) != 3 or min(found) < 1:
        raise ConfigError(f"--bands {text}; three band numbers from 1 on expected, such as 4,3,2")
    return found[0], found[1], found[2]


def value_range_argument(parser: Any) -> None:
    parser.add_argument(
        "--value_range", type=str | None, default=None,
        help="values of more than 8 bits shown as black and white, 0,3000, three of these, or a name such as sentinel2 "
        "(docs/your-own-data.md); default: each picture's percentiles",
    )  # fmt: skip


def value_range_of(text: str | None) -> Any:
    """`0,3000` as (0, 3000), `0,3000,0,2500,0,2000` as three ranges, a name as it is. Raises ConfigError."""
    from earthtone.signal.config import VALUE_RANGES, named_range

    if text is None or text in VALUE_RANGES:
        return text
    try:
        found = [float(part) for part in text.translate(str.maketrans("", "", "[]() ")).split(",")]
    except ValueError:
        return named_range(text, "--value_range")  # raises
    ranges = tuple(zip(found[::2], found[1::2], strict=False)) if len(found) == 6 else tuple(found)
    return named_range(ranges, "--value_range")


def print_result(result: Any, options: Any, *, written: bool = False) -> None:
    """Print a task's result, without its items; with --out, write it whole unless that was done already."""
    from pathlib import Path

    from earthtone.evaluate.results import write_task_result

    if options.out is not None and not written:
        write_task_result(Path(options.out), result)
    items = ("ids", "scores", "truth", "predicted")
    told = {name: value for name, value in result.to_dict().items() if name not in items}
    print(json_text(told) if options.json else result.to_text())
