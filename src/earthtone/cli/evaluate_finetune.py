"""`earthtone evaluate finetune`."""

from earthtone.cli.labelled import bands_of, labelled_arguments, numbers, print_result, value_range_of
from earthtone.cli.parsing import columns_mapping, make_parser


def finetune(words: list[str]) -> int:
    """How well a whole network with a linear head learns labelled images."""
    parser = make_parser("evaluate finetune", "How well a whole network with a linear head learns labelled images.")
    labelled_arguments(parser)
    parser.add_argument("--protocol", type=str, default="modern", help="modern, or soundingearth: that of the release")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the protocol's")
    parser.add_argument("--batch_size", type=int | None, default=None, help="default: the protocol's")
    parser.add_argument("--learning_rate", type=float | None, default=None, help="default: the protocol's")
    parser.add_argument("--seeds", type=str, default="0", help="train once for each: 0,1,2")
    options = parser.parse_args(words)
    from earthtone.device import choose_device
    from earthtone.evaluate.finetune import evaluate_finetune

    result = evaluate_finetune(
        options.model, options.data, dataset=options.dataset, label=options.label,
        columns=columns_mapping(options.columns), protocol=options.protocol, epochs=options.epochs,
        batch_size=options.batch_size, learning_rate=options.learning_rate, pixels=options.pixels,
        bands=bands_of(options.bands),
        value_range=value_range_of(options.value_range), seeds=numbers(options.seeds, "--seeds"),
        precision=options.precision, device=choose_device(options.device), out=options.out,
    )  # fmt: skip
    print_result(result, options, written=True)
    return 0
