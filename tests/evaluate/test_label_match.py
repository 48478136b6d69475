"""Hits by label: a case worked by hand, and errors that list what exists."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.label_match import LabelMatch, match_labels

CONCEPTS = {"beach": ["waves", "wind"], "farm": ["cow", "wind"], "empty": []}
LABELS = {"scene": ["beach", "farm", "beach", "empty"], "sound": ["waves", "cow", "wind", "cow"]}


@pytest.fixture
def concepts(tmp_path: Path) -> Path:
    path = tmp_path / "concepts.json"
    path.write_text(json.dumps(CONCEPTS), encoding="utf-8")
    return path


def test_by_hand(concepts: Path) -> None:
    labels = match_labels(LabelMatch.parse(f"scene=sound:{concepts}"), LABELS)
    # fits, scene by sound row:  beach: 0, 2   farm: 1, 2, 3   beach: 0, 2   empty: none
    top = np.array([[0, 1], [1, 2], [1, 3], [0, 1]])
    assert labels.precision("image_to_sound", top).tolist() == [0.5, 1.0, 0.0, 0.0]
    # sound row fits scene rows:  waves: 0, 2   cow: 1   wind: 0, 1, 2   cow: 1
    assert labels.precision("sound_to_image", top).tolist() == [0.5, 0.5, 0.5, 0.5]
    assert labels.chance("image_to_sound") == labels.chance("sound_to_image") == 7 / 16  # 2 + 3 + 2 + 0 of 4 times 4


def test_chance_is_the_precision_over_the_whole_gallery(concepts: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {"scene": rng.choice(list(CONCEPTS), 50).tolist(), "sound": rng.choice(["cow", "wind", ""], 50).tolist()}
    labels = match_labels(LabelMatch.parse(f"scene=sound:{concepts}"), columns)
    everything = np.tile(np.arange(50), (50, 1))
    for direction in ("image_to_sound", "sound_to_image"):
        whole = labels.precision(direction, everything)
        assert labels.chance(direction) == pytest.approx(np.nanmean(whole))
    assert np.isnan(whole).tolist() == [sound == "" for sound in columns["sound"]]


def test_equal_labels_and_rows_without_one() -> None:
    labels = match_labels(LabelMatch.parse("habitat"), {"habitat": ["wood", "", "lake", "wood"]})
    found = labels.precision("image_to_sound", np.array([[0, 3], [0, 1], [1, 2], [1, 2]]))
    np.testing.assert_array_equal(found, [1.0, np.nan, 0.5, 0.0])
    assert labels.chance("sound_to_image") == pytest.approx((2 + 1 + 2) / 4 / 3)


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("habitat", ("habitat",), "equal habitat"),
        (" habitat = habitat ", ("habitat",), "equal habitat"),
        ("scene=sound", ("scene", "sound"), "scene = sound"),
    ],
)
def test_forms_without_a_map(text: str, columns: tuple[str, ...], words: str) -> None:
    match = LabelMatch.parse(text)
    assert match.columns == columns and match.fitting is None and str(match) == words


def test_form_with_a_map(concepts: Path) -> None:
    match = LabelMatch.parse(f"scene = sound : {concepts}")
    assert match.columns == ("scene", "sound")
    assert match.fitting == {name: frozenset(labels) for name, labels in CONCEPTS.items()}


@pytest.mark.parametrize("text", ["", "=sound", "scene=", "scene=sound:", "scene:concepts.json", "scene=:x.json"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="IMAGE_COLUMN=AUDIO_COLUMN"):
        LabelMatch.parse(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"beach": ["waves"', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'["beach"]', "holds .* an object such as"),
        (b"{}", "an object such as"),
        (b'{"beach": "waves"}', "'beach' maps to \"waves\""),
        (b'{"beach": [1]}', "'beach' maps to"),
        (b'{"beach": [], "beach": ["waves"]}', "'beach' is given twice"),
    ],
)
def test_a_file_that_is_no_map(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "map.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        LabelMatch.parse(f"scene=sound:{tmp_path / 'map.json'}")


def test_a_missing_file_lists_the_others(concepts: Path) -> None:
    with pytest.raises(DataError, match=r"concept\.json: No such file.*JSON files there: concepts\.json"):
        LabelMatch.parse(f"scene=sound:{concepts.with_name('concept.json')}")


def test_labels_that_do_not_fit_the_map(concepts: Path, caplog: pytest.LogCaptureFixture) -> None:
    match = LabelMatch.parse(f"scene=sound:{concepts}")
    with pytest.raises(DataError, match="no label column 'scene'; there are: habitat"):
        match_labels(match, {"habitat": ["a"]})
    with pytest.raises(DataError, match="'sound' is empty in all 1 rows"):
        match_labels(match, {"scene": ["beach"], "sound": [""]})
    with pytest.raises(DataError, match="what fits scene 'desert'; it knows 'beach', 'farm', 'empty'"):
        match_labels(match, {"scene": ["desert"], "sound": ["wind"]})
    with pytest.raises(DataError, match=r"no sound fits any scene: sound has 'horn', .* lists 'cow', 'waves', 'wind'"):
        match_labels(match, {"scene": ["beach"], "sound": ["horn"]})
    with caplog.at_level(logging.WARNING):
        labels = match_labels(match, {"scene": ["beach", "farm"], "sound": ["wind", "horn"]})
    assert labels.unlisted == ("horn",) and "'horn' fits nothing" in caplog.text
