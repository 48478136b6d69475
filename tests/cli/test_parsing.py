"""One rule for empty values on every command line: null where an option may be null, else one line."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

import earthtone
from earthtone import options as told
from earthtone.cli import main, underscored, with_options, without_everywhere
from earthtone.cli.completion import completion_script
from earthtone.cli.parsing import add_options, early_option, make_parser, option_words, parsed, read_overrides
from earthtone.errors import ConfigError
from earthtone.models.config import ModelConfig
from earthtone.options import FinetuneOptions, ProbeOptions
from earthtone.signal.config import AudioConfig, ImageConfig
from earthtone.train.recipe import AugmentConfig, LossConfig, Recipe, SamplerConfig, TrainConfig
from earthtone.value_types import help_texts, takes

NUMBERS = "9" * 400


@pytest.fixture(scope="module")
def parser() -> Any:
    made = make_parser("test", "All options of a recipe.")
    add_options(made, Recipe)
    return made


def options(kind: Any = Recipe, prefix: str = "") -> dict[str, Any]:
    """Every option of the recipe and its type."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        found |= options(hint, f"{prefix}{name}.") if is_dataclass(hint) else {f"{prefix}{name}": hint}
    return found


@pytest.mark.parametrize("empty", [["--KEY="], ["--KEY", ""], ["--KEY= "], ["--KEY", "null"], ["--KEY=~"]])
def test_every_option_of_a_recipe(parser: Any, empty: list[str]) -> None:
    every = options()
    assert len(every) > 85
    for key, hint in every.items():
        words = [word.replace("KEY", key) for word in empty]
        if type(None) in get_args(hint):
            assert vars(parser.parse_args(words))[key] is None, key
            continue
        with pytest.raises(ConfigError) as caught:
            parser.parse_args(words)
        assert key in str(caught.value) and "\n" not in str(caught.value), key
        if words[-1].endswith(("=", " ")) or words[-1] == "":
            assert str(caught.value).startswith(f"--{key} is empty; "), str(caught.value)


def test_numbers_of_many_digits(parser: Any) -> None:
    for key, hint in options().items():
        if hint in (int, float) or {int, float} & set(get_args(hint)):
            with pytest.raises(ConfigError, match=rf"--{key} is a number of more than 63 bits"):
                parser.parse_args([f"--{key}", NUMBERS])


VERBS = [
    "demo --rows 1", "toyworld --out none --rows 0", "fetch", "check none.csv", "pack none.csv --out t.lance",
    "convert none.pt out",
    "sweep none.csv --out s", "reproduce paper --data none --out r", "evaluate retrieval --model none --data none.csv",
    "evaluate probe --model none --data none.csv", "evaluate finetune --model none --data none.csv",
    "evaluate segment --model none --data none.csv", "evaluate audio --model none --data none.csv",
    "evaluate audiovisual --model none --data none.csv", "evaluate why --model none --data none.csv --out why.html",
    "evaluate suite --models none --data_root none --out suite",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help-all"])
    shown = capsys.readouterr().out
    found = sorted(set(re.findall(r"^  (--[a-z_.]+)(?: [A-Z{]|\n)", shown, re.MULTILINE)))
    flags = set(re.findall(r"^  (--[a-z_]+)(?: {2,}|\n| *$)", shown, re.MULTILINE))
    for option in found:
        if option in flags or option in ("--help", "--help_all") or option.startswith("--signal"):
            continue
        words = verb.split()
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
        try:
            code = main([*words, f"{option}="])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        if code == 2:
            assert told.count("\n") == 1, told


def test_empty_words_that_have_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", ""], ["pack", "", "--out", "t.lance"], ["convert", "a.pt", ""], ["check", " "]):
        assert main(words) == 2
        assert "is empty; a text expected" in capsys.readouterr().err


def test_sections_are_single_options(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("epochs: 3\nlearning_rate: 1e-4\nclip_norm:\ncompile: true\n")
    words = ["--train", str(path), "--signal.audio={mels: 32}", "--train.seed", "1", "--augment={crop_area: [0.5, 1]}"]
    assert list(option_words(words, Recipe)) == [
        "--train.epochs=3", "--train.learning_rate=1e-4", "--train.clip_norm=", "--train.compile=true",
        "--signal.audio.mels=32", "--train.seed", "1", "--augment.crop_area=[0.5, 1]",
    ]  # fmt: skip
    for text in ("", "3", "[1]", str(tmp_path), str(tmp_path / "none.yaml")):
        with pytest.raises(ConfigError, match=r"--train .*"):
            list(option_words([f"--train={text}"], Recipe))
    assert list(option_words(["--within={options: {}}", "--signal={audio: {}}"], Recipe)) == ["--within.options={}"]
    path.write_text("batch_size:\n")
    with pytest.raises(ConfigError, match=r"train\.batch_size is empty"):
        make = make_parser("test", "")
        add_options(make, Recipe)
        read_overrides(make, ["--train", str(path)], Recipe)


def test_of_an_option_given_twice_the_last_counts() -> None:
    assert early_option(["--recipe", "a", "--recipe=b"], "--recipe", "c") == "b"
    assert early_option([], "--recipe", "c") == "c"


@pytest.mark.slow
def test_a_section_of_a_file_is_what_is_trained(tiny_pairs: Path, tmp_path: Path) -> None:
    """Its loss takes the recipe's options of the former one away, as `--loss.name` does."""
    (tmp_path / "loss.yaml").write_text("{name: siglip, twins: ignore}\n")
    words = ["pretrain", str(tiny_pairs), "--out", str(tmp_path / "run"), "--recipe", "demo", "--loss"]
    done = subprocess.run(
        [sys.executable, "-m", "earthtone", *words, str(tmp_path / "loss.yaml"), "--train={batch_size: null}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "earthtone: --train.batch_size is empty; 2 or more expected; leave it out for the default\n"
    ), json.dumps(done.stderr)


@pytest.mark.parametrize("typed", ["4,3,2", "[4,3,2]", " [4, 3, 2]"])
def test_lists_with_and_without_brackets(typed: str) -> None:
    for words in (["--bands", typed, "--seeds", typed], [f"--bands={typed}", f"--seeds={typed}"]):
        asked, _ = parsed("evaluate finetune", FinetuneOptions, ["--model", "m", "--data", "d", *words])
        assert asked.bands == (4, 3, 2) and asked.seeds == (4, 3, 2)
    for names in ("knn,centroid", "[knn,centroid]", " [knn, centroid]"):
        asked_probe, _ = parsed("evaluate probe", ProbeOptions, ["--model", "m", "--data", "d", "--method", names])
        assert asked_probe.method == ("knn", "centroid")
    assert FinetuneOptions(model="m", data="d", seeds=range(3)).seeds == (0, 1, 2)
    assert FinetuneOptions(model="m", data="d", bands=np.array([4, 3, 2])).bands == (4, 3, 2)
    for wrong in ({"seeds": np.int64(3)}, {"seeds": np.array(3)}, {"device": np.array(["cpu", "cuda"])}):
        with pytest.raises(ConfigError, match=rf"--{next(iter(wrong))} .* expected"):
            FinetuneOptions(model="m", data="d", **wrong)


@pytest.mark.parametrize("typed", ["0o10,1", "1_000,2", "[1,,2]", "1,2]", "0x10", "[1, two]"])
def test_numbers_in_lists_are_read_as_numbers_alone(typed: str) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        parsed("evaluate finetune", FinetuneOptions, ["--model", "m", "--data", "d", "--seeds", typed])
    asked, _ = parsed(
        "evaluate finetune", FinetuneOptions, ["--model=m", "--data=d", "--seeds", "7", "--bands", "null"]
    )
    assert asked.seeds == (7,) and asked.bands is None


@pytest.mark.parametrize(
    ("words", "telling"),
    [
        (["check", "m.csv", "--bands", "4,3"], "--bands [4, 3]; [a whole number, a whole number, a whole number]"),
        (["sweep", "m.csv", "--out", "o", "--seeds", "0,x"], "--seeds [0, x]; [a whole number, ...]"),
        (["evaluate", "segment", "--model", "m", "--data", "d", "--seeds", "0,x"], "; [a whole number, ...] expected"),
        (["demo", "--rows", "x"], "--rows x; a whole number expected"),
        (["check", "m.csv", "--sample", "x"], "--sample x; a whole number"),
        (["pretrain", "m.csv", "--out", "o", "--augment.mix-db", "3"], "--augment.mix_db [3]; [a number, a number]"),
    ],
)
def test_a_wrong_value_is_one_line(words: list[str], telling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert telling in told
    assert "Union" not in told


def test_options_with_dashes_are_those_with_underscores() -> None:
    words = ["--data-root", "a-b", "--train.batch-size=4-4", "-h", "a-b=c", "--", "--left-alone"]
    expected = ["--data_root", "a-b", "--train.batch_size=4-4", "-h", "a-b=c", "--", "--left-alone"]
    assert list(with_options(words, underscored)) == expected


WRONG = [
    "demo --rows 3", "toyworld --out o --seed x", "fetch --retries x", "check d --sampel 1",
    "pack d --out o --thread 1",
    "pack d --out o --signal.audio.mels 1", "convert a b --unti", "pretrain d --out o --train.epochs x",
    "pretrain d --out o --loss.name infonc", "pretrain d --out o --model.dimensions 0", "sweep d --out o --jobs 0",
    "sweep d --out o", "reproduce paper --data d --out o --steps x",
    "evaluate retrieval --model m --data d --protocol x",
    "evaluate probe --model m --data d --method x", "evaluate finetune --model m --data d --seeds 1,1",
    "evaluate segment --model m --data d --head x", "evaluate audio --model m --data d --features x",
    "evaluate audiovisual --model m --data d --fusion_epochs 3", "evaluate why --model m --data d --out x.txt",
    "evaluate suite --models m --data_root d --out o --tasks x",
]  # fmt: skip


def test_wrong_options_are_refused_before_pytorch_is_imported(tmp_path: Path) -> None:
    """For every verb, in one process whose PyTorch cannot be imported."""
    (tmp_path / "torch.py").write_text("raise ImportError('PyTorch was imported')\n")
    code = "import sys; from earthtone.cli import main; print([main(line.split()) for line in sys.argv[1:]])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code, *WRONG], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.split("\n")[-2] == str([2] * len(WRONG)), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(WRONG) and all(line.startswith("earthtone: ") for line in lines), done.stderr


def test_every_option_has_a_text_and_every_recipe_option_too() -> None:
    kinds = [kind for kind in vars(told).values() if isinstance(kind, type) and issubclass(kind, told.Options)]
    assert len(kinds) > 20
    for kind in [*kinds, LossConfig, TrainConfig, ModelConfig, AudioConfig, ImageConfig, AugmentConfig, SamplerConfig]:
        assert all(help_texts(kind).values()), (kind, help_texts(kind))


@pytest.mark.parametrize("typed", ["-20,-5", "[-20, -5]"])
def test_values_that_begin_with_a_dash(typed: str) -> None:
    parser = make_parser("test", "")
    add_options(parser, Recipe)
    found = vars(read_overrides(parser, ["--augment.mix_db", typed, "--signal.audio.floor_db", "-1e2"], Recipe))
    assert found["augment.mix_db"] == (-20, -5) and found["signal.audio.floor_db"] == -100


def test_what_another_verb_has_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "m.csv", "--out", "t.lance", "--loss.options.temperature", "5"]) == 2
    assert "unrecognized arguments: --loss.options.temperature" in capsys.readouterr().err
    with pytest.raises(TypeError):
        takes(FinetuneOptions)(lambda options: options)(FinetuneOptions("m", "d"), seeds=(1,))  # type: ignore[arg-type]


def test_a_wrong_argument_in_python_names_function_and_argument() -> None:
    with pytest.raises(TypeError, match=r"^pack\(\): .*'thread'; did you mean threads\?$"):
        earthtone.pack("m.csv", "t.lance", thread=2)
    with pytest.raises(TypeError, match=r"^pack\(\): missing .*'out'"):
        earthtone.pack("m.csv")


@pytest.mark.parametrize("text", ["1: 2", "train: {1: 2}", "true: 3", "loss: {options: {1: 2}}", "train: {null: 2}"])
def test_keys_of_a_recipe_that_are_no_text(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(text)
    assert main(["pretrain", "m.csv", "--out", "run", "--recipe", str(tmp_path / "r.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: told.ProbeOptions(None, "d"), lambda: told.PretrainOptions("d", "o", recipe=5),  # type: ignore[arg-type]
        lambda: told.SweepOptions("d", "o", grid=5), lambda: told.SegmentOptions("m", 5),  # type: ignore[arg-type]
        lambda: told.RetrievalOptions("m", "d", match=5), lambda: told.FetchOptions("s", patience=5),  # type: ignore[arg-type]
        lambda: told.RetrievalOptions("m", "d", split="tset"), lambda: told.RetrievalOptions("m", "d", report="."),  # type: ignore[arg-type]
        lambda: told.ProbeOptions("m", "d", out="/"), lambda: told.AudioOptions("m", "d", out="."),
    ],
)  # fmt: skip
def test_what_python_gives_is_checked_before_the_long_part(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"^(--\w+ |\w+=).* expected"):
        make()


@pytest.mark.parametrize("verb", [*VERBS, "pretrain"])
def test_help_is_a_page_and_help_all_is_everything(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At most 40 lines of 80 columns, whatever must be given among them; what it leaves out is in the other."""
    command = verb.partition(" --")[0].split()
    command = command[: 2 if command[0] in ("evaluate", "reproduce") else 1]
    shown = {}
    for option in ("--help", "--help-all"):
        try:
            assert main([*command, option]) == 0
        except SystemExit as ended:
            assert not ended.code
        shown[option] = capsys.readouterr().out
    lines = shown["--help"].rstrip().split("\n")
    assert len(lines) <= 40 and max(map(len, lines)) <= 80, shown["--help"]
    names = {option: set(re.findall(r"^  (--[a-z_.]+)", text, re.MULTILINE)) for option, text in shown.items()}
    assert len(names["--help"]) <= 12
    assert names["--help"] <= names["--help-all"]
    asked = re.findall(r"--[a-z_]+(?= [A-Z])", shown["--help-all"].partition("\n\n")[0])
    assert set(asked) <= names["--help"]
    if names["--help-all"] - names["--help"] - {"--help_all", "--help"}:
        assert f"earthtone {' '.join(command)} --help-all shows all" in shown["--help"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--train.lr", "--train.learning_rate"),
        ("--train.learning-rat", "--train.learning_rate"),
        ("--epochs", "--train.epochs"),
        ("--model.batch_size", "--train.batch_size"),
        ("--lr", "--train.learning_rate"),
        ("--image_encoder", "--model.image_encoder"),
        ("--Resume", "--resume"),
        ("--sample_rate", "--signal.audio.sample_rate_hz"),
        ("--imports", "--import"),
        ("--loglevel", "--log_level"),
    ],
)
def test_a_near_miss_is_found_across_sections(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "none.csv", "--out", "run", typed, "3"]) == 2
    assert f"did you mean {meant}? " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"), [("InfoNCE", "infonce"), ("BatchTriplet", "batch_triplet"), ("SigLip", "siglip")]
)
def test_a_near_miss_of_a_loss(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "none.csv", "--out", "run", "--loss.name", typed]) == 2
    assert f"did you mean {meant}? " in capsys.readouterr().err


def test_the_level_of_messages_may_be_typed_anywhere() -> None:
    assert without_everywhere(["check", "a.csv", "--quiet"]) == (["check", "a.csv"], logging.ERROR, [])
    assert without_everywhere(["--log-level", "info", "check", "--import", "a"]) == (["check"], logging.INFO, ["a"])
    assert without_everywhere(["check", "--log_level=DEBUG", "--", "--quiet"]) == (["check", "--", "--quiet"], 10, [])
    assert without_everywhere(["check", "--", "--debug", "--import"])[1:] == (None, [])
    for words in (["--log_level", "loud", "check"], ["check", "--log_level"]):
        with pytest.raises(ConfigError, match="one of debug, info, warning, error"):
            without_everywhere(words)


def test_a_path_may_be_called_as_an_option_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--", "--debug"]) == 2
    assert capsys.readouterr().err.startswith("earthtone: --debug does not exist")


@pytest.mark.slow
def test_quiet_leaves_the_result_alone(tmp_path: Path) -> None:
    """Bars and warnings go to standard error; with --quiet nothing does, and the result is the same."""
    make = [
        sys.executable,
        "-m",
        "earthtone",
        "toyworld",
        "--rows",
        "4",
        "--pixels",
        "16",
        "--out",
        str(tmp_path / "w"),
    ]
    subprocess.run(make, check=True, capture_output=True)
    (tmp_path / "w" / "manifest.csv").write_text("id,image,audio\na,none.png,none.wav\n")
    check = [sys.executable, "-m", "earthtone", "check", str(tmp_path / "w" / "manifest.csv")]
    loud, quiet = (
        subprocess.run([*check, *more], capture_output=True, text=True, check=False) for more in ([], ["--quiet"])
    )
    assert quiet.stdout == loud.stdout and quiet.returncode == loud.returncode == 1
    assert quiet.stderr == ""


SHELL_TESTS = [
    ("earthtone eval", {"evaluate"}),
    ("earthtone evaluate seg", {"segment"}),
    ("earthtone evaluate probe --meth", {"--method"}),
    ("earthtone evaluate probe --method k", {"knn"}),
    ("earthtone pretrain --train.lea", {"--train.learning_rate"}),
    ("earthtone pretrain --loss.name sig", {"siglip"}),
    ("earthtone pretrain data.csv --recipe soundingearth-b", {"soundingearth-best"}),
    ("earthtone completion fi", {"fish"}),
    ("earthtone demo --help-", {"--help-all"}),
    ("earthtone pretrain --loss.options tr", set()),
    ("earthtone check --headers_only tr", set()),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(completion_script(shell))
    return {shell: folder / shell for shell in ("bash", "zsh", "fish")}


@pytest.mark.slow
@pytest.mark.parametrize(("line", "expected"), SHELL_TESTS)
def test_tab_in_bash(line: str, expected: set[str], scripts: dict[str, Path]) -> None:
    asked = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _earthtone; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", asked, str(scripts["bash"]), *line.split()], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == expected and not done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("line", "expected"), SHELL_TESTS)
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_tab_in_fish(line: str, expected: set[str], scripts: dict[str, Path]) -> None:
    asked = f"source {scripts['fish']}; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", asked], capture_output=True, text=True, check=True)
    assert {found.split("\t")[0] for found in done.stdout.splitlines()} == expected, done.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_script(scripts: dict[str, Path]) -> None:
    """It is bash's, which zsh runs by `bashcompinit`; a terminal of its own is needed to press the key."""
    asked = f"autoload -U compinit && compinit -D -u; source {scripts['zsh']}; print ${{_comps[earthtone]}}"
    done = subprocess.run(["zsh", "-f", "-c", asked], capture_output=True, text=True, check=True)
    assert "_earthtone" in done.stdout
