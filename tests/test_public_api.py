"""What Python users can call stays: names and arguments are compared with a stored list.

A new name or argument is added to `public_api.txt`; one that disappears breaks programs of users. To write the list
anew: `python tests/test_public_api.py > tests/public_api.txt`.
"""

import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import earthtone

STORED = Path(__file__).parent / "public_api.txt"


def signature(name: str) -> str:
    """Return a public name with its arguments and their plain defaults."""
    thing = getattr(earthtone, name)
    if not inspect.isfunction(thing):
        return name
    parts, keywords = [], False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            parts.append("*")
            keywords = True
        default = parameter.default
        plain = default is None or isinstance(default, bool | int | float | str | tuple)
        shown = "" if default is parameter.empty else f"={default!r}" if plain else "=..."
        parts.append(f"{parameter.name}{shown}")
    return f"{name}({', '.join(parts)})"


def listed() -> str:
    return "".join(f"{signature(name)}\n" for name in earthtone.__all__)


def test_names_and_arguments_are_those_of_the_stored_list() -> None:
    assert listed() == STORED.read_text(), f"renew it: python {Path(__file__).name} > {STORED.name}"


def test_they_are_found_without_importing_torch() -> None:
    code = "import earthtone, sys; print(set(earthtone.__all__) <= set(dir(earthtone)), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    "module", ["evaluate.protocols", "evaluate.results", "data.labelled", "data.splits", "build.fetch"]
)
def test_light_modules_import_neither_torch_nor_lance(module: str) -> None:
    """PyTorch and Lance cost seconds and half a gigabyte."""
    code = f"import earthtone.{module}, sys; print([name for name in ('torch', 'lance') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_them() -> None:
    shown = pydoc.render_doc(earthtone, renderer=pydoc.plaintext)
    assert [name for name in earthtone.__all__ if name not in shown] == []


if __name__ == "__main__":
    sys.stdout.write(listed())
