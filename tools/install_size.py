"""How large is an installation: what the core costs beyond torch and torchvision, what each extra beyond the core.

    python tools/install_size.py                 # all extras, in a folder that is removed afterwards
    python tools/install_size.py --extras geo aac --folder sizes

Everything is installed from where pip's own settings say, into one environment: an extra is taken out again before the
next one. Exit code 1 where the core has more than `LIMIT_MB`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LIMIT_MB = 400.0
BASE = ("torch", "torchvision")


class Environment:
    """A virtual environment, and what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._python = folder / "bin" / "python"
        if not self._python.exists():
            venv.create(folder, with_pip=True)

    def pip(self, *words: str) -> str:
        """Run pip and return what it prints; what goes wrong it tells itself."""
        command = [str(self._python), "-m", "pip", *words, "--disable-pip-version-check"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def megabytes(self) -> float:
        """The bytes of all files, links not counted, in millions."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files) / 1e6

    def distributions(self) -> set[str]:
        """The names of what is installed."""
        return {found["name"] for found in json.loads(self.pip("list", "--format", "json"))}


def measure(environment: Environment, extras: list[str]) -> float:
    """Print a line for each step and return the megabytes of the core."""
    environment.pip("install", *BASE)
    base, base_mb = environment.distributions(), environment.megabytes()
    print(f"{' and '.join(BASE):<28} {base_mb:7.0f} MB   {len(base):3d} distributions", flush=True)
    environment.pip("install", str(PROJECT))
    core, core_mb = environment.distributions(), environment.megabytes()
    print(f"{'the core beyond them':<28} {core_mb - base_mb:7.0f} MB   {len(core - base):3d} distributions: ", end="")
    print(", ".join(sorted(core - base)), flush=True)
    for extra in extras:
        environment.pip("install", f"{PROJECT}[{extra}]")
        more = sorted(environment.distributions() - core)
        line = f"{f'[{extra}] beyond the core':<28} {environment.megabytes() - core_mb:7.0f} MB   {len(more):3d}"
        print(f"{line} distributions: {', '.join(more)}", flush=True)
        environment.pip("uninstall", "--yes", *more)
    return core_mb - base_mb


def main() -> int:
    """Measure and return the exit code."""
    known = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", nargs="*", choices=list(known), default=list(known), metavar="EXTRA")
    parser.add_argument("--folder", type=Path, help="for the environment, which is kept there")
    options = parser.parse_args()
    if options.folder is not None:
        found = measure(Environment(options.folder), options.extras)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Environment(Path(folder) / "venv"), options.extras)
    if found > LIMIT_MB:
        print(f"the core has {found:.0f} MB, more than {LIMIT_MB:.0f}")
    return int(found > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
