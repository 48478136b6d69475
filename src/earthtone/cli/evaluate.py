"""`earthtone evaluate TASK`: the tasks and what they share on the command line."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from earthtone.cli.parsing import (
    bands_argument,
    columns_argument,
    columns_mapping,
    make_parser,
    model_arguments,
    split_arguments,
)
from earthtone.errors import ConfigError, did_you_mean
from earthtone.terminal import json_text

#: What each task measures; its function has its name.
TASKS: Mapping[str, str] = {
    "retrieval": "how well images find their recordings and the other way round",
    "probe": "how well simple classifiers read a label off frozen image features",
    "finetune": "how well a whole network with a linear head learns labelled images",
    "segment": "how well a backbone with a head draws land cover",
    "audiovisual": "how well scenes are told from images, from sounds, and from both",
    "audio": "what the sound tower learned: a label read off frozen sound features, fold by fold",
    "why": "which part of a tile and of a recording speaks for their match, as a page",
    "suite": "models in all these tasks on all sets below a folder, as one table",
}


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
    bands_argument(parser)
    value_range_argument(parser)
    parser.add_argument("--precision", type=str, default="auto", help="auto, bf16 or 32")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--out", type=str | None, default=None, help="where the result with all test items is written")
    parser.add_argument("--json", action="store_true", help="print JSON")


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


def probe(words: list[str]) -> int:
    """How well simple classifiers read a label off frozen image features."""
    parser = make_parser("evaluate probe", "How well simple classifiers read a label off frozen image features.")
    labelled_arguments(parser)
    parser.add_argument("--method", type=str, default="logistic", help="logistic, knn, centroid; several: knn,logistic")
    parser.add_argument("--shots", type=list[int], default=[], help="also with so few images a class: 1,5,10,20")
    parser.add_argument("--draws", type=int, default=5, help="of few images")
    parser.add_argument("--stage", type=int | None, default=None, help="mean of this stage's map, from 0; last: pooled")
    parser.add_argument("--cache", type=str | None, default=None, help="folder that keeps features for other calls")
    parser.add_argument("--protocol", type=str, default="probe", help="probe; soundingearth: its few-shot protocol")
    parser.add_argument("--split", type=str, default="test", help="measured on; val: test is left alone, for choices")
    parser.add_argument("--seed", type=int, default=0, help="of draws, folds, bootstrap and random:NAME")
    options = parser.parse_args(words)
    print_result(_measured(options, words), options)
    return 0


def _measured(options: Any, words: list[str]) -> Any:
    from pathlib import Path

    from earthtone.embed.engine import FeatureOptions
    from earthtone.evaluate.classifiers import few_shot_probe
    from earthtone.evaluate.probe import ProbeOptions, evaluate_probe

    if options.protocol not in ("probe", "soundingearth"):
        raise ConfigError(f"--protocol {options.protocol}; probe or soundingearth expected")
    features = FeatureOptions(
        stage=options.stage, bands=options.bands,
        value_range=value_range_of(options.value_range), precision=options.precision,
        cache=None if options.cache is None else Path(options.cache),
    )  # fmt: skip
    common: dict[str, Any] = {
        "dataset": options.dataset, "label": options.label, "columns": columns_mapping(options.columns),
        "device": options.device, "features": features,
    }  # fmt: skip
    if options.protocol == "soundingearth":
        fixed = ("--method", "--shots", "--draws", "--stage", "--pixels", "--split", "--seed")
        given = [name for name in fixed if any(word.split("=")[0] == name for word in words)]
        if given:
            raise ConfigError(f"{', '.join(given)} has no effect: --protocol soundingearth says it; remove it")
        return few_shot_probe(options.model, options.data, **common)
    asked = ProbeOptions(
        methods=tuple(options.method.split(",")), shots=options.shots, draws=options.draws,
        seed=options.seed,
    )  # fmt: skip
    return evaluate_probe(
        options.model, options.data, probe=asked, pixels=options.pixels, split=options.split, **common
    )


def finetune(words: list[str]) -> int:
    """How well a whole network with a linear head learns labelled images."""
    parser = make_parser("evaluate finetune", "How well a whole network with a linear head learns labelled images.")
    labelled_arguments(parser)
    parser.add_argument("--protocol", type=str, default="modern", help="modern, or soundingearth: that of the release")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the protocol's")
    parser.add_argument("--batch_size", type=int | None, default=None, help="default: the protocol's")
    parser.add_argument("--learning_rate", type=float | None, default=None, help="default: the protocol's")
    parser.add_argument("--seeds", type=list[int], default=[0], help="train once for each: 0,1,2")
    options = parser.parse_args(words)
    from earthtone.evaluate.finetune import evaluate_finetune

    result = evaluate_finetune(
        options.model, options.data, dataset=options.dataset, label=options.label,
        columns=columns_mapping(options.columns), protocol=options.protocol, epochs=options.epochs,
        batch_size=options.batch_size, learning_rate=options.learning_rate, pixels=options.pixels,
        bands=options.bands,
        value_range=value_range_of(options.value_range), seeds=options.seeds,
        precision=options.precision, device=options.device, out=options.out,
    )  # fmt: skip
    print_result(result, options, written=True)
    return 0


def segment(words: list[str]) -> int:
    """How well a backbone with a head draws land cover."""
    parser = make_parser("evaluate segment", "Train a segmentation head on a backbone and measure it on test tiles.")
    parser.add_argument("--model", required=True, type=str, help="a run, timm:NAME, random:NAME, ... (docs/models.md)")
    parser.add_argument("--data", required=True, type=str, help="folder of images and masks, or a manifest of them")
    parser.add_argument("--dataset", type=str | None, default=None, help="its name, such as deepglobe, loveda, potsdam")
    parser.add_argument("--head", type=str, default="deeplabv3plus", help="deeplabv3plus or linear")
    parser.add_argument("--frozen", action="store_true", help="train the head alone")
    parser.add_argument("--protocol", type=str, default="modern", help="modern, or soundingearth (the release's)")
    bands_argument(parser)
    value_range_argument(parser)
    parser.add_argument("--seeds", type=list[int], default=[0], help="one training each: 0,1,2")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the protocol's, as all of these")
    parser.add_argument("--batch_size", type=int | None, default=None, help="patches in a step")
    parser.add_argument("--patch_pixels", type=int | None, default=None, help="side of a training patch")
    parser.add_argument("--learning_rate", type=float | None, default=None, help="of the head")
    parser.add_argument("--tile_pixels", type=int | None, default=None, help="side of a tile in prediction")
    parser.add_argument("--overlap", type=float, default=0.25, help="share of a tile's side that tiles overlap")
    parser.add_argument("--out", type=str | None, default=None, help="folder for result.json, pictures/ and maps/")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", type=str, default="auto", help="auto, 32 or bf16")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from earthtone.evaluate.segment import evaluate_segment

    result = evaluate_segment(
        options.model, options.data, dataset=options.dataset, head=options.head, frozen=options.frozen,
        protocol=options.protocol, epochs=options.epochs, batch_size=options.batch_size,
        patch_pixels=options.patch_pixels, learning_rate=options.learning_rate, tile_pixels=options.tile_pixels,
        overlap=options.overlap, bands=options.bands, value_range=value_range_of(options.value_range),
        seeds=options.seeds, precision=options.precision, device=options.device, out=options.out,
    )  # fmt: skip
    print(json_text(result.to_dict()) if options.json else result.to_text())
    return 0


def audiovisual(words: list[str]) -> int:
    """How well scenes are told from images, from sounds, and from both."""
    parser = make_parser("evaluate audiovisual", "How well scenes are told from images, from sounds, and from both.")
    sound_arguments(parser, "such as advance")
    parser.add_argument("--protocol", type=str, default="grouped", help="grouped, or soundingearth (the release's)")
    parser.add_argument("--features", type=str | None, default=None, help="encoder or embedding")
    parser.add_argument("--fusion", action="store_true", help="also train both towers and a small head end to end")
    parser.add_argument("--fusion_epochs", type=int | None, default=None, help="default: 10")
    parser.add_argument("--fusion_batch", type=int | None, default=None, help="default: 32")
    parser.add_argument("--fusion_rate", type=float | None, default=None, help="learning rate of its head; 1e-3")
    options = parser.parse_args(words)
    changed = {
        field: options[name]
        for name, field in (
            ("fusion_epochs", "epochs"), ("fusion_batch", "batch_size"), ("fusion_rate", "learning_rate")
        )
        if options[name] is not None
    }  # fmt: skip
    if changed and not options.fusion:
        raise ConfigError("--fusion_epochs, --fusion_batch and --fusion_rate have no effect without --fusion")
    from pathlib import Path

    from earthtone.evaluate.audiovisual import FusionPlan, audiovisual_lines, evaluate_audiovisual

    result = evaluate_audiovisual(
        options.model, options.data, dataset=options.dataset, label=options.label,
        columns=columns_mapping(options.columns), protocol=options.protocol, features=options.features,
        fusion=FusionPlan(**changed) if options.fusion else None,
        cache=None if options.cache is None else Path(options.cache), precision=options.precision,
        device=options.device, seed=options.seed, resamples=options.resamples,
    )  # fmt: skip
    print_sound_result(result, options, audiovisual_lines(result))
    return 0


def audio(words: list[str]) -> int:
    """How well a linear classifier reads a label off the frozen sound tower."""
    parser = make_parser("evaluate audio", "How well a linear classifier reads a label off the frozen sound tower.")
    sound_arguments(parser, "such as esc50 or urbansound8k")
    parser.add_argument("--features", type=str, default="encoder", help="encoder, or embedding: after the projection")
    options = parser.parse_args(words)
    from pathlib import Path

    from earthtone.evaluate.sounds import evaluate_audio, fold_lines

    result = evaluate_audio(
        options.model, options.data, dataset=options.dataset, label=options.label,
        columns=columns_mapping(options.columns), features=options.features,
        cache=None if options.cache is None else Path(options.cache), precision=options.precision,
        device=options.device, seed=options.seed, resamples=options.resamples,
    )  # fmt: skip
    print_sound_result(result, options, fold_lines(result))
    return 0


def why(words: list[str]) -> int:
    """Which part of a tile, and of a recording, speaks for their match: a page."""
    parser = make_parser("evaluate why", "Draw which part of a tile and of a recording speaks for their match.")
    model_arguments(parser)
    parser.add_argument("--out", required=True, type=str, help="the page, such as why.html")
    parser.add_argument("--rows", type=int, default=8, help="how many pairs, 1 to 50")
    parser.add_argument("--split", type=str, default="test", help="train, val, test or all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of pairs")
    options = parser.parse_args(words)
    from earthtone.device import choose_device
    from earthtone.evaluate.explain import why_pairs
    from earthtone.models.storage import open_model

    path = why_pairs(
        open_model(options.model, device=choose_device(options.device)), options.data, options.out,
        name=options.model, rows=options.rows, split=options.split, columns=columns_mapping(options.columns),
        seed=options.seed,
    )  # fmt: skip
    print(path)
    return 0


def suite(words: list[str]) -> int:
    """Many models in all tasks that fit the sets in a folder: one table with intervals and paired comparisons.

    0: at least one cell has a figure (failed ones are named); 1: none has.
    """
    parser = make_parser("evaluate suite", "Models in every task on every set below a folder, as one table.")
    parser.add_argument("--models", required=True, type=str, nargs="+", help="as --model of the other tasks, several")
    parser.add_argument("--data_root", required=True, type=str, help="folder with a folder a data set")
    parser.add_argument("--out", required=True, type=str, help="folder for suite.html, .csv, .md and results/")
    parser.add_argument("--tasks", type=str | None, default=None, help="such as probe,segment; default: all")
    parser.add_argument("--datasets", type=str | None, default=None, help="such as ucmerced,esc50; default: all")
    parser.add_argument("--baseline", type=str | None, default=None, help="whom all are compared with; default: first")
    parser.add_argument("--seeds", type=list[int], default=[0], help="a training each, where there is one: 0,1,2")
    parser.add_argument("--quick", action="store_true", help="few epochs, light heads: to see that everything runs")
    parser.add_argument("--epochs", type=int | None, default=None, help="of all trainings; default: each task's own")
    parser.add_argument("--pixels", type=int | None, default=None, help="side of pictures and patches; default: own")
    bands_argument(parser)
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
            seeds=options.seeds, quick=options.quick, epochs=options.epochs, pixels=options.pixels,
            bands=options.bands,
            value_range=value_range_of(options.value_range), resamples=options.resamples,
            device=choose_device(options.device), precision=options.precision,
        ),
        say=say,
    )  # fmt: skip
    if failed := table.count(FAILED):
        say(f"{failed} of {len(table.cells)} cells failed; they are named in the table and run again by the next call")
    print(json_text(suite_rows(table)) if options.json else f"{options.out}/suite.html")
    return 0 if table.count(DONE) else 1


_FUNCTIONS: Mapping[str, Callable[[list[str]], int]] = {
    "retrieval": retrieval, "probe": probe, "finetune": finetune, "segment": segment, "audiovisual": audiovisual,
    "audio": audio, "why": why, "suite": suite,
}  # fmt: skip


def evaluate(words: list[str]) -> int:
    """Measure a model in one of the tasks."""
    if words and words[0] in ("-h", "--help"):
        print("usage: earthtone evaluate TASK [options]; --help after the task tells its options\n")
        print("\n".join(f"  {name:<12} {text}" for name, text in TASKS.items()))
        return 0
    if not words or words[0] not in TASKS:
        found = words[0] if words else "nothing"
        raise ConfigError(f"evaluate {found}; {did_you_mean(found, TASKS)}one of {', '.join(TASKS)} expected")
    return _FUNCTIONS[words[0]](words[1:])
