"""Between two epochs: the model embeds all training rows, and the sampler seeks look-alikes among them from then on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.data.table import Table
from earthtone.errors import ModelError
from earthtone.models.embed_rows import embed_rows
from earthtone.train.sampler import Sampler
from earthtone.train.similar import Similar, load_similar
from earthtone.train.whole import Whole
from earthtone.train.world import World


class Refresher:
    """Gives the sampler the embeddings of a step; they are a file in the run's folder until the next ones.

    A checkpoint of a later step has other weights, so a resume reads them from that file. What goes before: the new
    file is written, `checkpoint` is called, and only then are the older files deleted, so that there always are a
    checkpoint and the embeddings it needs, whenever the run is killed.
    """

    def __init__(
        self,
        folder: Path,
        whole: Whole,
        table: Table,
        rows: NDArray[np.int64],
        sampler: Sampler,
        *,
        resumed: int,
        world: World,
        checkpoint: Callable[[], None],
    ) -> None:
        """`resumed` is the step that the run goes on from; `checkpoint` saves one of the step that was just done.

        Of several processes, which call it at the same steps, the first embeds and writes; the others read.
        """
        self._folder, self._whole, self._table, self._rows = folder, whole, table, rows
        self._sampler, self._resumed, self._checkpoint = sampler, resumed, checkpoint
        self._world = world

    def __call__(self, step: int) -> None:
        """Give the sampler the embeddings of the model before `step`. Raises ModelError when they are lost."""
        path = self._folder / f"similar-{step}.safetensors"
        if step < self._resumed:
            if not path.exists():
                raise ModelError(
                    f"{path} is missing, without which the run cannot go on; train anew into another --out"
                )
            self._sampler.similar = load_similar(path, step, len(self._rows))
            return
        if not self._world.first:
            self._whole.serve()
            self._world.wait()
            self._sampler.similar = load_similar(path, step, len(self._rows))
            return
        similar = Similar.of(*embed_rows(self._whole.model(), self._table, self._rows), step)
        similar.save(path)
        if step > self._resumed:
            self._checkpoint()
        self._whole.release()
        self._world.wait()
        self._sampler.similar = similar
        drop_embeddings(self._folder, but=path)


def drop_embeddings(folder: Path, but: Path | None = None) -> None:
    """Delete the files of embeddings in a run's folder, all but one."""
    for path in folder.glob("similar-*.safetensors"):
        if path != but:
            path.unlink()
