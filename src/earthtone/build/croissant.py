"""The data card of a set as Croissant 1.0 (JSON-LD): what is where, under which licences.

The specification: docs.mlcommons.org/croissant.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthtone.build.licences import Licence, WholeLicence
from earthtone.data.manifest import manifest_table
from earthtone.data.remote import is_hub
from earthtone.data.source import is_packed
from earthtone.files import regular_file

if TYPE_CHECKING:
    from earthtone.build.describe import Description

#: The context of the specification, in its words.
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
_TYPES = {"longitude": "sc:Float", "latitude": "sc:Float", "datetime": "sc:DateTime", "image_gsd_m": "sc:Float",
          "audio_seconds": "sc:Float", "seconds": "sc:Float"}  # fmt: skip
_KINDS = {".csv": "text/csv", ".tsv": "text/tab-separated-values", ".parquet": "application/x-parquet",
          ".geoparquet": "application/x-parquet"}  # fmt: skip


def data_card(
    title: str, description: str, data: str | Path, whole: WholeLicence, licences: Sequence[Licence],
    credits: Path | None, found: "Description", url: str | None = None, shards: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the card of a set that lies at `data`, with the file of its credits; addresses are names beside the card.

    The licence is that of the whole; where it has none, those of its rows. `shards` are the columns of `data/*.parquet`
    beside the card, where media lie in such; then no file of credits is needed.
    """
    under = [whole.licence] if whole.licence is not None else list(licences)
    distribution, columns = _distribution(data)
    sets = [_record_set("rows", {"fileObject": {"@id": "data-file"}}, columns)] if columns else []
    if credits is not None:
        distribution.append(_file_object("credits-file", credits, "application/x-parquet"))
        credited = ["id", "credit", "license", "license_url", "asks_for"]
        sets.append(_record_set("credits", {"fileObject": {"@id": "credits-file"}}, credited))
    if shards:
        inside = {"@id": "shards", "name": "shards", "includes": "data/*.parquet"}
        distribution.append({"@type": "cr:FileSet", "encodingFormat": "application/x-parquet", **inside})
        sets.append(_record_set("pairs", {"fileSet": {"@id": "shards"}}, shards))
    card: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": re.sub(r"[^\w.-]+", "-", title).strip("-") or "data",
        "description": description,
        "license": sorted({licence.url or licence.id for licence in under}),
        "datePublished": datetime.now(UTC).date().isoformat(),
        "version": "1.0.0",
        "keywords": ["soundscape", "remote sensing", "audio", "overhead imagery"],
        "creator": {
            "@type": "Organization",
            "name": f"see {'credits.parquet' if credits is not None else 'the column credit'}: a credit line a row",
        },
        "distribution": distribution,
        "recordSet": sets,
    }
    if url is not None:
        card["url"] = url
    if found.box:
        west, south, east, north = found.box
        box = f"{south:.6f} {west:.6f} {north:.6f} {east:.6f}"
        card["spatialCoverage"] = {"@type": "Place", "geo": {"@type": "GeoShape", "box": box}}
    if found.first is not None:
        card["temporalCoverage"] = f"{found.first}/{found.last}"
    return card


def _distribution(data: str | Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the set is made of, and the columns of its table where that is one that Croissant reads."""
    if is_hub(data):
        parts = str(data).removeprefix("hf://").split("/")[:3]
        where = "/".join(part.partition("@")[0] for part in parts)
        repository = {
            "@type": "cr:FileObject", "@id": "repository", "name": "repository", "encodingFormat": "git+https",
            "contentUrl": f"https://huggingface.co/{where}", "sha256": "main",
        }  # fmt: skip
        inside = {"containedIn": {"@id": "repository"}, "includes": "**/*.parquet"}
        return [repository, _file_set(inside, "application/x-parquet")], []
    data = Path(data)
    name = data.name
    if is_packed(data):
        return [_file_set({"includes": f"{name}/**"}, "application/x-lance")], []
    if data.is_dir():
        return [_file_set({"includes": f"{name}/**"}, "application/octet-stream")], []
    kind = _KINDS.get(data.suffix.lower(), "application/geo+json")
    columns = list(manifest_table(data).carried) if data.suffix.lower() in _KINDS else []
    return [_file_object("data-file", data, kind)], columns


def _file_set(more: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": "data-file", "name": "data-file", "encodingFormat": kind, **more}


def _file_object(id: str, path: Path, kind: str) -> dict[str, Any]:
    with regular_file(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject", "@id": id, "name": id, "contentUrl": path.name, "encodingFormat": kind,
        "contentSize": f"{path.stat().st_size} B", "sha256": digest,
    }  # fmt: skip


def _record_set(name: str, source: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Return the records of a file or of a set of files, with its columns; media lie as bytes within theirs."""

    def extract(column: str) -> dict[str, Any]:
        within = {"transform": {"jsonPath": "bytes"}} if column in ("image", "audio") and name == "pairs" else {}
        return {**source, "extract": {"column": column}, **within}

    types = {**_TYPES, **({"image": "sc:ImageObject", "audio": "sc:AudioObject"} if name == "pairs" else {})}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field", "@id": f"{name}/{column}", "name": column,
                "dataType": types.get(column, "sc:Text"),
                "source": extract(column),
            }
            for column in columns
        ],
    }  # fmt: skip
