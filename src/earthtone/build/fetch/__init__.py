"""Public data sets: a catalogue of them, and a downloader that never takes half a file for a whole one."""

from earthtone.build.fetch.catalogue import CATALOGUE, PublicSet, RemoteFile, find_set, read_catalogue
from earthtone.build.fetch.download import Patience
from earthtone.build.fetch.fetch import Fetched, Recheck, fetch, recheck

__all__ = [
    "CATALOGUE",
    "Fetched",
    "Patience",
    "PublicSet",
    "Recheck",
    "RemoteFile",
    "fetch",
    "find_set",
    "read_catalogue",
    "recheck",
]
