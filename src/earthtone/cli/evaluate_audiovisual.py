"""`earthtone evaluate audiovisual`."""

from earthtone.cli.parsing import columns_mapping, make_parser
from earthtone.cli.sounds import print_sound_result, sound_arguments
from earthtone.errors import ConfigError


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

    from earthtone.device import choose_device
    from earthtone.evaluate.audiovisual import FusionPlan, audiovisual_lines, evaluate_audiovisual

    result = evaluate_audiovisual(
        options.model, options.data, dataset=options.dataset, label=options.label,
        columns=columns_mapping(options.columns), protocol=options.protocol, features=options.features,
        fusion=FusionPlan(**changed) if options.fusion else None,
        cache=None if options.cache is None else Path(options.cache), precision=options.precision,
        device=choose_device(options.device), seed=options.seed, resamples=options.resamples,
    )  # fmt: skip
    print_sound_result(result, options, audiovisual_lines(result))
    return 0
