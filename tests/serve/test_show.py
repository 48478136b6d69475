"""The page in a notebook: what IPython's display hook is given, behind a hub's proxy too; pictures elsewhere."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_world import windows_and_tiles
from PIL import Image

from earthtone.atlas.search import open_index
from earthtone.errors import ConfigError

_CELLS = """
import io, json, os, sys
from urllib.request import Request, urlopen
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
shell.display_formatter.active_types = ["text/plain", "text/html", "image/png"]
shell.run_cell("import earthtone; index = earthtone.open_index(sys.argv[1], model=sys.argv[2])" .replace("sys.argv[1]", repr(sys.argv[1])).replace("sys.argv[2]", repr(sys.argv[2])))
shell.run_cell("shown = index.show(title='a <b>\\"page\\"'); again = index.show(height=300)")
bundle, _ = shell.display_formatter.format(shell.user_ns["shown"])
still, _ = shell.display_formatter.format(shell.user_ns["index"].show(still=True))
shown = shell.user_ns["shown"]
token = shown.server.token
answer = urlopen(Request(shown.url + "api/about", headers={"Authorization": f"Bearer {token}"} if token else {}))
told = json.load(answer)
print("TOLD", json.dumps({
    "html": bundle["text/html"], "plain": bundle["text/plain"], "png": "image/png" in still, "rows": told["rows"],
    "policy": answer.headers["content-security-policy"], "port": shown.server.port, "token": token,
    "left": [name for name in os.environ if name.startswith("EARTHTONE_")],
}))
shown.stop()
"""  # noqa: E501


def in_ipython(index: Path, **environment: str) -> dict[str, Any]:
    """Return what a notebook's cells give, in a process of IPython's own."""
    pytest.importorskip("IPython")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTERHUB", "EARTHTONE_"))}
    found = subprocess.run(
        [sys.executable, "-c", _CELLS, str(index), str(index.parent / "model")],
        capture_output=True, text=True, env={**kept, **environment}, timeout=120, check=False,
    )  # fmt: skip
    lines = [line for line in found.stdout.splitlines() if line.startswith("TOLD ")]
    assert lines, found.stdout + found.stderr
    told: dict[str, Any] = json.loads(lines[0].removeprefix("TOLD "))
    return told


@pytest.mark.extras
@pytest.mark.slow
def test_ipython_shows_a_frame(tiny_index: Path) -> None:
    told = in_ipython(tiny_index)
    assert f'<iframe src="http://127.0.0.1:{told["port"]}/"' in told["html"]
    assert 'title="a &lt;b&gt;&quot;page&quot;"' in told["html"]
    assert told["png"] and told["rows"] == 48 and told["token"] is None
    assert "frame-ancestors 'self' http://localhost:*" in told["policy"]
    assert "http://127.0.0.1" in told["plain"]


@pytest.mark.extras
@pytest.mark.slow
def test_behind_a_hubs_proxy_the_frame_is_the_proxys(tiny_index: Path) -> None:
    told = in_ipython(tiny_index, JUPYTERHUB_SERVICE_PREFIX="/user/ana/")
    source = re.search(r'src="([^"]*)"', told["html"])
    assert source is not None and source[1] == f"/user/ana/proxy/{told['port']}/?token={told['token']}"
    assert len(told["token"]) >= 16 and told["left"] == []


def test_elsewhere_it_is_a_picture(tiny_index: Path, tmp_path: Path) -> None:
    still = open_index(tiny_index).show()
    assert ".save(PATH)" in repr(still)
    path = still.save(tmp_path / "points.png")
    picture = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    assert picture.shape[1] > 1.8 * picture.shape[0]  # map and plane side by side
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert set(still._repr_mimebundle_()) == {"image/png", "text/plain"}


def test_without_any_places_the_picture_says_so(tmp_path: Path) -> None:
    still = open_index(windows_and_tiles(tmp_path / "E")).show(still=True)
    assert Image.open(io.BytesIO(still.png)).size[0] > 300


def test_options_that_are_wrong_are_told(tiny_index: Path) -> None:
    with pytest.raises(ConfigError, match="height=5"):
        open_index(tiny_index).show(height=5)
    with pytest.raises(TypeError, match="hosst"):
        open_index(tiny_index).show(hosst="x")


def test_a_map_is_shown_by_its_picture(tmp_path: Path) -> None:
    from earthtone.atlas.map_output import SimilarityMap

    (tmp_path / "map.png").write_bytes(b"\x89PNG...")
    found = object.__new__(SimilarityMap)
    object.__setattr__(found, "files", {"facts": tmp_path / "map.json", "png": tmp_path / "map.png"})
    assert found.show().png == b"\x89PNG..."
    (tmp_path / "map.png").unlink()
    with pytest.raises(ConfigError, match="no picture"):
        found.show(still=True)
