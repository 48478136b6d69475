"""A STAC API on loopback that behaves and misbehaves: paging, duplicates, expired addresses, what is never opened."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from imagery_hosts import QUICK, Asked, Host, Said, hosting, json_said, ranged
from pyproj import Transformer
from rasterio import Affine
from rasterio.transform import from_origin
from rasters import noise_values, write_raster
from shapely.geometry import mapping, shape

from earthtone.build.stac import SIGNS, StacImagery
from earthtone.build.tile_grid import Tile
from earthtone.build.web import Web
from earthtone.errors import ConfigError, DataError

UTM = "EPSG:32631"
CORNER = from_origin(500_000, 5_001_000, 10, 10)
BACK = Transformer.from_crs(UTM, "OGC:CRS84", always_xy=True)
TILE = Tile("a", (500_320, 5_000_320, 500_640, 5_000_640), UTM, BACK.transform(500_480, 5_000_480))
REGION = shapely.box(3.0, 45.14, 3.02, 45.17)


def outline(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return {"type": "Polygon", "coordinates": [[BACK.transform(*corner) for corner in corners]]}


ALL = outline(500_000, 5_000_000, 501_280, 5_001_000)


class Api:
    """Items and files, and how they are told; what a test changes are its fields."""

    def __init__(self, files: dict[str, bytes], items: list[dict[str, Any]], page: int = 2) -> None:
        self.files, self.items, self.page = files, items, page
        self.host: Host
        self.twist: Any = None

    def item(self, name: str, href: str, geometry: dict[str, Any] = ALL, **properties: Any) -> dict[str, Any]:
        said = {"datetime": "2024-07-01T10:00:00Z", "eo:cloud_cover": 10.0, **properties}
        item = {"id": name, "collection": "s2", "geometry": geometry, "properties": said, "links": []}
        item["assets"] = {"visual": {"href": href}}
        self.items.append(item)
        return item

    def __call__(self, asked: Asked) -> Said:
        if self.twist is not None and (said := self.twist(asked)) is not None:
            return said  # type: ignore[no-any-return]
        if asked.path == "/v1/search":
            return self.search(asked)
        if asked.path == "/v1/collections/s2":
            return json_said(
                {
                    "id": "s2",
                    "license": "CC-BY-4.0",
                    "providers": [{"name": "The Agency", "roles": ["producer"]}, {"name": "A Host", "roles": ["host"]}],
                }
            )
        if asked.path in self.files:
            return ranged(asked, self.files[asked.path])
        return Said(b"", 404)

    def search(self, asked: Asked) -> Said:
        body = asked.values
        found = [item for item in self.items if "ids" not in body or item["id"] in body["ids"]]
        if "intersects" in body:
            wanted = shape(body["intersects"])
            found = [item for item in found if shape(item["geometry"]).intersects(wanted)]
        start = body.get("start", 0)
        page = found[start : start + self.page]
        links = []
        if start + self.page < len(found):
            links = [
                {
                    "rel": "next",
                    "method": "POST",
                    "href": f"{self.host.url}/v1/search",
                    "body": {**body, "start": start + self.page},
                }
            ]
        return json_said({"type": "FeatureCollection", "features": page, "links": links, "numberMatched": len(found)})


@pytest.fixture
def api(tmp_path: Path) -> Any:
    data = {}
    for number, name in enumerate(("a", "b", "c")):
        path = write_raster(
            tmp_path / f"{name}.tif",
            noise_values(3, 100, 128, number),
            UTM,
            CORNER,
            tiled=True,
            blockxsize=64,
            blockysize=64,
            compress="deflate",
            overviews=(2,),
        )
        data[f"/{name}.tif"] = path.read_bytes()
    found = Api(data, [])
    with hosting(found) as host:
        found.host = host
        yield found


def imagery(api: Api, tmp_path: Path, find: Any = REGION, **more: Any) -> StacImagery:
    web = Web(tmp_path / "cache", per_second=100.0, policy=QUICK)
    found = StacImagery(f"{api.host.url}/v1/", web, collections=["s2"], **more)
    if find is not None:
        found.find([find])
    return found


def pixels_of(number: int) -> np.ndarray:
    """What TILE shows of a file: its own pixels."""
    return np.moveaxis(noise_values(3, 100, 128, number), 0, -1)[36:68, 32:64]


def test_a_tile_is_read_by_ranges_from_the_least_cloudy_day(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif", **{"eo:cloud_cover": 40.0})
    api.item("b", f"{api.host.url}/b.tif", datetime="2024-07-03T10:00:00Z", **{"eo:cloud_cover": 5.0})
    api.item("c", f"{api.host.url}/c.tif", datetime="2024-07-05T10:00:00Z", **{"eo:cloud_cover": 5.0})
    found = imagery(api, tmp_path).read_tile(TILE, 32)
    np.testing.assert_array_equal(found.pixels, pixels_of(2))  # of equal cloud the later one
    assert found.share == 1.0
    assert (found.source, found.datetime) == ("s2/c", "2024-07-05T10:00:00Z")
    assert (found.license, found.attribution) == ("CC-BY-4.0", "The Agency")
    reads = [one for one in api.host.asked if one.path.endswith(".tif")]
    assert {one.path for one in reads} == {"/c.tif"} and all("range" in one.headers for one in reads)


def test_what_is_asked(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")
    imagery(api, tmp_path, datetime="2024-07-01/2024-07-31", max_cloud=20.0)
    body = next(one for one in api.host.asked if one.path == "/v1/search").values
    assert body["collections"] == ["s2"] and body["datetime"] == "2024-07-01/2024-07-31"
    assert body["query"] == {"eo:cloud_cover": {"lte": 20.0}} and body["intersects"] == mapping(REGION) | {
        "coordinates": [[[*corner] for corner in mapping(REGION)["coordinates"][0]]]
    }


def test_scenes_of_one_day_are_put_together(api: Api, tmp_path: Path) -> None:
    """Each holds half of the tile."""
    values = noise_values(3, 100, 128, 0)
    for name, columns, west in (("l", slice(0, 48), 0), ("r", slice(48, 128), 48)):
        path = write_raster(
            tmp_path / f"{name}.tif",
            np.ascontiguousarray(values[..., columns]),
            UTM,
            CORNER * Affine.translation(west, 0),
        )
        api.files[f"/{name}.tif"] = path.read_bytes()
        east = 500_000 + 10 * (columns.stop)
        api.item(
            name,
            f"{api.host.url}/{name}.tif",
            outline(500_000 + 10 * west, 5_000_000, east, 5_001_000),
            datetime=f"2024-07-01T10:00:0{west % 10}Z",
        )
    api.item("c", f"{api.host.url}/c.tif", datetime="2024-08-01T10:00:00Z", **{"eo:cloud_cover": 30.0})
    found = imagery(api, tmp_path).read_tile(TILE, 32)
    np.testing.assert_array_equal(found.pixels, pixels_of(0))
    assert set(str(found.source).split(", ")) == {"s2/l", "s2/r"}


def test_a_cloudless_scene_that_holds_too_little_is_passed_over(api: Api, tmp_path: Path) -> None:
    values = noise_values(3, 100, 128, 0)
    values[:, :, 40:] = 0
    path = write_raster(tmp_path / "part.tif", values, UTM, CORNER, nodata=0)
    api.files["/part.tif"] = path.read_bytes()
    api.item("part", f"{api.host.url}/part.tif", **{"eo:cloud_cover": 0.0})
    api.item("b", f"{api.host.url}/b.tif", datetime="2024-07-02T10:00:00Z", **{"eo:cloud_cover": 60.0})
    found = imagery(api, tmp_path).read_tile(TILE, 32)
    np.testing.assert_array_equal(found.pixels, pixels_of(1))


# Paging.


def test_the_day_nearest_to_a_moment_not_the_clearest(api: Api, tmp_path: Path) -> None:
    """At most so many days away; a scene whose time is not known is none."""
    for number, day in enumerate(("2024-03-01T10:00:00Z", "2024-06-28T10:00:00Z", "no time")):
        api.item(f"s{number}", f"{api.host.url}/{'abc'[number]}.tif", datetime=day, **{"eo:cloud_cover": 5.0 * number})
    near = imagery(api, tmp_path, within_days=10.0)
    for moment, found in (
        (datetime(2024, 7, 1, tzinfo=UTC), "s2/s1"), (datetime(2024, 3, 8, tzinfo=UTC), "s2/s0"),
        (datetime(2024, 5, 1, tzinfo=UTC), None), (None, None),
    ):  # fmt: skip
        assert near.read_tile(replace(TILE, moment=moment), 32).source == found
    assert imagery(api, tmp_path).read_tile(TILE, 32).source == "s2/s0"


def test_pages_are_followed_and_items_that_come_twice_count_once(api: Api, tmp_path: Path) -> None:
    for number in range(5):
        api.item(f"i{number}", f"{api.host.url}/a.tif", datetime=f"2024-07-0{number + 1}T10:00:00Z")
    api.items.append(api.items[0])
    api.items.append(api.items[1])
    found = imagery(api, tmp_path)
    assert len(found) == 5 and found.faults["items that came twice"] == 2


def test_a_scene_that_was_processed_twice_counts_once_the_newer(api: Api, tmp_path: Path) -> None:
    api.item("S2_0", f"{api.host.url}/a.tif", created="2024-07-02T00:00:00Z")
    api.item("S2_1", f"{api.host.url}/b.tif", created="2024-08-02T00:00:00Z")
    found = imagery(api, tmp_path)
    assert len(found) == 1
    np.testing.assert_array_equal(found.read_tile(TILE, 32).pixels, pixels_of(1))


def test_a_next_page_that_is_the_same_again_ends_the_search(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")

    def twist(asked: Asked) -> Said | None:
        if asked.path != "/v1/search":
            return None
        link = {"rel": "next", "method": "POST", "href": f"{api.host.url}/v1/search", "body": asked.values}
        return json_said({"features": api.items, "links": [link]})

    api.twist = twist
    found = imagery(api, tmp_path)
    assert len(found) == 1 and found.faults["pages that a search repeated"] == 1
    assert sum(one.path == "/v1/search" for one in api.host.asked) == 1


def test_endless_pages_of_known_items_end(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")

    def twist(asked: Asked) -> Said | None:
        if asked.path != "/v1/search":
            return None
        number = (asked.values or {}).get("n", 0)
        link = {
            "rel": "next",
            "method": "POST",
            "href": f"{api.host.url}/v1/search",
            "merge": True,
            "body": {"n": number + 1},
        }
        return json_said({"features": api.items, "links": [link]})

    api.twist = twist
    assert len(imagery(api, tmp_path)) == 1
    assert sum(one.path == "/v1/search" for one in api.host.asked) == 4


def test_a_page_too_large_for_the_host_is_asked_for_smaller(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")
    api.twist = lambda asked: Said(b"", 502) if asked.path == "/v1/search" and asked.values["limit"] > 30 else None
    assert len(imagery(api, tmp_path)) == 1


def test_a_list_that_ends_early_is_an_error(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")
    api.twist = lambda asked: (
        json_said({"features": api.items, "links": [], "numberMatched": 7}) if asked.path == "/v1/search" else None
    )
    with pytest.raises(DataError, match="ends after 1 of 7 items"):
        imagery(api, tmp_path)


def test_a_host_without_the_query_extension(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")
    api.item("b", f"{api.host.url}/b.tif", datetime="2024-07-02T00:00:00Z", **{"eo:cloud_cover": 90.0})
    api.twist = lambda asked: (
        json_said({"description": "query?"}, 400) if asked.path == "/v1/search" and "query" in asked.values else None
    )
    assert len(imagery(api, tmp_path, max_cloud=50.0)) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Said(b"<html>log in</html>"), r"answers 200 \(a page, or nothing\); JSON of a STAC API expected"),
        (Said(b"[1]"), r"answers 200 \(list\)"),
        (json_said({"type": "Catalog"}), "without features"),
        (Said(b"", 403), "wants a log-in"),
        (json_said({"description": "no such collection"}, 404), "no such collection"),
        (json_said({"features": []}), "has no item of s2 there"),
    ],
)
def test_answers_that_are_no_list(api: Api, tmp_path: Path, said: Said, told: str) -> None:
    api.twist = lambda asked: said if asked.path == "/v1/search" else None
    with pytest.raises(DataError, match=told):
        imagery(api, tmp_path)


# Addresses that expire, and those that are never opened.


def test_an_expired_address_is_searched_again(api: Api, tmp_path: Path) -> None:
    item = api.item("a", f"{api.host.url}/a.tif?sig=old")
    found = imagery(api, tmp_path)
    item["assets"]["visual"]["href"] = f"{api.host.url}/a.tif?sig=new"
    api.twist = lambda asked: Said(b"<Error>AuthenticationFailed</Error>", 403) if asked.query == "sig=old" else None
    np.testing.assert_array_equal(found.read_tile(TILE, 32).pixels, pixels_of(0))
    assert [one.values["ids"] for one in api.host.asked if one.values and "ids" in one.values] == [["a"]]


def test_an_address_that_stays_refused_is_one_line(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif?sig=secret")
    found = imagery(api, tmp_path)
    api.twist = lambda asked: Said(b"", 403) if asked.path == "/a.tif" else None
    with pytest.raises(DataError, match=r"a\.tif: the host refuses, also with a new address") as caught:
        found.read_tile(TILE, 32)
    assert "secret" not in str(caught.value)


def test_tokens_are_fetched_kept_and_renewed(api: Api, tmp_path: Path) -> None:
    api.item("a", f"{api.host.url}/a.tif")
    given: list[str] = []

    def twist(asked: Asked) -> Said | None:
        if asked.path == "/token/s2":
            given.append(f"t{len(given)}")
            return json_said({"token": f"sig={given[-1]}", "msft:expiry": "2099-01-01T00:00:00Z"})
        if asked.path == "/a.tif":
            return None if asked.query == "sig=t1" else Said(b"", 403)
        return None

    api.twist = twist
    found = imagery(api, tmp_path, sign=f"{api.host.url}/token/{{collection}}")
    np.testing.assert_array_equal(found.read_tile(TILE, 32).pixels, pixels_of(0))
    found.read_tile(TILE, 16)
    assert given == ["t0", "t1"]


def test_a_token_goes_to_no_host_but_those_it_is_for(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two items one lies at another host, which is asked unsigned; the blobs of the known signer are its own."""
    other = api.host.url.replace("127.0.0.1", "localhost")
    api.item("a", f"{other}/a.tif")

    def twist(asked: Asked) -> Said | None:
        return json_said({"token": "sig=secret"}) if asked.path == "/token/s2" else None

    api.twist = twist
    found = imagery(api, tmp_path, sign=f"{api.host.url}/token/{{collection}}")
    np.testing.assert_array_equal(found.read_tile(TILE, 32).pixels, pixels_of(0))
    assert {asked.query for asked in api.host.asked if asked.path == "/a.tif"} == {""}
    assert capsys.readouterr().err.count("which tokens of 127.0.0.1 are not for") == 1
    signed = imagery(api, tmp_path, sign=SIGNS["planetarycomputer.microsoft.com"])
    for href, own in (
        ("https://sentinel2l2a01.blob.core.windows.net/s2/a.tif", True), (f"{api.host.url}/a.tif", True),
        ("https://blob.core.windows.net.example.org/a.tif", False), ("https://example.org/a.tif", False),
    ):  # fmt: skip
        assert signed._is_signed(href) == own


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "/vsicurl/http://x/a.tif", "s3://bucket/a.tif", "../../etc/passwd"]
)
def test_no_asset_is_read_from_anywhere_but_the_web(api: Api, tmp_path: Path, href: str) -> None:
    """A path is one of the host's; another scheme leaves the item out, and is counted."""
    api.item("bad", href)
    if "://" in href and not href.startswith("/"):
        with pytest.raises(DataError, match=r"has no item of s2 there .*address that is not opened \((file|s3):\)"):
            imagery(api, tmp_path)
        return
    found = imagery(api, tmp_path)
    with pytest.raises(DataError, match="gives no piece of it"):
        found.read_tile(TILE, 32)
    assert api.host.asked[-1].path.startswith("/")


def test_an_asset_may_be_no_vrt_and_no_page(api: Api, tmp_path: Path) -> None:
    """GDAL would open whatever a VRT names."""
    api.files["/evil.tif"] = b'<VRTDataset rasterXSize="1" rasterYSize="1"><SourceFilename>/etc/passwd</SourceFilename>'
    api.item("evil", f"{api.host.url}/evil.tif")
    with pytest.raises(DataError, match=r"evil\.tif: cannot be read as a raster"):
        imagery(api, tmp_path).read_tile(TILE, 32)


def test_an_asset_names_no_other_address(api: Api, tmp_path: Path) -> None:
    """GDAL would read smaller copies from where a tag says, past all our rules."""
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"{api.host.url}/internal.tif")
    api.files["/a.tif"] = (tmp_path / "a.tif").read_bytes()
    api.item("a", f"{api.host.url}/a.tif")
    with pytest.raises(DataError, match=r"its overviews are to be read from http.*internal\.tif"):
        imagery(api, tmp_path).read_tile(TILE, 8)
    assert "/internal.tif" not in [asked.path for asked in api.host.asked]


@pytest.mark.parametrize("fault", ["whole", "short", "changed", "busy"])
def test_hosts_of_files_that_misbehave(api: Api, tmp_path: Path, fault: str) -> None:
    """One without ranges gives the whole file; pieces of another length, or of another file, are refused."""
    big = write_raster(tmp_path / "big.tif", noise_values(3, 800, 800, 5), UTM, CORNER, tiled=True).read_bytes()
    api.files["/big.tif"] = big
    api.item("big", f"{api.host.url}/big.tif", outline(500_000, 4_993_000, 508_000, 5_001_000))
    count = 0

    def twist(asked: Asked) -> Said | None:
        nonlocal count
        if asked.path != "/big.tif":
            return None
        count += 1
        said = ranged(asked, big, '"b"' if fault == "changed" and count > 1 else '"a"')
        if fault == "whole":
            return Said(big)
        if fault == "short" and count > 1:
            said.body = said.body[:-7]
        return Said(b"", 503) if fault == "busy" and count % 2 else said

    api.twist = twist
    found = imagery(api, tmp_path)
    tile = Tile("a", (503_200, 4_995_000, 503_520, 4_995_320), UTM, BACK.transform(503_360, 4_995_160))
    if fault in ("whole", "busy"):
        expected = np.moveaxis(noise_values(3, 800, 800, 5), 0, -1)[568:600, 320:352]
        np.testing.assert_array_equal(found.read_tile(tile, 32).pixels, expected)
    else:
        with pytest.raises(DataError, match="another file than before" if fault == "changed" else "expected"):
            found.read_tile(tile, 32)


def test_items_that_are_none_and_assets_that_lack(api: Api, tmp_path: Path) -> None:
    api.items += [{"id": "x"}, {"id": "y", "assets": {"visual": {}}}]
    api.twist = lambda asked: (
        json_said({"features": [*api.items, 7], "links": []}) if asked.path == "/v1/search" else None
    )
    with pytest.raises(DataError, match=r"has no item of s2 there \(3 items that are none\)"):
        imagery(api, tmp_path)
    api.item("a", f"{api.host.url}/a.tif")
    with pytest.raises(DataError, match=r"without the asset red \(they have visual\)"):
        imagery(api, tmp_path, asset="red")


def test_values_of_other_kinds_than_stac_has_are_no_traceback(api: Api, tmp_path: Path) -> None:
    """A number for a date, clouds that are no number, links and providers that are no lists."""
    api.item("good", f"{api.host.url}/a.tif", **{"eo:cloud_cover": 50.0})
    odd = [("datetime", 5), ("datetime", {"a": 1}), ("eo:cloud_cover", float("nan")), ("eo:cloud_cover", float("inf"))]
    for number, (name, value) in enumerate(odd):
        api.item(f"odd-{number}", f"{api.host.url}/b.tif", **{"datetime": f"2024-07-0{number + 2}", name: value})
    api.item("nowhere", f"{api.host.url}/b.tif", {"type": "Point", "coordinates": [float("inf"), 0.0]})
    providers: list[Any] = [5, [{"name": "x", "roles": 5}], [{"name": "x", "roles": [[]]}], ["x"]]

    def twist(asked: Asked) -> Said:
        if asked.path == "/v1/search":
            return json_said({"features": api.items, "links": 5, "context": [1]})
        return json_said({"providers": providers[0]})

    api.twist = twist
    while providers:
        found = imagery(api, tmp_path)
        assert found.faults == {"items that are none": 1} and found.attribution is None
        assert [item.cloud for item in found._items] == [10.0, 10.0, 50.0, 101.0, 101.0]
        del providers[0]


def test_deep_values_need_a_range(api: Api, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (3, 100, 128)).astype(np.uint16)
    api.files["/deep.tif"] = write_raster(tmp_path / "deep.tif", values, UTM, CORNER).read_bytes()
    api.item("deep", f"{api.host.url}/deep.tif")
    with pytest.raises(ConfigError, match=r"deep\.tif has uint16 values; type --value_range"):
        imagery(api, tmp_path).read_tile(TILE, 32)
    found = imagery(api, tmp_path, value_range=(0.0, 3000.0)).read_tile(TILE, 32)
    scaled = np.clip(np.rint(np.moveaxis(values, 0, -1)[36:68, 32:64] * (255 / 3000)), 0, 255)
    assert np.abs(scaled - found.pixels).max() <= 1


def test_a_region_across_the_date_line_is_sent_in_two_parts(api: Api, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no item"):
        imagery(api, tmp_path, shapely.box(179.5, -17, 180.5, -16))
    sent = shape(next(one for one in api.host.asked if one.path == "/v1/search").values["intersects"])
    assert sent.equals(shapely.union_all([shapely.box(179.5, -17, 180, -16), shapely.box(-180, -17, -179.5, -16)]))
