"""Runs the programs in exported folders' READMEs in a process that cannot import earthtone."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = tuple[NDArray[np.float32], NDArray[np.float32]]

_RUN = """
import os, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "earthtone":
            raise ImportError("earthtone is not here")

sys.meta_path.insert(0, Refuse())
try:
    import earthtone
except ImportError:
    pass
else:
    raise SystemExit("earthtone can be imported")

import numpy, torch
torch.set_num_threads(1)
for folder, code, out in {programs!r}:
    os.chdir(folder)
    names = {{"__name__": "__main__"}}
    exec(compile(code, folder, "exec"), names)
    images = [names["embed_image"](path, {gsd_m!r}) for path in {images!r}]
    sounds = [names["embed_sound"](path) for path in {sounds!r}]
    numpy.savez(out, image=images, audio=sounds)
assert not [name for name in sys.modules if name.partition(".")[0] == "earthtone"]
"""


def code_of(folder: Path) -> str:
    """The one program in a README."""
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return str(code)


def run_snippets(
    folders: Sequence[Path], images: Sequence[Path], sounds: Sequence[Path], out: Path, gsd_m: float | None = None
) -> list[Vectors]:
    """Return what each makes of pictures and recordings, run isolated (`python -I`) in its folder."""
    files = [str(out / f"{number}.npz") for number in range(len(folders))]
    programs = [(str(folder), code_of(folder), file) for folder, file in zip(folders, files, strict=True)]
    code = _RUN.format(programs=programs, gsd_m=gsd_m, images=list(map(str, images)), sounds=list(map(str, sounds)))
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, env=plain)
    assert done.returncode == 0, done.stderr
    found = [np.load(file) for file in files]
    return [(each["image"], each["audio"]) for each in found]
