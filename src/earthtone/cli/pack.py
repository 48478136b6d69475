"""`earthtone pack`."""

from earthtone.cli.parsing import (
    columns_mapping,
    data_arguments,
    early_option,
    flat_recipe,
    make_parser,
    option_words,
    split_arguments,
    typed_options,
)
from earthtone.errors import ConfigError, shell_line


def pack(words: list[str]) -> int:
    """Decode pairs once into one table that training reads fast; appends, resumes."""
    from earthtone.signal.config import SignalConfig
    from earthtone.train.recipe_file import check_recipe, read_recipe, recipe_from_dict

    words = option_words(words, SignalConfig, "signal")
    name = early_option(words, "--recipe", "default")
    base = recipe_from_dict(read_recipe(name), name)
    parser = make_parser("pack", "Decode pairs into a packed table. A stopped call goes on when it is repeated.")
    data_arguments(parser)
    parser.add_argument("--out", required=True, type=str, help="the table, such as pairs.lance")
    parser.add_argument("--recipe", type=str, default=name, help="recipe whose `signal` section is used")
    parser.add_argument("--model", type=str | None, default=None, help="pack as this run's model wants it instead")
    split_arguments(parser)
    parser.add_argument("--threads", type=int | None, default=None, help="default: one a core")
    parser.add_class_arguments(SignalConfig, "signal")
    parser.set_defaults({key: value for key, value in flat_recipe(base).items() if key.startswith("signal.")})
    options = parser.parse_args(words)
    from dataclasses import replace

    from earthtone.data.pack import pack as run
    from earthtone.data.splits import MANIFEST

    if options.model is not None:
        if any(word.startswith(("--recipe", "--signal")) for word in words):
            raise ConfigError("--model decides how to pack: leave --recipe and --signal out")
        from earthtone.models.storage import open_model

        signal = open_model(options.model).signal
    else:
        signal = parser.instantiate(options).signal
        check_recipe(replace(base, signal=signal), "command line")
    columns = columns_mapping(options.columns)
    result = run(
        options.data, options.out, signal=signal, columns=columns, split_by=options.split_by or MANIFEST,
        buffer_km=options.buffer_km, threads=options.threads,
    )  # fmt: skip
    print(result.to_text())
    if options.model is not None:
        line = ["evaluate", "retrieval", "--model", options.model, "--data", result.path]
    else:
        same = typed_options(words, "--signal")
        line = ["pretrain", result.path, "--recipe", options.recipe, *same, "--out", "runs/first"]
    print(f"next: {shell_line('earthtone', *line)}")
    return 0
