"""What every loss shares: checked inputs, full precision, twins that are no negatives, and cross-entropy both ways."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from typing import ClassVar, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError, EarthtoneError, system_error_text
from earthtone.losses.blockwise import joined, negatives_in_tiles, over_tiles
from earthtone.losses.twins import GROUPS, RowGroups, TwinRule, Twins, is_one_tile, padded_groups
from earthtone.plugins import fault_text
from earthtone.value_types import wrong


class Loss(nn.Module, ABC):
    """A loss over a batch of N pairs: row i of both modalities is one pair, every other row is a negative."""

    name: ClassVar[str]
    """For messages."""
    needs_points: ClassVar[bool] = False
    """Whether `points` must be given."""
    has_queue: ClassVar[bool] = False
    """Whether rows of earlier batches are negatives too; then `twins` need `groups`, which show twins among them."""
    has_negatives: ClassVar[bool] = True
    """Whether there are negatives that twins, and views of one pair (`pairs`), can be kept out of."""
    in_tiles: ClassVar[bool] = False
    """Whether a batch that does not fit a tile is compared tile by tile, so that no N x N matrix is held."""
    fixed_temperature: float | None = None
    """What similarities are divided by, where that is not learned."""
    queue_rows: int = 0
    """Rows of earlier batches that are kept at most; there must be as many different ones."""
    twin_rule: TwinRule = TwinRule()
    """How twins are recognised by `groups` and `points`, and what becomes of them; may be set at any time."""
    twins_only: Tensor | None = None
    """Of the last call, a bool: whether all rows of the batch were twins (or views) of each other, so that there was no
    negative among them; None when neither was looked at."""

    def __init__(self, **options: object) -> None:
        """Raise ConfigError for options of the constructor that are not what its types say."""
        super().__init__()
        hints = get_type_hints(type(self).__init__, include_extras=True)
        for option, value in options.items():
            if told := wrong(value, hints[option]):
                raise ConfigError(f"{self.name}: {option} is {told}")

    def forward(
        self,
        image: Tensor,
        audio: Tensor,
        twins: Tensor | None = None,
        points: Tensor | None = None,
        groups: Tensor | None = None,
        keys: tuple[Tensor, Tensor] | None = None,
        pairs: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of one batch: a scalar, float32 (float64 for float64 embeddings), also under autocast.

        `image` and `audio` are (N, D). `groups` int64 (N, 2 or 3) are numbers of image, recording and place, negative
        ones being unknown; `points` (N, 3) are unit vectors of the places, NaN where unknown. Both show twins by
        `twin_rule`, in the batch and in the queue of losses with `has_queue`; `points` are also what
        losses with `needs_points` compare. `twins`, when given, is taken for the batch instead: a symmetric bool
        (N, N), True at [i, j] when row j is a twin of row i; its diagonal is ignored. `keys` are image and audio
        embeddings of the same rows from momentum encoders, for losses with `has_queue`.

        `pairs` int64 (N,) are numbers of pairs, where several rows are views of one: rows with the same number, also
        in a queue, are positives of each other whatever becomes of twins; negative numbers are unknown. Raises
        ConfigError when shapes or types do not fit, something needed is missing, or twins or views are given to a loss
        that cannot keep them out of its negatives.
        """
        _check_embeddings(image, audio)
        if not self.has_negatives and (twins is not None or groups is not None):
            raise ConfigError(f"{type(self).__name__} has no negatives to keep twins out of; leave twins out")
        if twins is not None and self.has_queue and groups is None:
            raise ConfigError(f"{type(self).__name__} got twins but no groups to tell twins in its queue; give both")
        if self.needs_points and points is None:
            raise ConfigError(f"{type(self).__name__} compares places; give points, unit vectors (N, 3)")
        if keys is not None and not self.has_queue:
            raise ConfigError(f"{type(self).__name__} has no queue that keys could fill; leave keys out")
        if pairs is not None and not self.has_negatives:
            raise ConfigError(f"{type(self).__name__} takes each row for a pair of its own; leave pairs out")
        dtype = torch.promote_types(torch.promote_types(image.dtype, audio.dtype), torch.float32)
        batch = self._batch_twins(image, twins, groups, points, pairs)
        self.twins_only = batch.no_negatives()
        if keys is not None:
            keys = _checked_keys(keys, image, dtype)
        with torch.autocast(device_type=image.device.type, enabled=False):
            found = self._computed(image.to(dtype), audio.to(dtype), batch, keys)
        if not isinstance(found, Tensor) or found.ndim or not found.is_floating_point():  # a plug-in's may be anything
            shown = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(f"the loss {type(self).__name__} returned {shown}; a scalar tensor of floats expected")
        if torch.is_grad_enabled() and (image.requires_grad or audio.requires_grad) and not found.requires_grad:
            raise ConfigError(
                f"the loss {type(self).__name__} returned a number without a gradient; one that is computed from image "
                "and audio expected, without detach() or item()"
            )
        return found

    def _computed(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return `compute`; what a plug-in's raises is a ConfigError that names its line."""
        try:
            return self.compute(image, audio, twins, keys)
        except Exception as error:
            ours = type(self).__module__.startswith("earthtone.")
            if ours or isinstance(error, (EarthtoneError, MemoryError)) or system_error_text(error) is not None:
                raise
            failed = fault_text(error, called_by=__file__)
            raise ConfigError(f"the loss {type(self).__name__} failed: {failed}; --debug shows more") from error

    @abstractmethod
    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the scalar loss of checked embeddings in full precision."""

    def _batch_twins(
        self, image: Tensor, twins: Tensor | None, groups: Tensor | None, points: Tensor | None, pairs: Tensor | None
    ) -> Twins:
        """Return the checked groups on the embeddings' device; masks are made at once where no tiles are used."""
        rows = len(image)
        if points is not None:
            points = _checked("points", points, image, None, (rows, 3))
        if groups is not None:
            groups = padded_groups(_checked("groups", groups, image, torch.int64, (rows, 2), (rows, GROUPS)))
        if pairs is not None:
            pairs = _checked("pairs", pairs, image, torch.int64, (rows,))
        if twins is not None:
            twins = _checked("twins", twins, image, torch.bool, (rows, rows))
        found = Twins(rows, image.device, RowGroups(groups, points, pairs), self.twin_rule, twins)
        return found if self.in_tiles and not is_one_tile(rows) else replace(found, of_all=found.masks())

    @property
    def temperature(self) -> float | None:
        """Return what similarities are divided by, for the log; None for a loss without one."""
        return self.fixed_temperature

    def extra_repr(self) -> str:
        """Return the options that are shown by `print(model)`."""
        options = {name: getattr(self, name, None) for name in signature(type(self)).parameters}
        return ", ".join(f"{name}={value}" for name, value in options.items() if isinstance(value, float | int | str))


def unit(embeddings: Tensor) -> Tensor:
    """Return the rows (N, D) at length 1; the floor keeps the gradient of an all-zero embedding moderate."""
    return F.normalize(embeddings, dim=1, eps=1e-6)


def _check_embeddings(image: Tensor, audio: Tensor) -> None:
    found = f"image {tuple(image.shape)} and audio {tuple(audio.shape)}"
    if image.ndim != 2 or image.shape != audio.shape:
        raise ConfigError(f"a loss got embeddings of shape {found}; it needs (N, D) twice, row i of both being pair i")
    if image.numel() == 0:
        raise ConfigError(f"a loss got an empty batch: {found}; give it at least one pair")
    if not (image.is_floating_point() and audio.is_floating_point()):
        raise ConfigError(f"a loss got embeddings of {image.dtype} and {audio.dtype}; both must be floating point")


def _checked(name: str, given: Tensor, image: Tensor, dtype: torch.dtype | None, *shapes: tuple[int, ...]) -> Tensor:
    """Return `given` on the embeddings' device, when it has one of the shapes and `dtype` (None: any float)."""
    right = given.is_floating_point() if dtype is None else given.dtype == dtype
    if not right or tuple(given.shape) not in shapes:
        raise ConfigError(
            f"{name} are {given.dtype} of shape {tuple(given.shape)}; embeddings of shape {tuple(image.shape)} need "
            f"{'floating point' if dtype is None else dtype} of shape {shapes[-1]}"
        )
    return given.detach().to(image.device)


def _checked_keys(keys: tuple[Tensor, Tensor], image: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return `keys` in full precision without gradients, when each is as large as the embeddings."""
    if any(part.shape != image.shape for part in keys):
        found = " and ".join(str(tuple(part.shape)) for part in keys)
        raise ConfigError(f"keys have shapes {found}; embeddings of shape {tuple(image.shape)} need keys of the same")
    images, sounds = (part.detach().to(image.device, dtype) for part in keys)
    return images, sounds


#: Where each of `Directions` looks: along rows (1), columns (0) or both.
DIRECTIONS = {"mean": (1, 0), "sum": (1, 0), "image_to_audio": (1,), "audio_to_image": (0,)}

#: What a positive costs, of its logit and of the log-sum-exp of the negatives' logits.
Term = Callable[[Tensor, Tensor], Tensor]


def cross_entropy_term(logits: Tensor, against: Tensor) -> Tensor:
    """Return the cross-entropy of one positive against all negatives, log(1 + exp(against - logit))."""
    return torch.logaddexp(against, logits) - logits


def partner_loss(
    logits: Callable[..., Tensor],
    image: Tensor,
    audio: Tensor,
    weights: Sequence[Tensor],
    twins: Twins,
    directions: str,
    term: Term = cross_entropy_term,
) -> Tensor:
    """Return the scalar loss of finding each row's partners, in one or both directions; by default the cross-entropy.

    `logits` makes (n, m) of images (n, D), recordings (m, D) and the loss's own `weights`. Twins and views are partners
    too (`multi_partner`) or do not count, as `twins` has them. A batch that does not fit a tile is compared tile by
    tile.
    """
    dims = DIRECTIONS[directions]
    if not is_one_tile(len(image)):
        ways = _in_tiles(logits, image, audio, weights, twins, dims, term)
    else:
        found, masks = logits(image, audio, *weights), twins.masks()
        if masks.ignored is not None:
            found = found.masked_fill(masks.ignored, -math.inf)
        ways = [_one_way(found if dim else found.T, masks.positive, term) for dim in dims]
    total = ways[0] if len(ways) == 1 else ways[0] + ways[1]
    return total / 2 if directions == "mean" else total


def _one_way(logits: Tensor, positive: Tensor | None, term: Term) -> Tensor:
    """Return the loss along the rows; positives are symmetric, so that they are those of columns too."""
    if positive is not None or term is not cross_entropy_term:
        return multi_partner(logits, positive, term)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def multi_partner(logits: Tensor, positive: Tensor | None, term: Term = cross_entropy_term) -> Tensor:
    """Return the scalar cross-entropy with several partners: each row's own column and its positives' alike.

    The mean over rows i of the mean over partners p of -log(exp l[i,p] / (exp l[i,p] + sum_n exp l[i,n])), n being
    the columns that are no partners: equation 2 of Khosla et al., "Supervised Contrastive Learning",
    arXiv 2004.11362, with the other partners left out of the denominator, where they would be each other's negatives.
    """
    partners = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    partners = partners if positive is None else partners | positive
    against = logits.masked_fill(partners, torch.finfo(logits.dtype).min).logsumexp(dim=1)  # (N)
    total, count = partner_terms(logits, partners, against, term)
    return (total / count).mean()


def partner_terms(
    logits: Tensor, partners: Tensor, against: Tensor, term: Term = cross_entropy_term
) -> tuple[Tensor, Tensor]:
    """Return, of each row of logits (N, M), the sum (N) over its partners of what each costs, and their count."""
    terms = term(logits, against[:, None])
    return terms.masked_fill(~partners, 0.0).sum(dim=1), partners.sum(dim=1)


def _in_tiles(
    logits: Callable[..., Tensor],
    image: Tensor,
    audio: Tensor,
    weights: Sequence[Tensor],
    twins: Twins,
    dims: tuple[int, ...],
    term: Term,
) -> list[Tensor]:
    """Return `multi_partner` along each of `dims`, in two passes: all negatives of a row, then each partner alone."""
    negatives = negatives_in_tiles(logits, image, audio, weights, twins, dims)

    def of_tile(image: Tensor, audio: Tensor, rows: slice, columns: slice, *shared: Tensor) -> tuple[Tensor, ...]:
        found, partners = logits(image, audio, *shared[len(dims) :]), twins.positives(rows, columns)
        assert partners is not None  # noqa: S101 - for the type checker: such tiles are left out
        out: list[Tensor] = []
        for dim, against in zip(dims, shared, strict=False):
            if dim:
                out += partner_terms(found, partners, against[rows], term)
            else:
                out += partner_terms(found.T, partners.T, against[columns], term)
        return tuple(out)

    tiles = over_tiles(of_tile, image, audio, [*negatives, *weights], diagonal=not twins.has_positives())
    sums = [
        [joined(tiles, 2 * n + part, dim, lambda parts: parts.sum(dim=0)) for part in (0, 1)]
        for n, dim in enumerate(dims)
    ]
    return [(total / count).mean() for total, count in sums]
