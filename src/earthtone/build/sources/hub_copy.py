"""Copies of a collection on the Hugging Face hub: sound files, and `metadata.jsonl` beside them that tells of each.

So lies radio aporee's collection there, in several repositories: with places, a licence and a credit line for each
recording, and `adapt: false` where nothing may be made of it but itself. What is read is of one commit.
"""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from earthtone.build.licences import licence_of
from earthtone.build.sources.source import Page, Recording, RecordingSource, suffix_of, text_of
from earthtone.build.sources.tables import NAMES, recording_of
from earthtone.build.web import Web, shown_url
from earthtone.data.remote import hub_endpoint, time_limited
from earthtone.errors import ConfigError, DataError, did_you_mean, one_line

#: What a recording has -> how the rows of such copies call it; the first that a row has is taken.
KEYS: Mapping[str, tuple[str, ...]] = {
    **NAMES,
    "source_id": ("id", "key"),
    "media_url": ("file_name", "file", "path", "audio"),
    "url": ("url", "page", "archive_url", "source_url"),
    "license": ("licenseurl", "licenceurl", "license_url", "licence_url"),
    "license_name": ("licence", "license", "licence_name", "license_name"),
    "author": ("recordist", "creator", "author"),
    "credit": ("credit", "credit_line", "attribution"),
    "item": ("item", "identifier", "archive_item"),
    "original": ("original", "original_file", "original_name"),
    "adapt": ("adapt",),
}
_REPOSITORY = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
_CURSOR = re.compile(r"(\d{1,6}) ([0-9a-f]{7,64}|-) (\d{1,6}) (\d{1,9})")
_METADATA = "metadata.jsonl"
_METADATA_BYTES = 256 * 2**20
_LIST_SECONDS = 900.0
_ROWS = 1000  # a page
CONTRADICT, KEPT_WHOLE = "licences that contradict each other", "may not be adapted (adapt: false)"


class _Stored(NamedTuple):
    """A file of a repository."""

    bytes: int | None
    sha256: str


@dataclass(frozen=True)
class HubCopy(RecordingSource):
    """Repositories of the hub (public data sets), one after another. The hub is at HF_ENDPOINT where that is set."""

    name = "hub-copy"
    per_second = 4.0
    terms = "each row has its own licence and credit line; rows with adapt: false are never cut, mixed or re-published"

    endpoint: str = field(default_factory=hub_endpoint)
    repositories: tuple[str, ...] = ()
    """names such as OWNER/radio-aporee-maps-a"""
    revision: str = "main"
    columns: Mapping[str, str] = field(default_factory=dict)
    """other keys of its rows, such as author: who"""

    def __post_init__(self) -> None:
        if not self.repositories:
            raise ConfigError("a source `hub-copy` needs repositories: names such as OWNER/radio-aporee-maps-a")
        for one in self.repositories:
            if not _REPOSITORY.fullmatch(one):
                raise ConfigError(f"repositories: {one!r:.100}; OWNER/NAME expected")
        for name in self.columns:
            if name not in KEYS:
                raise ConfigError(f"columns: {name}; {did_you_mean(name, KEYS)}known: {', '.join(KEYS)}")

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        first, commit, place, line = 0, "", 0, 0
        if cursor is not None:
            if (found := _CURSOR.fullmatch(cursor)) is None:
                raise DataError(f"{cursor!r:.80} is no place in copies on the hub; list them anew")
            first, commit, place, line = int(found[1]), found[2].strip("-"), int(found[3]), int(found[4])
        for number in range(first, len(self.repositories)):
            commit, files = self._files(self.repositories[number], commit or self.revision)
            tables = sorted(path for path in files if posixpath.basename(path) == _METADATA)
            if not tables:
                raise DataError(f"{self.repositories[number]} has no {_METADATA}; a copy of a collection expected")
            for index in range(place, len(tables)):
                here = (number, commit, index, index + 1 == len(tables))
                yield from self._table(web, here, tables[index], line, files)
                line = 0
            commit, place = "", 0

    def _files(self, repository: str, revision: str) -> tuple[str, dict[str, _Stored]]:
        """Return the commit of a revision, and its files."""
        from huggingface_hub import HfApi  # slow to import

        api = HfApi(endpoint=self.endpoint, token=False)

        def ask() -> tuple[str, dict[str, _Stored]]:
            commit = str(api.dataset_info(repository, revision=revision).sha)
            tree: Any = api.list_repo_tree(repository, repo_type="dataset", revision=commit, recursive=True)
            return commit, {
                one.path: _Stored(one.lfs.size if one.lfs else one.size, one.lfs.sha256 if one.lfs else "")
                for one in tree
                if hasattr(one, "size")
            }

        try:
            return time_limited(_LIST_SECONDS, ask, f"{self.endpoint}: {repository}")
        except DataError:
            raise
        except Exception as error:  # the hub's client has those of several libraries
            what = one_line(" ".join(str(error).split()), 200)
            raise DataError(
                f"{shown_url(self.endpoint)} does not list {repository} ({what}); a public data set of the hub expected"
            ) from error

    def _table(
        self, web: Web, here: tuple[int, str, int, bool], path: str, line: int, files: Mapping[str, _Stored]
    ) -> Iterator[Page]:
        """Yield the rows of one `metadata.jsonl` from a line on."""
        number, commit, index, last = here
        address = self._address(self.repositories[number], commit, path)
        answer = web.get(address, most_bytes=_METADATA_BYTES)
        if answer.status != 200:
            raise DataError(f"{shown_url(address)} answers {answer.status}; a table of recordings expected")
        lines = answer.body.split(b"\n")
        while lines and not lines[-1].strip():
            lines.pop()
        unread: set[str] = set()
        final = last and number + 1 == len(self.repositories)
        while True:
            rows: list[Recording] = []
            left_out: Counter[str] = Counter()
            for one in lines[line : line + _ROWS]:
                row = self._row(one, number, commit, posixpath.dirname(path), files, unread)
                if isinstance(row, str):
                    left_out[row] += 1
                else:
                    rows.append(row)
            line += _ROWS
            whole = line >= len(lines)
            following = f"{number} {commit} {index} {line}"
            if whole:
                following = f"{number} {commit} {index + 1} 0" if not last else f"{number + 1} - 0 0"
            told = f"{self.repositories[number]}/{path}: keys that are not read: {', '.join(sorted(unread)[:30])}"
            yield Page(tuple(rows), None if final and whole else following, None, dict(left_out),
                       remarks=(told,) if whole and unread else ())  # fmt: skip
            if whole:
                return

    def _row(
        self, line: bytes, number: int, commit: str, folder: str, files: Mapping[str, _Stored], unread: set[str]
    ) -> Recording | str:
        """Return a row as a recording, or why it is none."""
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            return "a row that cannot be read"
        own = {name: key for name, keys in KEYS.items() if (key := self._key(name, keys, said)) is not None}
        unread |= {text_of(key, 40) for key in said if key not in own.values()} if len(unread) < 100 else set()
        cells = {name: said[key] for name, key in own.items() if not isinstance(said[key], dict | list)}
        path = posixpath.normpath(posixpath.join(folder, text_of(cells.get("media_url"), 1000)))
        if path not in files or not suffix_of(path) or path.startswith(("..", "/")):
            return "its file is not there"
        licence = _licence(text_of(cells.get("license")), text_of(cells.get("license_name")))
        if licence is None:
            return CONTRADICT
        whole = _adapt(cells) == "false" and not licence_of(licence).no_derivatives
        if whole and "nd" not in self.filters.allow:
            return KEPT_WHOLE
        item, original = text_of(cells.get("item")), text_of(cells.get("original"))
        id = cells.get("source_id") or (f"{item}/{original}" if item and original else path)
        more = {name: text for name, text in (("archive_item", item), ("adapt", _adapt(cells))) if text}
        media = self._address(self.repositories[number], commit, path)
        found = recording_of(self.name, {**cells, "source_id": id, "media_url": media, "license": licence}, more)
        if isinstance(found, str):
            return found
        stored = files[path]
        return replace(
            found, media_url=media, bytes=stored.bytes, hash=stored.sha256, hash_kind="sha256" if stored.sha256 else "",
            suffix=suffix_of(path), coord_source=found.coord_source or "metadata",
        )  # fmt: skip

    def _key(self, name: str, keys: tuple[str, ...], said: Mapping[str, Any]) -> str | None:
        if name in self.columns:
            return self.columns[name] if self.columns[name] in said else None
        return next((key for key in keys if key in said), None)

    def _address(self, repository: str, commit: str, path: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(repository, path, repo_type="dataset", revision=commit, endpoint=self.endpoint)


def _licence(address: str, name: str) -> str | None:
    """Return what says the licence best; None where its address and its name say different things."""
    by_address, by_name = licence_of(address), licence_of(name)
    if by_address.known and by_name.known and by_address.flags != by_name.flags:
        return None
    return address if by_address.known or not name else name


def _adapt(cells: Mapping[str, Any]) -> str:
    return text_of(str(cells["adapt"]).lower()) if "adapt" in cells else ""
