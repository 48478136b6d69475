"""STAC beside the GeoParquet of an index: a collection with one item, in the terms of the embedding extension (`emb:`).

The extension is a proposal (version 0.0.1) without a published schema of its own; `stac_embedding.schema.json` beside
this module says what we hold ourselves to.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from earthtone import __version__
from earthtone.atlas.embeddings import VECTOR, EmbeddingTable
from earthtone.atlas.geoparquet import Extent
from earthtone.files import write_text_atomic

COLLECTION, ITEM = "collection.json", "item.json"
#: The schema of the fields `emb:` that we write.
SCHEMA = Path(__file__).with_name("stac_embedding.schema.json")
EXTENSION = "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json"
_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_STAC = "1.1.0"
_PARQUET = "application/vnd.apache.parquet"
_MOST_LISTED = 50
_SPDX = ("CC0-1.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "MIT", "Apache-2.0", "OGL-UK-3.0", "etalab-2.0")
_CC = re.compile(r"(?:cc[ -]?|creativecommons\.org/licenses/)(by(?:-(?:nc|nd|sa))*)[ /-]?v?([1-4]\.[05])")
_CC0 = re.compile(r"cc0|creativecommons\.org/publicdomain/zero")


def write_stac(
    table: EmbeddingTable, folder: Path, parquet: Path, extent: Extent, added: Iterable[Mapping[str, Any]], state: str
) -> None:
    """Write `item.json` and `collection.json` into a folder, each whole or not at all, the item first.

    `added` are the sources of rows that were added to the table; `state` tells of what state of it they are. Raises
    DataError where they cannot be written.
    """
    now = datetime.now(UTC)
    item, collection = _item(table, parquet, extent, state, now), _collection(table, folder, parquet, extent, added)
    item["collection"] = collection["id"]
    for name, values in ((ITEM, item), (COLLECTION, collection)):
        write_text_atomic(folder / name, json.dumps(values, indent=1, allow_nan=False) + "\n")


def stac_state(folder: Path) -> str | None:
    """Return of what state of a table the item in a folder is; None where the two files are not there whole."""
    try:
        item, collection = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (ITEM, COLLECTION))
        state = item["properties"]["earthtone:table"]
        return state if isinstance(state, str) and item["collection"] == collection["id"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def spdx_license(texts: Iterable[str]) -> str:
    """Return the SPDX identifier of the one licence that all rows have, `other` where they differ or say none known.

    >>> spdx_license(["https://creativecommons.org/licenses/by-sa/4.0/"]), spdx_license(["CC0-1.0", ""])
    ('CC-BY-SA-4.0', 'other')
    """
    found = {_spdx(text) for text in texts}
    return found.pop() or "other" if len(found) == 1 else "other"


def _spdx(text: str) -> str | None:
    plain = " ".join(text.split()).lower()
    known = {name.lower(): name for name in _SPDX}
    if plain in known:
        return known[plain]
    if _CC0.search(plain):
        return "CC0-1.0"
    found = _CC.search(plain.replace("_", "-"))
    return None if found is None else f"CC-{found[1].upper()}-{found[2]}"


def _collection(
    table: EmbeddingTable, folder: Path, parquet: Path, extent: Extent, added: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    card, added = table.card, list(added)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-.") or "embeddings"
    counts = " and ".join(f"{count:,} of modality {kind}" for kind, count in extent.modalities.items())
    sources = dict.fromkeys([card.data, *(str(each["data"]) for each in added)])
    summaries = {
        f"earthtone:{name}": [text for text in texts if text][:_MOST_LISTED]
        for name, texts in (("licenses", extent.licenses), ("attributions", extent.attributions))
    }
    values: dict[str, Any] = {
        "type": "Collection",
        "stac_version": _STAC,
        "stac_extensions": [EXTENSION],
        "id": name,
        "title": f"Embeddings of {', '.join(map(_last_part, sources))}"[:200],
        "description": f"{extent.rows:,} vectors of {card.dimensions} numbers ({counts}), by one model with an "
        "encoder of overhead imagery and one of sound: a vector for each picture, tile, recording or window of a "
        f"recording. {_compared(card.unit)}",
        "license": spdx_license(extent.licenses),
        "extent": {
            "spatial": {"bbox": [extent.bbox or [-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [[_time(extent.first), _time(extent.last)]]},
        },
        "summaries": {name: texts for name, texts in summaries.items() if texts},
        "emb:type": "chip",
        "emb:dimensions": card.dimensions,
        "data_type": _number(table),
        "emb:fit_for_use": ["retrieval", "similarity_search"],
        "item_assets": {"embeddings": {"type": _PARQUET, "roles": ["data"], "title": "Embeddings as GeoParquet"}},
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
            {"rel": "item", "href": f"./{ITEM}", "type": "application/geo+json"},
            {"rel": "emb:model", "href": _address(card.model), "title": f"{card.model} ({card.model_fingerprint})"},
            *({"rel": "emb:source-data", "href": _address(source), "title": source} for source in sources),
        ],
    }
    if extent.tiles:
        values["emb:chip_layout"] = {"layout_type": "variable_grid"}  # each tile's bounds and CRS lie in its row
    return values


def _item(table: EmbeddingTable, parquet: Path, extent: Extent, state: str, now: datetime) -> dict[str, Any]:
    card, number = table.card, _number(table)
    properties: dict[str, Any] = {
        "title": f"{extent.rows:,} embeddings",
        "created": _time(now),
        "processing:software": {"earthtone": __version__},
        "data_type": number,
        "emb:runtime_parameters": {
            "model_fingerprint": card.model_fingerprint,
            "precision": card.precision,
            "sounds": "windows" if card.windows else "whole recordings",
            "dimensions": card.dimensions,
        },
        "emb:quantization": {"method": "none", "original_dtype": "float32"}
        if number == "float32"
        else {"method": "rounding", "original_dtype": "float32", "quantized_dtype": number},
        "earthtone:table": state,
        "earthtone:rows": extent.rows,
    }
    if card.unit:
        properties["emb:postprocessing"] = {"format": "text", "expression": "divided by its Euclidean length"}
    if extent.first is None or extent.last is None:
        properties["datetime"] = _time(now)
        properties["description"] = "No row tells a time; datetime is when the file was written."
    else:
        properties |= {
            "datetime": None, "start_datetime": _time(extent.first), "end_datetime": _time(extent.last)
        }  # fmt: skip
    values: dict[str, Any] = {
        "type": "Feature",
        "stac_version": _STAC,
        "stac_extensions": [EXTENSION, _PROCESSING],
        "id": "embeddings",
        "geometry": _footprint(extent),
        "properties": properties,
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
            {"rel": "parent", "href": f"./{COLLECTION}", "type": "application/json"},
            {"rel": "collection", "href": f"./{COLLECTION}", "type": "application/json"},
        ],
        "assets": {
            "embeddings": {
                "href": f"./{parquet.name}", "type": _PARQUET, "roles": ["data"], "title": "Embeddings as GeoParquet",
                "description": f"A row each; its vector is in the column {VECTOR}, its place in geometry (OGC:CRS84).",
            },
        },
    }  # fmt: skip
    return values | ({} if extent.bbox is None else {"bbox": extent.bbox})


def _footprint(extent: Extent) -> dict[str, Any] | None:
    """Return the box around all places, the place itself where there is one only, or None."""
    if extent.bbox is None:
        return None
    west, south, east, north = extent.bbox
    if west == east or south == north:
        ends = [[west, south], [east, north]]
        return {"type": "Point", "coordinates": ends[0]} if ends[0] == ends[1] else {
            "type": "LineString", "coordinates": ends
        }  # fmt: skip
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _number(table: EmbeddingTable) -> str:
    return {"halffloat": "float16", "float": "float32"}[str(table.dataset.schema.field(VECTOR).type.value_type)]


def _compared(unit: bool) -> str:
    return f"They are compared by {'cosine: their length is 1' if unit else 'Euclidean distance'}."


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _address(name: str) -> str:
    """Return an address for links: of a path its file address, of other names what an address can hold."""
    if "://" in name:
        return quote(name, safe=":/?#[]@!$&'()*+,;=%~")
    path = Path(name)
    if path.is_absolute():
        return "file://" + quote(path.as_posix(), safe="/")
    return f"urn:earthtone:{quote(name, safe='')}"


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name
