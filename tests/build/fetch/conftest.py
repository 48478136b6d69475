"""A server on loopback and a catalogue that points to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from loopback import Stage, WriteCatalogue, catalogue_entry, serving


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A server on loopback, running."""
    with serving() as found:
        yield found


@pytest.fixture
def write_catalogue(tmp_path: Path, stage: Stage) -> WriteCatalogue:
    """A function (name of file, content, keys of the file) that serves a file and writes a catalogue with it."""

    def write(name: str, content: bytes, **keys: object) -> Path:
        stage.files[f"/{name}"] = content
        file = {"name": name, "urls": [stage.url(f"/{name}")], "bytes": None, "part": "all", **keys}
        path = tmp_path / "catalogue.yaml"
        path.write_text(yaml.safe_dump({"tiny": catalogue_entry([file])}))
        return path

    return write
