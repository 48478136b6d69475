"""The shape of the package: its import circles and its figures.

`check` fails on import circles and on imports from a folder further right; `measure` prints files, lines, imports, and
which files one value visits; `--src OTHER/src` tells of another checkout.
"""

import argparse
import ast
import contextlib
import csv
import io
import os
import sys
import tempfile
import threading
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = "earthtone"
#: From left to right: a module imports from its own group and from those before it.
ORDER = (
    ("errors",), ("files", "geo", "plugins", "processors", "terminal", "value_types"), ("progress", "device", "pages"),
    ("signal",), ("options",), ("data",), ("build",), ("models",), ("encode",), ("losses",), ("train",), ("evaluate",),
    ("atlas",), ("exports", "integrations"), ("serve",), ("studies",), ("cli",),
)  # fmt: skip


def modules(src: Path) -> dict[str, Path]:
    """Return the path of every module of the package by its name below it; a package is its own name."""
    top = src / PACKAGE
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Return the modules of the package that a module imports when it is imported itself."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                full = f"{base}.{alias.name}" if base else alias.name
                found.add(full if full in known else base)
    return found


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the import circles, each once: its modules from one of them back to it."""
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> Iterator[list[str]]:
        state[name] = 1
        path.append(name)
        for other in sorted(graph.get(name, ())):
            if state.get(other) == 1:
                yield [*path[path.index(other) :], other]
            elif other not in state:
                yield from visit(other)
        path.pop()
        state[name] = 2

    for name in graph:
        if name not in state:
            yield from visit(name)


def faults(src: Path) -> list[str]:
    """Return a line for every import circle, every import from further right, and every folder without a place."""
    known = modules(src)
    graph = {name: imports(ast.parse(path.read_text()), known) for name, path in known.items()}
    rank = {name: number for number, names in enumerate(ORDER) for name in names}
    told = [f"import circle: {' -> '.join(circle)}" for circle in circles(graph)]
    for name, others in graph.items():
        top = name.split(".")[0]
        if not top or top == "__main__":
            continue  # the package itself names everything, lazily
        if top not in rank:
            told.append(f"{name}: {top!r} has no place in ORDER of tools/structure.py")
        told += [
            f"{name} imports {other}, which lies further right"
            for other in sorted(others)
            if other and rank.get(other.split(".")[0], -1) > rank.get(top, len(ORDER))
        ]
    return told


def lines(text: str) -> tuple[int, int, int]:
    """Return all lines of a module, those with code (no comment, no docstring), and those of import statements."""
    tree = ast.parse(text)
    code = {
        row
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        for row in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    brought = {
        row
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for row in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return text.count("\n"), len(code & set(range(1, text.count("\n") + 1))), len(brought)


def visited(src: Path, run: Callable[[], Any], needle: Any) -> tuple[list[str], int]:
    """Return the files whose functions are handed `needle`, or an object that carries it, while `run` runs, and how
    often it moves from one file to another."""
    top = str(src / PACKAGE)
    files: dict[str, None] = {}
    moves, last = 0, ""
    text = str(needle)

    def holds(value: object, depth: int = 3) -> bool:
        if (type(value) is type(needle) and value == needle) or (isinstance(value, Path) and str(value) == text):
            return True
        if not depth or isinstance(value, type):
            return False
        inner: Iterable[object] = ()
        if is_dataclass(value):
            inner = (getattr(value, field.name, None) for field in fields(value))
        elif isinstance(value, dict) and len(value) < 100:
            inner = value.values()
        return any(holds(item, depth - 1) for item in inner)

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal moves, last
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(top):
            return
        code = frame.f_code
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(holds(frame.f_locals.get(argument)) for argument in given):
            short = name[len(top) + 1 :]
            files.setdefault(short)
            moves += bool(last) and short != last
            last = short

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return list(files), moves


def journeys(src: Path) -> dict[str, tuple[list[str], int]]:
    """Return the files that an image path, a recipe option and a model's name visit on the command line."""
    import numpy
    import soundfile
    import torch
    from PIL import Image

    torch.set_num_threads(1)
    sys.path.insert(0, str(src))
    from earthtone.cli import main  # type: ignore[import-not-found,unused-ignore]

    def quiet(words: list[str]) -> Callable[[], None]:
        def call() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                main(words)

        return call

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw = numpy.random.default_rng(0)
        rows = [("id", "image", "audio", "split")]
        for n in range(8):
            Image.fromarray(draw.integers(0, 255, (64, 64, 3), dtype=numpy.uint8)).save(folder / f"{n}.png")
            soundfile.write(folder / f"{n}.wav", draw.normal(0, 0.1, 16_000), 16_000)
            rows.append((str(n), f"{n}.png", f"{n}.wav", "val" if n % 4 == 3 else "train"))
        with (folder / "m.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        run, rate = str(folder / "run"), 0.00123
        small = ["--signal.image.pixels", "32", "--signal.image.stored_pixels", "32"]
        models = ["--model.image_encoder", "test_resnet", "--model.audio_encoder", "test_resnet"]
        train = ["--train.epochs", "1", "--train.batch_size", "4", "--train.learning_rate", str(rate)]
        return {
            "an image's path (check)": visited(src, quiet(["check", str(folder / "m.csv")]), folder / "0.png"),
            "a recipe's option (pretrain)": visited(
                src,
                quiet(["pretrain", str(folder / "m.csv"), "--out", run, *small, *models, *train]),
                rate,
            ),
            "a model's name (evaluate retrieval)": visited(
                src,
                quiet(["evaluate", "retrieval", "--model", run, "--data", f"{run}/table.lance", "--split", "val"]),
                run,
            ),
        }


def measure(src: Path) -> None:
    """Print the figures of a checkout."""
    counts = [lines(path.read_text()) for path in modules(src).values()]
    full = [all_ for all_, _, _ in counts if all_]
    total, code, brought = (sum(column) for column in zip(*counts, strict=True))
    print(f"files: {len(counts)} ({len(full)} with a line in them)")
    print(f"lines: {total:,}; of code, without comments and docstrings: {code:,}")
    print(f"mean lines a file: {sum(full) / len(full):.0f}")
    short = 100 * sum(n < 60 for n in full) / len(full)
    print(f"files under 60 lines: {short:.0f} %; over 650: {sum(n > 650 for n in full)}")
    print(f"lines that are imports: {100 * brought / total:.1f} %")
    told = faults(src)
    print(f"import circles: {sum(fault.startswith('import circle') for fault in told)}")
    for what, (files, moves) in journeys(src).items():
        print(f"{what}: {len(files)} files, {moves} moves: {', '.join(files)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["check", "measure"])
    parser.add_argument("--src", type=Path, default=Path(__file__).parents[1] / "src")
    options = parser.parse_args()
    if options.verb == "measure":
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        measure(options.src.resolve())
        return 0
    told = faults(options.src.resolve())
    print("\n".join(told) or f"no import circle, no import from further right in {len(modules(options.src))} modules")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
