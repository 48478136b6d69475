"""What the losses with a queue share: unit embeddings against the batch and the queue, pushed after use."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss, check_count, unit
from earthtone.losses.facts import Known, Marks, RowFacts, marks_between
from earthtone.losses.queue import EmbeddingQueue, Queued


class MemoryLoss(Loss):
    """The sum of a loss image to sound and one sound to image; both look for partners in the last batches too.

    The queue holds the unit embeddings of the last `batches` batches of `batch_size` rows, detached; the rows of a
    batch are pushed after the loss was computed, in training mode only. With `keys` from momentum encoders, those are
    what is looked for, in the batch and in the queue, as in He et al., "Momentum Contrast", arXiv 1911.05722, and Li et
    al., "Align before Fuse", arXiv 2107.07651: embeddings from many steps then come from nearly the same encoder.
    """

    has_queue = True
    name: ClassVar[str]
    """For messages."""

    def __init__(self, batches: int, batch_size: int, dimensions: int) -> None:
        super().__init__()
        for option, value, example in (
            ("batches", batches, 128), ("batch_size", batch_size, 256), ("dimensions", dimensions, 128)
        ):  # fmt: skip
            check_count(self.name, option, value, example)
        self.dimensions = dimensions
        self.queue_rows = batches * batch_size
        self.queue = EmbeddingQueue(self.queue_rows, dimensions)

    @abstractmethod
    def one_way(self, query: Tensor, keys: Tensor, facts: RowFacts, queued: Queued, queued_keys: str) -> Tensor:
        """The scalar loss of unit queries (N, D), keys (N, D) and the keys of the queue (its field `queued_keys`)."""

    def marks_queued(self, facts: RowFacts, block: Queued) -> Marks:
        """What the rows of the queue are to the rows of the batch, where groups or pairs are known."""
        return marks_between(facts.known, Known(block.groups, block.points, block.pairs), facts.rule)

    def compute(self, image: Tensor, audio: Tensor, facts: RowFacts) -> Tensor:
        """The scalar loss; see the class. Raises ConfigError for embeddings of another width than `dimensions`."""
        if image.shape[1] != self.dimensions:
            raise ConfigError(
                f"{self.name}: embeddings have {image.shape[1]} dimensions, its queue {self.dimensions}; "
                f"give it dimensions={image.shape[1]}"
            )
        image, audio = unit(image), unit(audio)
        image_keys, audio_keys = (image, audio) if facts.keys is None else map(unit, facts.keys)
        queued = self.queue.rows(image.dtype)
        loss = self.one_way(image, audio_keys, facts, queued, "audio")
        loss = loss + self.one_way(audio, image_keys, facts, queued, "image")
        if self.training:
            self.queue.push(image_keys, audio_keys, *facts.known)
        return loss
