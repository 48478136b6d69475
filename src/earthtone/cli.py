"""The command line: one function a verb. Nothing heavy is imported before a verb is known and its options are right."""

import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from earthtone import __version__
from earthtone.errors import ConfigError, EarthtoneError
from earthtone.wording import did_you_mean

_HELP = """\
usage: earthtone VERB [options]        earthtone VERB --help tells a verb's options

Learn image and audio encoders, without a label, from sound and overhead imagery of the same place.

{verbs}

options: --version, --help, --debug (show the traceback of an error)

On your own data:
  earthtone check my/manifest.csv
  earthtone pretrain my/manifest.csv --recipe small --out runs/first
  earthtone evaluate retrieval --model runs/first --data runs/first/table.lance
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, 1 (checked and found wanting), 2 (wrong use or input), 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(verbs="\n".join(f"  {name:<10} {text}" for name, (text, _) in VERBS.items())))
        return 0 if words else 2
    if words[0] == "--version":
        print(f"earthtone {__version__}")
        return 0
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, format="%(message)s")
    try:
        return _verb(words[0])(words[1:])
    except EarthtoneError as error:
        if debug:
            raise
        print(f"earthtone: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("earthtone: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing to say, nobody to say it to
        return 141


def toyworld(words: list[str]) -> int:
    """Make a synthetic planet: images, sounds, places, true land cover."""
    parser = _parser("toyworld", "Write a synthetic world: a manifest, image tiles, sounds. Never real data.")
    parser.add_argument("--out", required=True, type=str, help="folder to write")
    parser.add_argument("--rows", type=int, default=1000, help="places")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes everywhere")
    parser.add_argument("--pixels", type=int, default=128, help="side of a tile")
    parser.add_argument("--size_m", type=float, default=256.0, help="ground width of a tile in metres")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a recording")
    parser.add_argument("--hz", type=int, default=32_000, help="sample rate")
    parser.add_argument("--masks", action="store_true", help="also write land-cover masks")
    parser.add_argument("--geotiff", action="store_true", help="tiles as GeoTIFF instead of PNG")
    options = vars(parser.parse_args(words))
    from pathlib import Path

    from earthtone.data.toyworld import write_toyworld
    from earthtone.progress import progress_calls

    out = Path(options.pop("out"))
    manifest = write_toyworld(out, **options, progress=progress_calls("toy world"))
    print(f"{manifest}: {options['rows']} synthetic places\nnext: earthtone check {manifest}")
    return 0


def check(words: list[str]) -> int:
    """Look at data before it is packed: counts, sizes, places, missing and broken files, duplicates, licences."""
    parser = _parser("check", "Look at a manifest or a release folder; exit 1 when nothing in it is usable.")
    _data_arguments(parser)
    parser.add_argument("--headers_only", action="store_true", help="do not decode the files: faster, finds less")
    parser.add_argument("--bands", type=tuple[int, int, int] | None, default=None, help="GeoTIFF bands: [4,3,2]")
    parser.add_argument("--sample", type=int | None, default=None, help="look into this many rows only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    if options.headers_only and options.bands:
        raise ConfigError("--bands has no effect with --headers_only; leave one of them out")
    from earthtone.data.check import check as run
    from earthtone.progress import progress_calls

    result = run(
        options.data,
        columns=_columns(options.columns),
        decode=not options.headers_only,
        bands=options.bands,
        sample=options.sample,
        progress=progress_calls("check"),
    )
    print(_json(result.to_dict()) if options.json else result.to_text())
    return 0 if result.ok else 1


def pack(words: list[str]) -> int:
    """Decode pairs once into one table that training reads fast; appends, resumes."""
    from earthtone.signal.config import SignalConfig
    from earthtone.train.recipe_file import check_recipe, read_recipe, recipe_from_dict

    name = _option(words, "--recipe", "default")
    base = recipe_from_dict(read_recipe(name), name)
    parser = _parser("pack", "Decode pairs into a packed table. A stopped call goes on when it is repeated.")
    _data_arguments(parser)
    parser.add_argument("--out", required=True, type=str, help="the table, such as pairs.lance")
    parser.add_argument("--recipe", type=str, default=name, help="recipe whose `signal` section is used")
    parser.add_argument("--model", type=str | None, default=None, help="pack as this run's model wants it instead")
    parser.add_argument("--threads", type=int | None, default=None, help="default: one a core")
    parser.add_class_arguments(SignalConfig, "signal")
    parser.set_defaults({key: value for key, value in _flat(base).items() if key.startswith("signal.")})
    options = parser.parse_args(words)
    from dataclasses import replace

    from earthtone.data.pack import pack as run

    if options.model is not None:
        if any(word.startswith(("--recipe", "--signal")) for word in words):
            raise ConfigError("--model decides how to pack: leave --recipe and --signal out")
        from earthtone.models.storage import load_model

        signal = load_model(options.model).signal
    else:
        signal = parser.instantiate(options).signal
        check_recipe(replace(base, signal=signal), "command line")
    columns = _columns(options.columns)
    result = run(options.data, options.out, signal=signal, columns=columns, threads=options.threads)
    print(result.to_text())
    if options.model is not None:
        print(f"next: earthtone evaluate retrieval --model {options.model} --data {result.path}")
    else:
        same = shlex.join(word for word in words if word.startswith("--signal"))
        print(f"next: earthtone pretrain {result.path} --recipe {options.recipe} {same}".rstrip() + " --out runs/first")
    return 0


def pretrain(words: list[str]) -> int:
    """Train two encoders on pairs; logs, checkpoints, a report."""
    from earthtone.train.recipe import Recipe
    from earthtone.train.recipe_file import read_recipe, recipe_from_dict, shipped_recipes

    name = _option(words, "--recipe", "default")
    base = recipe_from_dict(read_recipe(name), name)
    parser = _parser("pretrain", "Train two encoders on pairs. Options below 'recipe' change single values of it.")
    _data_arguments(parser, ", or a packed table")
    parser.add_argument("--out", required=True, type=str, help="folder of the run")
    parser.add_argument("--recipe", type=str, default=name, help=f"{', '.join(shipped_recipes())}, or a .yaml file")
    parser.add_argument("--resume", action="store_true", help="go on with the stopped run in --out")
    parser.add_class_arguments(Recipe)
    parser.set_defaults(_flat(base))
    options = parser.parse_args(words)
    from dataclasses import fields

    from earthtone.train.recipe_file import check_recipe
    from earthtone.verbs.pretraining import pretrain as run

    sections = parser.instantiate(options)
    recipe = Recipe(**{field.name: sections[field.name] for field in fields(Recipe)})
    check_recipe(recipe, "command line")
    columns = _columns(options.columns)
    result = run(options.data, options.out, recipe=recipe, resume=options.resume, columns=columns)
    if not result.finished:
        print(
            f"stopped by {result.stopped_by} after step {result.progress.step} of {result.steps}; "
            f"go on with: earthtone pretrain {shlex.join(w for w in words if w != '--resume')} --resume",
            file=sys.stderr,
        )
        return 130 if result.stopped_by == "SIGINT" else 0  # SIGTERM is how schedulers ask: the work is safe
    print(f"{result.folder}: {result.steps} steps, {result.progress.seconds:.0f} s of training")
    print(f"report: {result.folder}/report.html")
    table = result.folder / "table.lance"
    data = table if table.exists() else options.data
    print(f"next: earthtone evaluate retrieval --model {result.folder} --data {data} --split test")
    return 0


def evaluate(words: list[str]) -> int:
    """Measure a model: `retrieval` or `probe`."""
    tasks = {"retrieval": _evaluate_retrieval, "probe": _evaluate_probe}
    if not words or words[0] not in tasks:
        found = words[0] if words else "nothing"
        if found in ("-h", "--help"):
            print("usage: earthtone evaluate {retrieval,probe} [options]; --help after the task tells its options")
            return 0
        raise ConfigError(f"evaluate {found}; one of {', '.join(tasks)} expected")
    return tasks[words[0]](words[1:])


def demo(words: list[str]) -> int:
    """The whole way on a toy world in a few minutes."""
    parser = _parser("demo", "Toy world, pack, pretrain, retrieval, linear probe, report.")
    parser.add_argument("--out", type=str, default="demo", help="folder to write")
    parser.add_argument("--rows", type=int, default=1500, help="places of the toy world")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of world and training")
    options = parser.parse_args(words)
    from earthtone.verbs.demonstration import demo as run

    result = run(
        options.out,
        rows=options.rows,
        epochs=options.epochs,
        seed=options.seed,
        say=lambda line: print(line, flush=True),
    )
    if result is None:
        print(f"stopped; go on with: earthtone demo --out {options.out}", file=sys.stderr)
        return 130
    print(result.to_text())
    return 0


VERBS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "demo": ("the whole way on a toy world, in a few minutes", demo),
    "toyworld": ("make a synthetic world of images and sounds", toyworld),
    "check": ("look at data: counts, sizes, broken and missing files, duplicates", check),
    "pack": ("decode pairs once into a table that training reads fast", pack),
    "pretrain": ("train two encoders on pairs", pretrain),
    "evaluate": ("measure a model: retrieval, probe", evaluate),
}


def _evaluate_retrieval(words: list[str]) -> int:
    parser = _parser("evaluate retrieval", "How well images find their recordings and recordings their images.")
    _model_arguments(parser)
    parser.add_argument("--split", type=str, default="test", help="train, val, test or all")
    parser.add_argument(
        "--match", type=str | None, default=None,
        help="also count hits by label: IMAGE_COLUMN=AUDIO_COLUMN:MAP.json, or COLUMN for equal labels",
    )  # fmt: skip
    parser.add_argument("--twins", type=str, default="merge", help="merge: identical items count as right; ignore")
    parser.add_argument("--report", type=str | None, default=None, help="default: report-SPLIT.html in the run")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from pathlib import Path

    from earthtone.evaluate.on_data import evaluate_retrieval
    from earthtone.evaluate.run_report import Measured, write_run_report
    from earthtone.models.storage import load_model
    from earthtone.train.precision import choose_device

    model = load_model(options.model, choose_device(options.device))
    run = Path(options.model)

    def show(table: Any, rows: Any, found: Any) -> None:
        print(_json(found.to_dict()) if options.json else found.to_text(), flush=True)
        if options.report or run.is_dir():
            path = Path(options.report or run / f"report-{options.split}.html")
            write_run_report(run, model, table, measured=Measured(options.split, rows, found), path=path)
            print(f"report: {path}", file=sys.stderr)

    evaluate_retrieval(
        model, options.data, split=options.split, columns=_columns(options.columns), match=options.match,
        twins=options.twins, resamples=options.resamples, seed=options.seed, then=show,
    )  # fmt: skip
    return 0


def _evaluate_probe(words: list[str]) -> int:
    parser = _parser("evaluate probe", "How well a linear classifier reads a label off frozen image features.")
    _model_arguments(parser)
    parser.add_argument("--label", required=True, type=str, help="the label's column")
    parser.add_argument("--seed", type=int, default=0, help="of folds and bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from earthtone.evaluate.on_data import evaluate_probe
    from earthtone.models.storage import load_model
    from earthtone.train.precision import choose_device

    model = load_model(options.model, choose_device(options.device))
    columns = _columns(options.columns)
    result = evaluate_probe(model, options.data, label=options.label, columns=columns, seed=options.seed)
    print(_json(result.to_dict()) if options.json else result.to_text())
    return 0


def _verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        raise ConfigError(f"no verb {name!r}; {did_you_mean(name, list(VERBS))}earthtone --help names all")
    return VERBS[name][1]


def _parser(verb: str, description: str) -> Any:
    """A parser whose errors name the nearest option."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            unknown = [word for word in message.split() if word.startswith("--")]
            known = [option for action in self._actions for option in action.option_strings]
            wrong = next((word.split("=")[0] for word in unknown if word.split("=")[0] not in known), "")
            raise ConfigError(
                f"{' '.join(message.split())}; {did_you_mean(wrong, known)}{self.prog} --help names all options"
            )

    return Parser(prog=f"earthtone {verb}", description=description, allow_abbrev=False)


def _data_arguments(parser: Any, also: str = "") -> None:
    parser.add_argument("data", type=str, help=f"manifest (CSV, GeoJSON, Parquet, GeoParquet) or release folder{also}")
    _columns_argument(parser)


def _model_arguments(parser: Any) -> None:
    parser.add_argument("--model", required=True, type=str, help="a run's folder or a .safetensors file")
    parser.add_argument("--data", required=True, type=str, help="packed table, manifest or release folder")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    _columns_argument(parser)


def _columns_argument(parser: Any) -> None:
    parser.add_argument("--columns", type=str | None, default=None, help="other names of columns: image=file,id=key")


def _columns(text: str | None) -> dict[str, str] | None:
    """`image=file,id=key` as a mapping."""
    if text is None:
        return None
    parts = [part.split("=", 1) for part in text.split(",")]
    if any(len(part) != 2 or not all(part) for part in parts):
        raise ConfigError(f"--columns {text}; OURS=THEIRS,OURS=THEIRS expected, such as image=file,id=key")
    return {ours.strip(): theirs.strip() for ours, theirs in parts}


def _option(words: list[str], name: str, default: str) -> str:
    """The value of an option before the real parser exists."""
    for position, word in enumerate(words):
        if word == name and position + 1 < len(words):
            return words[position + 1]
        if word.startswith(f"{name}="):
            return word.split("=", 1)[1]
    return default


def _flat(recipe: Any) -> dict[str, Any]:
    """The recipe's values by dotted key, as the parser takes defaults; `loss.options` is one value."""
    from dataclasses import asdict

    from earthtone.wording import flat

    values = asdict(recipe)
    options = values["loss"].pop("options")
    return {**flat(values), "loss.options": options}


def _json(values: Any) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False)
