"""`earthtone evaluate retrieval`."""

import sys
from typing import Any

from earthtone.cli.parsing import columns_mapping, make_parser, model_arguments, split_arguments
from earthtone.terminal import json_text


def retrieval(words: list[str]) -> int:
    """How well images find their recordings and the other way round."""
    parser = make_parser("evaluate retrieval", "How well images find their recordings and recordings their images.")
    model_arguments(parser)
    parser.add_argument("--split", type=str, default="test", help="train, val, test or all")
    split_arguments(parser)
    parser.add_argument(
        "--match", type=str | None, default=None,
        help="also count hits by label: IMAGE_COLUMN=AUDIO_COLUMN:MAP.json, or COLUMN for equal labels",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", type=str, default="honest",
        help="how it is counted: honest, or as published by soundingearth, geoclap or psm",
    )  # fmt: skip
    parser.add_argument(
        "--twins", type=str | None, default=None,
        help="merge: identical items count as right, the default of the honest protocol; ignore",
    )  # fmt: skip
    parser.add_argument(
        "--report", type=str | None, default=None,
        help="default: report-SPLIT.html in the run, report-SPLIT-PROTOCOL.html for another protocol",
    )  # fmt: skip
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from pathlib import Path

    from earthtone.device import choose_device
    from earthtone.evaluate.report import Measured, write_run_report
    from earthtone.evaluate.retrieval import evaluate_retrieval
    from earthtone.models.storage import open_model

    model = open_model(options.model, device=choose_device(options.device))
    run = Path(options.model)

    def show(table: Any, rows: Any, found: Any) -> None:
        print(json_text(found.to_dict()) if options.json else found.to_text(), flush=True)
        if options.report or run.is_dir():
            other = "" if options.protocol == "honest" else f"-{options.protocol}"
            path = Path(options.report or run / f"report-{options.split}{other}.html")
            write_run_report(run, model, table, measured=Measured(options.split, rows, found), path=path)
            print(f"report: {path}", file=sys.stderr)

    evaluate_retrieval(
        model, options.data, split=options.split, columns=columns_mapping(options.columns), split_by=options.split_by,
        buffer_km=options.buffer_km, match=options.match,
        twins=options.twins, protocol=options.protocol, resamples=options.resamples, seed=options.seed, then=show,
    )  # fmt: skip
    return 0
