"""The page's server as a whole: what it tells of an index, how it starts and ends, where it lies behind proxies."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_world import drawn, unit_vectors
from page_server import ask, page_of
from rasterio.warp import transform

from earthtone.cli import main
from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.serve.options import ServeOptions
from earthtone.serve.points import NONE, bounds_of, read_column
from earthtone.serve.server import PageServer, listening, serve_page

ROOT = Path(__file__).parents[2]
LONG, MARKUP = "x" * 5000, "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """E without coordinates, media, plane or model, of rows with odd ids."""
    columns: dict[str, list[Any]] = {
        "id": [LONG, MARKUP, "=1+1", "c"], "modality": ["image", "audio", "image", "audio"],
        "media": [None, None, "https://me:word@example.org/a.png?key=SECRET/x", "/no/such/folder/a.wav"],
        "license": [None, MARKUP, None, None], "longitude": [None, float("nan"), None, None],
    }  # fmt: skip
    return drawn(tmp_path_factory.mktemp("odd"), columns, unit_vectors(4))


def test_what_is_told_of_an_index(page: PageServer) -> None:
    told = ask(page, "/api/about").json
    assert told["items"] == {"image": 24, "audio": 24} and told["rows"] == 48 and told["version"] == "0.1.0"
    assert told["coordinates"] and told["plane"] and told["media"] and not told["synthetic"]
    assert told["bounds"] == [0.5, 22.0, 23.5, 45.0]  # n % 60 + 0.5, 45 - n % 30 of 24 pairs
    assert told["metric"] == "cosine" and "angle" in told["score_is"]
    assert told["marks"] == {"writable": True, "name": "marks.csv"} and told["basemap"]["kind"] == "outline"
    assert told["model"]["ready"] and told["model"]["name"] == "model" and told["model_missing"] is None
    assert told["limits"] == {
        "upload_bytes": 2**26, "sound_seconds": 1800, "image_pixels": 64_000_000, "hits": 1000, "queue": 64
    }  # fmt: skip
    columns = {column["name"]: column for column in told["columns"]}
    assert columns["label"]["values"] == [f"kind {n}" for n in range(4)]
    assert columns["license"]["values"] == ["CC-BY-4.0", "CC0-1.0"]
    assert columns["datetime"]["min"] == pytest.approx(19723) and columns["datetime"]["kind"] == "time"  # 2024-01-01
    assert str(page.served.index.folder) not in json.dumps(told)  # nobody needs to know where it lies


def test_columns_as_numbers(page: PageServer) -> None:
    table = page.served.table
    texts = table.columns(["license"])["license"].to_pylist()
    found = read_column(table, "license")
    assert found is not None and found.array.dtype == np.uint16
    assert [None if code == NONE else found.values[code] for code in found.array.tolist()] == texts


def test_the_narrower_way_round() -> None:
    east, north = np.array([170.0, -170.0, np.nan, 190.0]), np.array([1.0, 2.0, np.nan, -3.0])
    assert bounds_of(east, north) == [170.0, -3.0, 190.0, 2.0]
    assert bounds_of(np.array([np.nan]), np.array([np.nan])) is None
    assert bounds_of(np.array([5.0, 5.0]), np.array([1.0, 1.0])) == [5.0, 1.0, 5.0, 1.0]


def test_the_ground_that_a_tile_shows(tmp_path: Path) -> None:
    """Compared with GDAL's reprojection."""
    tiles = {"EPSG:32621": (500_000.0, 0.0, 500_256.0, 256.0), "EPSG:3857": (-20_037_600.0, 0.0, -20_037_400.0, 200.0)}
    sides = [*tiles.values(), (0.0, 0.0, 1.0, 1.0), (None,) * 4]
    columns: dict[str, list[Any]] = {
        "id": list("abcd"), "modality": ["image"] * 4, "crs": [*tiles, "<b>none</b>", "EPSG:3857"],
    }  # fmt: skip
    columns |= {side: [each[at] for each in sides] for at, side in enumerate(("west", "south", "east", "north"))}
    with page_of(drawn(tmp_path / "E", columns, unit_vectors(4))) as server:
        found = [ask(server, f"/api/items/{row}").json["footprint"] for row in range(4)]
    for ring, (crs, (west, south, east, north)) in zip(found[:2], tiles.items(), strict=True):
        longitudes, latitudes = np.array(ring).T
        there = transform(crs, "EPSG:4326", [west, east, east, west], [south, south, north, north])
        np.testing.assert_allclose((longitudes - there[0] + 180) % 360 - 180, 0, atol=1e-9)
        np.testing.assert_allclose(latitudes, there[1], atol=1e-9)
        assert np.ptp(longitudes) < 0.003  # 256 m, also across the antimeridian
    assert found[2:] == [None, None]


def test_a_row(page: PageServer) -> None:
    sound = next(n for n in range(48) if ask(page, f"/api/items/{n}").json["modality"] == "audio")
    item = ask(page, f"/api/items/{sound}").json
    assert item["row"] == sound and item["key"] == f"audio:{item['id']}" and item["picture"] is None
    assert item["sound"]["url"] == f"api/items/{sound}/sound" and item["missing"] is None
    number = int(item["id"].removeprefix("pair-"))
    assert (item["longitude"], item["latitude"]) == (number % 60 + 0.5, 45 - number % 30)
    assert item["attribution"] == f"recordist {number}" and 1 <= int(item["more"].pop("cluster")) <= 12
    assert item["more"] == {"label": f"kind {number % 4}"}
    assert re.fullmatch(r"2024-\d\d-\d\dT00:00:00Z", item["datetime"])


@pytest.mark.parametrize("row", ["48", "-1", "1e3", "a", "9" * 30, "0x1", "%3Cb%3E"])
def test_a_row_that_is_not_there(page: PageServer, row: str) -> None:
    answer = ask(page, f"/api/items/{row}")
    assert answer.status in (404, 422) and answer.error


def test_an_index_without_anything(odd: Path) -> None:
    """No coordinates, no media, no plane, no model; ids that are markup or very long."""
    with page_of(odd) as server:
        told = ask(server, "/api/about").json
        assert not told["coordinates"] and not told["plane"] and told["bounds"] is None
        while server.served.model_state == "loading":
            time.sleep(0.05)
        told = ask(server, "/api/about").json
        assert told["model"] is None and "--model" in told["model_missing"]
        assert "/" not in told["model_missing"], "no folder of the server's is told"
        items = [ask(server, f"/api/items/{row}").json for row in range(4)]
        assert [item["id"] for item in items] == [LONG, MARKUP, "=1+1", "c"]
        assert [item["picture"] or item["sound"] for item in items] == [None] * 4
        for item, words in zip(
            items, ("does not tell", "does not tell", "open it there", "bring it back"), strict=True
        ):
            assert words in item["missing"] and "/no/such/folder" not in item["missing"]
        assert "lies at https://example.org," in items[2]["missing"]  # no key, no name of a user
        for kind in ("csv", "geojson"):
            body = json.dumps({"like": [{"row": 0}], "find": "all"})
            listed = ask(server, f"/api/export?format={kind}", body, content_type="application/json").body
            assert b"https://example.org" in listed and b"a.wav" in listed
            assert not re.search(b"SECRET|word|no/such", listed)
        for path in ("0/picture", "1/sound", "1/peaks", "3/spectrogram"):
            answer = ask(server, f"/api/items/{path}")
            assert answer.status == 404 and answer.error
        assert ask(server, "/api/card").status == 404
        assert ask(server, "/readyz").status == 200  # it browses


def test_an_index_that_is_empty_or_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"earthtone embed"):
        serve_page(tmp_path, port=0)


def test_another_model(tiny_index: Path, tmp_path: Path, tiny_model: TwoTower) -> None:
    other = TwoTower(tiny_model.config, tiny_model.signal)  # the same form, other weights
    save_model(tmp_path / "other", other.eval(), {})
    with pytest.raises(ModelError, match="fingerprint"):
        serve_page(tiny_index, model=tmp_path / "other", port=0, device="cpu")


@pytest.mark.parametrize(
    ("facts", "kind", "told"),
    [
        ({"facts": {"model fingerprint": "0" * 32, "model": "<b>"}, "files": {}}, ModelError, "another model"),
        ({"facts": {}}, DataError, "no facts"),
        ([], DataError, "no facts"),
        (None, DataError, "no map.json"),
    ],
)
def test_maps_that_do_not_fit(tiny_index: Path, tmp_path: Path, facts: Any, kind: type[Exception], told: str) -> None:
    if facts is not None:
        (tmp_path / "map.json").write_text(json.dumps(facts))
    with pytest.raises(kind, match=told):
        serve_page(tiny_index, map=[tmp_path], port=0)


def test_a_port_in_use(tiny_index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(tiny_index), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"port {port}" in said and "--port 0" in said
    with pytest.raises(ConfigError, match="no address"):
        listening("no.such.host.invalid", 0)


@pytest.mark.parametrize("words", [["--port", "70000"], ["--root_path", "a b"], ["--basemap", "x"], ["--no_such", "1"]])
def test_wrong_options_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "E", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# Behind proxies: all addresses of the page are relative.


def test_below_a_path(tiny_index: Path) -> None:
    with page_of(tiny_index, root_path="/sounds/") as server:
        for prefix in ("", "/sounds"):  # a proxy may take it away, or leave it
            assert ask(server, f"{prefix}/").headers["content-type"].startswith("text/html")
            assert ask(server, f"{prefix}/api/about").json["rows"] == 48
        answer = ask(server, "/sounds")
        assert answer.status == 303 and answer.headers["location"] == "sounds/"
        assert server.url.endswith(f":{server.port}/sounds/")
        assert ask(server, "/soundsapi/about").status == 404


def test_the_page_names_nothing_absolute(page: PageServer) -> None:
    text = ask(page, "/").body.decode()
    assert not re.search(r"""(src|href)=["'](/|https?:)""", text)
    assert "<script>" not in text and "style=" not in text


def test_the_proxy_that_tells_its_path(page: PageServer) -> None:
    for told in ("/user/a/proxy/8080", "/<script>", "//evil.example", "x", f"/{'a' * 500}"):
        assert ask(page, "/api/about", x_forwarded_prefix=told, x_forwarded_context=told).status == 200


def test_everybody_is_warned_of(tiny_index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104 - so that the server cannot
        taken.listen()
        assert main(["serve", str(tiny_index), "--host", "0.0.0.0", "--port", str(taken.getsockname()[1])]) == 2  # noqa: S104
    said = capsys.readouterr().err
    assert "everybody" in said and "--token_env" in said and "in use" in said


def test_the_page_is_kept_by_browsers(page: PageServer) -> None:
    answer = ask(page, "/", accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip" and answer.headers["cache-control"] == "no-cache"
    assert ask(page, "/", if_none_match=answer.headers["etag"]).status == 304


# What looks after it.


def test_health_and_figures(page: PageServer) -> None:
    assert ask(page, "/healthz").json == {"state": "alive", "rows": 48, "model": "ready"}
    assert ask(page, "/readyz").json["state"] == "ready"
    before = ask(page, "/metrics").body.decode()
    ask(page, "/api/items/1")
    ask(page, "/made/up/name")
    after = ask(page, "/metrics").body.decode()

    def count(text: str, labels: str) -> float:
        found = re.search(rf"^earthtone_requests_total\{{{labels}\}} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    labels = 'method="GET",route="/api/items/{row}",status="200"'
    assert count(after, re.escape(labels)) == count(before, re.escape(labels)) + 1
    assert "made" not in after and 'earthtone_rows{modality="audio"} 24.0' in after
    assert "earthtone_model_ready 1.0" in after and "earthtone_request_seconds_bucket" in after


def test_the_openapi_is_whole(page: PageServer) -> None:
    told = ask(page, "/openapi.json").json
    assert told["openapi"].startswith("3.1") and {"/api/about", "/api/items/{row}", "/healthz"} <= set(told["paths"])
    for path, methods in told["paths"].items():
        for method, what in methods.items():
            assert what.get("description"), (path, method)
            assert "Refused" in json.dumps(what["responses"]["422"])


def test_the_models_card(page: PageServer) -> None:
    answer = ask(page, "/api/card")
    assert answer.headers["content-type"].startswith("text/plain") and b"## Licence" in answer.body


# Its end.


@pytest.mark.slow
def test_a_process_ends_its_requests_and_then_itself(tiny_index: Path) -> None:
    """SIGTERM while an answer is being sent: it is whole, and the exit code is 0."""
    command = [sys.executable, "-m", "earthtone", "serve", str(tiny_index), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            found = re.match(r"http://127\.0\.0\.1:(\d+)/ ", process.stdout.readline())
            assert found is not None
            port = int(found[1])
            assert ask(port, "/api/about").json["rows"] == 48
            body = b'{"like": []}'
            with socket.create_connection(("127.0.0.1", port), timeout=30) as running:
                running.sendall(
                    b"POST /no/such HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n" % len(body)
                )
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                with pytest.raises(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=2).close()
                running.sendall(body)
                assert running.recv(100).startswith(b"HTTP/1.1 40")  # it was waited for
            out, err = process.communicate(timeout=40)
        finally:
            process.kill()
    assert process.returncode == 0 and "stopped after" in out and "Traceback" not in err


# How it is put up.


def test_the_dockerfile_and_the_unit_start_what_there_is() -> None:
    """Read without an engine: the command is one that the options take, nobody is root, what is written has a place."""
    docker = (ROOT / "deploy" / "Dockerfile").read_text()
    lines = re.sub(r"\\\n\s*", "", docker).splitlines()
    steps = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    names = [name for name, _ in steps]
    assert names[0] == "FROM" and "latest" not in steps[0][1] and set(names) <= {
        "FROM", "RUN", "COPY", "WORKDIR", "USER", "EXPOSE", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD", "ENV", "ARG"
    }  # fmt: skip
    told = dict(steps)
    assert told["USER"] not in ("root", "0") and "/healthz" in told["HEALTHCHECK"]
    command = [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])]
    assert command[:2] == ["earthtone", "serve"]
    for copied in [words for name, words in steps if name == "COPY"]:
        for source in copied.split()[:-1]:
            assert source.startswith("--") or (ROOT / source).exists(), source
    unit = (ROOT / "deploy" / "earthtone.service").read_text()
    settings = [line.partition("=")[::2] for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    of = dict(settings)
    started = of["ExecStart"].split()
    assert Path(started[0]).name == "earthtone" and started[1] == "serve"
    assert of["NoNewPrivileges"] == "yes" and of["ProtectSystem"] == "strict" and of["User"] not in ("", "root")
    assert of["KillSignal"] == "SIGTERM" and int(of["TimeoutStopSec"]) > 20 and of["StateDirectory"]
    known = {f"--{name}" for name in ServeOptions.__dataclass_fields__}
    for words in (command, started):
        assert {word for word in words if word.startswith("--")} <= known
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "[serve]" in docker and "serve" in extras
