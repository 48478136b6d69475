"""Which files a reproduction was made from: cheap for folders, exact for weights."""

import hashlib
import os
from pathlib import Path
from typing import Any

from earthtone.data.soundingearth import METADATA
from earthtone.errors import ModelError
from earthtone.models.storage import WEIGHTS_FILE

_NOTES = "checksums.json"  # the downloader's, rewritten by each check of the same files


def folder_identity(folder: Path) -> dict[str, Any]:
    """Return how many files and bytes lie below a folder, and a hash of their names and sizes.

    Nothing is opened but the release's metadata: a file changed to another one of the same size is not noticed.
    Hidden files and folders are passed over.
    """
    digest, count, total = hashlib.blake2b(digest_size=12), 0, 0
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or name == _NOTES:
                continue
            path = Path(at) / name
            size = path.stat().st_size if path.exists() else -1  # a link to nowhere is told when it is read
            digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\n".encode("utf-8", "surrogateescape"))
            count, total = count + 1, total + size
    if (folder / METADATA).is_file():
        digest.update((folder / METADATA).read_bytes())
    return {"data.files": count, "data.bytes": total, "data.hash": digest.hexdigest()}


def model_file(spec: str) -> Path:
    """Return the file of weights of a run's folder or of a file. Raises ModelError when it is not there."""
    path = Path(spec) / WEIGHTS_FILE if Path(spec).is_dir() else Path(spec)
    if not path.is_file():
        raise ModelError(f"model {spec}: no such file {path}; a run's folder, a .safetensors or a .pt file expected")
    return path


def file_hash(path: Path) -> str:
    """Return a hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]
