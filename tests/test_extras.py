"""What an installation without some packages can do; what it cannot is one line that says what to type."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import earthtone
from earthtone.errors import EXTRA_OF, EarthtoneError, MissingExtraError, needed_by
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower

TESTS = Path(__file__).parent
SOURCES = Path(earthtone.__file__).parent
PROJECT: dict[str, Any] = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
#: What no line of ours asks for, since what is named beside it always brings it.
BROUGHT = {"markupsafe": "jinja2", "datasets": "mteb", "pydantic": "fastapi", "starlette": "fastapi"}
BEYOND_CORE = [package for package, extra in EXTRA_OF.items() if extra]


def imported(path: Path) -> Iterator[str]:
    """Yield the packages of others that a module imports anywhere in it, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in {name.partition(".")[0] for name in names}:
            if name != "earthtone" and name not in sys.stdlib_module_names:
                yield name


def named(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!\[; ]", requirement)[0] for requirement in requirements}


def test_each_package_that_is_imported_is_known_with_its_extra() -> None:
    found = {name for path in SOURCES.rglob("*.py") for name in imported(path)}
    assert found | {"tensorboard", "torchvision"} == set(EXTRA_OF)  # torch imports the one, timm the other


def test_each_package_is_a_dependency_of_the_core_or_of_its_extra() -> None:
    optional = {"torchgeo": ["torchgeo"], "umap": ["umap-learn"], "av": ["av"], "mteb": ["mteb"], "ray": ["ray"]}
    distributions = packages_distributions() | optional
    distributions |= {name: [name] for name in ("onnx", "onnxruntime", "onnxscript")}
    for package, extra in EXTRA_OF.items():
        wanted = named(EXTRAS[extra] if extra else PROJECT["dependencies"])
        names = {name.lower().replace("_", "-") for name in distributions[BROUGHT.get(package, package)]}
        assert names & wanted, f"{package}: none of {names} in {extra or 'the dependencies'}"


def test_no_bound_stands_twice() -> None:
    every = [name for extra in [PROJECT["dependencies"], *EXTRAS.values()] for name in named(extra) - {"earthtone"}]
    assert sorted(every) == sorted(set(every))


def test_a_package_of_others_is_no_concern_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), needed_by("pack"):
        import no_such_package  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"earthtone\.nowhere"), needed_by("pack"):
        import earthtone.nowhere  # noqa: F401


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "raise ImportError('libomp.so: no\\n\\x1b such file')",
            r"umap, which cannot be imported \(libomp.so: no ",
        ),
        ("import umap._base", r"umap, which cannot be imported \(No module named 'umap._base'\)"),
        ("from numpy import nothing", "umap, which cannot be imported"),
        ("import lightning_fabric_of_old", "umap, which cannot be imported"),
    ],
)
def test_a_package_that_is_broken_is_one_line(code: str, told: str, tmp_path: Path) -> None:
    """In place of a traceback; a file of it costs itself alone."""
    (tmp_path / "umap").mkdir()
    (tmp_path / "umap" / "__init__.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "umap", raising=False)
        patch.syspath_prepend(str(tmp_path))
        line = rf"a.png needs {told}.*; type: pip install --force-reinstall umap"
        with pytest.raises(MissingExtraError, match=line) as got, needed_by("a.png"):
            import umap  # noqa: F401
    assert str(got.value).isprintable()


def test_what_other_code_cannot_import_from_a_package_is_no_fault_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "code_of_a_user.py").write_text("from numpy import nothing")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        with pytest.raises(ImportError, match="nothing"), needed_by("pretrain"):
            import code_of_a_user  # noqa: F401


# A new process, some packages hidden in it; it prints JSON.

_RUN = """
import contextlib, io, json, pydoc, sys
import hidden
hidden.hide({packages!r})
import earthtone
from earthtone.cli import main

def python(name, arguments, named):
    try:
        getattr(earthtone, name)(*arguments, **named)
    except earthtone.EarthtoneError as error:
        return [type(error).__name__, str(error)]
    return ["", ""]

def verb(words):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    return [code, errors.getvalue()]

if __name__ == "__main__":
    found = [python(*call) for call in {calls!r}], [verb(words) for words in {verbs!r}]
    print(json.dumps([*found, pydoc.render_doc(earthtone), sorted(sys.modules.keys() & set({packages!r}))]))
"""


def outcomes(
    packages: Collection[str], calls: Collection[tuple[str, list[Any], dict[str, Any]]], verbs: Collection[list[str]]
) -> tuple[dict[str, list[str]], list[tuple[int, str]], str]:
    """Return what Python functions raised by their names, what verbs returned and said, and the package's help."""
    code = _RUN.format(packages=sorted(packages), calls=list(calls), verbs=list(verbs))
    paths = os.pathsep.join([str(SOURCES.parent), str(TESTS / "support")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    functions, told, help_text, there = json.loads(done.stdout.splitlines()[-1])
    assert there == []
    return dict(zip([name for name, *_ in calls], functions, strict=True)), told, help_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: TwoTower) -> Path:
    path = tmp_path_factory.mktemp("lacking")
    save_model(path / "model", tiny_model, {})
    (path / "empty").mkdir()
    return path


def all_calls(folder: Path, manifest: Path) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """Return a call of each public function: with its packages each gives a result, or an EarthtoneError at once."""
    model, data, empty, out = (str(path) for path in (folder / "model", manifest, folder / "empty", folder / "out"))
    return [
        ("build_index", [empty], {}),
        ("check", [data], {}),
        ("check_split", [data], {}),
        ("convert", [model, f"{out}-converted"], {"backbone_only": True}),
        ("demo", [f"{out}-demo"], {}),
        ("describe", [data], {}),
        ("publish", [data, f"{out}-published"], {}),
        ("doctor", [model, data], {}),
        ("embed", [model, data, f"{out}-vectors"], {}),
        ("evaluate_audio", [model, empty], {}),
        ("evaluate_audiovisual", [model, empty], {}),
        ("evaluate_finetune", [model, empty], {}),
        ("evaluate_probe", [model, empty], {}),
        ("evaluate_retrieval", [model, data], {}),
        ("evaluate_segment", [model, empty], {}),
        ("export", [model, "timm", f"{out}-exported"], {}),
        ("fetch", ["no-such-set", f"{out}-set"], {}),
        ("list_plugins", [], {}),
        ("load_model", [model], {}),
        ("load_recipe", ["small"], {}),
        ("map_similarity", [["a.wav"], f"{out}-map"], {"tiles": empty}),
        ("open_backbone", ["random:test_resnet"], {}),
        ("open_index", [empty], {}),
        ("pack", [data, f"{out}.lance"], {}),
        ("pretrain", [data, f"{out}-run"], {}),
        ("pull", ["nobody/nothing", model], {}),
        ("push", [empty, "nobody/nothing"], {}),
        ("recordings", [empty, f"{out}.parquet"], {}),
        ("curate", [empty, out], {}),
        ("explain_curation", [out, "1"], {}),
        *(
            (f"register_{kind}", ["mine"], {})
            for kind in ("audio_reader", "encoder", "image_reader", "loss", "tagger", "task")
        ),
        ("reproduce_paper", [empty, f"{out}-paper"], {}),
        ("run_suite", [[model], empty, f"{out}-suite"], {}),
        ("search", [empty], {}),
        ("serve_page", [empty], {"port": 0}),
        ("split", [data], {"out": f"{out}-split"}),
        ("sweep", [data, f"{out}-sweep"], {}),
        ("build_dataset", [f"{empty}/none.yaml", f"{out}-built"], {}),
        ("tiles", [f"{out}-tiles"], {"raster": f"{empty}/none.tif"}),
        ("why_pairs", [model, data, f"{out}.html"], {}),
        ("write_toyworld", [f"{out}-toy"], {"rows": 1, "geotiff": True, "workers": 1}),
    ]


def all_verbs(folder: Path, manifest: Path) -> list[list[str]]:
    model, data, empty, out = (str(path) for path in (folder / "model", manifest, folder / "empty", folder / "verb"))
    measured = [["--model", model, "--data", empty]]
    return [
        ["demo", "--out", f"{out}-demo"],
        ["toyworld", "--out", f"{out}-toy", "--rows", "1", "--geotiff"],
        ["check", data],
        ["recordings", empty, "--out", f"{out}.parquet"],
        ["curate", empty, "--out", out],
        ["build", f"{empty}/none.yaml", "--out", f"{out}-built"],
        ["pack", data, "--out", f"{out}.lance"],
        ["describe", data],
        ["publish", data, "--out", f"{out}-published"],
        ["split", data, "--out", f"{out}-split"],
        ["index", empty],
        ["pretrain", data, "--out", f"{out}-run"],
        ["doctor", "--model", model, "--data", data],
        ["map", "--tiles", empty, "--query", "a.wav", "--out", f"{out}-map"],
        ["embed", "--model", model, "--data", data, "--out", f"{out}-vectors"],
        ["sweep", data, "--out", f"{out}-sweep", "--seeds", "0"],
        *([["evaluate", task, *words] for task in ("probe", "finetune", "segment", "audio") for words in measured]),
        ["evaluate", "audiovisual", "--model", model, "--data", empty],
        ["evaluate", "retrieval", "--model", model, "--data", data],
        ["evaluate", "why", "--model", model, "--data", data, "--out", f"{out}.html"],
        ["evaluate", "suite", "--models", model, "--data_root", empty, "--out", f"{out}-suite"],
        ["tiles", "--raster", f"{empty}/none.tif", "--out", f"{out}-tiles"],
        ["reproduce", "paper", "--data", empty, "--out", f"{out}-paper"],
        ["search", empty, "--like", "a"],
        ["serve", empty, "--port", "0"],
    ]


LINE = r"\w+ needs (\w+), which is not installed; type: pip install ('earthtone\[\w+\]'|earthtone)"
WORKS_ON_CORE = (
    "convert", "export", "fetch", "list_plugins", "load_model", "load_recipe", "open_backbone", "pull", "push",
    "register_audio_reader", "register_encoder", "register_image_reader", "register_loss", "register_tagger",
    "register_task",
)  # fmt: skip
LATER = ("earthtone.build.web", "earthtone.options")
OTHER_EXTRAS = {
    "build_dataset": "build", "curate": "build", "explain_curation": "build", "map_similarity": "atlas",
    "recordings": "build", "serve_page": "serve", "tiles": "atlas", "write_toyworld": "geo",
}  # fmt: skip
TRAINING = ("check", "demo", "pack", "pretrain", "reproduce_paper", "sweep")


def test_every_public_function_is_called(folder: Path, tiny_pairs: Path) -> None:
    named = {name for name, *_ in all_calls(folder, tiny_pairs)}
    assert named == set(earthtone.__all__) - {"EarthtoneError", "__version__"}


@pytest.mark.slow
def test_on_the_core_alone(folder: Path, tiny_pairs: Path) -> None:
    """Each function and each verb works, or says in one line what it lacks and what to type; help shows it too."""
    calls, verbs = all_calls(folder, tiny_pairs), all_verbs(folder, tiny_pairs)
    helps = [[*words[: 2 if words[0] in ("evaluate", "reproduce") else 1], "--help"] for words in verbs]
    wrong = ["pack", "manifest.csv", "--no_such_option", "1"]
    light = [
        ["plugins"],
        ["fetch", "--list"],
        ["convert", str(folder / "model"), str(folder / "backbone"), "--backbone_only"],
        ["export", "--model", str(folder / "model"), "--to", "safetensors", "--out", str(folder / "exported")],
        ["push", "nobody/nothing", "--model", str(folder / "model"), "--card", str(folder / "card.md")],
    ]
    functions, told, help_text = outcomes(BEYOND_CORE, calls, [*verbs, wrong, *helps, *light])
    for name, (kind, line) in functions.items():
        if name in WORKS_ON_CORE:
            assert kind == ("ConfigError" if name in ("fetch", "pull", "push") else ""), line
            continue
        extra = "train" if name in TRAINING else OTHER_EXTRAS.get(name, "evaluate")
        assert kind == "MissingExtraError" and re.fullmatch(LINE, line) and f"[{extra}]" in line, line
        assert name == "write_toyworld" or line in help_text
    for words, (code, said) in zip(verbs, told, strict=False):
        assert code == 2 and re.fullmatch(f"earthtone: {LINE}\n", said), (words, said)
    refused, *fine = told[len(verbs) :]
    assert refused[0] == 2 and "--no_such_option" in refused[1]  # a wrong option is told first
    assert [code for code, _ in fine] == [0] * (len(helps) + len(light))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "lacking"),
    [
        ("train", {"demo", "pretrain", "reproduce_paper", "sweep"}),
        ("geo", {"write_toyworld"}),
        ("atlas", {"tiles"}),
    ],
)
def test_without_one_extra(extra: str, lacking: set[str], folder: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    """What does not need it works as before."""
    packages = [package for package, its in EXTRA_OF.items() if its == extra]
    calls = [call for call in all_calls(folder, tiny_pairs) if call[0] in (*lacking, "check")]
    calls.append(("pack", [str(tiny_pairs), str(tmp_path / "table.lance")], {}))
    report = {"report": str(tmp_path / "report.html"), "resamples": 10}
    calls.append(("evaluate_retrieval", [str(folder / "model"), str(tiny_pairs)], report))
    functions, _, _ = outcomes(packages, calls, [])
    assert {name for name, (kind, _) in functions.items() if kind == "MissingExtraError"} == lacking
    assert all(f"earthtone[{extra}]" in functions[name][1] for name in lacking)


def test_without_any_package(folder: Path, tiny_pairs: Path) -> None:
    """As after `pip install --no-deps`: each function says what to type, and so does each verb."""
    calls, verbs = all_calls(folder, tiny_pairs), all_verbs(folder, tiny_pairs)
    calls = [
        call for call in calls if call[0] != "list_plugins" and not call[0].startswith("register_")
    ]  # need nothing
    functions, told, help_text = outcomes(EXTRA_OF, calls, [*verbs, ["--help"], ["--version"]])
    assert all(re.fullmatch(LINE, line) for _, line in functions.values()), functions
    assert all(line in help_text for _, line in functions.values())
    assert functions["load_model"][1].endswith("type: pip install earthtone")
    *missing, help_code, version = told
    assert all(code == 2 and re.fullmatch(f"earthtone: {LINE}\n", said) for code, said in missing), missing
    assert help_code == version == [0, ""]


@pytest.mark.slow
def test_files_of_an_extra_are_counted_and_say_what_to_type(tiny_model: TwoTower, tmp_path: Path) -> None:
    """A reader of many files goes on; one that was given a single file raises what it tells."""
    with pytest.MonkeyPatch.context() as without:
        without.setitem(sys.modules, "rasterio", None)
        (tmp_path / "scene.tif").write_bytes(b"II*\0" + bytes(100))
        with pytest.raises(MissingExtraError, match=r"scene\.tif: this TIFF needs rasterio.*'earthtone\[geo\]'"):
            tiny_model.embed_images([tmp_path / "scene.tif"])
        without.setitem(sys.modules, "av", None)
        (tmp_path / "sound.aac").write_bytes(bytes.fromhex("fff15080") * 64)
        with pytest.raises(EarthtoneError, match=r"sound\.aac: AAC needs av.*'earthtone\[aac\]'"):
            tiny_model.embed_audio([tmp_path / "sound.aac"])


@pytest.mark.slow
def test_embedding_imports_no_more_than_it_needs(folder: Path, tiny_pairs: Path) -> None:
    """Half of a second each, and memory."""
    code = f"""
import sys, earthtone
model = earthtone.load_model({str(folder / "model")!r})
model.embed_images([{str(tiny_pairs.parent / "0.png")!r}])
model.embed_audio([{str(tiny_pairs.parent / "0.wav")!r}])
print(sorted(sys.modules.keys() & set({[*BEYOND_CORE, "jinja2", "pandas", *LATER]!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
