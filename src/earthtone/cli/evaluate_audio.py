"""`earthtone evaluate audio`."""

from earthtone.cli.parsing import columns_mapping, make_parser
from earthtone.cli.sounds import print_sound_result, sound_arguments


def audio(words: list[str]) -> int:
    """How well a linear classifier reads a label off the frozen sound tower."""
    parser = make_parser("evaluate audio", "How well a linear classifier reads a label off the frozen sound tower.")
    sound_arguments(parser, "such as esc50 or urbansound8k")
    parser.add_argument("--features", type=str, default="encoder", help="encoder, or embedding: after the projection")
    options = parser.parse_args(words)
    from pathlib import Path

    from earthtone.device import choose_device
    from earthtone.evaluate.sounds import evaluate_audio, fold_lines

    result = evaluate_audio(
        options.model, options.data, dataset=options.dataset, label=options.label,
        columns=columns_mapping(options.columns), features=options.features,
        cache=None if options.cache is None else Path(options.cache), precision=options.precision,
        device=choose_device(options.device), seed=options.seed, resamples=options.resamples,
    )  # fmt: skip
    print_sound_result(result, options, fold_lines(result))
    return 0
