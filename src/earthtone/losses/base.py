"""What every loss shares: checked inputs, full precision whatever surrounds it, and twins that are never negatives."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses.relation import GROUPS, TwinRule, twins_between, whole_groups


class RowFacts(NamedTuple):
    """What is known of a batch's N rows beside their embeddings.

    `twins` bool (N, N), False on the diagonal, True where row j is a twin of row i; `groups` int64 (N, 3), numbers of
    image, recording and place, equal for equal ones; `points` (N, 3), unit vectors of the places, as precise as given.
    """

    twins: Tensor | None
    groups: Tensor | None
    points: Tensor | None
    keys: tuple[Tensor, Tensor] | None = None
    """(N, D) image and audio embeddings from momentum encoders, without gradients."""


class Loss(nn.Module, ABC):
    """A loss over a batch of N pairs: row i of both modalities is one pair, every other row is a negative."""

    needs_points: ClassVar[bool] = False
    """Whether `points` must be given."""
    has_queue: ClassVar[bool] = False
    """Whether rows of earlier batches are negatives too; then `twins` need `groups`, which tell twins among them."""
    uses_twins: ClassVar[bool] = True
    """Whether there are negatives that twins can be kept out of."""
    queue_rows: int = 0
    """Rows of earlier batches that are kept at most; there must be as many different ones."""
    twin_rule: TwinRule = TwinRule()
    """How twins are told from `groups` and `points`, and what becomes of them; may be set at any time."""
    twins_only: Tensor | None = None
    """Of the last call, a bool: whether all rows of the batch were twins of each other, so that there was no negative
    among them; None when twins were not looked at."""

    def forward(
        self,
        image: Tensor,
        audio: Tensor,
        twins: Tensor | None = None,
        points: Tensor | None = None,
        groups: Tensor | None = None,
        keys: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss of one batch: a scalar, float32 (float64 for float64 embeddings), also under autocast.

        `image` and `audio` are (N, D). `groups` int64 (N, 2 or 3) are numbers of image, recording and place, negative
        ones being nobody's; `points` (N, 3) are unit vectors of the places, NaN where unknown. Both tell twins by
        `twin_rule` (relation.py), in the batch and in the queue of losses with `has_queue`; `points` are also what
        losses with `needs_points` compare. `twins`, when given, is taken for the batch instead: a symmetric bool
        (N, N), True at [i, j] when row j is a twin of row i; its diagonal is ignored. `keys` are image and audio
        embeddings of the same rows from momentum encoders, for losses with `has_queue`. Raises ConfigError when shapes
        or types do not fit, something needed is missing, or twins are given to a loss without negatives.
        """
        _check_embeddings(image, audio)
        if not self.uses_twins and (twins is not None or groups is not None):
            raise ConfigError(f"{type(self).__name__} has no negatives to keep twins out of; leave twins out")
        if twins is not None and self.has_queue and groups is None:
            raise ConfigError(f"{type(self).__name__} got twins but no groups to tell twins in its queue; give both")
        if self.needs_points and points is None:
            raise ConfigError(f"{type(self).__name__} compares places; give points, unit vectors (N, 3)")
        if keys is not None and not self.has_queue:
            raise ConfigError(f"{type(self).__name__} has no queue that keys could fill; leave keys out")
        dtype = torch.promote_types(torch.promote_types(image.dtype, audio.dtype), torch.float32)
        facts = self._facts(image, twins, groups, points)
        self.twins_only = None if facts.twins is None else facts.twins.sum() == len(image) * (len(image) - 1)
        if keys is not None:
            facts = facts._replace(keys=_checked_keys(keys, image, dtype))
        with torch.autocast(device_type=image.device.type, enabled=False):
            return self.compute(image.to(dtype), audio.to(dtype), facts)

    @abstractmethod
    def compute(self, image: Tensor, audio: Tensor, facts: RowFacts) -> Tensor:
        """The scalar loss of checked embeddings in full precision."""

    def _facts(self, image: Tensor, twins: Tensor | None, groups: Tensor | None, points: Tensor | None) -> RowFacts:
        """The checked facts on the embeddings' device; twins are told from groups and points where not given."""
        if points is not None:
            points = _checked("points", points, image, (3,), floating=True).to(image.device)
        if groups is not None:
            groups = whole_groups(_checked("groups", groups, image, (2, GROUPS), floating=False).to(image.device))
        if twins is None and groups is not None:
            twins = twins_between(groups, points, groups, points, self.twin_rule.radius_m)
        return RowFacts(None if twins is None else _off_diagonal(twins, image), groups, points)

    @property
    def temperature(self) -> float | None:
        """What similarities are divided by, for the log; None for a loss without one."""
        return None


def unit(embeddings: Tensor) -> Tensor:
    """The rows (N, D) at length 1; the floor keeps the gradient of an all-zero embedding moderate."""
    return F.normalize(embeddings, dim=1, eps=1e-6)


def cosine(image: Tensor, audio: Tensor) -> Tensor:
    """The (N, N) cosine similarities of (N, D) embeddings; rows are images, columns are recordings."""
    return unit(image) @ unit(audio).T


def check_positive(loss: str, option: str, value: float, example: float) -> None:
    """Raise ConfigError unless the option's value is a finite number above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{loss}: {option} is {value}; it must be a number above 0, such as {example}")


def check_count(loss: str, option: str, value: int, example: int) -> None:
    """Raise ConfigError unless the option's value is a whole number of at least 1."""
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{loss}: {option} is {value}; it must be a whole number of at least 1, such as {example}")


def _check_embeddings(image: Tensor, audio: Tensor) -> None:
    found = f"image {tuple(image.shape)} and audio {tuple(audio.shape)}"
    if image.ndim != 2 or image.shape != audio.shape:
        raise ConfigError(f"a loss got embeddings of shape {found}; it needs (N, D) twice, row i of both being pair i")
    if image.numel() == 0:
        raise ConfigError(f"a loss got an empty batch: {found}; give it at least one pair")
    if not (image.is_floating_point() and audio.is_floating_point()):
        raise ConfigError(f"a loss got embeddings of {image.dtype} and {audio.dtype}; both must be floating point")


def _checked(name: str, given: Tensor, image: Tensor, widths: tuple[int, ...], *, floating: bool) -> Tensor:
    """`given`, when it is (N, one of the widths) of the right kind."""
    kind = given.is_floating_point() if floating else given.dtype == torch.int64
    if not kind or tuple(given.shape) not in [(image.shape[0], width) for width in widths]:
        raise ConfigError(
            f"{name} are {given.dtype} of shape {tuple(given.shape)}; embeddings of shape {tuple(image.shape)} need "
            f"{'floating point' if floating else 'torch.int64'} of shape {(image.shape[0], widths[-1])}"
        )
    return given.detach()


def _checked_keys(keys: tuple[Tensor, Tensor], image: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`keys` in full precision without gradients, when each is as large as the embeddings."""
    if any(part.shape != image.shape for part in keys):
        found = " and ".join(str(tuple(part.shape)) for part in keys)
        raise ConfigError(f"keys have shapes {found}; embeddings of shape {tuple(image.shape)} need keys of the same")
    images, sounds = (part.detach().to(image.device, dtype) for part in keys)
    return images, sounds


def _off_diagonal(twins: Tensor, image: Tensor) -> Tensor:
    rows = image.shape[0]
    if twins.dtype != torch.bool or tuple(twins.shape) != (rows, rows):
        raise ConfigError(
            f"twins are {twins.dtype} of shape {tuple(twins.shape)}; "
            f"embeddings of shape {tuple(image.shape)} need torch.bool of shape {(rows, rows)}"
        )
    return twins.to(image.device) & ~torch.eye(rows, dtype=torch.bool, device=image.device)
