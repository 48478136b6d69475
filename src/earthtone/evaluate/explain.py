"""Why a model says what it says: what in a pair speaks for its match.

`pair_evidence` gives the places of a tile and of a recording that make their similarity, `why_pairs` draws them.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.encode.engine import check_signal, stored_tiles, stored_windows, tile_sides_m
from earthtone.errors import DataError, ModelError, SignalError
from earthtone.files import write_text_atomic
from earthtone.models.batches import in_evaluation
from earthtone.models.storage import model_name, opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import WhyOptions
from earthtone.pages import render_page
from earthtone.progress import progress
from earthtone.signal.image import Pixels, seen
from earthtone.signal.spectrogram import Spectrogram
from earthtone.value_types import takes


@dataclass(frozen=True)
class FeatureMaps:
    """The last feature maps of a batch: what an encoder says of each place, and how its features come from that."""

    maps: Tensor
    """(N, C, h, w)."""
    pool: Callable[[Tensor], Tensor]
    """Such maps to the encoder's features (N, F)."""
    is_mean: bool
    """Whether `pool` is the plain mean over places, so that each place's share in the features is known exactly."""


@torch.no_grad()
def last_maps(encoder: nn.Module, inputs: Tensor) -> FeatureMaps:
    """Return the last map of an encoder in evaluation mode for inputs (N, channels, height, width).

    Convolutional networks: what their pooling sees. Vision transformers: the tokens before the last block, since behind
    it a class token no longer looks at the others. That the features follow from the map is checked on the inputs
    themselves. Raises ModelError for an encoder of another build.
    """
    features: Tensor = encoder(inputs)
    try:
        final: Tensor = cast(Any, encoder).forward_intermediates(inputs)[0]
        found = _of_map(encoder, final, features) if final.ndim == 4 else _of_tokens(encoder, inputs)
        fits = _same(found.pool(found.maps), features)
    except (AttributeError, TypeError, RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(
            f"{type(encoder).__name__} has no map of places that its features follow from ({error})"
        ) from error
    if not fits:
        raise ModelError(
            f"the features of {type(encoder).__name__} do not follow from its last map; no map can be drawn"
        )
    return found


def _of_map(encoder: nn.Module, final: Tensor, features: Tensor) -> FeatureMaps:
    width = features.shape[1]
    channels_last = final.shape[1] != width and final.shape[-1] == width
    maps = final.permute(0, 3, 1, 2) if channels_last else final
    if maps.shape[1] == width and _same(maps.mean(dim=(2, 3)), features):
        return FeatureMaps(maps, lambda given: given.mean(dim=(2, 3)), is_mean=True)
    head = cast(Any, encoder).forward_head
    return FeatureMaps(maps, lambda m: head(m.permute(0, 2, 3, 1) if channels_last else m), is_mean=False)


def _of_tokens(encoder: Any, inputs: Tensor) -> FeatureMaps:
    seen: list[Tensor] = []
    last = encoder.blocks[-1]
    hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        encoder(inputs)
    finally:
        hook.remove()
    height, width = encoder.patch_embed.patch_size
    count = ceil(inputs.shape[2] / height), ceil(inputs.shape[3] / width)
    prefix = seen[0].shape[1] - count[0] * count[1]
    if prefix < 0:
        raise ValueError(f"{seen[0].shape[1]} tokens for {count[0]} x {count[1]} patches")
    before, patches = seen[0][:, :prefix], seen[0][:, prefix:]
    maps = patches.transpose(1, 2).reshape(len(patches), -1, *count)  # (N, C, h, w)

    def pool(given: Tensor) -> Tensor:
        tokens = torch.cat([before, given.flatten(2).transpose(1, 2)], dim=1)
        pooled: Tensor = encoder.forward_head(encoder.norm(last(tokens)))
        return pooled

    return FeatureMaps(maps, pool, is_mean=False)


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max().clamp_min(1e-6))


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
    with in_evaluation(model):
        [view] = model.views([tile], [side_m])
        shown = torch.from_numpy(np.ascontiguousarray(view)[None]).to(model.device)
        image = last_maps(model.image_tower.encoder, model.image_input(shown))
        chunks = torch.split(torch.from_numpy(np.ascontiguousarray(windows)), _WINDOWS)
        sound = [last_maps(model.audio_tower.encoder, model.sound_input(part.to(model.device))) for part in chunks]
        with torch.no_grad():
            image_vector = _image_vector(model, image, image.maps)
            sound_vector = _sound_vector(model, sound, [each.maps for each in sound])
        return PairEvidence(
            float(image_vector @ sound_vector),
            _image_evidence(model, image, sound_vector),
            _sound_evidence(model, sound, image_vector),
        )


def _unit(model: TwoTower, vectors: Tensor) -> Tensor:
    """Return vectors (..., dimensions) at length 1, as they are where the model compares raw embeddings."""
    return F.normalize(vectors, dim=-1) if model.config.unit else vectors


def _image_vector(model: TwoTower, places: FeatureMaps, maps: Tensor) -> Tensor:
    """Return the embedding (dimensions,) of maps (1, C, h, w)."""
    return _unit(model, model.image_tower.projection(places.pool(maps))[0])


def _sound_vector(model: TwoTower, places: list[FeatureMaps], maps: list[Tensor]) -> Tensor:
    """Return the embedding (dimensions,) of maps (windows, C, h, w) in parts."""
    return _unit(model, model.reducer(_unit(model, _projected(model, places, maps))[None])[0])


def _projected(model: TwoTower, places: list[FeatureMaps], maps: list[Tensor]) -> Tensor:
    pooled = [each.pool(part) for each, part in zip(places, maps, strict=True)]
    projected: Tensor = model.audio_tower.projection(torch.cat(pooled))
    return projected


def _image_evidence(model: TwoTower, places: FeatureMaps, other: Tensor) -> Evidence:
    if places.is_mean and isinstance(model.image_tower.projection, nn.Linear):
        with torch.no_grad():
            shares = _shares(model.image_tower.projection, places.maps, other)
            if model.config.unit:
                shares = shares / model.image_tower.projection(places.pool(places.maps)).norm(dim=1)
        return Evidence(shares[0].double().cpu().numpy(), exact=True)
    maps = places.maps.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = _image_vector(model, places, maps) @ other
    return Evidence(_grad_cam([maps], score)[0], exact=False)


def _sound_evidence(model: TwoTower, places: list[FeatureMaps], other: Tensor) -> Evidence:
    if all(each.is_mean for each in places) and isinstance(model.audio_tower.projection, nn.Linear):
        with torch.no_grad():
            maps = torch.cat([each.maps for each in places])
            projected = _projected(model, places, [each.maps for each in places])
            vectors = _unit(model, projected)
            weights = model.reducer.score(vectors[None])[0].softmax(dim=0)
            if model.config.unit:
                weights = weights / projected.norm(dim=1) / (weights @ vectors).norm()
            shares = _shares(model.audio_tower.projection, maps, other) * weights[:, None, None]
        return Evidence(shares.double().cpu().numpy(), exact=True)
    parts = [each.maps.detach().clone().requires_grad_() for each in places]
    with torch.enable_grad():
        score = _sound_vector(model, places, parts) @ other
    return Evidence(_grad_cam(parts, score), exact=False)


def _shares(projection: nn.Linear, maps: Tensor, other: Tensor) -> Tensor:
    """Return (N, h, w): each place's share in the dot product of the projection of the maps' mean with a vector."""
    weight = other @ projection.weight  # (C,)
    bias = other @ projection.bias
    return (torch.einsum("nchw,c->nhw", maps, weight) + bias) / (maps.shape[2] * maps.shape[3])


def _grad_cam(parts: list[Tensor], score: Tensor) -> NDArray[np.float64]:
    """Return the Grad-CAM (n, h, w) of all parts, maps (n, C, h, w)."""
    found = []
    for maps, gradient in zip(parts, torch.autograd.grad(score, parts), strict=True):
        weight = gradient.mean(dim=(2, 3), keepdim=True)
        found.append((weight * maps.detach()).sum(dim=1).relu())
    return torch.cat(found).double().cpu().numpy()


FOR, AGAINST = (214, 84, 30), (40, 110, 190)
"""RGB of places that speak for a match and against it."""
_STRONGEST = 0.8  # share of the colour where the evidence is largest
_OVERLAY_HEIGHT = 160  # of a spectrogram


def with_evidence(picture: Pixels, values: NDArray[np.float64], largest: float | None = None) -> Pixels:
    """Return a picture (H, W, 3), greyed, with evidence (h, w) over it, as strong as its share of `largest`.

    Without that of its own largest. The evidence's places divide the picture evenly and are joined smoothly.
    """
    height, width = picture.shape[:2]
    largest = float(np.abs(values).max()) if largest is None else largest
    smooth = cv2.resize(values.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    strength = (_STRONGEST * np.clip(np.abs(smooth) / max(largest, 1e-12), 0, 1))[..., None]
    grey = 0.25 * picture + 0.75 * picture.mean(axis=2, keepdims=True)
    colour = np.where(smooth[..., None] >= 0, FOR, AGAINST)
    drawn: Pixels = np.clip(grey * (1 - strength) + colour * strength, 0, 255).astype(np.uint8)
    return drawn


def spectrogram_picture(window: NDArray[np.uint8]) -> Pixels:
    """Return a window (frames, mels) as a grey picture: time to the right, low tones below."""
    upright = np.ascontiguousarray(window.T[::-1])
    wide = (max(_OVERLAY_HEIGHT, round(window.shape[0] * _OVERLAY_HEIGHT / window.shape[1] / 2)), _OVERLAY_HEIGHT)
    return np.repeat(cv2.resize(upright, wide, interpolation=cv2.INTER_NEAREST)[..., None], 3, axis=2)


def jpeg_uri(picture: Pixels, side: int | None = None) -> str:
    """Return a picture as the data URI of a JPEG, shrunk to at most `side` pixels a side."""
    longest = max(picture.shape[:2])
    if side is not None and longest > side:
        size = tuple(max(1, round(edge * side / longest)) for edge in picture.shape[1::-1])
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, content = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, "a JPEG of pixels in memory"  # noqa: S101
    return data_uri(content.tobytes(), "image/jpeg")


_SHOWN_WINDOWS = 4
_SIDE = 320  # of a drawn tile


def data_uri(content: bytes | None, kind: str) -> str:
    """Return bytes as a data URI of a media type such as `audio/ogg`; empty where there are none."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}" if content else ""


def caption(table: Table, record: Mapping[str, Any]) -> str:
    """Return what a row's free columns say."""
    return ", ".join(f"{name}: {record[name]}" for name in table.extra_columns if record[name])[:160]


@takes(WhyOptions)
def why_pairs(options: WhyOptions) -> Path:
    """Write the page of some pairs of a split to `out` and return its path.

    The pairs are drawn with `seed`, not picked: what is seen is not the best. `data` is a packed table of the model's
    signal, or what one can be packed from. Raises ConfigError, DataError, ModelError.
    """
    model, out, split = opened_model(options.model, device=options.device), Path(options.out), options.split
    with open_table(options.data, model.signal, columns=options.columns) as table:
        check_signal(model, table)
        known = table.rows_of(split)
        if not len(known):
            raise DataError(f"{options.data}: no pairs in split {split!r}; --split train, val, test or all")
        drawn = np.sort(np.random.default_rng(options.seed).permutation(known)[: options.rows])
        pairs = [_pair(model, table, row) for row in progress(drawn, total=len(drawn), label="why", unit="pair")]
        facts = {
            "Model": model_name(options.model),
            "Pairs": f"{len(drawn)} of {len(known):,} ({split}), drawn with seed {options.seed}",
            "Data": table.name,
            "Encoders": f"{model.config.image_encoder}, {model.config.audio_encoder}",
        }
    page = render_page(
        "pairs.html.j2", title="Which part of the tile matches this recording", notes=[], facts=facts, pairs=pairs,
        measure="cosine similarity" if model.config.unit else "dot product of the raw embeddings",
        exact=_kinds(pairs, "exact"),
        cam=_kinds(pairs, "cam"),
    )  # fmt: skip
    write_text_atomic(out, page)
    return out


def _pair(model: TwoTower, table: Table, row: np.int64) -> dict[str, Any]:
    at: NDArray[np.int64] = np.array([row])
    [tile], [windows] = stored_tiles(table, at), stored_windows(table, at)
    sides_m = tile_sides_m(model, table, at)
    found = pair_evidence(model, tile, windows, None if sides_m is None else sides_m[0])
    [record] = table.records([int(row)], ["id", "audio_preview", *table.extra_columns])
    sides, shares = {"tile": found.image, "recording": found.sound}, found.image.values
    view = seen(tile, model.signal.image)
    large = np.asarray(cv2.resize(view, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    return {
        "id": record["id"],
        "caption": caption(table, record),
        "similarity": f"{found.similarity:.3f}",
        "exact": [kind for kind, evidence in sides.items() if evidence.exact],
        "cam": [kind for kind, evidence in sides.items() if not evidence.exact],
        "sound": data_uri(record["audio_preview"], "audio/ogg"),
        "tile": {"plain": jpeg_uri(large), "drawn": jpeg_uri(with_evidence(large, found.image.values))},
        "shares": f"{shares.clip(min=0).sum():+.3f} for, {shares.clip(max=0).sum():+.3f} against"
        if found.image.exact
        else "",
        "windows": _windows(windows, found.sound),
        "left_out": max(0, len(windows) - _SHOWN_WINDOWS),
    }


def _windows(windows: Spectrogram, evidence: Evidence) -> list[dict[str, str]]:
    """Return the windows that weigh most, in their order; colours are on one scale over all of them."""
    weight = np.abs(evidence.values).sum(axis=(1, 2))
    shown: Sequence[int] = sorted(np.argsort(-weight, kind="stable")[:_SHOWN_WINDOWS].tolist())
    largest = float(np.abs(evidence.values).max())
    found = []
    for number in shown:
        plain = spectrogram_picture(windows[number])
        drawn = with_evidence(plain, evidence.values[number][::-1], largest)  # low mel bands come first, and lie below
        share = f"share {evidence.values[number].sum():+.3f}" if evidence.exact else ""
        found.append({"number": str(number + 1), "plain": jpeg_uri(plain), "drawn": jpeg_uri(drawn), "share": share})
    return found


def _kinds(pairs: Sequence[Mapping[str, Any]], how: str) -> list[str]:
    """Return which sides are drawn in that way in any pair, the tile first."""
    return [side for side in ("tile", "recording") if any(side in pair[how] for pair in pairs)]
