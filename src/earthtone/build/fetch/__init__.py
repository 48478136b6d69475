"""Public data sets: a catalogue of them, and a downloader that never takes half a file for a whole one."""

from earthtone.build.fetch.catalogue import CATALOGUE, PublicSet, RemoteFile, find_set, read_catalogue
from earthtone.build.fetch.download import Patience
from earthtone.build.fetch.fetch import Fetched, Recheck, fetch, plain_sets, recheck, sets_text

__all__ = [
    "CATALOGUE",
    "Fetched",
    "Patience",
    "PublicSet",
    "Recheck",
    "RemoteFile",
    "fetch",
    "find_set",
    "plain_sets",
    "read_catalogue",
    "recheck",
    "sets_text",
]
