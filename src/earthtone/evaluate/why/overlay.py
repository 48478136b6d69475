"""Evidence drawn over what it is about: a tile, or a spectrogram with low tones below."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from earthtone.signal.image import Pixels

FOR, AGAINST = (214, 84, 30), (40, 110, 190)
"""RGB of places that speak for a match and against it."""
_STRONGEST = 0.8  # share of the colour where the evidence is largest
_HEIGHT = 160  # of a spectrogram


def with_evidence(picture: Pixels, values: NDArray[np.float64], largest: float) -> Pixels:
    """Return a picture (H, W, 3), greyed, with evidence (h, w) over it, as strong as its share of `largest`.

    The evidence's places divide the picture evenly and are joined smoothly.
    """
    height, width = picture.shape[:2]
    smooth = cv2.resize(values.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    strength = (_STRONGEST * np.clip(np.abs(smooth) / max(largest, 1e-12), 0, 1))[..., None]
    grey = 0.25 * picture + 0.75 * picture.mean(axis=2, keepdims=True)
    colour = np.where(smooth[..., None] >= 0, FOR, AGAINST)
    drawn: Pixels = np.clip(grey * (1 - strength) + colour * strength, 0, 255).astype(np.uint8)
    return drawn


def spectrogram_picture(window: NDArray[np.uint8]) -> Pixels:
    """Return a window (frames, mels) as a grey picture: time to the right, low tones below."""
    upright = np.ascontiguousarray(window.T[::-1])
    wide = (max(_HEIGHT, round(window.shape[0] * _HEIGHT / window.shape[1] / 2)), _HEIGHT)
    return np.repeat(cv2.resize(upright, wide, interpolation=cv2.INTER_NEAREST)[..., None], 3, axis=2)


def jpeg_uri(picture: Pixels, side: int | None = None) -> str:
    """Return a picture as the data URI of a JPEG, shrunk to at most `side` pixels a side."""
    longest = max(picture.shape[:2])
    if side is not None and longest > side:
        size = tuple(max(1, round(edge * side / longest)) for edge in picture.shape[1::-1])
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, content = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, "a JPEG of pixels in memory"  # noqa: S101
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode('ascii')}"
