"""Pictures and sounds of rows as a browser gets them, compared with the files by other readers and plain loops."""

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import soundfile
from atlas_world import drawn, unit_vectors
from page_server import ask, page_of
from PIL import Image
from rasterio.transform import from_origin

from earthtone.data.packed import Table
from earthtone.serve import media
from earthtone.serve.media import Kept, played_kind, told_place, view_of
from earthtone.serve.server import PageServer

HZ = 16_000


@pytest.mark.parametrize(
    ("media", "told"),
    [
        ("https://h.example:8443/a/b.tif?sig=KEY#x", "https://h.example:8443"),
        ("s3://bucket/KEY/a.wav", "s3://bucket"),
        ("https://user:KEY@h.example\\@b/", "https://h.example"),
        ("/vsicurl/https://h.example/KEY", "https://h.example"),
        ("file:///KEY/a.wav", "file://"),
        ("https:/h.example/KEY", "https://h.example"),
        ("/KEY/a.wav", "a.wav"),
        ("C:\\KEY\\a.wav", "a.wav"),
        ("/KEY/T.lance#pair-3", "T.lance#pair-3"),
    ],
)
def test_where_media_lie_is_told_without_keys_and_folders(media: str, told: str) -> None:
    assert told_place(media) == told


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tiny_table: Path) -> dict[str, Any]:
    """Media of all kinds by name: (modality, path, bounds, crs)."""
    folder = tmp_path_factory.mktemp("media")
    draw = np.random.default_rng(5)
    noise = draw.normal(0, 0.1, 3 * HZ).astype(np.float32)
    tone = np.stack([0.5 * np.sin(2 * np.pi * 1000 * np.arange(3 * HZ) / HZ), 0.25 * np.sign(noise)], 1)
    for name, samples, hz, kind in (
        ("noise.wav", noise, HZ, "PCM_16"), ("stereo.wav", tone, HZ, "PCM_16"),
        ("four.wav", np.tile(tone, 2), HZ, "PCM_16"), ("bat.wav", draw.normal(0, 0.1, 38_400), 384_000, "PCM_16"),
        ("adpcm.wav", noise, HZ, "IMA_ADPCM"), ("noise.flac", noise, HZ, "PCM_16"),
        ("noise.ogg", noise, HZ, "VORBIS"), ("noise.mp3", noise, HZ, "MPEG_LAYER_III"),
    ):  # fmt: skip
        soundfile.write(folder / name, samples, hz, subtype=kind)
    (folder / "cut.wav").write_bytes((folder / "noise.wav").read_bytes()[:20_000])
    (folder / "secret.wav").write_text("root:x:0:0:a secret\n" * 50)
    (folder / "secret.png").write_text("root:x:0:0:a secret\n" * 50)
    (folder / "empty.png").write_bytes(b"")
    picture = draw.integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(picture).save(folder / "small.png")
    Image.fromarray(np.tile(picture, (40, 40, 1))).save(folder / "large.jpg")
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")  # 110 kB
    values = np.zeros((3, 64, 64), np.uint8)
    values[:, :32], values[0, 32:] = 40, 200  # grey in the north, red in the south
    place = {"crs": "EPSG:3857", "transform": from_origin(1000, 2000, 10, 10)}
    with rasterio.open(folder / "a.tif", "w", "GTiff", 64, 64, 3, dtype="uint8", photometric="RGB", **place) as out:
        out.write(values)
    south = (1000.0, 2000.0 - 640, 1640.0, 2000.0 - 320)
    found = {
        path.name: ("audio" if path.suffix in (".wav", ".flac", ".ogg", ".mp3") else "image", str(path), None, None)
        for path in sorted(folder.iterdir())
    }
    found["south"] = ("image", str(folder / "a.tif"), south, "EPSG:3857")
    found["beyond"] = ("image", str(folder / "a.tif"), (9e6, 9e6, 9.1e6, 9.1e6), "EPSG:3857")
    found["no crs"] = ("image", str(folder / "a.tif"), south, "<b>none</b>")
    found["packed image"] = ("image", f"{tiny_table}#pair-3", None, None)
    found["packed sound"] = ("audio", f"{tiny_table}#pair-3", None, None)
    found["packed none"] = ("audio", f"{tiny_table}#no-such-pair", None, None)
    found["a folder"] = ("image", str(folder), None, None)
    found["null"] = ("image", "a\0b", None, None)
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[PageServer]:
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "modality", "media", "crs", "start_s", "seconds")}
    columns |= {side: [] for side in ("west", "south", "east", "north")}
    for name, (modality, path, bounds, crs) in files.items():
        window = (1.0, 1.0) if name == "noise.wav" else (None, None)
        for column, value in zip(columns, (name, modality, path, crs, *window, *(bounds or [None] * 4)), strict=True):
            columns[column].append(value)
    with page_of(drawn(tmp_path_factory.mktemp("E"), columns, unit_vectors(len(files)))) as server:
        yield server


@pytest.fixture
def at(files: dict[str, Any]) -> dict[str, str]:
    return {name: f"/api/items/{row}" for row, name in enumerate(files)}


# Pictures.


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_picture_is_that_of_the_file(shown: PageServer, at: dict[str, str], files: dict[str, Any]) -> None:
    answer = ask(shown, f"{at['small.png']}/picture?size=512")
    assert answer.headers["content-type"] == "image/jpeg" and opened(answer.body).size == (40, 30)  # never made larger
    with Image.open(files["small.png"][1]) as whole:
        np.testing.assert_allclose(np.array(opened(answer.body)).mean((0, 1)), np.array(whole).mean((0, 1)), atol=3)
    answer = ask(shown, f"{at['large.jpg']}/picture?size=100")
    assert opened(answer.body).size == (100, 75)
    again = ask(shown, f"{at['large.jpg']}/picture?size=100", if_none_match=answer.headers["etag"])
    assert again.status == 304 and not again.body


def test_a_tile_is_cut_from_its_raster(shown: PageServer, at: dict[str, str]) -> None:
    picture = opened(ask(shown, f"{at['south']}/picture").body)
    assert picture.size == (64, 32)  # 640 m x 320 m of 10 m pixels
    np.testing.assert_allclose(np.array(picture.convert("RGB"))[4:-4, 4:-4].mean((0, 1)), [200, 0, 0], atol=4)


def test_a_packed_tables_picture_and_sound(shown: PageServer, at: dict[str, str], tiny_table: Path) -> None:
    table = Table(tiny_table)
    row = table.column("id").index("pair-3")
    assert ask(shown, f"{at['packed image']}/picture").body == table.images([row])[0]
    assert opened(ask(shown, f"{at['packed image']}/picture?size=20").body).size == (20, 20)
    preview = table.records([row], ["audio_preview"])[0]["audio_preview"]
    answer = ask(shown, f"{at['packed sound']}/sound", range="bytes=10-19")
    assert answer.status == 206 and answer.body == preview[10:20] and answer.headers["content-type"] == "audio/ogg"


@pytest.mark.parametrize(
    ("name", "what", "status", "told"),
    [
        ("secret.png", "picture", 422, "secret.png"),
        ("secret.wav", "sound", 422, "secret.wav"),
        ("secret.wav", "peaks", 422, "not a sound file"),
        ("empty.png", "picture", 422, "empty.png"),
        ("bomb.png", "picture", 422, "pixels"),
        ("beyond", "picture", 422, "outside"),
        ("no crs", "picture", 422, "none"),
        ("packed none", "sound", 404, "no row"),
        ("a folder", "picture", 404, "folder"),
        ("null", "picture", 404, "no name"),
        ("noise.wav", "picture", 404, "a picture was asked for"),
        ("small.png", "sound", 404, "a sound was asked for"),
    ],
)
def test_what_cannot_be_shown_says_why(
    shown: PageServer, at: dict[str, str], name: str, what: str, status: int, told: str
) -> None:
    answer = ask(shown, f"{at[name]}/{what}")
    assert answer.status == status and told in answer.error
    assert "root:" not in answer.error and "/media" not in answer.error  # neither what is in it nor where it lies


@pytest.mark.parametrize("size", ["0", "-5", "100000", "a", "1e3"])
def test_sizes_that_are_none(shown: PageServer, at: dict[str, str], size: str) -> None:
    answer = ask(shown, f"{at['small.png']}/picture?size={size}")
    assert answer.status == 422 and "size" in answer.error


# Sounds.


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), ("bytes=95000-", 95_000, None), ("bytes=-44", -44, None),
     ("bytes=100-99999999", 100, None)],
)  # fmt: skip
def test_parts_of_a_sound(
    shown: PageServer, at: dict[str, str], files: dict[str, Any], asked: str, start: int, end: int | None
) -> None:
    data = Path(files["noise.wav"][1]).read_bytes()
    answer = ask(shown, f"{at['noise.wav']}/sound", range=asked)
    assert answer.status == 206 and answer.body == data[start:end]
    first = start % len(data)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(data)}"


def test_a_whole_sound(shown: PageServer, at: dict[str, str], files: dict[str, Any]) -> None:
    data = Path(files["noise.wav"][1]).read_bytes()
    for several in ("bytes=0-1,5-6", "lines=1-2", "bytes=5-2x", ""):  # what is not understood: the whole
        answer = ask(shown, f"{at['noise.wav']}/sound", range=several)
        assert answer.status == 200 and answer.body == data and answer.headers["accept-ranges"] == "bytes"
    for beyond in ("bytes=9999999-", "bytes=5-2", "bytes=-0"):
        answer = ask(shown, f"{at['noise.wav']}/sound", range=beyond)
        assert answer.status == 416 and answer.headers["content-range"] == f"bytes */{len(data)}" and answer.error
    tag = answer_tag = ask(shown, f"{at['noise.wav']}/sound").headers["etag"]
    assert ask(shown, f"{at['noise.wav']}/sound", range="bytes=0-9", if_range=tag).status == 206
    assert ask(shown, f"{at['noise.wav']}/sound", range="bytes=0-9", if_range='"other"').status == 200
    assert ask(shown, f"{at['noise.wav']}/sound", if_none_match=answer_tag).status == 304


@pytest.mark.parametrize("name", ["noise.wav", "noise.flac", "noise.ogg", "noise.mp3", "stereo.wav"])
def test_what_browsers_play_is_sent_as_it_is(
    shown: PageServer, at: dict[str, str], files: dict[str, Any], name: str
) -> None:
    answer = ask(shown, f"{at[name]}/sound")
    assert answer.body == Path(files[name][1]).read_bytes()
    assert answer.headers["content-type"] == {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg",
                                              "mp3": "audio/mpeg"}[name.rpartition(".")[2]]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "hz", "channels"), [("bat.wav", 48_000, 1), ("four.wav", HZ, 2), ("adpcm.wav", HZ, 1)]
)
def test_what_they_do_not_play_becomes_wav(
    shown: PageServer, at: dict[str, str], files: dict[str, Any], name: str, hz: int, channels: int
) -> None:
    answer = ask(shown, f"{at[name]}/sound")
    made, made_hz = soundfile.read(io.BytesIO(answer.body), always_2d=True)
    there, there_hz = soundfile.read(files[name][1], always_2d=True)
    assert (made_hz, made.shape[1]) == (hz, channels) and played_kind(answer.body) == "audio/wav"
    assert len(made) / made_hz == pytest.approx(len(there) / there_hz, abs=0.001)
    if hz == HZ:
        np.testing.assert_allclose(made, there[:, :channels], atol=2e-4)
    assert ask(shown, f"{at[name]}/sound", range="bytes=0-3").body == b"RIFF"
    assert ask(shown, f"{at[name]}/sound").headers["etag"] == answer.headers["etag"]  # made once


def test_a_window_is_played_within_its_recording(shown: PageServer, at: dict[str, str]) -> None:
    item = ask(shown, at["noise.wav"]).json
    assert (item["start_s"], item["seconds"]) == (1.0, 1.0)
    assert ask(shown, f"{at['noise.wav']}/peaks").json["seconds"] == 3.0


# How they look.


@pytest.mark.parametrize("name", ["noise.wav", "stereo.wav", "noise.flac", "four.wav"])
def test_peaks_are_those_of_a_plain_loop(
    shown: PageServer, at: dict[str, str], files: dict[str, Any], name: str
) -> None:
    told = ask(shown, f"{at[name]}/peaks?points=1000").json
    samples = soundfile.read(files[name][1], always_2d=True)[0][:, :2]
    assert told["channels"] == samples.shape[1] == len(told["peaks"]) and told["seconds"] == 3.0
    point = 12 * 4  # 4,000 points of 12 samples, of which four are one
    for channel, peaks in enumerate(told["peaks"]):
        cut = [samples[start : start + point, channel] for start in range(0, len(samples), point)]
        wanted = [value for part in cut for value in (part.min(), part.max())]
        np.testing.assert_allclose(peaks, wanted, atol=1e-4)


def test_a_recording_that_was_cut_is_seen_as_far_as_it_goes(shown: PageServer, at: dict[str, str]) -> None:
    told = ask(shown, f"{at['cut.wav']}/peaks").json
    assert told["seconds"] == pytest.approx((20_000 - 44) / 2 / HZ, abs=0.01)


def test_a_tone_lies_where_the_axis_says(shown: PageServer, at: dict[str, str]) -> None:
    answer = ask(shown, f"{at['stereo.wav']}/spectrogram")
    assert answer.headers["x-hz"] == "0-8000" and float(answer.headers["x-seconds"]) == 3.0
    picture = np.array(opened(answer.body).convert("L")).astype(float)
    row = picture.mean(axis=1).argmax()
    ticks = {tick["hz"]: tick["at"] for tick in ask(shown, f"{at['stereo.wav']}/peaks").json["ticks"]}
    assert 1 - (row + 0.5) / len(picture) == pytest.approx(ticks[1000], abs=1.5 / len(picture))
    import librosa

    low, high, tone = librosa.hz_to_mel([0.0, 8000.0, 1000.0])
    assert ticks[1000] == pytest.approx((tone - low) / (high - low), abs=1e-4)


def test_a_long_recording_is_seen_at_the_same_size(tmp_path: Path) -> None:
    """Ten minutes: no more points, no larger picture; a click in it is still there."""
    samples = np.zeros(600 * HZ, np.int16)
    samples[300 * HZ + 7] = 32_000
    soundfile.write(tmp_path / "long.wav", samples, HZ)
    view = view_of(tmp_path / "long.wav")
    assert view.points.shape == (1, 4000, 2) and opened(view.spectrogram).size[0] <= 2000
    assert view.points[0, 2000, 1] == pytest.approx(32_000 / 32_768)
    assert len(view.peaks(500).peaks[0]) == 1000 and max(view.peaks(500).peaks[0]) == pytest.approx(0.9766, abs=1e-3)


@pytest.mark.parametrize("count", [1, 2, 31, 500])
def test_recordings_of_almost_nothing(tmp_path: Path, count: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(count, 0.5), HZ)
    view = view_of(tmp_path / "a.wav")
    assert view.points[0, 0, 1] == pytest.approx(0.5, abs=1e-4) and opened(view.spectrogram).size[1] == 128


def test_a_file_that_changes_is_read_again(shown: PageServer, at: dict[str, str], files: dict[str, Any]) -> None:
    path = Path(files["small.png"][1])
    before = path.read_bytes()
    first = ask(shown, f"{at['small.png']}/picture").body
    try:
        Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
        os.utime(path, (1, 1))
        assert opened(ask(shown, f"{at['small.png']}/picture").body).size == (8, 8)
    finally:
        path.write_bytes(before)
    assert opened(first).size == (40, 30)


# What is kept.


def test_kept_is_made_once_for_all_who_ask() -> None:
    made: list[int] = []
    kept: Kept[int] = Kept(100, lambda value: value)

    def make() -> int:
        time.sleep(0.1)
        made.append(1)
        return 60

    threads = [threading.Thread(target=kept.get, args=("a", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] and kept.bytes == 60


def test_kept_lets_go_of_what_was_asked_for_longest_ago() -> None:
    gone: list[int] = []
    kept: Kept[int] = Kept(100, lambda value: value, gone.append)
    for key, value in (("a", 40), ("b", 41), ("a", 0), ("c", 42)):
        kept.get(key, lambda value=value: value)  # type: ignore[misc]
    assert gone == [41] and kept.bytes == 82
    with pytest.raises(ZeroDivisionError):
        kept.get("d", lambda: 1 // 0)
    assert kept.get("d", lambda: 1) == 1


def test_many_who_wait_are_told_to_come_again(
    shown: PageServer, at: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown.served.media, "_waiting", threading.BoundedSemaphore(1))
    with shown.served.media._decoder():
        answer = ask(shown, f"{at['noise.ogg']}/peaks?points=11")
        assert answer.status in (200, 503)
        answer = ask(shown, f"{at['a.tif']}/picture?size=33")
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0 and "again" in answer.error
    assert ask(shown, f"{at['a.tif']}/picture?size=33").status == 200


def test_files_that_were_made_go_with_the_server(tmp_path: Path) -> None:
    store = media.MediaStore()
    soundfile.write(tmp_path / "a.wav", np.zeros(384_000), 384_000)
    found = store.sound(media.Media("audio", str(tmp_path / "a.wav"), None, None)).source
    assert isinstance(found, Path) and found.exists()
    store.close()
    assert not found.exists()
