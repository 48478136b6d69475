"""`earthtone evaluate why`."""

from earthtone.cli.parsing import columns_mapping, make_parser, model_arguments


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
