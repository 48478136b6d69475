"""`earthtone pretrain`."""

import sys

from earthtone.cli.parsing import (
    columns_mapping,
    data_arguments,
    early_option,
    flat_recipe,
    make_parser,
    option_words,
    split_arguments,
)
from earthtone.errors import shell_line


def pretrain(words: list[str]) -> int:
    """Train two encoders on pairs; logs, checkpoints, a report."""
    from earthtone.train.recipe import Recipe
    from earthtone.train.recipe_file import drop_options, read_recipe, recipe_from_dict, shipped_recipes

    typed_words = words  # as the next call would be typed
    words = option_words(words, Recipe)
    name = early_option(words, "--recipe", "default")
    values = read_recipe(name)
    typed = {key: early_option(words, f"--{key}", "") for key in ("loss.name", "within.name")}
    drop_options(values, {key: value for key, value in typed.items() if value})
    base = recipe_from_dict(values, name)
    parser = make_parser("pretrain", "Train two encoders on pairs. Options below 'recipe' change single values of it.")
    data_arguments(parser, ", or a packed table (or s3://...)")
    parser.add_argument("--out", required=True, type=str, help="folder of the run")
    parser.add_argument("--recipe", type=str, default=name, help=f"{', '.join(shipped_recipes())}, or a .yaml file")
    split_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the stopped run in --out")
    parser.add_class_arguments(Recipe)
    parser.set_defaults(flat_recipe(base))
    options = parser.parse_args(words)
    from dataclasses import fields

    from earthtone.studies.pretrain import pretrain as run
    from earthtone.train.recipe_file import check_recipe

    sections = parser.instantiate(options)
    recipe = Recipe(**{field.name: sections[field.name] for field in fields(Recipe)})
    check_recipe(recipe, "command line")
    columns = columns_mapping(options.columns)
    result = run(
        options.data, options.out, recipe=recipe, resume=options.resume, columns=columns, split_by=options.split_by,
        buffer_km=options.buffer_km,
    )  # fmt: skip
    if result.rank:
        return 0  # the first process tells
    if not result.finished:
        again = [word for word in typed_words if word != "--resume"]
        print(
            f"stopped by {result.stopped_by} after step {result.progress.step} of {result.steps}; "
            f"go on with: {shell_line('earthtone', 'pretrain', *again, '--resume')}",
            file=sys.stderr,
        )
        return 130 if result.stopped_by == "SIGINT" else 0  # SIGTERM is how schedulers ask: the work is safe
    print(f"{result.folder}: {result.steps} steps, {result.progress.seconds:.0f} s of training")
    print(f"report: {result.folder}/report.html")
    table = result.folder / "table.lance"
    data = table if table.exists() else options.data
    line = ["evaluate", "retrieval", "--model", result.folder, "--data", data, "--split", "test"]
    device = [] if recipe.train.device == "auto" else ["--device", recipe.train.device]
    print(f"next: {shell_line('earthtone', *line, *device)}")
    return 0
