"""Recipes of data sets: what a YAML file becomes, and that each mistake in one is a line that names the nearest key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from earthtone.build.options import RecordingsOptions
from earthtone.build.recipe import SOURCES, ArchiveOptions, _source_kind, read_build_recipe
from earthtone.errors import ConfigError, NewerFormatError
from earthtone.train.recipe_file import load_recipe

WHOLE: dict[str, Any] = {
    "recordings": {"folder": "cards", "deployments": "deployments.csv", "zone": "+02:00", "clip_s": 15},
    "imagery": {"raster": "island.tif", "scales": [{"metres": 320, "pixels": 64}, {"metres": 1280}], "license": "CC0"},
    "split": {"by": "h3", "seed": 3},
    "pack": {"threads": 2, "signal": {"image": {"pixels": 32, "stored_pixels": 40}}},
    "describe": {"title": "Island"},
}


def written(folder: Path, values: Any) -> Path:
    path = folder / "r.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def with_key(key: str, value: Any) -> dict[str, Any]:
    """WHOLE with another value of a dotted key; `...` takes it out."""
    section, _, last = key.partition(".")
    found = {name: dict(values) for name, values in WHOLE.items()}
    if not last:
        found[section] = value
    elif value is ...:
        del found[section][last]
    else:
        found.setdefault(section, {})[last] = value
    return {name: values for name, values in found.items() if values is not ...}


def test_a_section_is_the_options_of_its_verb(tmp_path: Path) -> None:
    recipe = read_build_recipe(written(tmp_path, WHOLE))
    assert isinstance(recipe.recordings, RecordingsOptions) and recipe.recordings.clip_s == 15.0
    assert Path(recipe.recordings.folder) == tmp_path / "cards"  # paths are those from the recipe
    assert Path(str(recipe.recordings.deployments)) == tmp_path / "deployments.csv"
    assert [(scale.metres, scale.pixels, scale.license) for scale in recipe.scales] == [
        (320, 64, "CC0"), (1280, 256, "CC0"),
    ]  # fmt: skip
    assert recipe.split is not None and (recipe.split.by, recipe.split.seed) == ("h3", 3)
    assert recipe.pack is not None and recipe.pack.signal is not None and recipe.pack.signal.image.pixels == 32
    assert recipe.describe is not None and recipe.describe.title == "Island"


def test_the_signal_of_a_recipe_of_training(tmp_path: Path) -> None:
    pack = {"recipe": "small", "signal": {"image": {"stored_pixels": 150}}}
    found = read_build_recipe(written(tmp_path, with_key("pack", pack))).pack
    assert found is not None and found.signal is not None
    small = load_recipe("small", {"signal.image.stored_pixels": 150}).signal
    assert found.signal == small


def test_a_section_that_is_left_out_is_no_step(tmp_path: Path) -> None:
    recipe = read_build_recipe(written(tmp_path, {"format": 1, "recordings": {"table": "m.csv"}, "split": {}}))
    assert recipe.scales == () and recipe.pack is recipe.describe is recipe.curate is None
    assert recipe.split is not None and recipe.split.by == "cells"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (with_key("recordings", ...), "no section recordings; one with folder, table, source expected"),
        (with_key("imagry", {}), "unknown section 'imagry'; did you mean imagery"),
        (with_key("split.bye", "h3"), "unknown key split.bye; did you mean split.by"),
        (with_key("split.keep", "old"), "unknown key split.keep"),
        (with_key("split.by", "hex"), r"r.yaml: split.by hex; .*expected"),
        (with_key("split.cell_km", 3), "split.cell_km has no effect with split.by h3"),
        (with_key("split", None), "split is empty; a mapping of options expected, {} for all defaults"),
        (with_key("recordings.table", "m.csv"), "recordings.folder and recordings.table; one of"),
        (with_key("recordings.folder", ...), "no origin of recordings; one of folder, table, source"),
        (with_key("recordings.clip", 3), "unknown key recordings.clip; did you mean recordings.clip_s"),
        (with_key("recordings.clip_s", -3), "recordings.clip_s -3.*a number above 0"),
        (with_key("recordings", {"source": "freesond"}), "recordings.source 'freesond'; did you mean freesound"),
        (with_key("imagery.scales", ...), r"imagery.scales expected, a list of 1 to 8 such as \[\{metres"),
        (with_key("imagery.scales", [{"pixels": 3}]), r"imagery.scales\[0\].metres expected"),
        (with_key("imagery.scales", [{"metres": 3, "pixel": 3}]), r"unknown key imagery.scales\[0\].pixel; did you"),
        (with_key("imagery.scales", [{"metres": 3}, {"metres": 3.0}]), "3 m twice"),
        (with_key("imagery.scales", [{"metres": -3}]), "imagery.metres -3.*a number above 0"),
        (with_key("imagery.stac", "https://example.org"), "imagery.raster and imagery.stac; one of"),
        (with_key("imagery.max_cloud", 3), "imagery.max_cloud has no effect with imagery.raster"),
        (with_key("imagery.places", "p.csv"), "unknown key imagery.places"),
        (with_key("pack.signal", {"image": {"pixel": 3}}), "unknown key pack.signal.image.pixel; did you mean"),
        (with_key("pack.signal", {"image": {"pixels": 3}}), "pack.signal.image.pixels is 3; 16 to 4096 expected"),
        (with_key("pack.split_by", "blocks"), "unknown key pack.split_by"),
        (with_key("pack.recipe", "smal"), "pack.recipe 'smal'; a recipe of training such as small"),
        ("recordings: {folder: a, zone: +02:00, clip_s: 1:30}", "is no plain number; quote it"),
        ("recordings: {folder: a, folder: b}", "folder is there twice"),
        ("- a", "a mapping of sections expected: recordings"),
        ("a: &x [1]\nb: *x", "an alias"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, values: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as got:
        read_build_recipe(written(tmp_path, values))
    assert "\n" not in str(got.value) and "r.yaml" in str(got.value)


def test_a_file_that_is_none_or_later(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_build_recipe(tmp_path / "none.yaml")
    with pytest.raises(NewerFormatError):
        read_build_recipe(written(tmp_path, {"format": 99, "recordings": {"table": "m.csv"}}))


@pytest.mark.parametrize("name", SOURCES)
def test_an_archive_is_asked_by_the_fields_of_its_source(tmp_path: Path, name: str) -> None:
    assert _source_kind(name).name == name
    needed = {"repositories": ["someone/recordings"]} if name == "hub-copy" else {}
    asked = {"source": name, "most": 5, "filters": {"box": [5, 45, 8, 48], "allow": ["nc"]}, **needed}
    recipe = read_build_recipe(written(tmp_path, {"recordings": asked}))
    assert isinstance(recipe.recordings, ArchiveOptions) and recipe.recordings.most == 5
    assert recipe.recordings.source.filters.box == (5, 45, 8, 48)
    with pytest.raises(ConfigError, match=r"unknown key recordings.filters.boxes; did you mean recordings.filters.box"):
        read_build_recipe(written(tmp_path, {"recordings": {"source": name, "filters": {"boxes": 3}, **needed}}))
    with pytest.raises(ConfigError, match=r"recordings.filters.box is 3; "):
        read_build_recipe(written(tmp_path, {"recordings": {"source": name, "filters": {"box": 3}, **needed}}))


def test_days_in_a_recipe_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "recordings: {source: inaturalist, fresh_days: 7, filters: {since: 2020-01-01, box: [5, 45, 8, 48]}}"
    )
    asked = read_build_recipe(path).recordings
    assert isinstance(asked, ArchiveOptions) and asked.fresh_days == 7
    assert asked.source.filters.since == "2020-01-01"
