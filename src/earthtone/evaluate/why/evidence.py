"""Which places of a tile and of a recording speak for their match."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import SignalError
from earthtone.evaluate.why.places import Places, last_places
from earthtone.models.two_tower import TwoTower
from earthtone.signal.image import Pixels
from earthtone.signal.mel import Spectrogram

_WINDOWS = 16  # whose maps are made at once


@dataclass(frozen=True)
class Evidence:
    """One side of a pair."""

    values: NDArray[np.float64]
    """An image: (rows, columns). A recording: (windows, mel bands, frames), coarser than its spectrogram."""
    exact: bool
    """True: shares of the similarity, which they add up to; some speak against the match and are negative.
    False: Grad-CAM, which has neither a unit nor a sign."""


@dataclass(frozen=True)
class PairEvidence:
    """What speaks for the match of one image with one recording."""

    similarity: float
    """Cosine; for a model of raw embeddings their dot product, the part of the distance that depends on both."""
    image: Evidence
    sound: Evidence


def pair_evidence(model: TwoTower, tile: Pixels, windows: Spectrogram, side_m: float | None = None) -> PairEvidence:
    """Return which places of a stored tile (side, side, 3) and of a recording's windows (W, frames, mels) count.

    Where an encoder's features are the mean of its last map and the projection is linear (ResNets and most other
    convolutional networks), the similarity is a sum over places and each place's share is known exactly: at place p,
    (W m_p + b) . u / (P |z|), with u the other side's vector, z this side's projection and P the number of places; for
    windows also their weight. Elsewhere it is Grad-CAM on the last map, relu(sum_k a_k A_k) with a_k the mean gradient
    of the similarity by channel k (Selvaraju et al., arXiv 1610.02391, equations 1 and 2). Both sides are taken with
    the other held fixed. `side_m` are the metres along the tile's side, for a model that is told them. Raises
    SignalError for a recording without windows, ModelError for encoders without maps.
    """
    if not len(windows):
        raise SignalError("a recording without a window; one or more expected")
    was_training = model.training
    model.eval()
    try:
        [view] = model.views([tile], [side_m])
        shown = torch.from_numpy(np.ascontiguousarray(view)[None]).to(model.device)
        image = last_places(model.image_tower.encoder, model.image_input(shown))
        sound = _sound_places(model, windows)
        with torch.no_grad():
            image_vector = _image_vector(model, image, image.maps)
            sound_vector = _sound_vector(model, sound, [each.maps for each in sound])
        return PairEvidence(
            float(image_vector @ sound_vector),
            _image_evidence(model, image, sound_vector),
            _sound_evidence(model, sound, image_vector),
        )
    finally:
        model.train(was_training)


def _sound_places(model: TwoTower, windows: Spectrogram) -> list[Places]:
    found = []
    for start in range(0, len(windows), _WINDOWS):
        chunk = torch.from_numpy(np.ascontiguousarray(windows[start : start + _WINDOWS])).to(model.device)
        found.append(last_places(model.audio_tower.encoder, model.sound_input(chunk)))
    return found


def _image_vector(model: TwoTower, places: Places, maps: Tensor) -> Tensor:
    """(dimensions,) of maps (1, C, h, w)."""
    projected: Tensor = model.image_tower.projection(places.pool(maps))[0]
    return F.normalize(projected, dim=0) if model.config.unit else projected


def _sound_vector(model: TwoTower, places: list[Places], maps: list[Tensor]) -> Tensor:
    """(dimensions,) of maps (windows, C, h, w) in parts."""
    reduced: Tensor = model.reducer(_window_vectors(model, _projected(model, places, maps))[None])[0]
    return F.normalize(reduced, dim=0) if model.config.unit else reduced


def _projected(model: TwoTower, places: list[Places], maps: list[Tensor]) -> Tensor:
    pooled = [each.pool(part) for each, part in zip(places, maps, strict=True)]
    projected: Tensor = model.audio_tower.projection(torch.cat(pooled))
    return projected


def _window_vectors(model: TwoTower, projected: Tensor) -> Tensor:
    return F.normalize(projected, dim=1) if model.config.unit else projected


def _image_evidence(model: TwoTower, places: Places, other: Tensor) -> Evidence:
    if places.is_mean and isinstance(model.image_tower.projection, nn.Linear):
        with torch.no_grad():
            shares = _shares(model.image_tower.projection, places.maps, other)
            if model.config.unit:
                shares = shares / model.image_tower.projection(places.pool(places.maps)).norm(dim=1)
        return Evidence(_numbers(shares[0]), exact=True)
    maps = places.maps.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = _image_vector(model, places, maps) @ other
    return Evidence(_grad_cam([maps], score)[0][0], exact=False)


def _sound_evidence(model: TwoTower, places: list[Places], other: Tensor) -> Evidence:
    if all(each.is_mean for each in places) and isinstance(model.audio_tower.projection, nn.Linear):
        with torch.no_grad():
            maps = torch.cat([each.maps for each in places])
            projected = _projected(model, places, [each.maps for each in places])
            vectors = _window_vectors(model, projected)
            weights = model.reducer.score(vectors[None])[0].softmax(dim=0)
            if model.config.unit:
                weights = weights / projected.norm(dim=1) / (weights @ vectors).norm()
            shares = _shares(model.audio_tower.projection, maps, other) * weights[:, None, None]
        return Evidence(_numbers(shares), exact=True)
    parts = [each.maps.detach().clone().requires_grad_() for each in places]
    with torch.enable_grad():
        score = _sound_vector(model, places, parts) @ other
    return Evidence(np.concatenate(_grad_cam(parts, score)), exact=False)


def _shares(projection: nn.Linear, maps: Tensor, other: Tensor) -> Tensor:
    """(N, h, w): each place's share in the dot product of the projection of the maps' mean with another vector."""
    weight = other @ projection.weight  # (C,)
    bias = other @ projection.bias
    return (torch.einsum("nchw,c->nhw", maps, weight) + bias) / (maps.shape[2] * maps.shape[3])


def _grad_cam(parts: list[Tensor], score: Tensor) -> list[NDArray[np.float64]]:
    """Maps (n, h, w), one a part."""
    gradients = torch.autograd.grad(score, parts)
    found = []
    for maps, gradient in zip(parts, gradients, strict=True):
        weight = gradient.mean(dim=(2, 3), keepdim=True)
        found.append(_numbers((weight * maps.detach()).sum(dim=1).relu()))
    return found


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()
