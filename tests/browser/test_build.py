"""The page that is shipped is the one whose source lies in `web/`, and fits where it is told to fit."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
PAGE = ROOT / "src" / "earthtone" / "serve" / "page"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.browser
def test_the_shipped_build_is_that_of_the_source_whose_tests_pass(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("the page is built with Node: apt-get install -y nodejs npm")
    shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("node_modules", "dist"))
    for command in (
        ["ci", "--silent"],
        ["test"],
        ["run", "build", "--", "--outDir", str(tmp_path / "built"), "--emptyOutDir"],
    ):
        done = subprocess.run([npm, *command], cwd=tmp_path / "web", capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    built, shipped = files_of(tmp_path / "built"), files_of(PAGE)
    other = {name for name in built.keys() | shipped.keys() if built.get(name) != shipped.get(name)}
    assert not other, f"these files are not what web/ makes; type: make web: {sorted(other)}"


def test_it_is_small_and_asks_no_other_host() -> None:
    shipped = files_of(PAGE)
    assert sum(len(gzip.compress(data, 9)) for data in shipped.values()) < 1_200_000
    assert "index.html" in shipped
    page = shipped["index.html"].decode()
    assert "http://" not in page and "https://" not in page, "the page loads something from elsewhere"
    assert "<script>" not in page and "style=" not in page, "its content security policy refuses what stands inline"


def test_the_licences_of_what_is_bundled_are_shipped() -> None:
    told = (PAGE / "LICENSES.txt").read_text(encoding="utf-8")
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert [name for name in wanted if name not in told] == []


@pytest.mark.parametrize("folder", [WEB, Path(__file__).parent], ids=["web", "tests"])
def test_its_packages_are_named_exactly_and_no_registry_is(folder: Path) -> None:
    named = json.loads((folder / "package.json").read_text())
    versions = {**named.get("dependencies", {}), **named.get("devDependencies", {})}
    assert {name: text for name, text in versions.items() if not text[0].isdigit()} == {}
    lock = (folder / "package-lock.json").read_text()
    assert '"resolved"' not in lock, "its addresses are those of one registry"
    packages = json.loads(lock)["packages"]
    assert all("integrity" in each for name, each in packages.items() if name), "a package without its checksum"
