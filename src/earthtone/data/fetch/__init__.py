"""Public data sets: a catalogue of them, and a downloader that never takes half a file for a whole one."""

from earthtone.data.fetch.catalogue import CATALOGUE, PublicSet, RemoteFile, find_set, read_catalogue
from earthtone.data.fetch.connection import Patience
from earthtone.data.fetch.fetch import Fetched, fetch
from earthtone.data.fetch.recheck import Recheck, recheck

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
