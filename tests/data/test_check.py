"""A small world with every fault in it: counted, named, and the same however many threads look at it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.data.check import CheckResult, check
from earthtone.data.pair import CELL_REMARKS, ROW_PROBLEMS
from earthtone.errors import ConfigError, DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    for number in range(6):
        side = 16 if number < 4 else 24
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(tmp_path / f"{number}.png")
        sound = rng.uniform(-0.5, 0.5, (8000 * (number + 1) // 2, 1 + number % 2))
        soundfile.write(tmp_path / f"{number}.wav", sound, 8000 if number < 5 else 16000)
    Image.open(tmp_path / "0.png").save(tmp_path / "copy.bmp")
    (tmp_path / "copy.wav").write_bytes((tmp_path / "1.wav").read_bytes())
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "half.png").write_bytes((tmp_path / "5.png").read_bytes()[:400])
    lines = [
        "id,image,audio,longitude,latitude,split,license,place",
        "a,0.png,0.wav,8,50,train,CC0,sea",
        "b,1.png,1.wav,9,51,train,CC0,wood",
        "c,2.png,2.wav,-10,52,val,CC BY,sea",
        "d,3.png,3.wav,8,500,test,,sea",
        "e,4.png,4.wav,8,50,,CC0,sea",
        "twin,copy.bmp,5.wav,8,50,test,CC0,sea",
        "echo,5.png,copy.wav,8,50,train,CC0,sea",
        "lost,no.png,0.wav,8,50,train,CC0,sea",
        "text,0.png,text.wav,8,50,train,CC0,sea",
        "half,half.png,0.wav,8,50,train,CC0,sea",
        "both,half.png,text.wav,8,50,train,CC0,sea",
        "odd,0.png,0.wav,8,50,some,CC0,sea",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_everything_is_counted_and_named(world: Path) -> None:
    result = check(world)
    assert (result.rows, result.usable, result.examined, result.ok) == (12, 7, 10, True)
    assert {kind: [problem.id for problem in problems] for kind, problems in result.problems.items()} == {
        "missing image": ["lost"], "bad split": ["odd"],
        "broken audio": ["text", "both"], "broken image": ["half", "both"],
    }  # fmt: skip
    assert [(kind, [note.id for note in notes]) for kind, notes in result.notes.items() if kind in CELL_REMARKS] == [
        ("coordinates out of range", ["d"])
    ]
    assert result.splits == {"train": 4, "test": 2, "val": 1}
    assert result.licenses == {"CC0": 5, "CC BY": 1, "none": 1}
    assert result.extra_columns == ("place",)
    assert result.extent == (-10, 50, 9, 52) and result.without_coordinates == 1
    assert result.image_sizes == {"16 x 16": 6, "24 x 24": 2}
    assert result.image_modes == {"RGB": 8}
    assert result.audio_hz == {"8000": 7, "16000": 1} and result.audio_channels == {"1": 4, "2": 4}
    assert (result.seconds_min, result.seconds_max) == (0.5, 2.5)
    assert result.hours == pytest.approx((0.5 + 1 + 1.5 + 2 + 2.5 + 1.5 + 1 + 0.5) / 3600)
    assert [(twins.ids, twins.splits) for twins in result.duplicate_images] == [
        (("a", "twin", "text"), ("test", "train")),
    ]  # fmt: skip
    assert [twins.ids for twins in result.duplicate_audio] == [("a", "half"), ("b", "echo")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_nothing(world: Path, workers: int) -> None:
    seen: list[tuple[int, int]] = []
    result = check(world, workers=workers, progress=lambda done, total: seen.append((done, total)))
    assert result == check(world, workers=3)
    assert seen == [(number, 12) for number in range(1, 13)]


def test_headers_alone_find_less(world: Path) -> None:
    result = check(world, headers_only=True)
    assert [problem.id for problem in result.problems["broken audio"]] == ["text", "both"]
    assert "broken image" not in result.problems  # its header is whole
    assert result.usable == 8
    assert [twins.ids for twins in result.duplicate_images] == [("a", "text"), ("half", "both")]  # the bytes are


@pytest.mark.parametrize("sample", [1, 5, 12, 100])
def test_a_sample_is_spread_over_the_rows(world: Path, sample: int) -> None:
    lines = (world / "manifest.csv").read_text().splitlines()[:8]
    (world / "manifest.csv").write_text("\n".join(lines) + "\n")
    result = check(world, sample=sample)
    assert (result.rows, result.usable, result.examined) == (7, 7, min(sample, 7))


def test_text_and_json(world: Path) -> None:
    result = check(world)
    text = result.to_text()
    for part in (
        "7 of 12 rows usable", "train (4), test (2)", "0.5 / 1.2 / 2.5 s", "8000 (7), 16000 (1)", "16 x 16 (6)",
        "longitude -10 to 9, latitude 50 to 52", "CC0 (5)", "place", "3 rows in 1 groups, 1 of them across splits",
        "broken audio: 2", "text.wav", "lost: line 9:",
    ):  # fmt: skip
        assert part in text
    data = json.loads(json.dumps(result.to_dict()))
    assert data["ok"] is True and data["rows"] == 12
    assert [problem["id"] for problem in data["problems"]["broken image"]] == ["half", "both"]


def test_long_lists_are_cut_in_the_text_only(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,image,audio\n" + "".join(f"{n},no.png,no.wav\n" for n in range(40)))
    result = check(tmp_path / "m.csv")
    assert "... 20 more" in result.to_text() and "nothing to use" in result.to_text()
    assert len(result.to_dict()["problems"]["missing image"]) == 40
    assert not result.ok
    assert set(result.problems) <= set(ROW_PROBLEMS)


def test_a_table_without_rows_is_not_ok(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,image,audio\n")
    result = check(tmp_path / "m.csv")
    assert (result.rows, result.ok, result.seconds_min, result.extent) == (0, False, None, None)
    json.dumps(result.to_dict())


def test_images_alone(world: Path) -> None:
    result: CheckResult = check(world, need=("image",))
    assert result.usable == 8 and result.audio_hz == {} and result.seconds_median is None


def test_a_release_with_spectrograms(tmp_path: Path) -> None:
    header = "key,long_key,latitude,longitude,title,description,mp3name,mp3samplerate,date_recorded"
    rows = "".join(f"{key},k{key},50,8,t,d,n.mp3,44100,2010-05-08\n" for key in (1, 2, 7))
    (tmp_path / "metadata.csv").write_text(f"{header}\n{rows}")
    for folder, size in (("images", (32, 32)), ("spectrograms", (50, 128))):
        (tmp_path / folder).mkdir()
        for key in (1, 2, 7):
            Image.new("L", size, key).save(tmp_path / folder / f"{key}.jpg")
    result = check(tmp_path)
    assert (result.usable, result.spectrogram_rows, result.audio_hz) == (3, {"128": 3}, {})
    assert result.splits == {"test": 1, "train": 1, "val": 1}


def test_broken_tables_and_options_raise(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"id,image,audio\n" + b"1,a,b\n" * 3 + b"\xff,a,b\n")
    with pytest.raises(DataError, match="line 5: not UTF-8"):
        check(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"id,image,audio\n")
    with pytest.raises(ConfigError, match="workers=0; 1 or more"):
        check(tmp_path / "m.csv", workers=0)
    with pytest.raises(ConfigError, match="--sample 0; 1 or more"):
        check(tmp_path / "m.csv", sample=0)


def test_real_pairs() -> None:
    if not (REAL / "concept_pairs").is_dir():
        pytest.skip("../shared/data/concept_pairs is absent")
    result = check(REAL / "concept_pairs", sample=60)
    assert (result.rows, result.usable, result.examined, result.problems) == (2100, 2100, 60, {})
    assert result.splits == {"train": 1260, "test": 420, "val": 420}
    assert result.audio_hz == {"16000": 60} and result.seconds_median == pytest.approx(5.0, abs=0.05)
