"""Plug-ins that are wrong, or take a name that exists, are one clear line; readers, encoders and losses are used."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import earthtone
from earthtone import plugins
from earthtone.data.labelled.items import LabelledItem
from earthtone.encode.engine import feature_width
from earthtone.encode.store import data_fingerprint
from earthtone.errors import ConfigError, ModelError, SignalError
from earthtone.evaluate.results import Estimate, TaskResult, run_plugin_task
from earthtone.evaluate.segment_network import Segmenter
from earthtone.losses import check_options, make_loss
from earthtone.losses.base import Loss
from earthtone.models.backbone import open_backbone
from earthtone.models.config import ModelConfig
from earthtone.models.encoders import make_encoder
from earthtone.models.storage import load_model, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.audio import probe_audio, read_audio
from earthtone.signal.config import SignalConfig
from earthtone.signal.image import picture_header, read_picture
from earthtone.train.recipe import LossConfig, Recipe
from earthtone.train.recipe_file import check_recipe
from earthtone.value_types import Options


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test registers is there in the next one."""
    monkeypatch.setattr(plugins, "_registered", {})


def earthtone_line(folder: Path, *words: str, path: Path | None = None) -> tuple[int, str, str]:
    """Exit code, output and what is said, of the real program in a folder."""
    command = [sys.executable, "-m", "earthtone", *words]
    known = dict(os.environ)
    if path is not None:
        known["PYTHONPATH"] = os.pathsep.join([str(path), known.get("PYTHONPATH", "")])
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


REGISTER = "import earthtone\n\n@earthtone.register_{kind}({name!r})\ndef thing(path): ...\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nowhere_at_all", r"ModuleNotFoundError: No module named 'nowhere_at_all' \(mine.py, line 1\)"),
        ("\nraise RuntimeError('no\\x1b[1m luck')", r"RuntimeError: no\\x1b\[1m luck \(mine.py, line 2\)"),
        ("def broken(:", r"SyntaxError: .*mine.py, line 1"),
        ("import sys; sys.exit(0)", "it calls sys.exit"),
        (REGISTER.format(kind="task", name="probe"), "the task 'probe': earthtone has a task of this name"),
        (REGISTER.format(kind="image_reader", name=".png"), "the image reader '.png': earthtone reads files of this"),
        (REGISTER.format(kind="audio_reader", name="MP3"), "the audio reader 'MP3': earthtone reads files of this"),
        (REGISTER.format(kind="audio_reader", name=".a.b"), "a suffix such as .xyz expected"),
        (REGISTER.format(kind="task", name="my task"), "a name of letters, digits"),
        (REGISTER.format(kind="task", name="mine"), "a function whose argument is annotated with a dataclass"),
        (REGISTER.format(kind="loss", name="mine"), "a subclass of earthtone.losses.base.Loss"),
        (
            "import earthtone\nfrom earthtone.losses.base import Loss\n\n@earthtone.register_loss('mine')\n"
            "class Mine(Loss):\n    def compute(self, image, audio): ...\n",
            r"the loss 'mine': its compute takes \(self, image, audio\); \(self, image, audio, twins, keys=None\) exp",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    status, out, said = earthtone_line(tmp_path, "plugins", "--import", "mine")
    assert (status, out) == (2, "")
    assert said.startswith("earthtone: --import mine: ") and said.count("\n") == 1
    assert re.search(told, said), said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--import",), "--import needs the name of a module"),
        (("--import=mine.py",), "'mine.py' is no name of a module; type --import mine"),
        (("--import", "../mine"), "is no name of a module"),
        (("--import", "no_such_module"), r"no_such_module: no such module in .* or on the path"),
        (
            ("--import", "first", "--import", "second"),
            "second: .*'.xyz' is registered by module first already",
        ),
    ],
)
def test_what_is_no_module_or_takes_a_name_is_one_line(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(REGISTER.format(kind="image_reader", name=".xyz"))
    status, out, said = earthtone_line(tmp_path, "plugins", *words)
    assert (status, out) == (2, "") and said.count("\n") == 1
    assert re.search(told, said), said


def write_package(folder: Path, name: str, **groups: dict[str, str]) -> None:
    metadata = folder / f"{name}-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [
        f"[earthtone.{group}]\n" + "".join(f"{k} = {v}\n" for k, v in one.items()) for group, one in groups.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


@pytest.mark.slow
def test_entry_points_that_fail_are_named_and_stop_only_who_uses_them(tmp_path: Path) -> None:
    """None of the modules is imported by what does not use it: each would end the program."""
    write_package(tmp_path, "alpha", losses={"bad": "bad_module:Loss", "twice": "a:b", "infonce": "json:loads"})
    write_package(tmp_path, "beta", losses={"twice": "a:b"}, image_readers={"xyz": "bad_module:read"})
    (tmp_path / "bad_module.py").write_text("raise ValueError('not today')")
    status, out, _ = earthtone_line(tmp_path, "plugins", path=tmp_path)
    assert status == 0
    lines = out.splitlines()
    assert re.search(r"loss +bad +alpha 1 +the loss 'bad' of alpha 1 cannot be used: ValueError: not today", lines[1])
    assert re.search(r"loss +infonce +alpha 1 +.*earthtone has a loss of this name", lines[2])
    assert all("one of alpha 1 and beta 1" in line or "one of beta 1 and alpha 1" in line for line in lines[3:5])
    assert "image reader" in lines[5] and "not today" in lines[5]
    status, out, _ = earthtone_line(tmp_path, "evaluate", "--help", path=tmp_path)
    assert status == 0
    (tmp_path / "table.csv").write_text("id,image,audio\na,a.xyz,\n")
    (tmp_path / "a.xyz").write_bytes(b"x")
    write = ["pretrain", "table.csv", "--out", "run", "--loss.name"]
    for name, told in (("bad", "cannot be used: ValueError: not today"), ("twice", "uninstall one of them")):
        status, _, said = earthtone_line(tmp_path, *write, name, path=tmp_path)
        assert status == 2 and told in said and said.count("\n") == 1


@pytest.mark.slow
def test_entry_points_of_names_that_exist_or_that_none_may_have_change_nothing(tmp_path: Path) -> None:
    write_package(tmp_path, "alpha", tasks={"probe": "a:b"}, image_readers={"csv": "a:b", "mp4": "a:b", "q z": "a:b"})
    write_package(tmp_path, "beta", losses={"$(touch run)": "a:b", "`touch run`": "a:b", "fine": "a:b"})
    _, out, _ = earthtone_line(tmp_path, "evaluate", "--help", path=tmp_path)
    assert re.search(r"probe  +[a-z]", out) and "alpha" not in out
    code = (
        "from pathlib import Path; from earthtone.signal import readers as r\n"
        "print(r.image_suffixes() == r.IMAGES, r.kind(Path('a.csv')), r.reader_source(Path('a.mp4'), 'image'))"
    )
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    asked = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert asked.stdout.split() == ["True", "None", "None"], asked.stderr
    status, out, _ = earthtone_line(tmp_path, "plugins", path=tmp_path)
    assert status == 0 and out.count("cannot be used") == 7
    status, script, _ = earthtone_line(tmp_path, "completion", "bash", path=tmp_path)
    assert status == 0 and " fine" in script and "touch" not in script  # bash would run it at a press of the key


def test_a_name_that_is_registered_again_by_its_own_module_is_the_new_one() -> None:
    """As a cell of a notebook that is run twice."""
    for level in (1, 2):

        @earthtone.register_image_reader(".xyz")
        def read(path: Path, level: int = level) -> np.ndarray:
            return np.full((4, 4, 3), level, np.uint8)

    assert plugins.find_plugin("image reader", ".xyz")(Path()).max() == 2
    [found] = [one for one in earthtone.list_plugins() if one.name == ".xyz"]
    assert found.source == f"module {__name__}"


# Readers.


def nothing(path: Path) -> object:
    return None


def failing(path: Path) -> object:
    raise KeyError("header")


def ending(path: Path) -> object:
    sys.exit(3)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (nothing, "returned a NoneType; uint8"),
        (failing, "failed: KeyError: 'header'"),
        (ending, "failed: SystemExit: 3"),
        (lambda path: np.zeros((4, 4, 3)), r"returned float64 \(4, 4, 3\); uint8"),
        (lambda path: np.zeros((3, 4, 4), np.uint8), r"returned uint8 \(3, 4, 4\); uint8 \(height, width, 3\)"),
        (lambda path: np.zeros((0, 4, 3), np.uint8), "returned uint8"),
        (lambda path: [[[1, 2, 3]]], "returned a list"),
    ],
)
def test_nonsense_of_an_image_reader_is_an_error_of_that_file(tmp_path: Path, read: object, told: str) -> None:
    earthtone.register_image_reader(".xyz")(read)
    (tmp_path / "a.xyz").write_bytes(b"x")
    for look in (read_picture, picture_header):
        with pytest.raises(SignalError, match=rf"a\.xyz: the reader of \.xyz \(module .*\) {told}"):
            look(tmp_path / "a.xyz")
    with pytest.raises(SignalError, match=r"b\.xyz: No such file"):
        read_picture(tmp_path / "b.xyz")


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (np.zeros(9), "returned float64"),
        ((np.zeros(9), 0), "returned hz 0"),
        ((np.zeros(9), 16000.5), "returned hz 16000.5"),
        ((np.zeros(9), True), "returned hz True"),
        ((np.zeros(9), 200), "200 samples a second; at least 1000"),
        ((np.zeros(9), 1e300), "samples a second; at most 10,000,000"),
        ((np.zeros(9), 10**400), "samples a second; at most 10,000,000"),
        ((np.zeros(9), np.complex64(16_000)), "returned hz .16000"),
        ((np.zeros(9, np.int16), 16000), r"returned int16 \(9,\); floats"),
        ((np.zeros((2, 9)), 16000), r"shape \(2, 9\); \(n, channels\) expected"),
        ((np.zeros((9, 0)), 16000), "returned float64"),
        ((np.full(9, np.nan), 16000), "NaN or infinite"),
        ((np.full(9, 3e4), 16000), "another scale"),
        (([0.0] * 9, 16000), "returned a list"),
    ],
)
def test_nonsense_of_an_audio_reader_is_an_error_of_that_file(tmp_path: Path, found: object, told: str) -> None:
    earthtone.register_audio_reader(".xyz")(lambda path: found)
    (tmp_path / "a.xyz").write_bytes(b"x")
    with pytest.raises(SignalError, match=told):
        read_audio(tmp_path / "a.xyz", 16_000)


def test_a_readers_sound_and_image_are_those_of_a_file_of_the_same_content(tmp_path: Path) -> None:
    """Stereo at another rate is mixed and resampled; the plug-in's own array is not changed."""
    import soundfile
    from PIL import Image

    draw = np.random.default_rng(0)
    sound, pixels = draw.uniform(-0.5, 0.5, (30_000, 2)).astype(np.float32), draw.integers(0, 256, (9, 7, 3), np.uint8)
    soundfile.write(tmp_path / "a.wav", sound, 22_050, subtype="FLOAT")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    earthtone.register_audio_reader("XYZ")(lambda path: (sound, np.int64(22_050)))
    earthtone.register_image_reader(".pix")(lambda path: pixels)
    for name in ("a.xyz", "a.PIX"):
        (tmp_path / name).write_bytes(b"x")
    for channel in ("mean", "right", "loudest"):
        expected = read_audio(tmp_path / "a.wav", 16_000, channel)
        assert np.array_equal(read_audio(tmp_path / "a.xyz", 16_000, channel), expected)
    assert probe_audio(tmp_path / "a.xyz") == probe_audio(tmp_path / "a.wav")
    assert np.array_equal(read_picture(tmp_path / "a.PIX").pixels, read_picture(tmp_path / "a.png").pixels)
    assert picture_header(tmp_path / "a.PIX") == (7, 9, "RGB")
    read_picture(tmp_path / "a.PIX").pixels[:] = 0
    assert pixels.any()


def test_features_kept_before_a_reader_came_are_others(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"x")
    items = [LabelledItem("a", "label", tmp_path / "a.xyz")]
    before = data_fingerprint(items)
    earthtone.register_image_reader(".xyz")(nothing)
    assert data_fingerprint(items) != before


# Losses.


def test_a_losss_options_are_checked_as_those_of_our_own() -> None:
    class Level(Loss):
        has_negatives = False

        def __init__(self, level: float = 1.0, batch_size: int = 2) -> None:
            super().__init__(level=level, batch_size=batch_size)
            self.level = nn.Parameter(torch.tensor(level))

        def compute(self, image: Tensor, audio: Tensor, twins: object, keys: object = None) -> Tensor:
            return (image - audio).square().mean() * self.level

    earthtone.register_loss("level")(Level)
    made = make_loss("level", level=3.0)
    assert float(made(torch.ones(2, 3), torch.zeros(2, 3)).detach()) == 3.0
    with pytest.raises(ConfigError, match=r"option of the loss 'level': 'levl'; did you mean level\?"):
        make_loss("level", levl=1)
    with pytest.raises(ConfigError, match="level is 'high'; a number expected"):
        check_options("level", {"level": "high"})
    with pytest.raises(ConfigError, match=r"did you mean level\?"):
        make_loss("levle")
    with pytest.raises(ConfigError, match="loss 'level' has no negatives to keep twins out of"):
        check_recipe(Recipe(loss=LossConfig("level")), "recipe")
    check_recipe(Recipe(loss=LossConfig("level", twins="ignore")), "recipe")


def test_a_wrong_loss_is_refused_when_it_is_registered_or_made_or_used() -> None:
    class Odd(Loss):
        def __init__(self, level: float) -> None:
            super().__init__()

        def compute(self, image: Tensor, audio: Tensor, twins: object, keys: object = None) -> Tensor:
            return image

    class Failing(Odd):
        def __init__(self) -> None:
            raise ValueError("no")

    class Quiet(Odd):
        def __init__(self) -> None:
            super().__init__(1.0)

    for name, kind, told in (
        ("odd", Odd, "'level' has no default"), ("infonce", Quiet, "earthtone has a loss"),
        ("TripletLoss", Quiet, "earthtone has a loss"), ("none", Loss, "that has `compute`"),
        ("int", int, "a subclass"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            earthtone.register_loss(name)(kind)
    earthtone.register_loss("failing")(Failing)
    with pytest.raises(ConfigError, match="the loss 'failing' cannot be made: ValueError: no"):
        make_loss("failing")
    earthtone.register_loss("plain")(Quiet)
    with pytest.raises(ConfigError, match=r"returned torch.float32 \(2, 3\); a scalar"):
        make_loss("plain")(torch.ones(2, 3), torch.zeros(2, 3))


# Encoders.


def pooling(channels: int, height: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda *shape: "text", "a str was made; a module"),
        (lambda *shape: nn.Identity(), r"gives torch.float32 \(1, 3, 8, 8\) for one input"),
        (lambda *shape: nn.Linear(5, 5), "cannot be made for inputs of 3 x 8 x 8: RuntimeError"),
        (lambda one: nn.Identity(), "cannot be made for inputs of 3 x 8 x 8: TypeError"),
    ],
)
def test_a_wrong_encoder_is_refused_before_training(make: Callable[..., nn.Module], told: str) -> None:
    earthtone.register_encoder("odd")(make)
    with pytest.raises(ConfigError, match=f"encoder 'odd'.*{told}"):
        make_encoder("odd", (3, 8, 8))


def test_an_encoders_name_is_neither_timms_nor_ours_and_its_options_are_told() -> None:
    for name in ("resnet18", "release_resnet18"):
        with pytest.raises(ConfigError, match="has an encoder of this name"):
            earthtone.register_encoder(name)(pooling)
    earthtone.register_encoder("pooling")(pooling)
    assert make_encoder("pooling", (3, 8, 8))[1] == 5
    for option, value in (("drop_path", 0.1), ("output_stride", 16)):
        with pytest.raises(ConfigError, match=f"encoder 'pooling' has no {option}"):
            make_encoder("pooling", (3, 8, 8), **{option: value})
    with pytest.raises(ConfigError, match="no weights of its own"):
        make_encoder("pooling", (3, 8, 8), pretrained=True)
    with pytest.raises(ConfigError, match="near it: pooling"):
        make_encoder("poolin", (3, 8, 8))
    backbone = open_backbone("random:pooling", pixels=8)
    assert (feature_width(backbone, None), backbone.channels) == (5, ())
    with pytest.raises(ConfigError, match="no `forward_intermediates`, so no stages"):
        feature_width(backbone, 0)
    with pytest.raises(ConfigError, match="gives no maps of its stages"):
        Segmenter(backbone, 2, "linear")


def test_a_model_of_an_unknown_encoder_imports_nothing(
    tmp_path: Path, tiny_signal: SignalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a module that lies beside it and is called as the encoder is."""
    earthtone.register_encoder("planted")(pooling)
    model = TwoTower(ModelConfig("planted", "planted", dimensions=4), tiny_signal)
    save_model(tmp_path, model, {})
    assert load_model(tmp_path).config.image_encoder == "planted"
    monkeypatch.setattr(plugins, "_registered", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted.py").write_text("raise SystemExit")
    for opened in (load_model, open_backbone):
        with pytest.raises(
            ModelError, match=r"encoder 'planted' is no timm model and no plug-in's here.*--import MODULE"
        ):
            opened(tmp_path)
    assert "planted" not in sys.modules


# Tasks.


@dataclass(frozen=True)
class Plain(Options):
    """Nothing is asked."""


class NoDataclass(Plain):
    more: int = 1


@dataclass(frozen=True)
class Reserved(Options):
    json: bool = False


def result(**changed: object) -> TaskResult:
    known = {"headline": "share", "figures": {"share": Estimate(0.5, 0.4, 0.6, None, 10)}}
    return TaskResult("mine", "data", "model", "protocol", **{**known, **changed})  # type: ignore[arg-type]


def dividing(options: Plain) -> object:
    return 1 / 0


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (dividing, "the task 'mine' failed: ZeroDivisionError: division by zero; --debug shows where"),
        (lambda options: {"share": 0.5}, "returned a dict; a TaskResult expected"),
        (lambda options: result(headline="other"), "has no figure 'other'"),
        (lambda options: result(figures={}), "has no figure 'share'"),
        (lambda options: result(figures={"share": 0.5}), "has no figure 'share'"),
        (lambda options: result(facts={"model": object()}), "is no JSON"),
    ],
)
def test_what_a_task_returns_is_checked(function: Callable[[Plain], object], told: str) -> None:
    function.__annotations__ = {"options": Plain}
    earthtone.register_task("mine")(function)
    task = plugins.find_plugin("task", "mine")
    assert task.options is Plain
    with pytest.raises(ConfigError, match=told):
        run_plugin_task("mine", task, Plain())


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (int, "a dataclass of options expected"),
        (NoDataclass, "NoDataclass is no dataclass derived from"),
        (Reserved, "--json is an option of every task"),
        ("Unknown", "a dataclass of options expected"),
    ],
)
def test_a_tasks_options_are_a_dataclass(kind: object, told: str) -> None:
    def task(options): ...  # type: ignore[no-untyped-def]

    task.__annotations__ = {"options": kind}
    with pytest.raises(ConfigError, match=told):
        earthtone.register_task("mine")(task)


def test_what_the_program_itself_registers_is_refused_where_processes_are_started() -> None:
    code = 'import earthtone\n@earthtone.register_task("mine")\ndef task(options: Plain): ...\n'
    exec(code, {"__name__": "__main__", "Plain": Plain})  # noqa: S102 - as a program of a user's
    earthtone.register_image_reader(".xyz")(nothing)
    assert plugins.modules_for_processes([("loss", "infonce")]) == [__name__]
    with pytest.raises(ConfigError, match="the task 'mine' is registered by the program itself"):
        plugins.modules_for_processes([("task", "mine")])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda image, audio: image @ audio, r"failed: RuntimeError: mat1 .* \(test_plugins.py, line \d+\)"),
        (lambda image, audio: (image - audio).square().mean().detach(), "without a gradient"),
        (lambda image, audio: None, "returned NoneType"),
    ],
)
def test_a_loss_that_fails_is_one_line_with_its_place(wrong: Callable[[Tensor, Tensor], Tensor], told: str) -> None:
    @earthtone.register_loss("failing")
    class Failing(Loss):
        def compute(self, image: Tensor, audio: Tensor, twins: object, keys: object = None) -> Tensor:
            return wrong(image, audio)

    with pytest.raises(ConfigError, match=told):
        make_loss("failing")(torch.ones(3, 4, requires_grad=True), torch.zeros(3, 4))


def test_a_loss_that_does_not_begin_with_its_base_is_told() -> None:
    @earthtone.register_loss("unmade")
    class Unmade(Loss):
        def __init__(self, margin: float = 0.2) -> None: ...

        def compute(self, image: Tensor, audio: Tensor, twins: object, keys: object = None) -> Tensor:
            return (image - audio).square().mean()

    with pytest.raises(ConfigError, match=r"does not call super\(\).__init__"):
        make_loss("unmade")
