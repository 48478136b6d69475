"""Searches, uploads, clicks, scores, exports and points, asked of a real server on loopback."""

import csv
import io
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from atlas_world import DIMENSIONS, drawn, unit_vectors, windows_and_tiles
from fastapi import HTTPException
from numpy.typing import NDArray
from page_server import Answer, ask, page_of

from earthtone.atlas.search import open_index
from earthtone.errors import SignalError
from earthtone.serve.server import PageServer
from earthtone.serve.uploads import _counted_seconds
from earthtone.signal.sound_headers import time_limit


def post(page: PageServer, path: str, body: Any) -> Answer:
    return ask(page, path, json.dumps(body), content_type="application/json")


def wav(seconds: float = 3.0, hz: int = 16_000, loud: float = 0.3, seed: int = 0) -> bytes:
    out = io.BytesIO()
    samples = loud * np.random.default_rng(seed).normal(size=int(seconds * hz)).clip(-3, 3) / 3
    soundfile.write(out, samples, hz, format="WAV", subtype="PCM_16")
    return out.getvalue()


def sent(page: PageServer, data: bytes, name: str = "a.wav", kind: str = "audio/wav", more: str = "") -> Answer:
    return ask(page, f"/api/uploads{more}", data, content_type=kind, x_name=name)


def arrays(body: bytes) -> tuple[int, dict[str, NDArray[Any]]]:
    """Read the binary form as docs/serving-api.md tells it."""
    assert body[:4] == b"ETP1"
    [length] = struct.unpack("<I", body[4:8])
    head = json.loads(body[8 : 8 + length])
    kinds = {"f4": "<f4", "u1": "<u1", "u2": "<u2", "u4": "<u4"}
    assert all(one["offset"] % 8 == 0 for one in head["arrays"])
    return head["rows"], {
        one["name"]: np.frombuffer(body, kinds[one["dtype"]], one["length"], one["offset"]) for one in head["arrays"]
    }


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """Windows of recordings and tiles without a place, drawn vectors of any length, and no model."""
    with page_of(windows_and_tiles(tmp_path_factory.mktemp("windowed") / "E", unit=False)) as page:
        while ask(page, "/readyz").status != 200:
            time.sleep(0.05)
        yield page


# Uploads.


def test_a_sound_is_searched_by_as_on_the_command_line(page: PageServer, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(wav())
    told = sent(page, wav(), "no%C3%AFse%3Cb%3E.wav").json
    assert (told["kind"], told["name"], told["seconds"]) == ("sound", "noïse<b>.wav", 3.0)
    found = post(page, "/api/search", {"like": [{"upload": told["upload"]}], "k": 7}).json
    wanted = open_index(page.options.index, model=page.options.model).search(tmp_path / "noise.wav", k=7)
    assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(hit.id, hit.score) for hit in wanted.hits]
    assert [hit["percentile"] for hit in found["hits"]] == [hit.percentile for hit in wanted.hits]
    assert found["find"] == "image" and found["searched"] == 24 and found["of"] == 48
    assert found["query"] == f"noïse<b>.wav [{told['upload'][:8]}]"
    assert "24 images" in found["chance"]


def test_a_picture_is_searched_by_as_on_the_command_line(page: PageServer, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (80, 90, 3)).astype(np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    (tmp_path / "a.png").write_bytes(data)
    told = sent(page, data, "a.png", "application/octet-stream").json
    assert (told["kind"], told["width"], told["height"]) == ("image", 90, 80)
    found = post(page, "/api/search", {"like": [{"upload": told["upload"]}]}).json
    wanted = open_index(page.options.index, model=page.options.model).search(tmp_path / "a.png", k=20)
    assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(hit.id, hit.score) for hit in wanted.hits]


def test_the_same_bytes_have_the_same_token(page: PageServer) -> None:
    first, again = sent(page, wav(), "a.wav").json, sent(page, wav(), "b.wav").json
    assert first["upload"] == again["upload"] and again["name"] == "b.wav"
    assert sent(page, wav(seed=1)).json["upload"] != first["upload"]


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 415, "nothing was sent"),
        (b"\x1aE\xdf\xa3webm", 415, "WebM"),
        (b"<html>", 415, "neither"),
        (b"RIFF\0\0\0\0WAVEfmt ", 422, "expected"),
        (b"\xff\xd8\xff" + bytes(100), 422, "a.wav"),
        (wav(loud=0.0), 422, "silence"),
        (wav(2.0)[:60], 422, "expected"),
        (b"fLaC" + bytes(3000), 422, "expected"),
    ],
)
def test_uploads_that_are_none(page: PageServer, data: bytes, status: int, says: str) -> None:
    answer = sent(page, data)
    assert (answer.status, says in answer.error) == (status, True), answer
    assert "earthtone-" not in answer.error  # the folder in which it lay


def test_what_is_too_long_or_too_large_is_refused(tiny_index: Path) -> None:
    bomb = cv2.imencode(".png", np.zeros((1200, 1000, 3), np.uint8))[1].tobytes()
    flac = io.BytesIO()
    soundfile.write(flac, np.tile(np.sin(np.arange(16_000) / 9), 5) * 0.5, 16_000, format="FLAC")
    options = {"model": tiny_index.parent / "model", "sound_seconds": 4, "image_mpx": 1, "upload_mb": 1}
    with page_of(tiny_index, **options) as page:
        assert sent(page, wav(5.0)).status == 413 and "4 s" in sent(page, wav(5.0)).error
        assert sent(page, flac.getvalue()).status == 413
        assert sent(page, wav(4.0)).status == 200
        answer = sent(page, bomb, "bomb.png", "image/png")
        assert answer.status == 413 and "1000 x 1200" in answer.error
        assert sent(page, wav(40.0)).status == 413


def flac(hz: int, channels: int, seconds: int) -> bytes:
    out = io.BytesIO()
    tone = np.tile(0.3 * np.sin(np.arange(hz) / 9)[:, None], channels)
    with soundfile.SoundFile(out, "w", hz, channels, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(tone)
    return out.getvalue()


def test_many_channels_and_recordings_that_tell_no_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flac"
    eight = flac(48_000, 8, 4)
    endless = bytearray(eight)  # its head does not tell how many samples there are
    endless[21], endless[22:26] = endless[21] & 0xF0, bytes(4)
    monkeypatch.setattr("earthtone.serve.uploads._MOST_SAMPLES", 8 * 48_000 * 3)
    for data in (eight, bytes(endless)):
        path.write_bytes(data)
        with pytest.raises(HTTPException, match="8 channels"):
            _counted_seconds(path, 60)
    path.write_bytes(flac(8000, 1, 1) * 101)
    with pytest.raises(HTTPException, match="101 recordings joined"):
        _counted_seconds(path, 1000)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ogg", b"OggS\0\0" * 2**20),
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 2**20),
        ("b.wav", b"RIFF\x04\0\0\0WAVE" * 2**20),
        ("a.mp3", b"ID3\4\0\0\0\0\0\0" * 2**20),
        ("a.aiff", b"FORM\0\0\0\4AIFF" * 2**20),
        ("a.caf", b"caff\0\1\0\0" + b"free\0\0\0\0\0\0\0\0" * 2**20),
        ("a.flac", b"fLaC" + b"\1\0\0\0" * 2**20),
        ("b.flac", b"fLaC\0\0\0\x22" * 2**20),
    ],
)
def test_what_takes_hours_to_look_through_has_an_end(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    before = time.monotonic()
    with time_limit(0.5), pytest.raises((SignalError, HTTPException)):
        _counted_seconds(tmp_path / name, 60)
    assert time.monotonic() - before < 8


def test_without_a_model_stored_vectors_alone_are_searched_by(windowed: PageServer) -> None:
    answer = sent(windowed, wav())
    assert answer.status == 409 and "no model" in answer.error
    assert post(windowed, "/api/search", {"like": [{"row": 0}], "find": "image"}).status == 200


# Searches.


def test_examples_of_every_kind(page: PageServer) -> None:
    item = ask(page, "/api/items/3").json
    by_row = post(page, "/api/search", {"like": [{"row": 3}]}).json
    by_key = post(page, "/api/search", {"like": [{"id": item["key"]}]}).json
    place = [item["longitude"] + 360, item["latitude"] + 0.01]
    by_place = post(page, "/api/search", {"like": [{"place": place}], "find": "audio"}).json
    assert [hit["row"] for hit in by_row["hits"]] == [hit["row"] for hit in by_key["hits"]]
    assert [hit["row"] for hit in by_row["hits"]] == [hit["row"] for hit in by_place["hits"]]
    assert "nearest picture" in by_place["notes"][0]
    both = post(page, "/api/search", {"like": [{"row": 3}], "unlike": [{"row": 4}], "find": "audio"}).json
    assert both["query"] == f"+ {item['key']} - {ask(page, '/api/items/4').json['key']}"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"like": []}, 422, "nothing to search by"),
        ({"like": [{}]}, 422, "one of row, id, place, upload"),
        ({"like": [{"row": 1, "id": "x"}]}, 422, "row and id"),
        ({"like": [{"row": 10**6}]}, 404, "0 to 47"),
        ({"like": [{"row": -1}]}, 422, "row"),
        ({"like": [{"id": "/etc/passwd"}]}, 404, "no id"),
        ({"like": [{"id": "<script>" * 600}]}, 404, "no id"),
        ({"like": [{"upload": "0" * 24}]}, 404, "send it again"),
        ({"like": [{"upload": "../../x"}]}, 422, "upload"),
        ({"like": [{"row": 1}], "k": 0}, 422, "k"),
        ({"like": [{"row": 1}], "k": 10**9}, 422, "k"),
        ({"like": [{"row": 1}] * 51}, 422, "like"),
        ({"like": [{"row": 1}], "surprise": 1}, 422, "surprise"),
        ({"like": [{"row": 1}], "windows": "all"}, 400, "whole recordings"),
        ({"like": [{"row": 1}], "filters": {"where": {"vector": ["1"]}}}, 422, "vector"),
        ({"like": [{"row": 1}], "filters": {"compare": ["media=/tmp*"]}}, 422, "media"),
        ({"like": [{"row": 1}], "filters": {"months": "hello"}}, 400, "months"),
        ({"like": [{"row": 1}], "filters": {"polygon": [[0, 0], [1, 1], [0, 0]]}}, 422, "corners"),
        ({"like": [{"row": 1}], "filters": {"polygon": [[0, 0], [2, 2], [3, 0], [0, 1]]}}, 422, "without crossings"),
        ({"like": [{"row": 1}], "filters": {"dates": "9999-12"}}, 400, "dates"),
        ({"like": [{"row": 1}], "filters": {"box": [0, 50, 1, 40]}}, 400, "box"),
        ({"like": [{"row": 1}], "marks": {"query": "never", "on": True}, "unlike": [{"row": 1}]}, 400, "cancel"),
    ],
)  # fmt: skip
def test_queries_that_are_none(page: PageServer, body: Any, status: int, says: str) -> None:
    answer = post(page, "/api/search", body)
    if says == "cancel":  # + a - a is a itself, which is something
        assert answer.status == 200 and "ranked by the query alone" in answer.json["notes"][0]
        return
    assert (answer.status, says in answer.error) == (status, True), answer


def test_filters_keep_what_they_say(page: PageServer) -> None:
    items = [ask(page, f"/api/items/{row}").json for row in range(48)]
    audio = [item for item in items if item["modality"] == "audio" and item["row"] != 6]
    middle = float(np.median([item["longitude"] for item in audio]))
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"license": ["CC0*"]}, [i["row"] for i in audio if i["license"] == "CC0-1.0"]),
        ({"where": {"license": ["CC0*"]}}, []),
        ({"where": {"license": ["CC0-1.0", "x"]}}, [i["row"] for i in audio if i["license"] == "CC0-1.0"]),
        ({"box": [-180, -90, middle, 90]}, [i["row"] for i in audio if i["longitude"] <= middle]),
        (
            {"polygon": [[-179, -89], [middle, -89], [middle, 89], [-179, 89]]},
            [i["row"] for i in audio if i["longitude"] <= middle],
        ),
        ({"months": "1-3", "dates": "2024"}, [i["row"] for i in audio if i["datetime"] < "2024-04"]),
        ({"compare": ["label!=water"]}, [i["row"] for i in audio if i["more"]["label"] != "water"]),
    ]  # fmt: skip
    for filters, rows in cases:
        answer = post(page, "/api/search", {"like": [{"row": 6}], "find": "audio", "k": 100, "filters": filters})
        if answer.status != 200 and rows:
            raise AssertionError((filters, answer))
        if not rows:
            assert answer.status == 422 and "no row passes" in answer.error, filters
            continue
        assert sorted(hit["row"] for hit in answer.json["hits"]) == rows, filters


def test_filters_alone_tell_how_many_rows_pass(page: PageServer) -> None:
    everything = post(page, "/api/passing", {}).json
    assert everything["rows"] == everything["of"] == sum(everything["items"].values()) > 0
    items = [ask(page, f"/api/items/{row}").json for row in range(48)]
    free = [item["modality"] for item in items if item["license"] == "CC0-1.0"]
    some = post(page, "/api/passing", {"license": ["CC0*"]}).json
    assert 0 < some["rows"] == len(free) < some["of"] and some["items"]["audio"] == free.count("audio")
    none = post(page, "/api/passing", {"box": [100, 88, 101, 89]}).json
    assert none["rows"] == 0 and "passes none" in none["says"] and none["wrong"] == {}


def test_filters_that_are_wrong_are_told_each(page: PageServer) -> None:
    wrong = {
        "hours": "25-99",
        "months": "4-6",
        "dates": "spring",
        "compare": ["nowhere>=3"],
        "where": {"nowhere": ["a"]},
    }
    told = post(page, "/api/passing", wrong).json
    assert told["rows"] == 0 and set(told["wrong"]) == {"hours", "dates", "compare", "where"}
    assert "25" in told["wrong"]["hours"] and "nowhere" in told["wrong"]["compare"]
    bow = [[0, 0], [2, 1], [2, 0], [0, 3]]
    assert "cross" in post(page, "/api/passing", {"polygon": bow}).json["wrong"]["polygon"]


def test_windows_distance_and_spread(windowed: PageServer) -> None:
    about = ask(windowed, "/api/about").json
    assert about["metric"] == "distance" and not about["coordinates"] and not about["plane"] and about["model"] is None
    found = post(windowed, "/api/search", {"like": [{"id": "rec-05"}], "find": "image", "k": 30}).json
    table = open_index(windowed.options.index).table
    ids = table.columns(["id"])["id"].to_pylist()
    windows = table.vectors(np.flatnonzero(np.array(ids) == "rec-05")).astype(np.float64)
    assert len(windows) > 1
    for hit in found["hits"]:
        tile = table.vectors(np.array([hit["row"]]))[0].astype(np.float64)
        assert hit["score"] == pytest.approx(-np.linalg.norm(windows.mean(axis=0) - tile), abs=1e-5)
        each = [-np.linalg.norm(window - tile) for window in windows]
        assert hit["spread"] == pytest.approx(np.std(each), abs=1e-5)
    every = post(windowed, "/api/search", {"like": [{"id": "tile-01"}], "windows": "all", "k": 100}).json
    best = post(windowed, "/api/search", {"like": [{"id": "tile-01"}], "windows": "best", "k": 100}).json
    assert len(every["hits"]) == every["searched"] and len(best["hits"]) == 12
    assert all(hit["spread"] is None for hit in best["hits"])


def test_a_click_without_coordinates_is_told(windowed: PageServer) -> None:
    answer = post(windowed, "/api/click", {"longitude": 5, "latitude": 5})
    assert answer.status == 422 and "no row of the index has a place" in answer.error


def test_a_click_gives_the_picture_and_likely_sounds(page: PageServer) -> None:
    item = ask(page, "/api/items/5").json
    found = post(page, "/api/click", {"longitude": item["longitude"] - 360, "latitude": item["latitude"], "k": 5}).json
    assert found["picture"]["row"] == 5 and found["km"] == pytest.approx(0, abs=1e-6)
    assert found["find"] == "audio" and len(found["hits"]) == 5
    by_row = post(page, "/api/search", {"like": [{"row": 5}], "k": 5}).json
    assert [hit["row"] for hit in by_row["hits"]] == [hit["row"] for hit in found["hits"]]
    assert by_row["query"] == found["query"]


def test_scores_are_those_of_the_search(page: PageServer) -> None:
    body = {"like": [{"row": 2}], "find": "audio", "filters": {"license": ["CC0-1.0"]}}
    rows, found = arrays(post(page, "/api/scores", body).body)
    hits = post(page, "/api/search", {**body, "k": 100}).json["hits"]
    assert rows == 48 and np.isfinite(found["scores"]).sum() == len(hits)
    assert [found["scores"][hit["row"]] for hit in hits] == [np.float32(hit["score"]) for hit in hits]


# Points.


def test_points_are_the_tables_own(page: PageServer, windowed: PageServer) -> None:
    rows, found = arrays(ask(page, "/api/points").body)
    columns = open_index(page.options.index).table.columns(["longitude", "latitude", "x", "y", "modality"]).to_pydict()
    assert rows == 48
    for name, column in (("lon", "longitude"), ("lat", "latitude"), ("x", "x"), ("y", "y")):
        assert found[name].tolist() == np.array(columns[column], np.float32).tolist()
    assert found["modality"].tolist() == [int(one == "audio") for one in columns["modality"]]
    _, none = arrays(ask(windowed, "/api/points").body)
    assert all(np.isnan(none[name]).all() for name in ("lon", "lat", "x", "y"))
    first = ask(page, "/api/points", accept_encoding="gzip")
    assert first.headers["content-encoding"] == "gzip"
    assert ask(page, "/api/points", if_none_match=first.headers["etag"]).status == 304


def test_columns_are_codes_and_numbers(page: PageServer) -> None:
    about = {column["name"]: column for column in ask(page, "/api/about").json["columns"]}
    for name, column in about.items():
        _, found = arrays(ask(page, f"/api/columns/{name}").body)
        if column["kind"] == "category":
            items = [ask(page, f"/api/items/{row}").json for row in (0, 30)]
            words = [column["values"][code] if code != 65_535 else None for code in found["values"][[0, 30]]]
            assert words == [item[name] if name in item else item["more"][name] for item in items]
    days = arrays(ask(page, "/api/columns/datetime").body)[1]["values"]
    assert set(np.diff(np.unique(days)).tolist()) == {15.0}
    assert ask(page, "/api/columns/media").status == 404 and ask(page, "/api/columns/vector").status == 404


def test_a_crowd_at_one_place(tmp_path: Path) -> None:
    count = 20_000
    columns: dict[str, list[Any]] = {
        "id": [f"<b>{n:05d}</b>" + "x" * 5000 * (n == 7) for n in range(count)],
        "modality": ["image", "audio"] * (count // 2), "longitude": [8.0] * count, "latitude": [47.0] * count,
    }  # fmt: skip
    vectors = np.resize(unit_vectors(64), (count, DIMENSIONS))
    with page_of(drawn(tmp_path / "E", columns, vectors)) as page:
        found = post(page, "/api/click", {"longitude": 8, "latitude": 47, "k": 3}).json
        assert found["km"] == 0 and len(found["hits"]) == 3
        long = ask(page, "/api/items/7").json["id"]
        assert len(long) > 5000
        assert post(page, "/api/search", {"like": [{"id": long}], "k": 1}).status == 200
        said = {"key": ask(page, "/api/items/7").json["key"], "query": "<i>", "verdict": "right", "who": "=1+1"}
        assert post(page, "/api/marks", said).status == 201
        [mark] = ask(page, "/api/marks?query=%3Ci%3E").json["marks"]
        assert mark["key"] == said["key"] and mark["who"] == "=1+1"


# Files.


def test_hits_as_files(page: PageServer) -> None:
    body = {"like": [{"row": 2}], "k": 4, "find": "audio"}
    hits = post(page, "/api/search", body).json["hits"]
    answer = post(page, "/api/export?format=csv", body)
    assert "attachment" in answer.headers["content-disposition"] and answer.headers["content-type"].startswith(
        "text/csv"
    )
    lines = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [line["key"] for line in lines] == [hit["key"] for hit in hits]
    assert not any("/" in line["media"] for line in lines)
    points = json.loads(post(page, "/api/export?format=geojson", body).body)["features"]
    assert [point["geometry"]["coordinates"] for point in points] == [
        [hit["longitude"], hit["latitude"]] for hit in hits
    ]
    told = post(page, "/api/export?format=audio", body).body.decode().splitlines()
    assert told[0] == "#EXTM3U"
    addresses = [line for line in told if not line.startswith("#")]
    assert addresses == [f"http://127.0.0.1:{page.port}/api/items/{hit['row']}/sound" for hit in hits]
    assert sum(line.startswith("# licence: ") for line in told) == len(hits)
    assert post(page, "/api/export?format=exe", body).status == 422


def test_the_openapi_tells_every_answer(page: PageServer) -> None:
    paths = ask(page, "/openapi.json").json["paths"]
    wanted = {"/api/uploads", "/api/search", "/api/click", "/api/scores", "/api/export", "/api/marks", "/api/points"}
    assert wanted <= set(paths)
    for name in ("/api/search", "/api/click"):
        assert "$ref" in json.dumps(paths[name]["post"]["responses"]["200"])
