"""Many windows of a recording to one vector: a weighted mean, whose weights are equal or learned."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import ConfigError
from earthtone.models.config import REDUCERS
from earthtone.wording import did_you_mean


class Reducer(nn.Module, ABC):
    """A weighted mean over windows: the weights are the softmax of one score a window.

    The order of the windows plays no part, any number of them will do, and a single one comes out as it went in.
    """

    @abstractmethod
    def score(self, vectors: Tensor) -> Tensor:
        """Return one score a window (...) of its vector (..., dimensions); each depends on that window alone."""

    def forward(self, vectors: Tensor, heard: Tensor | None = None) -> Tensor:
        """Return (N, dimensions) of windows (N, W, dimensions).

        `heard` bool (N, W) is False where a recording has fewer than W windows and the rest is filling; each row
        needs one True.
        """
        if vectors.shape[1] == 1:
            return vectors[:, 0]
        if heard is not None:
            vectors = vectors.masked_fill(~heard[..., None], 0.0)  # filling may be no number
        scores = self.score(vectors)  # (N, W)
        if heard is not None:
            scores = scores.masked_fill(~heard, -torch.inf)
        return (scores.softmax(dim=1)[..., None] * vectors).sum(dim=1)


class MeanWindows(Reducer):
    """All windows count alike."""

    def score(self, vectors: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(vectors[..., 0])


class AttentionWindows(Reducer):
    """Windows count by a learned score, w . tanh(V x), of their vector x at unit variance.

    So a model can learn to pass over wind, silence and handling noise. It starts as the plain mean: w is zero.
    Source: Ilse et al., "Attention-based Deep Multiple Instance Learning", arXiv 1802.04712, equations 7 and 8.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.hidden = nn.Linear(dimensions, dimensions)
        self.weight = nn.Linear(dimensions, 1, bias=False)  # a bias would add the same to all scores
        nn.init.zeros_(self.weight.weight)

    def score(self, vectors: Tensor) -> Tensor:
        """Return w . tanh(V x) of each vector; its length plays no part."""
        scores: Tensor = self.weight(self.hidden(F.layer_norm(vectors, (self.dimensions,))).tanh())
        return scores.squeeze(-1)


def make_reducer(name: str, dimensions: int) -> Reducer:
    """Return the reducer called `name`. Raises ConfigError for an unknown name."""
    if name == "mean":
        return MeanWindows()
    if name == "attention":
        return AttentionWindows(dimensions)
    raise ConfigError(f"model.windows is {name!r}; {did_you_mean(name, REDUCERS)}one of {', '.join(REDUCERS)} expected")


def weighted_mean(vectors: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what a reducer gives for one recording of any length: vectors (W, dimensions), scores (W,).

    In double precision and one recording at a time, so that it is the same alone or in a batch.
    """
    weights = np.exp(scores - scores.max(), dtype=np.float64)  # 1 exactly for equal scores: so a plain mean
    return np.asarray((vectors * weights[:, None]).sum(axis=0) / weights.sum())
