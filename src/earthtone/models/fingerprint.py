"""A model's identity as one hash: what it is made of, what it sees and hears, and its present weights."""

import hashlib
import json
from dataclasses import asdict

import torch

from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import signal_to_dict


def model_fingerprint(model: TwoTower) -> str:
    """Return a hash (32 hex digits) of config, signal and weights; the same in every process and on every device."""
    said = {"model": asdict(model.config), "signal": signal_to_dict(model.signal)}
    digest = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
