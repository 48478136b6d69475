"""Robust InfoNCE: what a positive costs when some pairs do not belong together."""

import math

import torch
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses.base import Term, cross_entropy_term

DEFAULT_LAMBDA = 0.01
_LARGEST_POWER = 40.0  # the square of exp(40), as in a gradient's length, is still a float32


def robust_term(robust_q: float, robust_lambda: float) -> Term:
    """Return what a positive costs in the robust loss, with logit l and the negatives' logits l_n.

    That is -exp(q l) / q + (lambda (exp l + sum_n exp l_n))^q / q.
    As q goes to 0 it becomes the cross-entropy plus log(lambda); at q = 1 it is (lambda - 1) exp l + lambda sum_n exp
    l_n, a symmetric loss, which is robust against noise in who is a positive. q = 0 is the cross-entropy itself.

    Source: Chuang et al., "Robust Contrastive Learning against Noisy Views", CVPR 2022, arXiv 2201.04309.
    """
    if robust_q == 0:
        return cross_entropy_term

    def term(logits: Tensor, against: Tensor) -> Tensor:
        every = torch.logaddexp(against, logits) + math.log(robust_lambda)
        # expm1: both have the same 1 taken away, which would swallow the digits of a small q
        return ((robust_q * every).expm1() - (robust_q * logits).expm1()) / robust_q

    return term


def check_robust(
    loss: str, robust_q: float, robust_lambda: float | None, temperature: float, *, learned: bool
) -> float:
    """Return lambda. Raise ConfigError for options without effect, or that would run away."""
    if robust_q == 0:
        if robust_lambda is not None:
            raise ConfigError(f"{loss}: robust_lambda has no effect without robust_q; leave it out, or set robust_q")
        return 1.0
    robust_lambda = DEFAULT_LAMBDA if robust_lambda is None else robust_lambda
    if learned:
        raise ConfigError(
            f"{loss}: with robust_q a learned temperature would fall without end, and the loss with it; "
            "set learnable_temperature to false"
        )
    if robust_q / temperature > _LARGEST_POWER:
        raise ConfigError(
            f"{loss}: robust_q / temperature is {robust_q / temperature:.0f}, above {_LARGEST_POWER:.0f} its "
            "exponential leaves float32; raise the temperature or lower robust_q"
        )
    return robust_lambda
