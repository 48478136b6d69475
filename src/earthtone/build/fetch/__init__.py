"""Public data sets: a catalogue of them, and a downloader that never takes half a file for a whole one."""

from earthtone.build.fetch.catalogue import (
    CATALOGUE,
    PublicSet,
    RemoteFile,
    find_set,
    plain_sets,
    read_catalogue,
    sets_text,
)
from earthtone.build.fetch.fetch import Fetched, Verification, fetch, verify
from earthtone.build.web import RetryPolicy

__all__ = [
    "CATALOGUE",
    "Fetched",
    "PublicSet",
    "RemoteFile",
    "RetryPolicy",
    "Verification",
    "fetch",
    "find_set",
    "plain_sets",
    "read_catalogue",
    "sets_text",
    "verify",
]
