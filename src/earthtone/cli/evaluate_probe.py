"""`earthtone evaluate probe`."""

from typing import Any

from earthtone.cli.labelled import bands_of, labelled_arguments, numbers, print_result, value_range_of
from earthtone.cli.parsing import columns_mapping, make_parser
from earthtone.errors import ConfigError


def probe(words: list[str]) -> int:
    """How well simple classifiers read a label off frozen image features."""
    parser = make_parser("evaluate probe", "How well simple classifiers read a label off frozen image features.")
    labelled_arguments(parser)
    parser.add_argument("--method", type=str, default="logistic", help="logistic, knn, centroid; several: knn,logistic")
    parser.add_argument("--shots", type=str, default="", help="also with so few training images a class: 1,5,10,20")
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

    from earthtone.device import choose_device
    from earthtone.embed.engine import FeatureOptions
    from earthtone.evaluate.classifiers import few_shot_probe
    from earthtone.evaluate.probe import ProbeOptions, evaluate_probe

    if options.protocol not in ("probe", "soundingearth"):
        raise ConfigError(f"--protocol {options.protocol}; probe or soundingearth expected")
    features = FeatureOptions(
        stage=options.stage, bands=bands_of(options.bands),
        value_range=value_range_of(options.value_range), precision=options.precision,
        cache=None if options.cache is None else Path(options.cache),
    )  # fmt: skip
    common: dict[str, Any] = {
        "dataset": options.dataset, "label": options.label, "columns": columns_mapping(options.columns),
        "device": choose_device(options.device), "features": features,
    }  # fmt: skip
    if options.protocol == "soundingearth":
        fixed = ("--method", "--shots", "--draws", "--stage", "--pixels", "--split", "--seed")
        given = [name for name in fixed if any(word.split("=")[0] == name for word in words)]
        if given:
            raise ConfigError(f"{', '.join(given)} has no effect: --protocol soundingearth says it; remove it")
        return few_shot_probe(options.model, options.data, **common)
    asked = ProbeOptions(
        methods=tuple(options.method.split(",")), shots=numbers(options.shots, "--shots"), draws=options.draws,
        seed=options.seed,
    )  # fmt: skip
    return evaluate_probe(
        options.model, options.data, probe=asked, pixels=options.pixels, split=options.split, **common
    )
