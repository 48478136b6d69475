"""Cross-entropy of finding the own partner: from image to sound, from sound to image, or both."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses.facts import RowFacts, fits
from earthtone.losses.tiles import joined, negatives_in_tiles, over_tiles

#: What `directions` may be: one of them, or the mean or the sum of both; each looks along rows (1) or columns (0).
DIRECTIONS = {"mean": (1, 0), "sum": (1, 0), "image_to_audio": (1,), "audio_to_image": (0,)}

#: What a positive costs, of its logit and of the log-sum-exp of the negatives' logits.
Term = Callable[[Tensor, Tensor], Tensor]


def check_directions(loss: str, directions: str) -> None:
    """Raise ConfigError for an unknown choice."""
    if directions not in DIRECTIONS:
        raise ConfigError(f"{loss}: directions is {directions!r}; one of {', '.join(DIRECTIONS)} expected")


def cross_entropy_term(logits: Tensor, against: Tensor) -> Tensor:
    """log(1 + exp(against - logit)): the cross-entropy of one positive against all negatives."""
    return torch.logaddexp(against, logits) - logits


def partner_loss(
    logits: Callable[..., Tensor],
    image: Tensor,
    audio: Tensor,
    weights: Sequence[Tensor],
    facts: RowFacts,
    directions: str,
    term: Term = cross_entropy_term,
) -> Tensor:
    """The scalar loss of finding each row's partners, in one or both directions; by default the cross-entropy.

    `logits` makes (n, m) of images (n, D), recordings (m, D) and the loss's own `weights`. Twins and views are partners
    too (`multi_partner`) or do not count, as `facts` has them. A batch that does not fit a tile is compared tile by
    tile.
    """
    dims = DIRECTIONS[directions]
    if not fits(len(image)):
        ways = _in_tiles(logits, image, audio, weights, facts, dims, term)
    else:
        found, marks = logits(image, audio, *weights), facts.marks()
        if marks.ignored is not None:
            found = found.masked_fill(marks.ignored, -math.inf)
        ways = [_one_way(found if dim else found.T, marks.positive, term) for dim in dims]
    total = ways[0] if len(ways) == 1 else ways[0] + ways[1]
    return total / 2 if directions == "mean" else total


def _one_way(logits: Tensor, positive: Tensor | None, term: Term) -> Tensor:
    """Along the rows; positives are symmetric, so that they are those of columns too."""
    if positive is not None or term is not cross_entropy_term:
        return multi_partner(logits, positive, term)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def multi_partner(logits: Tensor, positive: Tensor | None, term: Term = cross_entropy_term) -> Tensor:
    """The scalar cross-entropy with several partners: each row's own column and its positives' alike.

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
    """Of each row of logits (N, M): the sum (N) over its partners of what each costs, and their count."""
    terms = term(logits, against[:, None])
    return terms.masked_fill(~partners, 0.0).sum(dim=1), partners.sum(dim=1)


def _in_tiles(
    logits: Callable[..., Tensor],
    image: Tensor,
    audio: Tensor,
    weights: Sequence[Tensor],
    facts: RowFacts,
    dims: tuple[int, ...],
    term: Term,
) -> list[Tensor]:
    """`multi_partner` along each of `dims`, in two passes: all negatives of a row, then each partner alone."""
    negatives = negatives_in_tiles(logits, image, audio, weights, facts, dims)

    def of_tile(image: Tensor, audio: Tensor, rows: slice, columns: slice, *shared: Tensor) -> tuple[Tensor, ...]:
        found, partners = logits(image, audio, *shared[len(dims) :]), facts.positives_in(rows, columns)
        assert partners is not None  # noqa: S101 - for the type checker: such tiles are left out
        out: list[Tensor] = []
        for dim, against in zip(dims, shared, strict=False):
            if dim:
                out += partner_terms(found, partners, against[rows], term)
            else:
                out += partner_terms(found.T, partners.T, against[columns], term)
        return tuple(out)

    tiles = over_tiles(of_tile, image, audio, [*negatives, *weights], diagonal=not facts.has_positives())
    sums = [
        [joined(tiles, 2 * n + part, dim, lambda parts: parts.sum(dim=0)) for part in (0, 1)]
        for n, dim in enumerate(dims)
    ]
    return [(total / count).mean() for total, count in sums]
