"""Sines, logarithms and map projection with additions, multiplications and divisions only.

The C library's `sin` and `log` differ in their last bit between machines; IEEE 754 fixes the four operations and the
square root. One bit can move the edge of a pixel, so the toy world uses nothing else.
"""

import math

import numpy as np

from earthtone.data.toyworld.hashing import Float32s

#: Metres around the equator in the coordinates of the Web Mercator map (EPSG:3857), which are the planet's own.
CIRCUMFERENCE_M = 40_075_016.685578488
_RADIUS_M = 6_378_137.0
_PI = 3.141592653589793
_LN2 = 0.6931471805599453

SINE_STEPS = 4096


def sine(radians: float) -> float:
    """Return the sine of an angle in [-pi, pi] (Taylor series, error below 1e-15)."""
    if radians > _PI / 2:
        radians = _PI - radians
    elif radians < -_PI / 2:
        radians = -_PI - radians
    square = radians * radians
    total = 1.0
    for k in range(12, 0, -1):
        total = 1.0 - square / ((2 * k) * (2 * k + 1)) * total
    return radians * total


def cosine_of_latitude(latitude: float) -> float:
    """Return the cosine of a latitude in degrees: the size on the ground of one metre on the map."""
    return sine(_PI / 2 - abs(latitude) * (_PI / 180))


def logarithm(value: float) -> float:
    """Return the natural logarithm of a positive number (Gregory's series of the mantissa, error below 1e-15)."""
    mantissa, exponent = math.frexp(value)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = 0.0
    for k in range(41, 0, -2):
        total = total * square + 1.0 / k
    return exponent * _LN2 + 2.0 * ratio * total


def to_world(longitude: float, latitude: float) -> tuple[float, float]:
    """Return (x, y) in map metres east and north of longitude 0, latitude 0."""
    x = longitude / 360.0 * CIRCUMFERENCE_M
    s = sine(latitude * (_PI / 180))
    return x, _RADIUS_M * 0.5 * logarithm((1.0 + s) / (1.0 - s))


def from_world(x: float, y: float) -> tuple[float, float]:
    """Return (longitude, latitude) in degrees of map metres (Newton's method on `to_world`)."""
    latitude = 0.0
    for _ in range(12):
        missing = y - to_world(0.0, latitude)[1]
        latitude += missing * cosine_of_latitude(latitude) / _RADIUS_M * (180 / _PI)
        latitude = min(89.0, max(-89.0, latitude))
    return x / CIRCUMFERENCE_M * 360.0, latitude


def _sine_table() -> Float32s:
    angles = [2.0 * _PI * k / SINE_STEPS for k in range(SINE_STEPS // 2)]
    half = [sine(angle) for angle in angles]
    return np.array(half + [-value for value in half], dtype=np.float32)


#: One turn of the sine in SINE_STEPS steps.
SINE = _sine_table()
