"""The published Parquet releases in miniature: the columns, types and file names of their build scripts."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

WriteRelease = Callable[..., Path]
Change = Callable[[pa.Table], pa.Table]

_MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_MEL = pa.list_(pa.list_(pa.list_(pa.list_(pa.float32()))))
#: Rows of each file; train is cut in two.
FILES = {"train-00000-of-00002": 7, "train-00001-of-00002": 5, "validation-00000-of-00001": 2, "test-00000-of-00001": 4}


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng([7, seed]).integers(0, 256, (48, 48, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


def recording(seed: int) -> bytes:
    out = io.BytesIO()
    samples = np.random.default_rng([8, seed]).normal(0, 0.1, 32_000)
    soundfile.write(out, samples, 32_000, format="MP3")
    return out.getvalue()


def soundingearth_rows(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "sample_id": [f"aporee-{n}_{n * 3}" for n in numbers],
            "short_id": [str(n) for n in numbers],
            "audio": pa.array([{"bytes": recording(n), "path": f"{n}.mp3"} for n in numbers], _MEDIA),
            "googleearth_image": pa.array([{"bytes": picture(n), "path": f"{n}.jpg"} for n in numbers], _MEDIA),
            "audio_caption": [f"caption {n}" for n in numbers],
            "audio_caption_source": ["qwen"] * count,
            "mel_features": pa.array([np.zeros((5, 1, 3, 2), np.float32).tolist()] * count, _MEL),
            "llava_caption_googleearth_zl1": ["birds"] * count,
            "latitude": pa.array([50 + n / 8 for n in numbers], pa.float32()),
            "longitude": pa.array([8 - n / 8 for n in numbers], pa.float32()),
            "date_recorded": ["2010-05-08" if n % 5 else "in spring" for n in numbers],
        }
    )


def geosound_rows(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    texts = (
        *(f"llava_caption_{sky}_zl{zoom}" for sky in ("bingmap", "sentinel") for zoom in (1, 3, 5)),
        "description", "tags", "title", "scientific_name", "common_name", "sound_format", "text", "address",
    )  # fmt: skip
    return pa.table(
        {
            "sample_id": [f"iNat-{n}" for n in numbers],
            "source": ["iNat"] * count,
            "audio": pa.array([{"bytes": recording(n), "path": f"{n}.mp3"} for n in numbers], _MEDIA),
            "bingmap_image": pa.array([{"bytes": picture(n), "path": f"{n}.jpeg"} for n in numbers], _MEDIA),
            "sentinel_image": pa.array([{"bytes": picture(1000 + n), "path": f"{n}.jpeg"} for n in numbers], _MEDIA),
            "audio_caption": [f"caption {n}" for n in numbers],
            "audio_caption_source": ["meta"] * count,
            "mel_features": pa.array([np.zeros((5, 1, 3, 2), np.float32).tolist()] * count, _MEL),
            **{name: [f"{name} {n}" for n in numbers] for name in texts},
            "latitude": pa.array([-50 + n / 8 for n in numbers], pa.float32()),
            "longitude": pa.array([-8 - n / 8 for n in numbers], pa.float32()),
            "date": ["2012-06-01 08:30:00"] * count,
            "original_sampling_rate": [44_100] * count,
            "bin_id": ["12_34"] * count,
        }
    )


@pytest.fixture(scope="session")
def write_release() -> WriteRelease:
    """A function (folder, name="soundingearth", change=...) that writes a release and returns its folder."""

    def write(folder: Path, name: str = "soundingearth", change: Change = lambda rows: rows) -> Path:
        (folder / "data").mkdir(parents=True)
        first = 0
        for file, count in FILES.items():
            rows = (soundingearth_rows if name == "soundingearth" else geosound_rows)(first, count)
            pq.write_table(change(rows), folder / "data" / f"{file}.parquet", row_group_size=3)
            first += count
        (folder / "README.md").write_text("license: other\n")
        return folder

    return write


@pytest.fixture(scope="session")
def soundingearth(write_release: WriteRelease, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of MVRL/SoundingEarth: 12 train, 2 val, 4 test pairs. Not to be changed."""
    return write_release(tmp_path_factory.mktemp("hf") / "SoundingEarth")


@pytest.fixture(scope="session")
def geosound(write_release: WriteRelease, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of MVRL/GeoSound, of the same size. Not to be changed."""
    return write_release(tmp_path_factory.mktemp("hf") / "GeoSound", "geosound")


@pytest.fixture
def pairs(tiny_pairs: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pairs that a test may break."""
    shutil.copytree(tiny_pairs.parent, tmp_path / "pairs")
    return tmp_path / "pairs" / "manifest.csv"
