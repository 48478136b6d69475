"""`earthtone evaluate probe`."""

from earthtone.cli.parsing import columns_mapping, json_text, make_parser, model_arguments


def probe(words: list[str]) -> int:
    """How well a linear classifier reads a label off frozen image features."""
    parser = make_parser("evaluate probe", "How well a linear classifier reads a label off frozen image features.")
    model_arguments(parser)
    parser.add_argument("--label", required=True, type=str, help="the label's column")
    parser.add_argument("--seed", type=int, default=0, help="of folds and bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from earthtone.evaluate.on_data import evaluate_probe
    from earthtone.models.storage import load_model
    from earthtone.train.precision import choose_device

    model = load_model(options.model, choose_device(options.device))
    columns = columns_mapping(options.columns)
    result = evaluate_probe(model, options.data, label=options.label, columns=columns, seed=options.seed)
    print(json_text(result.to_dict()) if options.json else result.to_text())
    return 0
