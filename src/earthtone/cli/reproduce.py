"""`earthtone reproduce paper`."""

import sys
from typing import Any

from earthtone.cli.parsing import make_parser
from earthtone.errors import ConfigError, one_line_each, shell_line
from earthtone.terminal import json_text


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
