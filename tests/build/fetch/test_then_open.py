"""What was fetched opens: miniatures of the published archives, through the shipped rules."""

import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from loopback import QUICK, Stage, catalogue_entry, zipped
from PIL import Image

from earthtone.build.fetch import fetch, read_catalogue
from earthtone.data.labelled import open_labelled, open_masked


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    return out.getvalue()


def pictures(pattern: str, *classes: str) -> dict[str, bytes]:
    """Three pictures of each class."""
    return {pattern.format(one, f"{one}_{n}"): picture() for one in classes for n in range(3)}


def sound() -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(800), 8000, format="WAV")
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


ESC50 = "filename,fold,target,category,esc10,src_file,take\n" + "".join(
    f"{n}-10000{n}-A-0.wav,{n},0,dog,True,10000{n},A\n" for n in (1, 2)
)
URBAN = "slice_file_name,fsID,start,end,salience,fold,classID,class\n1-3-0-0.wav,1,0,1,1,1,3,dog_bark\n"

#: Of each set: what its archives hold, by the names in them.
LAYOUTS: dict[str, dict[str, dict[str, bytes]]] = {
    "ucmerced": {"UCMerced_LandUse.zip": pictures("UCMerced_LandUse/Images/{}/{}.tif", "beach", "river")},
    "resisc45": {"NWPU-RESISC45.zip": pictures("NWPU-RESISC45/{}/{}.jpg", "beach", "river")},
    "eurosat": {"EuroSAT_RGB.zip": pictures("EuroSAT_RGB/{}/{}.jpg", "Forest", "River")},
    "rsscn7": {"RSSCN7-master.zip": pictures("RSSCN7-master/{}/{}.jpg", "aGrass", "bField")},
    "advance": {
        "ADVANCE_vision.zip": {f"vision/beach/0000{n}.jpg": picture() for n in (1, 2)},
        "ADVANCE_sound.zip": {f"sound/beach/0000{n}.wav": sound() for n in (1, 2)},
    },
    "esc50": {
        "ESC-50.zip": {
            "ESC-50-33c8/meta/esc50.csv": ESC50.encode(),
            **{f"ESC-50-33c8/audio/{n}-10000{n}-A-0.wav": sound() for n in (1, 2)},
        }
    },
    "urbansound8k": {
        "UrbanSound8K.tar.gz": {
            "UrbanSound8K/metadata/UrbanSound8K.csv": URBAN.encode(),
            "UrbanSound8K/audio/fold1/1-3-0-0.wav": sound(),
        }
    },
    "loveda": {
        f"{split}.zip": {f"{split}/Urban/{kind}/1.png": picture() for kind in ("images_png", "masks_png")}
        for split in ("Train", "Val")
    },
}  # fmt: skip


COUNTS = {"advance": 2, "esc50": 2, "urbansound8k": 1, "loveda": 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_what_was_fetched_opens(stage: Stage, tmp_path: Path, name: str) -> None:
    shipped = read_catalogue()[name]
    rows = []
    for file in shipped.files:
        if file.name not in LAYOUTS[name]:
            continue
        content = (tarred if file.unpack == "tar" else zipped)(LAYOUTS[name][file.name])
        stage.files[f"/{file.name}"] = content
        row = {key: value for key, value in dataclasses.asdict(file).items() if value is not None}
        changed = {"urls": [stage.url(f"/{file.name}")], "bytes": len(content), "md5": None}
        rows.append({**row, **changed, "sha256": hashlib.sha256(content).hexdigest()})
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(yaml.safe_dump({name: catalogue_entry(rows)}))
    out = fetch(name, tmp_path / "out", catalogue=catalogue, patience=QUICK).out
    items = open_masked(out, dataset=name).items if name == "loveda" else open_labelled(out, dataset=name).items
    assert len(items) == COUNTS.get(name, 6)
