"""Tables of earthtone as data sets of torchgeo: pictures with the sound of their place, for its samplers and trainers.

`import torchgeo` here is the package of that name. What a sample holds is what a model of ours sees, by the same steps.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earthtone.data.packed import Table
from earthtone.data.pair import SPLITS, Pair, Problem
from earthtone.data.releases import looks_like_release
from earthtone.data.source import is_packed, open_source, preferred_audio
from earthtone.errors import ConfigError, DataError, needed_by, one_line
from earthtone.models.inputs import measured_tile
from earthtone.models.storage import RELEASE_SIGNAL
from earthtone.signal.audio import read_recording
from earthtone.signal.config import SignalConfig
from earthtone.signal.excerpt import Sound, no_excerpt, source_of
from earthtone.signal.image import decode_tile, seen
from earthtone.signal.spectrogram import Spectrogram, at_least_one_window, log_mel, ready_spectrogram

with needed_by("earthtone.integrations.torchgeo"):
    from matplotlib.figure import Figure
    from torchgeo.datasets import NonGeoDataset

Sample = dict[str, Any]


class EarthtoneDataset(NonGeoDataset):  # type: ignore[misc]
    """Pairs of a packed table, a manifest or a release of files, as a `NonGeoDataset`.

    A sample has `image`, float32 (3, pixels, pixels) from 0 to 255; `audio`, float32 (1, mels, frames) from 0 to 255,
    the window in the middle of the recording; `coords`, float64 (2), longitude and latitude in degrees, NaN where
    unknown; and `id`. `split` is train, val or test; all rows without it. `signal` says how files become pixels and
    spectrograms; a packed table has its own. `transforms` is called with each sample. Rows that cannot be used are left
    out and counted in `problems`. Raises DataError, ConfigError.

    >>> rows = EarthtoneDataset("pairs.lance", "train")  # doctest: +SKIP
    >>> rows[0]["image"].shape  # doctest: +SKIP
    torch.Size([3, 224, 224])
    """

    def __init__(
        self, data: str | Path, split: str | None = None, *, signal: SignalConfig | None = None,
        columns: Mapping[str, str] | None = None, transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:  # fmt: skip
        if split is not None and split not in SPLITS:
            raise ConfigError(f"split {split!r}; {', '.join(SPLITS)} or None expected")
        self.problems: dict[str, int] = {}
        self.transforms = transforms
        self._table: Table | None = None
        self._pairs: list[Pair] = []
        if is_packed(data):
            if signal is not None or columns:
                raise ConfigError(f"{data} is a packed table, which has its own signal and columns; leave them out")
            self._table = Table(data)
            self._rows = self._table.rows_of(split)
            self._frames = self._table.frames()
            self.signal = self._table.signal
        else:
            self.signal = signal or SignalConfig()
            self._open(data, split, columns)

    def _open(self, data: str | Path, split: str | None, columns: Mapping[str, str] | None) -> None:
        source = open_source(data, columns=columns, prefer=preferred_audio(data, self.signal))
        self._ready = source.ready_spectrograms
        if self._ready != (self.signal.audio.input == "spectrogram"):
            there = "ready spectrograms" if self._ready else "recordings"
            raise ConfigError(f"{data} holds {there}; a signal with that audio.input expected, not its other one")
        for item in source:
            if isinstance(item, Problem):
                self.problems[item.kind] = self.problems.get(item.kind, 0) + 1
            elif split is None or item.split == split:
                if isinstance(item.image, bytes) or (item.audio and isinstance(source_of(item.audio), bytes)):
                    raise DataError(f"{data} holds its media as bytes; pack it first: earthtone pack {data} --out T")
                self._pairs.append(item)
        if not self._pairs:
            raise DataError(f"{data}: no row of split {split!r} can be used ({self.problems or 'there is none'})")

    def __len__(self) -> int:
        return len(self._pairs) if self._table is None else len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample. Raises IndexError, SignalError for a file that cannot be read."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index}; 0 to {len(self) - 1} expected")
        tile, sound, place, id = self._of_pair(index) if self._table is None else self._of_table(self._table, index)
        pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(seen(tile, self.signal.image), -1, 0)))
        spectrogram = torch.from_numpy(np.ascontiguousarray(sound.T))[None]
        coords = torch.tensor([np.nan if value is None else value for value in place], dtype=torch.float64)
        sample: Sample = {"image": pixels.float(), "audio": spectrogram.float(), "coords": coords, "id": id}
        return sample if self.transforms is None else self.transforms(sample)

    def _of_table(self, table: Table, index: int) -> tuple[Any, Spectrogram, tuple[Any, Any], str]:
        row = int(self._rows[index])
        frames, size = int(self._frames[row]), self.signal.audio.window_frames
        start = max(0, (frames - size) // 2)
        [record] = table.records([row], ["id", "image", "longitude", "latitude"])
        sound = next(table.sound([row], [start], [min(frames, size)]))
        place = (record["longitude"], record["latitude"])
        return decode_tile(record["image"]), at_least_one_window(sound, self.signal.audio), place, str(record["id"])

    def _of_pair(self, index: int) -> tuple[Any, Spectrogram, tuple[Any, Any], str]:
        pair = self._pairs[index]
        if pair.image is None or pair.audio is None:
            raise DataError(f"{pair.id}: a picture and a sound expected")
        tile, _ = measured_tile(pair.image, self.signal.image, pair.image_gsd_m)
        whole = at_least_one_window(self._heard(pair.audio), self.signal.audio)
        size = self.signal.audio.window_frames
        start = max(0, (len(whole) - size) // 2)
        return tile, whole[start : start + size], (pair.longitude, pair.latitude), pair.id

    def _heard(self, sound: Sound) -> Spectrogram:
        config = self.signal.audio
        if self._ready:
            return ready_spectrogram(no_excerpt(sound), config)
        return log_mel(read_recording(sound, config.sample_rate_hz, config.channel).samples, config)

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Return a figure of a sample: its picture, and its spectrogram with low bands below."""
        figure = Figure(figsize=(8, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.imshow(sample["image"].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy())
        right.imshow(sample["audio"][0].numpy(), origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=255)
        left.set_axis_off()
        right.set_xlabel(f"frames of {self.signal.audio.hop_seconds * 1000:g} ms")
        right.set_ylabel("mel bands")
        if show_titles:
            longitude, latitude = sample["coords"].tolist()
            left.set_title(f"{longitude:.4f}°, {latitude:.4f}°")
            right.set_title(one_line(str(sample["id"]), 40), parse_math=False)
        if suptitle is not None:
            figure.suptitle(suptitle, parse_math=False)
        return figure


class SoundingEarth(EarthtoneDataset):
    """The SoundingEarth release (Heidler et al. 2023, arXiv 2108.00688; Zenodo 5600379) in its folder, or packed.

    Its splits are those of the key's last digit. Spectrograms and pictures as the release's authors had them, unless
    `signal` says otherwise; `earthtone fetch soundingearth` brings it. Raises DataError where it is not there.
    """

    def __init__(
        self, root: str | Path = "data/soundingearth", split: str | None = "train", *,
        signal: SignalConfig | None = None, transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:  # fmt: skip
        packed = is_packed(root)
        if not packed and not looks_like_release(Path(root)):
            raise DataError(
                f"{root} is no SoundingEarth release (metadata.csv, images/); type: earthtone fetch soundingearth"
            )
        super().__init__(root, split, signal=signal if packed else signal or RELEASE_SIGNAL, transforms=transforms)
