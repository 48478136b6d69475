"""The page used as people use it: each scene in `scenes/` is a visit; what no scene may do, `chromium.mjs` watches."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from atlas_world import drawn, unit_vectors
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
