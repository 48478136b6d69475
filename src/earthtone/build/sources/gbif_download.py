"""Downloads of GBIF (https://techdocs.gbif.org/en/data-use/api-downloads): asked for, waited for, brought, and read.

A download is a Darwin Core archive: a ZIP of `occurrence.txt` and `multimedia.txt`, which are joined by `gbifID`. It
lies in the folder of the web's cache under its key, so that a call that was stopped goes on with it.
"""

import base64
import io
import json
import logging
import os
import re
import sqlite3
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthtone.build.fetch.catalogue import RemoteFile
from earthtone.build.fetch.download import download, require_free_space
from earthtone.build.sources.source import ask_json, key_refused, required_key, said_by_host, text_of, whole_of
from earthtone.build.web import Answer, QuotaReachedError, Web, checked_url
from earthtone.errors import DataError
from earthtone.files import atomic_path

USER, PASSWORD = "GBIF_USER", "GBIF_PASSWORD"
WHERE = "https://www.gbif.org/user/profile"
_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9]{4,12}-[0-9]{6,24}")
_POLL_SECONDS = 60.0
_PATIENCE_SECONDS = 3600.0  # then the call ends, to be typed again
_WAITING = ("PREPARING", "RUNNING", "SUSPENDED")
_LONGEST_LINE = 1 << 20
_OCCURRENCE = ("gbifID", "datasetKey", "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters",
               "eventDate", "scientificName", "issue", "informationWithheld", "dataGeneralizations",
               "basisOfRecord")  # fmt: skip
_MEDIA = ("gbifID", "type", "format", "identifier", "references", "title", "creator", "rightsHolder", "license")


def account() -> tuple[str, str]:
    """Return user and password from the environment. Raises ConfigError where one is missing."""
    return required_key(USER, WHERE), os.environ.get(PASSWORD, "") or required_key(PASSWORD, WHERE)


def request_download(web: Web, endpoint: str, predicate: Mapping[str, Any]) -> str:
    """Return the key of a download of the occurrences that a predicate names. Raises ConfigError, DataError."""
    user, password = account()
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()

    def judge(answer: Answer) -> None:
        if answer.status in (401, 403):
            words = said_by_host(answer.body).strip(" ()").replace(credentials, "***")
            raise key_refused(PASSWORD, WHERE, f"for the user of {USER}{words and f': {words}'}")

    asked = {"creator": user, "sendNotification": False, "format": "DWCA", "predicate": predicate}
    answer = web.post(
        f"{endpoint}/v1/occurrence/download/request",
        asked,
        headers={"Authorization": f"Basic {credentials}"},
        judge=judge,
    )
    key = answer.body[:100].decode("ascii", "replace").strip().strip('"')
    if answer.status not in (200, 201, 202) or not _KEY.fullmatch(key):
        raise DataError(f"GBIF makes no download{said_by_host(answer.body)} (status {answer.status}); a key expected")
    return key


@dataclass(frozen=True)
class Made:
    """A download that is ready."""

    key: str
    link: str
    total: int | None
    doi: str


def wait_for(web: Web, endpoint: str, key: str) -> Made:
    """Return a download when it is made, which takes minutes to hours. Raises QuotaReachedError where it takes longer.

    Raises DataError for one that GBIF gave up or has deleted.
    """
    url, started, told = f"{endpoint}/v1/occurrence/download/{checked_key(key)}", time.monotonic(), False
    while True:
        said = ask_json(web, url)
        said = said if isinstance(said, dict) else {}
        status = text_of(said.get("status"), 40).upper()
        if status == "SUCCEEDED":
            link = checked_url(text_of(said.get("downloadLink"), 2000), url)
            return Made(key, link, whole_of(said.get("totalRecords")), text_of(said.get("doi"), 100))
        if status not in _WAITING:
            raise DataError(
                f"GBIF's download {key} is {status or 'without a status'}; list into another folder to ask for it anew"
            )
        if time.monotonic() - started > _PATIENCE_SECONDS:
            raise QuotaReachedError(f"GBIF is still making the download {key} ({status})", 15 * 60.0)
        if not told:
            _LOG.warning("GBIF is making the download %s; it takes minutes to hours", key)
        told = True
        time.sleep(_POLL_SECONDS)


def checked_key(key: str) -> str:
    """Return what is the key of a download. Raises DataError."""
    if not _KEY.fullmatch(key):
        raise DataError(f"{key!r:.60} is no key of a download of GBIF; one such as 0001234-261128000000000 expected")
    return key


def bring(web: Web, made: Made) -> Path:
    """Return the joined file of a download, brought and joined where that is not done yet."""
    folder = web.folder / "gbif"
    joined, archive = folder / f"{made.key}.sqlite", folder / f"{made.key}.zip"
    if joined.exists():
        return joined
    if not archive.exists():
        part = archive.with_suffix(".part")
        download(web, made.link, RemoteFile(archive.name, (made.link,), None, ""), part, web.policy)
        part.replace(archive)
        part.with_name(f"{part.name}.json").unlink(missing_ok=True)
    try:
        _join(archive, joined)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        archive.unlink(missing_ok=True)
        raise DataError(f"GBIF's download {made.key} is no whole archive ({error}); type the same again") from error
    except sqlite3.Error as error:
        raise DataError(f"cannot write {joined}: {error}; free the disk, and type the same again") from error
    archive.unlink(missing_ok=True)
    return joined


def _join(archive: Path, joined: Path) -> None:
    """Write the occurrences and their media as a database, which needs no memory however many there are."""
    with (
        zipfile.ZipFile(archive) as files,
        atomic_path(joined) as temporary,
        closing(sqlite3.connect(temporary, isolation_level=None)) as base,
    ):
        for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "BEGIN",
                     "CREATE TABLE occurrence (number INTEGER PRIMARY KEY, id INTEGER, said TEXT)",
                     "CREATE TABLE medium (id INTEGER, said TEXT)"):  # fmt: skip
            base.execute(line)
        folder = joined.parent
        rows = _lines(files, folder, "occurrence.txt", _OCCURRENCE)
        base.executemany("INSERT INTO occurrence (id, said) VALUES (?, ?)", rows)
        base.executemany("INSERT INTO medium VALUES (?, ?)", _lines(files, folder, "multimedia.txt", _MEDIA))
        base.execute("CREATE INDEX of_occurrence ON medium (id)")
        base.execute("COMMIT")


def _lines(files: zipfile.ZipFile, folder: Path, name: str, wanted: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the id of each line of a table, and the cells that are wanted as JSON; no cell holds tabs or line ends."""
    try:
        require_free_space(folder, files.getinfo(name).file_size, f"{name} of GBIF's download")
        member = files.open(name)
    except KeyError as error:
        raise DataError(f"GBIF's download has no {name}; a Darwin Core archive (DWCA) expected") from error
    with member, io.TextIOWrapper(member, "utf-8", "replace", newline="\n") as lines:
        header = lines.readline(_LONGEST_LINE).rstrip("\r\n").split("\t")
        at = {column: header.index(column) for column in wanted if column in header}
        if "gbifID" not in at:
            raise DataError(f"{name} of GBIF's download has no column gbifID; a Darwin Core archive (DWCA) expected")
        while line := lines.readline(_LONGEST_LINE):
            cells = line.rstrip("\r\n").split("\t")
            said = {column: cells[place] for column, place in at.items() if place < len(cells) and cells[place]}
            if (id := whole_of(said.pop("gbifID", None))) is not None:
                yield id, json.dumps(said, ensure_ascii=False)


def occurrences(joined: Path, after: int) -> Iterator[tuple[int, dict[str, Any], list[dict[str, Any]]]]:
    """Yield the number of each occurrence after one, its cells under the names of GBIF's search, and its media."""
    try:
        with closing(sqlite3.connect(f"{joined.absolute().as_uri()}?mode=ro", uri=True)) as base:
            for number, id, said in base.execute(
                "SELECT number, id, said FROM occurrence WHERE number > ? ORDER BY number", (after,)
            ):
                media = base.execute("SELECT said FROM medium WHERE id = ? ORDER BY rowid", (id,)).fetchall()
                row = json.loads(said)
                row |= {"key": id, "issues": [one for one in row.pop("issue", "").split(";") if one]}
                yield number, row, [json.loads(one[0]) for one in media]
    except (sqlite3.DatabaseError, ValueError) as error:
        raise DataError(f"{joined} cannot be read ({error}); delete it, and type the same again") from error
