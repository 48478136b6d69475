"""Lists of recordings: all pages, each row once, filters counted, and what a stop leaves."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import (
    HTML,
    Archive,
    Toy,
    archive,
    killed_at,
    query,
    toy_items,
    toy_list,
    web_for,
)
from imagery_hosts import Asked, Said, json_said

from earthtone.build.sources import listing as listing_module
from earthtone.build.sources.listing import Listing, list_recordings
from earthtone.build.sources.source import Filters, Recording, key_refused, required_key, seconds_of, text_of
from earthtone.build.web import HostError, QuotaReachedError
from earthtone.errors import ConfigError, DataError


@pytest.fixture
def host() -> Iterator[Archive]:
    """An archive of ten recordings, three a page."""
    with archive() as found:
        found.routes["/list"] = toy_list(toy_items(found, 10))
        yield found


def ids(listing: Listing) -> list[str]:
    return [row.source_id for row in listing]


TEN = [str(number) for number in range(10)]


def test_all_pages_are_listed_once_and_not_asked_for_again(host: Archive, tmp_path: Path) -> None:
    source = Toy(endpoint=host.url)
    found = list_recordings(source, tmp_path / "list", web=web_for(tmp_path))
    assert ids(found) == TEN and found.done and found.total == found.seen == 10
    assert next(iter(found)).longitude == 10.0 and "10 recordings, 10 of 10 rows seen" in found.to_text()
    asked = len(host.asked)
    assert ids(list_recordings(source, tmp_path / "list", web=web_for(tmp_path))) == TEN
    assert len(host.asked) == asked
    list_recordings(source, tmp_path / "list", web=web_for(tmp_path), anew=True)
    assert len(host.asked) == 2 * asked
    host.routes["/list"] = toy_list(toy_items(host, 11))
    assert len(list_recordings(source, tmp_path / "list", web=web_for(tmp_path), fresh_days=1.0)) == 10
    assert len(list_recordings(source, tmp_path / "list", web=web_for(tmp_path), fresh_days=0.0)) == 11
    with pytest.raises(ConfigError, match="another query"):
        list_recordings(Toy(Filters(allow=("nc",)), host.url), tmp_path / "list", web=web_for(tmp_path))


def test_enough_is_enough_and_more_goes_on_from_there(host: Archive, tmp_path: Path) -> None:
    source, web = Toy(endpoint=host.url), web_for(tmp_path)
    assert ids(list_recordings(source, tmp_path / "list", web=web, most=4)) == TEN[:4]
    assert len(host.asked) == 2
    assert ids(list_recordings(source, tmp_path / "list", web=web, most=7)) == TEN[:7]
    assert len(host.asked) == 3
    assert ids(list_recordings(source, tmp_path / "list", web=web)) == TEN


def test_a_place_at_zero_longitude_is_kept(tmp_path: Path) -> None:
    items = [{"source_id": "greenwich", "longitude": 0.0, "latitude": 51.5, "seconds": 0.0}]
    with archive() as host:
        host.routes["/list"] = toy_list(items)
        found = list_recordings(Toy(endpoint=host.url), tmp_path / "list", web=web_for(tmp_path))
        assert next(iter(found)).longitude == 0.0 and next(iter(found)).seconds == 0.0


def test_what_filters_leave_out_is_counted(tmp_path: Path) -> None:
    place = {"longitude": 5.0, "latitude": 45.0, "time": "2015-06-01", "seconds": 60.0}
    items = [
        {"source_id": "good", **place},
        {"source_id": "nc", **place, "license": "CC-BY-NC-4.0"},
        {"source_id": "none", **place, "license": ""},
        {"source_id": "placeless", **place, "longitude": None},
        {"source_id": "null island", **place, "longitude": 0.0, "latitude": 0.0},
        {"source_id": "far", **place, "longitude": 50.0},
        {"source_id": "vague", **place, "coord_uncertainty_m": 28_000.0},
        {"source_id": "undated", **place, "time": ""},
        {"source_id": "early", **place, "time": "2014-12-31T23:59:59"},
        {"source_id": "short", **place, "seconds": 1.0},
        {"source_id": "no gen ai", **place, "ai_preference": "no-gen-ai"},
    ]
    filters = Filters(
        box=(0.0, 40.0, 10.0, 50.0), since="2015-01-01", until="2015-12-31", least_seconds=5.0,
        most_uncertainty_m=500.0, leave_out_ai=("no-gen-ai",),
    )  # fmt: skip
    with archive() as host:
        host.routes["/list"] = toy_list(items)
        found = list_recordings(Toy(filters, host.url), tmp_path / "list", web=web_for(tmp_path))
    assert ids(found) == ["good"]
    assert found.left_out == {
        "licence not allowed: CC-BY-NC-4.0": 1, "licence not allowed: unknown": 1, "without a place": 1,
        "at longitude 0, latitude 0": 1, "outside the box": 1, "place not known well enough": 1, "without a day": 1,
        "outside the days": 1, "too short": 1, "author's preference: no-gen-ai": 1,
    }  # fmt: skip


def test_a_box_may_cross_the_180th_meridian() -> None:
    filters = Filters(box=(170.0, -20.0, -170.0, -10.0))
    assert filters.boxes() == [(170.0, -20.0, 180.0, -10.0), (-180.0, -20.0, -170.0, -10.0)]
    for longitude, inside in ((175.0, True), (-175.0, True), (0.0, False)):
        row = Recording("toy", "1", longitude=longitude, latitude=-15.0, license="CC0")
        assert (filters.why_not(row) is None) == inside
    for wrong in ({"box": (0.0, 10.0, 5.0, 5.0)}, {"since": "2015"}, {"since": "2016-01-01", "until": "2015-01-01"}):
        with pytest.raises(ConfigError):
            Filters(**wrong)


def test_an_item_that_comes_twice_is_kept_once_and_told(host: Archive, tmp_path: Path) -> None:
    items = toy_items(host, 5)
    host.routes["/list"] = toy_list([*items, items[0], items[3]])
    found = list_recordings(Toy(endpoint=host.url), tmp_path / "list", web=web_for(tmp_path))
    assert ids(found) == TEN[:5] and found.left_out == {"listed twice": 2}


def test_a_repeated_cursor_is_asked_again_then_ends_the_walk_with_its_state(host: Archive, tmp_path: Path) -> None:
    right = host.routes["/list"]

    def circles(asked: Asked) -> Said:
        said = json.loads(right(asked).body)
        return json_said(
            {**said, "cursor": "3"} if query(asked)["cursor"] == "6" and len(host.asked) < broken else said
        )

    host.routes["/list"] = circles
    broken = 4
    assert ids(list_recordings(Toy(endpoint=host.url), tmp_path / "once", web=web_for(tmp_path))) == TEN
    broken = 10**6
    with pytest.raises(HostError, match="a cursor came that was there already, also when asked again; what was listed"):
        list_recordings(Toy(endpoint=host.url), tmp_path / "always", web=web_for(tmp_path))
    broken = 0
    found = list_recordings(Toy(endpoint=host.url), tmp_path / "always", web=web_for(tmp_path))
    assert ids(found) == TEN and found.seen == 10


def test_a_list_that_ends_early_is_asked_again_then_told(host: Archive, tmp_path: Path) -> None:
    right = host.routes["/list"]

    def ends(asked: Asked) -> Said:
        said = json.loads(right(asked).body)
        if query(asked)["cursor"] == "3" and len(host.asked) < broken:
            said.pop("cursor", None)
        return json_said(said)

    host.routes["/list"] = ends
    broken = 3
    assert ids(list_recordings(Toy(endpoint=host.url), tmp_path / "once", web=web_for(tmp_path))) == TEN
    broken = 10**6
    found = list_recordings(Toy(endpoint=host.url), tmp_path / "always", web=web_for(tmp_path))
    assert ids(found) == TEN[:6] and "the list ended after 6 rows of 10" in found.to_text()


@pytest.mark.parametrize(
    "fault",
    [Said(b"", 500), Said(b"", 503, {"Retry-After": "1"}), HTML, Said(b""), Said(b"{", declared=50)],
    ids=["500", "503", "page", "empty", "cut"],
)
def test_a_fault_on_the_second_page_passes(host: Archive, tmp_path: Path, fault: Said) -> None:
    right, faults = host.routes["/list"], [fault]
    host.routes["/list"] = lambda asked: faults.pop() if query(asked)["cursor"] == "3" and faults else right(asked)
    assert ids(list_recordings(Toy(endpoint=host.url), tmp_path / "list", web=web_for(tmp_path))) == TEN


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        (Said(b"", 429), HostError, "answers 429; tried 4 times"),
        (
            Said(b"", 429, {"Retry-After": "7200"}),
            QuotaReachedError,
            "asks to wait 7200 s; type the same again after 20",
        ),
        (HTML, DataError, "a web page came in place of JSON, twice"),
        (Said(b'{"error": {"code": "x", "message": "Bad\\nquery"}}', 400), DataError, r"answers 400 \(Bad query\)"),
        (Said(b"[1", 200), DataError, "no JSON"),
    ],
)
def test_a_fault_that_stays_keeps_what_was_listed(
    host: Archive, tmp_path: Path, fault: Said, error: type[Exception], told: str
) -> None:
    right = host.routes["/list"]
    host.routes["/list"] = lambda asked: fault if query(asked)["cursor"] == "3" else right(asked)
    source = Toy(endpoint=host.url)
    with pytest.raises(error, match=told):
        list_recordings(source, tmp_path / "list", web=web_for(tmp_path))
    kept = Listing.open(tmp_path / "list")
    assert kept is not None and ids(kept) == TEN[:3]
    host.routes["/list"] = right
    (tmp_path / "web" / "hosts" / "127.0.0.1.turn").unlink()
    assert ids(list_recordings(source, tmp_path / "list", web=web_for(tmp_path))) == TEN
    assert QuotaReachedError("x", 1.0).exit_code == 75


@pytest.mark.parametrize("step", ["appending", "appended", "renaming", "kept"])
def test_killed_at_any_step_nothing_is_lost_or_doubled(host: Archive, tmp_path: Path, step: str) -> None:
    """Killed at the second page, then, having gone on, at the next one but one."""
    source, folder = Toy(endpoint=host.url), tmp_path / "list"
    owner, name, before = {
        "appending": (listing_module._Walk, "_append", True), "appended": (listing_module._Walk, "_append", False),
        "renaming": (Path, "replace", True), "kept": (Listing, "keep", False),
    }[step]  # fmt: skip
    for _ in range(2):
        killed_at(owner, name, 2, before, lambda: list_recordings(source, folder, web=web_for(tmp_path)))
    found = list_recordings(source, folder, web=web_for(tmp_path))
    assert ids(found) == TEN and not found.left_out and found.seen == 10
    assert [json.loads(line)["source_id"] for line in (folder / "listing.jsonl").read_text().splitlines()] == TEN


def test_a_damaged_list_is_one_line(host: Archive, tmp_path: Path) -> None:
    source, folder = Toy(endpoint=host.url), tmp_path / "list"
    list_recordings(source, folder, web=web_for(tmp_path))
    whole = (folder / "listing.jsonl").read_bytes()
    (folder / "listing.jsonl").write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"bytes of \d+; delete"):
        list_recordings(source, folder, web=web_for(tmp_path))
    (folder / "listing.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        list_recordings(source, folder, web=web_for(tmp_path))


def test_keys_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOY_KEY", raising=False)
    with pytest.raises(
        ConfigError, match=r"TOY_KEY is not set; get a key at https://toy\.example/keys and type: export"
    ):
        required_key("TOY_KEY", "https://toy.example/keys")
    monkeypatch.setenv("TOY_KEY", "s3cret")
    assert required_key("TOY_KEY", "https://toy.example/keys") == "s3cret"
    told = str(key_refused("TOY_KEY", "https://toy.example/keys", "key s3cret is\nunknown"))
    assert "s3cret" not in told and "TOY_KEY" in told and "\n" not in told


def test_values_as_archives_write_them() -> None:
    assert [seconds_of(one) for one in ("1:23", "1:02:03", "61.5", 7, "", None, "x", -1, "nan")] == [
        83.0, 3723.0, 61.5, 7.0, None, None, None, None, None
    ]  # fmt: skip
    assert text_of(["<p>A\n<b>quay</b></p>", "x"]) == "A quay"
    assert text_of("\x1b[2Jx") == "\\x1b[2Jx" and text_of(None) == text_of({}) == ""


def test_times_become_what_is_known_of_them() -> None:
    def cells(time: str, known: bool = False) -> dict[str, object]:
        return Recording("toy", "1", time=time, time_zone_known=known).cells()

    assert cells("2014-05-03")["day"] == "2014-05-03" and cells("2014-05-03")["datetime"] is None
    assert cells("2014-05-03T05:45")["local_time"] == "2014-05-03 05:45:00"
    moment = cells("2021-06-25T22:18:43+02:00", True)
    assert str(moment["datetime"]) == "2021-06-25 20:18:43+00:00" and moment["time_zone_known"] is True
    for odd in ("2014", "2014-05-00", "?", "", "9999-99-99T00:00:00"):
        assert {cells(odd)[name] for name in ("datetime", "local_time", "day")} == {None}
