"""Cross-entropy of finding the own partner: from image to sound, from sound to image, or both."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from earthtone.errors import ConfigError

#: What `directions` may be: one of them, or the mean or the sum of both.
DIRECTIONS = ("mean", "sum", "image_to_audio", "audio_to_image")


def check_directions(loss: str, directions: str) -> None:
    """Raise ConfigError for an unknown choice."""
    if directions not in DIRECTIONS:
        raise ConfigError(f"{loss}: directions is {directions!r}; one of {', '.join(DIRECTIONS)} expected")


def partner_cross_entropy(logits: Tensor, twins: Tensor | None, directions: str, use: str = "mask") -> Tensor:
    """The scalar cross-entropy of the diagonal of logits (N images, N recordings), in one or both directions.

    `twins` bool (N, N), symmetric, False on the diagonal: with `use` mask these entries do not count, with positive
    they are partners too (`multi_partner`).
    """
    if twins is not None and use == "mask":
        logits = logits.masked_fill(twins, -math.inf)
    if directions == "image_to_audio":
        return _one_way(logits, twins, use)
    if directions == "audio_to_image":
        return _one_way(logits.T, twins, use)
    total = _one_way(logits, twins, use) + _one_way(logits.T, twins, use)
    return total / 2 if directions == "mean" else total


def _one_way(logits: Tensor, twins: Tensor | None, use: str) -> Tensor:
    if twins is not None and use == "positive":
        return multi_partner(logits, twins)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def multi_partner(logits: Tensor, twins: Tensor) -> Tensor:
    """The scalar cross-entropy with several partners: each row's own column and its twins' alike.

    The mean over rows i of the mean over partners p of -log(exp l[i,p] / (exp l[i,p] + sum_n exp l[i,n])), n being
    the columns that are no partners: equation 2 of Khosla et al., "Supervised Contrastive Learning", arXiv 2004.11362,
    with the other partners left out of the denominator, where they would be each other's negatives.
    """
    partners = twins | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    against = logits.masked_fill(partners, torch.finfo(logits.dtype).min).logsumexp(dim=1)  # (N)
    total, count = partner_terms(logits, partners, against)
    return (total / count).mean()


def partner_terms(logits: Tensor, partners: Tensor, against: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of logits (N, M): the sum (N) over its partners of log(1 + exp(against - logit)), and their count."""
    terms = torch.logaddexp(against[:, None], logits) - logits
    return terms.masked_fill(~partners, 0.0).sum(dim=1), partners.sum(dim=1)
