"""STAC beside the GeoParquet: what the standard's schemas and our schema of the extension ask."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from embedded import CARD, columns_of, write_embedded, write_rows

from earthtone.atlas.embeddings import TABLE
from earthtone.atlas.index import PARQUET, build_index
from earthtone.atlas.stac import COLLECTION, EXTENSION, ITEM, SCHEMA, spdx_license


def written(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    collection, item = (json.loads((folder / name).read_text()) for name in (COLLECTION, ITEM))
    return collection, item


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_embedded(tmp_path_factory.mktemp("stac") / "Iguaçu, spring", 30)
    write_rows(folder.parent / "more" / TABLE, range(30, 40), card=replace(CARD, data="hf://datasets/a/b c"))
    build_index(folder, add=[folder.parent / "more"], parquet=True)
    return folder


def test_what_is_told(folder: Path) -> None:
    collection, item = written(folder)
    columns = columns_of(range(40))
    longitudes, latitudes = (
        [value for value in columns[name] if value is not None] for name in ("longitude", "latitude")
    )
    box = [min(longitudes), min(latitudes), max(longitudes), max(latitudes)]
    assert collection["extent"]["spatial"]["bbox"] == [box] and item["bbox"] == box
    times = sorted(time for time in columns["datetime"] if time is not None)
    assert item["properties"]["start_datetime"] == times[0].isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert collection["extent"]["temporal"]["interval"][0][1] == item["properties"]["end_datetime"]
    assert (collection["emb:type"], collection["emb:dimensions"], collection["data_type"]) == ("chip", 12, "float16")
    assert collection["emb:chip_layout"] == {"layout_type": "variable_grid"}
    assert collection["license"] == "CC-BY-4.0"
    links = [(link["rel"], link["href"]) for link in collection["links"] if link["rel"].startswith("emb:")]
    assert links == [
        ("emb:model", "file:///runs/first"),
        ("emb:source-data", "file:///data/places.csv"),
        ("emb:source-data", "hf://datasets/a/b%20c"),
    ]
    assert list(item["assets"]) == ["embeddings"] and item["assets"]["embeddings"]["href"] == f"./{PARQUET}"
    assert (folder / item["assets"]["embeddings"]["href"]).is_file()
    assert item["properties"]["emb:runtime_parameters"]["model_fingerprint"] == "ab12" * 8
    assert item["collection"] == collection["id"] == "Igua-u-spring"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["CC BY 4.0"], "CC-BY-4.0"),
        (["https://creativecommons.org/licenses/by-nc-sa/3.0/", "cc-by-nc-sa-3.0"], "CC-BY-NC-SA-3.0"),
        (["http://creativecommons.org/publicdomain/zero/1.0/"], "CC0-1.0"),
        (["odbl-1.0"], "ODbL-1.0"),
        (["CC-BY-4.0", "CC-BY-SA-4.0"], "other"),
        (["CC-BY-4.0", ""], "other"),
        (["CC-BY-9"], "other"),
        (["all rights reserved"], "other"),
        ([], "other"),
    ],
)
def test_licences(texts: list[str], expected: str) -> None:
    assert spdx_license(texts) == expected


@pytest.fixture
def validator() -> Any:
    """That of pystac, with the schemas that it ships and ours; a schema from elsewhere is an error."""
    validation = pytest.importorskip("pystac.validation.stac_validator")
    pytest.importorskip("jsonschema")
    found = validation.JsonSchemaSTACValidator()
    found.schema_cache[EXTENSION] = json.loads(SCHEMA.read_text())
    return found


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize("bare", [False, True])
def test_schemas(kind: Any, bare: bool, tmp_path: Path, validator: Any) -> None:
    pystac = pytest.importorskip("pystac")
    lacking = ("longitude", "latitude", "datetime", "license", "attribution", "west", "crs")
    write_rows(tmp_path / TABLE, range(9), kind, **{name: [None] * 9 for name in lacking if bare})
    build_index(tmp_path, parquet=True)
    kinds = (pystac.STACObjectType.COLLECTION, pystac.STACObjectType.ITEM)
    for values, of in zip(written(tmp_path), kinds, strict=True):
        assert validator.validate_core(values, of, values["stac_version"]).startswith(
            "https://schemas.stacspec.org/v1.1"
        )
        validator.validate_extension(values, of, values["stac_version"], EXTENSION)


@pytest.mark.extras
def test_pystac_walks_it(folder: Path) -> None:
    pystac = pytest.importorskip("pystac")
    collection = pystac.Collection.from_file(str(folder / COLLECTION))
    [item] = collection.get_items()
    assert item.get_collection().id == collection.id
    assert Path(item.assets["embeddings"].get_absolute_href()) == folder / PARQUET


@pytest.mark.extras
@pytest.mark.parametrize(
    ("name", "change"),
    [
        (COLLECTION, {"emb:type": "patch"}),
        (COLLECTION, {"emb:type": None}),
        (COLLECTION, {"emb:dimensions": "12"}),
        (COLLECTION, {"data_type": "float12"}),
        (COLLECTION, {"links": []}),
        (COLLECTION, {"emb:chip_layout": {"chip_size": [1, 1]}}),
        (COLLECTION, {"emb:colour": "red"}),
        (ITEM, {"assets": {"data": {"href": "./a.parquet", "type": "a"}}}),
        (ITEM, {"properties": {"emb:quantization": {"method": "linear"}}}),
        (ITEM, {"stac_extensions": []}),
    ],
)
def test_the_schema_refuses(name: str, change: dict[str, Any], folder: Path, validator: Any) -> None:
    pystac = pytest.importorskip("pystac")
    values = json.loads((folder / name).read_text())
    values = {key: value for key, value in {**values, **change}.items() if value is not None}
    of = pystac.STACObjectType.COLLECTION if name == COLLECTION else pystac.STACObjectType.ITEM
    with pytest.raises(pystac.errors.STACValidationError):
        validator.validate_extension(values, of, "1.1.0", EXTENSION)
