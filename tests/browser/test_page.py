"""The page used as people use it: each scene in `scenes/` is a visit; what no scene may do, `chromium.mjs` watches."""

import csv
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from atlas_world import drawn, unit_vectors
from PIL import Image
from served_page import Play, World, serving

from earthtone.atlas.index import build_index

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("node")]
SCENES = (
    "opens", "linked", "select", "layers", "globe", "click", "listen", "search", "drop", "filters", "export", "share",
    "keyboard", "phone", "dark", "large", "no_webgl", "seen", "broken",
)  # fmt: skip


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str, play: Play, page_url: str, world: World) -> None:
    play(scene, page_url, **told(world))


def told(world: World) -> dict[str, str | Path]:
    """What a visitor has at hand: a recording, a picture, a place."""
    with (world.places / "manifest.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    place = f"{float(first['longitude']):.4f}, {float(first['latitude']):.4f}"
    sounds = {"SOUND": world.region / "surf.wav", "OTHER": world.region / "birds.wav"}
    return {**sounds, "IMAGE": world.places / first["image"], "PLACE": place}


def test_marks_are_in_the_file_and_taken_back(play: Play, page_url: str, marks: Path, world: World) -> None:
    play("marks", page_url, **told(world))
    with marks.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["query"].startswith("surf.wav")]
    assert [row["verdict"] for row in rows] == ["right", "wrong", "unsure"], "the last one takes the second back"
    assert rows[1]["id"] == rows[2]["id"] != rows[0]["id"]
    assert {row["who"] for row in rows} == {"tester"}


@pytest.fixture(scope="module")
def apart_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The page of sounds alone, below a path, with a token, over tiles of a server beside it; and where these are."""
    folder = tmp_path_factory.mktemp("apart")
    sound = folder / "long.wav"
    hz = 8_000
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(600 * hz).clip(-3, 3), hz, subtype="PCM_16")
    columns = {
        "id": [f"recording {n}" for n in range(20)], "modality": ["audio"] * 20, "media": [str(sound)] * 20,
        "longitude": [5.0 + n / 4 for n in range(20)], "latitude": [45.0 + n / 10 for n in range(20)],
    }  # fmt: skip
    build_index(drawn(folder / "E", columns, unit_vectors(20)), plane="pca")
    tile = io.BytesIO()
    Image.effect_noise((256, 256), 60).save(tile, "PNG")

    class Tiles(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(tile.getvalue())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tiles) as tiles, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=tiles.serve_forever, daemon=True).start()
        patch.setenv("EARTHTONE_TOKEN", "0123456789abcdef0123")
        base = f"http://127.0.0.1:{tiles.server_port}"
        told = ("--basemap", base + "/{z}/{x}/{y}.png", "--basemap_attribution", "Tiles by nobody")
        with serving(
            folder, folder / "E", "--root_path", "/sounds", "--token_env", "EARTHTONE_TOKEN", *told
        ) as address:
            yield f"{address}sounds/?token=0123456789abcdef0123", base
        tiles.shutdown()


def test_below_a_path_with_a_token_over_tiles_of_ones_own(play: Play, apart_url: tuple[str, str]) -> None:
    play("apart", apart_url[0], TILES=apart_url[1])


@pytest.fixture(scope="module")
def strange_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Rows without places and media, some called what would be markup, or 5,000 letters long."""
    folder = tmp_path_factory.mktemp("strange")
    names = [
        "<img src=nowhere onerror=window.markup_ran=1>",
        "x" * 5_000,
        "\u202eevil",
        *(f"row {n}" for n in range(117)),
    ]
    columns = {"id": names, "modality": ["image", "audio"] * 60}
    build_index(drawn(folder / "E", columns, unit_vectors(120)), plane="pca")
    with serving(folder, folder / "E") as address:
        yield address


def test_an_index_without_places_shows_the_plane(play: Play, strange_url: str) -> None:
    play("no_places", strange_url)
