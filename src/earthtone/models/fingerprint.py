"""A model's identity as one hash: what it is made of, what it sees and hears, and its present weights."""

import hashlib
import json

from torch import nn

from earthtone.models.config import model_to_dict
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import hash_weights
from earthtone.signal.config import signal_to_dict


def model_fingerprint(model: TwoTower) -> str:
    """Return a hash (32 hex digits) of config, signal and weights; the same in every process and on every device."""
    said = {"model": model_to_dict(model.config), "signal": signal_to_dict(model.signal)}
    digest = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16)
    hash_weights(digest, model)
    return digest.hexdigest()


def weights_fingerprint(module: nn.Module) -> str:
    """Return a hash (32 hex digits) of names, shapes and values of a module's weights, wherever they lie."""
    digest = hashlib.blake2b(digest_size=16)
    hash_weights(digest, module)
    return digest.hexdigest()
