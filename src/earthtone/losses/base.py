"""What every loss shares: checked inputs, full precision whatever surrounds it, and twins that are never negatives."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError


class Loss(nn.Module, ABC):
    """A loss over a batch of N pairs: row i of both modalities is one pair, every other row is a negative."""

    def forward(self, image: Tensor, audio: Tensor, twins: Tensor | None = None) -> Tensor:
        """The loss of one batch: a scalar, float32 (float64 for float64 embeddings), also under autocast.

        `image` and `audio` are (N, D). `twins` is a symmetric bool (N, N), True at [i, j] when row j is a twin of
        row i (same place, image or recording) and so must not be a negative; its diagonal is ignored. Raises
        ConfigError when the shapes do not fit or `twins` is not bool.
        """
        _check_embeddings(image, audio)
        dtype = torch.promote_types(torch.promote_types(image.dtype, audio.dtype), torch.float32)
        excluded = None if twins is None else _off_diagonal(twins, image)
        with torch.autocast(device_type=image.device.type, enabled=False):
            return self.compute(image.to(dtype), audio.to(dtype), excluded)

    @abstractmethod
    def compute(self, image: Tensor, audio: Tensor, excluded: Tensor | None) -> Tensor:
        """The scalar loss of checked embeddings in full precision; `excluded` (N, N) is False on the diagonal."""

    @property
    def temperature(self) -> float | None:
        """What similarities are divided by, for the log; None for a loss without one."""
        return None


def cosine(image: Tensor, audio: Tensor) -> Tensor:
    """The (N, N) cosine similarities of (N, D) embeddings; rows are images, columns are recordings.

    The floor of the norm keeps the gradient of an all-zero embedding moderate.
    """
    return F.normalize(image, dim=1, eps=1e-6) @ F.normalize(audio, dim=1, eps=1e-6).T


def _check_embeddings(image: Tensor, audio: Tensor) -> None:
    found = f"image {tuple(image.shape)} and audio {tuple(audio.shape)}"
    if image.ndim != 2 or image.shape != audio.shape:
        raise ConfigError(f"a loss got embeddings of shape {found}; it needs (N, D) twice, row i of both being pair i")
    if image.numel() == 0:
        raise ConfigError(f"a loss got an empty batch: {found}; give it at least one pair")
    if not (image.is_floating_point() and audio.is_floating_point()):
        raise ConfigError(f"a loss got embeddings of {image.dtype} and {audio.dtype}; both must be floating point")


def _off_diagonal(twins: Tensor, image: Tensor) -> Tensor:
    rows = image.shape[0]
    if twins.dtype != torch.bool or tuple(twins.shape) != (rows, rows):
        raise ConfigError(
            f"twins are {twins.dtype} of shape {tuple(twins.shape)}; "
            f"embeddings of shape {tuple(image.shape)} need torch.bool of shape {(rows, rows)}"
        )
    return twins.to(image.device) & ~torch.eye(rows, dtype=torch.bool, device=image.device)
