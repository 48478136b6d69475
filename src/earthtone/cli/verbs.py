"""Every verb of the command line: its options are read, the function of the same name is called, the result is shown.

The options are dataclasses (options.py). What is imported in a function is heavy, and wanted only once they are right.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import earthtone
from earthtone import options as told
from earthtone.build import options as told_build
from earthtone.cli.parsing import (
    ASKED,
    add_options,
    early_option,
    make_parser,
    options_of,
    parsed,
    read_overrides,
    reader,
    typed_options,
)
from earthtone.errors import ConfigError, did_you_mean, flat, one_line_each, printable, shell_line
from earthtone.options import TASKS
from earthtone.plugins import find_plugin, imported_modules, plugins_of
from earthtone.progress import is_shown, note, progress_calls
from earthtone.signal.config import SignalConfig
from earthtone.terminal import json_text
from earthtone.value_types import Options

_ITEMS = ("ids", "scores", "truth", "predicted")


def call(name: str, options: Options) -> Any:
    """Return what a public function gives for options that are read already."""
    return getattr(earthtone, name)(options)


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _next(*words: object) -> str:
    """Return a line to type, with the modules that were imported for this one."""
    modules = [word for module in imported_modules() for word in ("--import", module)]
    return shell_line("earthtone", *modules, *words)


def _say(line: str) -> None:
    """Say what has gone otherwise than asked for, also with --quiet."""
    print(line, file=sys.stderr, flush=True)


def toyworld(words: list[str]) -> int:
    options, _ = parsed("toyworld", told.ToyworldOptions, words, progress=progress_calls("toy world"))
    manifest = call("write_toyworld", options)
    print(f"{manifest}: {options.rows} synthetic places\nnext: {_next('check', manifest)}")
    return 0


def fetch(words: list[str]) -> int:
    """List public data sets, bring one to a folder, or look again at what was fetched (1: it is damaged)."""

    def more(parser: Any) -> None:
        parser.add_argument("--list", action="store_true", help="print the catalogue (or one entry) and fetch nothing")
        parser.add_argument("--check", action="store_true", help="verify what was fetched before, download nothing")
        _json(parser)

    options, found = parsed("fetch", told.FetchOptions, words, more)
    listed = options.name is None or found.list
    others = ("subset", "downloaded", "retries", "timeout_seconds")
    idle = options.changed(*(("out", *others) if listed else others))
    idle += ["--check"] if listed and found.check else []
    if idle and (listed or found.check):
        instead = "a data set's name and without --list" if listed else "no --check"
        raise ConfigError(f"{idle[0]} has no effect here; give it with {instead}")
    from earthtone.build import fetch as fetching

    catalogue = options.catalogue or fetching.CATALOGUE
    if listed:
        sets = fetching.read_catalogue(catalogue)
        sets = sets if options.name is None else {options.name: fetching.find_set(sets, options.name)}
        print(json_text(fetching.plain_sets(sets)) if found.json else fetching.sets_text(sets))
        return 0
    if found.check:
        checked = fetching.verify(str(options.name), options.out, catalogue=catalogue)
        print(json_text(checked.to_dict()) if found.json else checked.to_text(options.catalogue))
        return 0 if checked.ok else 1
    result = call("fetch", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def plugins(words: list[str]) -> int:
    """List the plug-ins, each with whether it works."""
    parser = make_parser(
        "plugins", "List losses, encoders, readers, taggers, tasks that other packages and modules add."
    )
    _json(parser)
    found, listed = parser.parse_args(words), earthtone.list_plugins()
    if found.json:
        print(json_text([asdict(plugin) for plugin in listed]))
        return 0
    if not listed:
        print("no plug-ins: no installed package has one, and --import names no module that does (docs/plugins.md)")
        return 0
    rows = [("kind", "name", "from", "state"), *(astuple(plugin) for plugin in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print(one_line_each("  ".join([*map(str.ljust, row, widths), row[3]]) for row in rows))
    return 0


def recordings(words: list[str]) -> int:
    options, found = parsed("recordings", told_build.RecordingsOptions, words, _json)
    result = call("recordings", options)
    print(json_text(result.to_dict()) if found.json else printable(result.to_text()))
    if not found.json:
        print(f"next: {_next('embed', '--model', 'MODEL', '--data', result.out, '--out', 'embeddings')}")
    return 0


def curate(words: list[str]) -> int:
    """Keep the rows that are worth training on; or say of one row why it stays or goes."""

    def more(parser: Any) -> None:
        text = "say for this row every rule, its value, its threshold and the verdict; with --out alone"
        parser.add_argument("--explain", metavar="ID", default=None, help=text)
        parser.usual.append("explain")
        _json(parser)

    if early_option(words, "--explain", ""):
        parser = make_parser("curate", " ".join((told_build.ExplainOptions.__doc__ or "").split()))
        parser.add_argument("--out", required=True, help="folder of a curation")
        more(parser)
        asked = parser.parse_args(words)
        explained = call("explain_curation", told_build.ExplainOptions(asked.out, asked.explain))
        print(json_text(explained.to_dict()) if asked.json else explained.to_text())
        return 0
    options, found = parsed("curate", told_build.CurateOptions, words, more)
    result = call("curate", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    if not found.json:
        channel = ["--signal.audio.channel", result.channel] if result.channel else []
        print(f"next: {_next('pack', result.table, *channel, '--out', 'pairs.lance')}")
    return 0


def build(words: list[str]) -> int:
    options, found = parsed("build", told_build.BuildOptions, words, _json, say=note)
    try:
        result = call("build_dataset", options)
    except KeyboardInterrupt:
        _say(f"stopped; go on with: {_next('build', *words)}")
        return 130
    print(json_text(result.to_dict()) if found.json else result.to_text())
    if not found.json:
        words = [word for word in words if word not in ("--dry_run", "--dry-run")]
        if options.dry_run:
            print(f"next: {_next('build', *words)}")
        elif result.table is not None:
            recipe = ("--recipe", result.recipe) if result.recipe else ()
            print(f"next: {_next('pretrain', result.table, *recipe, '--out', 'runs/first')}")
    return 0


def check(words: list[str]) -> int:
    """Look at data before it is packed; of a packed table, whether it is what was packed."""

    def more(parser: Any) -> None:
        read = reader("--recipe", str | None)
        parser.add_argument("--recipe", type=read, help="take what pack takes with this recipe")
        _json(parser)

    options, found = parsed("check", told.CheckOptions, words, more, progress=progress_calls("check"))
    if found.recipe is not None:
        options = replace(options, signal=earthtone.load_recipe(found.recipe).signal)
    result = call("check", options)
    print(json_text(result.to_dict()) if found.json else printable(result.to_text()))
    return 0 if result.ok else 1


def describe(words: list[str]) -> int:
    options, found = parsed("describe", told_build.DescribeOptions, words, _json)
    result = call("describe", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def publish(words: list[str]) -> int:
    options, found = parsed("publish", told_build.PublishOptions, words, _json)
    try:
        result = call("publish", options)
    except KeyboardInterrupt:
        _say(f"stopped; go on with: {_next('publish', *words)}")
        return 130
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def split(words: list[str]) -> int:
    """Deal rows out and keep that as a file; or look at a split that is there. 1: it leaks."""

    def more(parser: Any) -> None:
        parser.add_argument("--check", action="store_true", help="look at a split that is there, make none")
        parser.usual.append("check")
        _json(parser)

    options, found = parsed("split", told_build.SplitRowsOptions, words, more)
    if found.check:
        idle = options.changed("by", "seed", "shares", "buffer_km", *told_build.OF_KIND)
        if idle:
            raise ConfigError(f"{idle[0]} has no effect with --check; leave it out")
        looked = told_build.CheckSplitOptions(
            options.data, split=options.keep, out=options.out, columns=options.columns,
            metadata_only=options.metadata_only, need=options.need,
        )  # fmt: skip
        result = call("check_split", looked)
    else:
        result = call("split", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    if not found.json and not found.check and result.packable:
        print(f"next: {_next('pack', options.data, '--split_by', options.out, '--out', 'pairs.lance')}")
    return 0 if result.ok else 1


def _with_recipe(verb: str, kind: type[Options], words: list[str], prefix: str = "") -> tuple[Any, Any]:
    """Return what was typed, and the values of the recipe, with single ones of its sections as they were typed."""
    from earthtone.train.recipe import Recipe
    from earthtone.train.recipe_file import drop_options, overridden, read_recipe, recipe_from_dict

    section = SignalConfig if prefix else Recipe
    name = early_option(words, "--recipe", "default")
    parser = make_parser(verb, " ".join((kind.__doc__ or "").split()))
    add_options(parser, kind)
    parser.usual += kind.usual
    if prefix:
        parser.add_argument("--recipe", default="default", help="recipe whose `signal` section is used")
        parser.add_argument(
            "--model", type=reader("--model", str | None), help="pack as this run's model wants it instead"
        )
    typed_recipe = read_recipe(name)
    add_options(parser, section, f"{prefix}." if prefix else "", flat(typed_recipe))
    found = read_overrides(parser, words, section, prefix)
    typed = {key: value for key, value in vars(found).items() if "." in key}
    drop_options(typed_recipe, typed)
    # a mistake in the file is told as one of the file; what contradicts itself there, what was typed may mend
    recipe_from_dict(typed_recipe, name, whole=not typed)
    return found, recipe_from_dict(overridden(typed_recipe, typed), "command line")


def pack(words: list[str]) -> int:
    """Decode pairs once into one table that training reads fast; appends, resumes."""
    found, recipe = _with_recipe("pack", told.PackOptions, words, "signal")
    if found.model is not None:
        if any(word.startswith(("--recipe", "--signal")) for word in words):
            raise ConfigError("--model decides how to pack: leave --recipe and --signal out")
        from earthtone.models.storage import open_model

        signal = open_model(found.model).signal
    else:
        signal = recipe.signal
    result = call("pack", options_of(told.PackOptions, found, signal=signal))
    print(result.to_text())
    if found.model is not None:
        line = ["evaluate", "retrieval", "--model", found.model, "--data", result.path]
    else:
        same = typed_options(words, "--signal")
        line = ["pretrain", result.path, "--recipe", found.recipe, *same, "--out", "runs/first"]
    print(f"next: {_next(*line)}")
    return 0


def convert(words: list[str]) -> int:
    options, found = parsed("convert", told.ConvertOptions, words, _json)
    result = call("convert", options)
    if found.json:
        loss = None if result.loss_path is None else str(result.loss_path)
        print(json_text({"path": str(result.path), "loss_path": loss, "card": dict(result.card)}))
        return 0
    print(f"{result.path}: written from {options.checkpoint}")
    if result.loss_path is not None:
        print(f"{result.loss_path}: learnt parts of the loss, which have no part in the embeddings")
    if not options.backbone_only:
        compared = "cosine" if options.unit else "Euclidean distance"
        print(f"embeddings are compared by {compared}{'' if options.unit else ' (--unit: by cosine)'}")
        line = _next("evaluate", "retrieval", "--model", options.out, "--data", "DATA")
        print(f"next: {line}")
    return 0


def demo(words: list[str]) -> int:
    options, _ = parsed(
        "demo", told.DemoOptions, words, say=lambda line: print(line, flush=True) if is_shown() else None
    )
    result = call("demo", options)
    if result is None:
        _say(f"stopped; go on with: {_next('demo', *words)}")
        return 130
    print(result.to_text())
    return 0


def pretrain(words: list[str]) -> int:
    """Train two encoders on pairs; logs, checkpoints, a report."""
    found, recipe = _with_recipe("pretrain", told.PretrainOptions, words)
    options = options_of(told.PretrainOptions, found, recipe=recipe)
    result = call("pretrain", options)
    if result.rank:
        return 0  # the first process tells
    if not result.finished:
        again = [word for word in words if word != "--resume"]
        _say(
            f"stopped by {result.stopped_by} after step {result.progress.step} of {result.steps}; "
            f"go on with: {_next('pretrain', *again, '--resume')}"
        )
        return 130 if result.stopped_by == "SIGINT" else 0  # SIGTERM is how schedulers ask: the work is safe
    print(f"{result.folder}: {result.steps} steps, {result.progress.seconds:.0f} s of training")
    print(f"report: {result.folder}/report.html")
    table = result.folder / "table.lance"
    data = table if table.exists() else options.data
    line = ["evaluate", "retrieval", "--model", result.folder, "--data", data, "--split", "test"]
    if options.only is not None or len(recipe.learns) == 1:
        line = ["embed", "--model", result.folder, "--data", data, "--out", "embeddings"]
    device = [] if recipe.train.device == "auto" else ["--device", recipe.train.device]
    print(f"next: {_next(*line, *device)}")
    return 0


def sweep(words: list[str]) -> int:
    """Train every combination of a grid with every seed; one table of what they reach on val.

    0: every run is done, or SIGTERM has stopped them; 1: some failed, which the table names; 130: Ctrl-C.
    """
    options, _ = parsed("sweep", told.SweepOptions, words, say=note)
    result = call("sweep", options)
    if result.stopped_by is not None:
        done = f"stopped by {result.stopped_by} with {result.count('done')} of {len(result.table.runs)} runs done"
        _say(f"{done}; go on with: {_next('sweep', *words)}")
        return 130 if result.stopped_by == "SIGINT" else 0  # SIGTERM is how schedulers ask: the work is safe
    if failed := result.count("failed"):
        _say(f"{failed} runs failed; they are named in the table and tried again by the next call")
    print(f"{result.out}/sweep.html")
    return 1 if failed else 0


def reproduce(words: list[str]) -> int:
    """The paper's steps in order, and one table of published figures and ours."""
    if not words or words[0] not in ("paper", *ASKED):
        raise ConfigError(f"reproduce {words[0] if words else 'nothing'}; type: earthtone reproduce paper --data DIR")
    rest = words[1:] if words[0] == "paper" else words
    options, found = parsed("reproduce paper", told.ReproduceOptions, rest, _json, say=note)
    result = call("reproduce_paper", options)
    if found.json:
        print(json_text(result.to_dict()))
    else:
        again = f"; go on with: {_next('reproduce', *words)}"
        print(one_line_each([*result.lines(), *([f"stopped in {result.stopped}{again}"] if result.stopped else [])]))
    return 2 if result.failed else 0


def completion(words: list[str]) -> int:
    """Print a script for the tab key."""
    from earthtone.cli.completion import SHELLS, completion_script

    if not words or words[0] in ASKED:
        print("usage: earthtone completion SHELL > FILE\n")
        print("\n".join(f"  earthtone completion {shell:<4} > {file}" for shell, file in SHELLS.items()))
        print("\nzsh reads it by a line in ~/.zshrc: source ~/.earthtone-completion.zsh; the others find it there.")
        return 0 if words else 2
    if len(words) > 1:
        raise ConfigError(f"completion {' '.join(words)}; one shell expected")
    print(completion_script(words[0]), end="")
    return 0


def retrieval(words: list[str]) -> int:
    def show(table: Any, rows: Any, result: Any) -> None:
        print(json_text(result.to_dict()) if found.json else result.to_text(), flush=True)

    options, found = parsed("evaluate retrieval", told.RetrievalOptions, words, _json, then=show)
    report, run = options.report, Path(str(options.model))
    if report is None and run.is_dir():
        other = "" if options.protocol == "honest" else f"-{options.protocol}"
        report = run / f"report-{options.split}{other}.html"
    call("evaluate_retrieval", replace(options, report=report))
    if report is not None:
        note(f"report: {report}")
    return 0


def _task(
    name: str, kind: type[Options], more: str = "", measure: Callable[[Any], Any] | None = None
) -> Callable[[list[str]], int]:
    """Return the verb of a task that gives a TaskResult; the function `more` adds lines to those of the result.

    `measure` is a plug-in's function; else it is our own of that name.
    """

    def run(words: list[str]) -> int:
        options, found = parsed(f"evaluate {name}", kind, words, _json)
        result = call(f"evaluate_{name}", options) if measure is None else measure(options)
        module, _, lines = more.partition(":")
        added = f"\n{getattr(import_module(module), lines)(result)}" if more else ""
        plain = {key: value for key, value in result.to_dict().items() if name == "segment" or key not in _ITEMS}
        print(json_text(plain) if found.json else f"{result.to_text()}{added}")
        return 0

    return run


def doctor(words: list[str]) -> int:
    """Say whether a model's towers are healthy; 1: one is collapsed."""
    options, found = parsed("doctor", told.DoctorOptions, words, _json)
    health = call("doctor", options)
    print(json_text(health.to_dict()) if found.json else health.to_text())
    if options.out is not None:
        note(f"page: {options.out}")
    return 0 if health.ok else 1


def why(words: list[str]) -> int:
    options, _ = parsed("evaluate why", told.WhyOptions, words)
    print(call("why_pairs", options))
    return 0


def suite(words: list[str]) -> int:
    """Many models in all tasks that fit the sets in a folder: one table with intervals and paired comparisons.

    0: at least one cell has a figure (failed ones are named); 1: none has.
    """
    options, found = parsed("evaluate suite", told.SuiteOptions, words, _json, say=note)
    table = call("run_suite", options)
    from earthtone.studies.study import DONE, FAILED
    from earthtone.studies.suite_page import suite_rows

    if failed := table.count(FAILED):
        _say(f"{failed} of {len(table.cells)} cells failed; they are named in the table and run again by the next call")
    print(json_text(suite_rows(table)) if found.json else f"{options.out}/suite.html")
    return 0 if table.count(DONE) else 1


_TASKS: Mapping[str, Callable[[list[str]], int]] = {
    "retrieval": retrieval,
    "probe": _task("probe", told.ProbeOptions),
    "finetune": _task("finetune", told.FinetuneOptions),
    "segment": _task("segment", told.SegmentOptions),
    "audiovisual": _task("audiovisual", told.AudiovisualOptions, "earthtone.evaluate.audiovisual:audiovisual_lines"),
    "audio": _task("audio", told.AudioOptions, "earthtone.evaluate.audio_probe:fold_lines"),
    "why": why, "suite": suite,
}  # fmt: skip


def evaluate(words: list[str]) -> int:
    """Measure a model in one of the tasks."""
    if words and words[0] in ASKED:
        print("usage: earthtone evaluate TASK [options]; --help after the task tells its options\n")
        added = {name: plugin.source for name, plugin in plugins_of("task").items() if name not in TASKS}
        texts = {**TASKS, **{name: f"a plug-in's, from {source}" for name, source in added.items()}}
        print(one_line_each(f"  {name:<12} {text}" for name, text in texts.items()))
        return 0
    name = words[0] if words else "nothing"
    if name in TASKS:
        return _TASKS[name](words[1:])
    task = find_plugin("task", name)
    if task is None:
        known = [*TASKS, *plugins_of("task")]
        raise ConfigError(f"evaluate {name}; {did_you_mean(name, known)}one of {', '.join(known)} expected")
    from earthtone.evaluate.results import run_plugin_task

    return _task(name, task.options, measure=partial(run_plugin_task, name, task))(words[1:])
