"""Lists of files that a host tells: Zenodo's records and Hugging Face's repositories."""

import fnmatch
import json
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.data.fetch.catalogue import HuggingFace, PublicSet, RemoteFile, Zenodo, allowed_url, shown_url
from earthtone.data.fetch.connection import Patience, TryAgainError, make_client, opened
from earthtone.data.fetch.download import stall_watch
from earthtone.data.fetch.paths import safe_relative
from earthtone.data.hub_endpoint import hub_endpoint
from earthtone.errors import DataError

_LOG = logging.getLogger(__name__)
_LONGEST_LIST = 20_000_000
_SPLIT = re.compile(r"(?:^|/)(train|validation|val|test)\b", re.IGNORECASE)


def listed_files(entry: PublicSet, saved: Path, patience: Patience) -> tuple[RemoteFile, ...]:
    """Return the files of a set; a host is asked once, then its answer in `saved` counts. Raises DataError.

    A saved list keeps a folder at one version of the data, and lets a finished set be recognised without network.
    """
    if entry.files:
        return entry.files
    if saved.exists():
        try:
            rows = json.loads(saved.read_text(encoding="utf-8"))
            return tuple(RemoteFile(**{**row, "urls": tuple(row["urls"])}) for row in rows)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{saved} cannot be read ({error}); delete it to ask the host again") from error
    files: tuple[RemoteFile, ...] = ()
    if entry.zenodo:
        files = _zenodo(entry, entry.zenodo, patience)
    elif entry.huggingface:
        files = _hugging_face(entry.huggingface)
    if not files:
        raise DataError(f"{entry.homepage} lists no files for {entry.name}; look there whether they have moved")
    for file in files:
        _check(file, entry)
    write_text_atomic(saved, json.dumps([asdict(file) for file in files], indent=1))
    return files


def _check(file: RemoteFile, entry: PublicSet) -> None:
    safe_relative(file.name, f"the list of {entry.name}")
    for url in file.urls:
        if not allowed_url(url, file.sha256 is not None):
            raise DataError(f"the list of {entry.name} names {shown_url(url)}, which is not https://; refused")


def _zenodo(entry: PublicSet, source: Zenodo, patience: Patience) -> tuple[RemoteFile, ...]:
    """Ask Zenodo for a record: https://developers.zenodo.org/#records."""
    url = f"{source.endpoint}/api/records/{source.record}"
    try:
        rows = _json(url, patience)["files"]
        return tuple(_zenodo_file(entry, row) for row in rows)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{url} does not answer with a record ({error}); look at {entry.homepage}") from error


def _zenodo_file(entry: PublicSet, row: dict[str, Any]) -> RemoteFile:
    name = str(row["key"])
    algorithm, _, digest = str(row.get("checksum", "")).partition(":")
    matching = [key for key, part in entry.parts.items() if any(fnmatch.fnmatch(name, one) for one in part.files)]
    part = matching[0] if matching else "other"
    is_zip = name.lower().endswith(".zip")
    is_tar = name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))
    unpack = "zip" if is_zip else "tar" if is_tar else None
    return RemoteFile(
        name=name,
        urls=(str(row["links"]["self"]),),
        bytes=int(row["size"]),
        part=part,
        md5=digest if algorithm == "md5" else None,
        sha256=digest if algorithm == "sha256" else None,
        unpack=unpack,
        into=entry.parts[part].into if unpack and matching else None,
    )


def _json(url: str, patience: Patience) -> Any:
    """Return a small JSON answer. Raises DataError, ValueError."""
    failures = 0
    with make_client(patience) as client:
        while True:
            try:
                with opened(client, url, {}, sha256_known=False, patience=patience) as response:
                    text, stalled = b"", stall_watch(patience.read_seconds)
                    for chunk in response.iter_raw():
                        text += chunk
                        stalled(len(chunk))
                        if len(text) > _LONGEST_LIST:
                            raise DataError(f"{url} answers with more than {_LONGEST_LIST} bytes; it is no list")
                return json.loads(text)
            except TryAgainError as fault:
                failures += 1
                if failures > patience.retries:
                    raise DataError(f"{url}: {fault}; tried {failures} times; check the network") from fault
                wait = max(fault.wait, patience.backoff_seconds * failures)
                _LOG.warning("%s: %s; trying again in %.0f s", url, fault, wait)
                time.sleep(wait)


def _hugging_face(source: HuggingFace) -> tuple[RemoteFile, ...]:
    """Ask the hub (HF_ENDPOINT where it is set) for a repository's Parquet files, at the commit it is at now."""
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    endpoint = hub_endpoint()
    api = HfApi(endpoint=endpoint, token=False)
    try:
        commit = api.dataset_info(source.repository, revision=source.revision).sha
        tree: Iterable[Any] = list(
            api.list_repo_tree(source.repository, repo_type="dataset", revision=commit, recursive=True)
        )
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        what = " ".join(str(error).split())[:200]
        raise DataError(f"{endpoint} does not list {source.repository}: {what}; check the network") from error
    except Exception as error:  # the hub's client changes its HTTP library, and with it these errors' base
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise
        raise DataError(f"{endpoint} cannot be asked for {source.repository}: {error}; check the network") from error
    found = [one for one in tree if str(one.path).endswith(".parquet")]
    return tuple(
        RemoteFile(
            name=one.path,
            urls=(hf_hub_url(source.repository, one.path, repo_type="dataset", revision=commit, endpoint=endpoint),),
            bytes=one.lfs.size if one.lfs else one.size,
            part=_split_name(one.path),
            sha256=one.lfs.sha256 if one.lfs else None,
        )
        for one in sorted(found, key=lambda one: str(one.path))
    )


def _split_name(path: str) -> str:
    """Return the split that a Parquet file's path names."""
    match = _SPLIT.search(path)
    if match is None:
        return "other"
    return "validation" if match.group(1).lower() == "val" else match.group(1).lower()
