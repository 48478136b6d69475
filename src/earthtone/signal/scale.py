"""Metres a pixel as one more channel of a picture: a constant plane of bytes, which goes wherever pixels go.

A byte is a sixteenth of an octave: byte = round(16 (log2(metres a pixel) + 6)), from 1.6 cm to 980 m. The model takes
(byte - 96) / 64 = log2(metres a pixel) / 4, about the range of its normalised colours; 0 is one metre.
A convolution can read from such a plane what pixels do not tell (CoordConv, Liu et al., arXiv 1807.03247); that the
ground sample distance is worth telling: Scale-MAE (Reed et al., arXiv 2212.14532), there in the encodings of positions.
"""

import math

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import SignalError

SCALE_CENTRE, SCALE_WIDTH = 96.0, 64.0
_STEPS = 16  # bytes an octave
#: Metres a pixel of an image that are believed: a millimetre to 100 km.
LEAST_GSD_M, MOST_GSD_M = 1e-3, 1e5

Pixels = NDArray[np.uint8]


def check_gsd_m(gsd_m: float | None) -> None:
    """Raise SignalError for metres a pixel that no image has; None is unknown."""
    if gsd_m is not None and not LEAST_GSD_M <= gsd_m <= MOST_GSD_M:  # also NaN
        raise SignalError(f"image_gsd_m is {gsd_m:g}; {LEAST_GSD_M:g} to {MOST_GSD_M:,g} metres a pixel expected")


def scale_byte(gsd_m: float) -> int:
    """Return the byte of so many metres a pixel, the nearest end's beyond the range. Raises SignalError."""
    if not (math.isfinite(gsd_m) and gsd_m > 0):
        raise SignalError(f"{gsd_m:g} metres a pixel; more than 0 expected")
    return min(max(round(_STEPS * math.log2(gsd_m) + SCALE_CENTRE), 0), 255)


def with_scale(pixels: Pixels, gsd_m: float) -> Pixels:
    """Return pictures (..., side, side, 4) of such (..., side, side, 3), their metres a pixel as fourth channel."""
    plane = np.full((*pixels.shape[:-1], 1), scale_byte(gsd_m), np.uint8)
    return np.concatenate([pixels, plane], axis=-1)
