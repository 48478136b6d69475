"""The picture of a piece of ground: materials and heights are painted, then lit, coloured and photographed."""

import numpy as np
import numpy.typing as npt

from earthtone.data.toyworld.exact import CIRCUMFERENCE_M, SINE, SINE_STEPS
from earthtone.data.toyworld.ground import Ground
from earthtone.data.toyworld.hashing import Float32s, Stream
from earthtone.data.toyworld.materials import MATERIALS, palette
from earthtone.data.toyworld.paint_built import paint_airfield, paint_city, paint_lines, paint_village
from earthtone.data.toyworld.paint_natural import Canvas, new_canvas, paint_farmland, paint_nature

#: Pixels painted around the tile, whose shadows may fall into it.
PAD = 8

Image = npt.NDArray[np.uint8]


def render(seed: int, ground: Ground, step_m: float, look: Stream) -> Image:
    """Return the RGB picture, (n - 2 PAD, n - 2 PAD, 3), of (n, n) positions that are `step_m` apart."""
    canvas = new_canvas(seed, ground, season=look.below(8))
    paint_nature(canvas)
    paint_farmland(canvas)
    paint_village(canvas)
    paint_city(canvas)
    paint_lines(canvas)
    paint_airfield(canvas)
    inner = slice(PAD, -PAD)
    light = _light(canvas, step_m, look)[inner, inner]
    # From the equator (0) to the poles (1), with some noise of the place.
    far_north = abs(float(ground.y.ravel()[0])) / (CIRCUMFERENCE_M / 4)
    first, second = palette(look, cold=min(0.5, max(0.0, far_north - 0.35)))
    material = canvas.material[inner, inner]
    mixture = np.clip(canvas.mixture[inner, inner], 0, 1)
    rgb = np.empty((*material.shape, 3), dtype=np.float32)
    for band in range(3):
        start = first[:, band][material]
        rgb[..., band] = (start + (second[:, band] - first[:, band])[material] * mixture) * light
    return _photograph(rgb, look)


def _light(canvas: Canvas, step_m: float, look: Stream) -> Float32s:
    """Return the brightness of each position: roughness, slopes towards the sun, and shadows."""
    rough = np.array([material.rough for material in MATERIALS], dtype=np.float32)[canvas.material]
    light = 1 + rough * canvas.fine + canvas.relief
    turn = look.below(SINE_STEPS)
    east, north = float(SINE[turn]), float(SINE[(turn + SINE_STEPS // 4) % SINE_STEPS])
    drop = np.float32(look.uniform(0.7, 1.8) * step_m)
    height = canvas.height
    towards = _moved(height, east, north, 1)
    light += np.clip((height - towards) * np.float32(0.035), -0.25, 0.25)
    shadow = np.zeros(height.shape, dtype=np.bool_)
    highest = float(height.max())
    for steps in range(1, PAD + 1):
        if steps * drop >= highest:
            break
        shadow |= _moved(height, east, north, steps) - drop * np.float32(steps) > height
    light[shadow] *= np.float32(look.uniform(0.42, 0.62))
    return light


def _moved(height: Float32s, east: float, north: float, steps: int) -> Float32s:
    """Return the heights `steps` pixels towards the sun, repeated at the borders (within the pad)."""
    right, up = round(east * steps), round(north * steps)
    rows = np.clip(np.arange(height.shape[0]) - up, 0, height.shape[0] - 1)
    columns = np.clip(np.arange(height.shape[1]) + right, 0, height.shape[1] - 1)
    return height[rows][:, columns]


def _photograph(rgb: Float32s, look: Stream) -> Image:
    """Apply the air and the camera: haze, white balance, exposure, contrast, blur and sensor noise; in place."""
    haze = np.float32(look.uniform(0, 1) * look.uniform(0, 0.45))
    haze_colour = np.array([look.uniform(165, 205), look.uniform(175, 210), look.uniform(185, 225)], dtype=np.float32)
    balance = np.array([look.uniform(0.92, 1.1), look.uniform(0.95, 1.05), look.uniform(0.88, 1.1)], dtype=np.float32)
    exposure, contrast = np.float32(look.uniform(0.72, 1.32)), np.float32(look.uniform(0.75, 1.25))
    # (rgb (1 - haze) + haze colour haze - 110) contrast + 110, times exposure and balance, as one gain and offset
    gain = (1 - haze) * contrast * exposure * balance
    offset = ((haze_colour * haze - 110) * contrast + 110) * exposure * balance
    rgb *= gain
    rgb += offset
    if look.chance(0.5):
        rgb[1:-1] = rgb[1:-1] * np.float32(0.5) + (rgb[:-2] + rgb[2:]) * np.float32(0.25)
        rgb[:, 1:-1] = rgb[:, 1:-1] * np.float32(0.5) + (rgb[:, :-2] + rgb[:, 2:]) * np.float32(0.25)
    grain = look.white(rgb.size).reshape(rgb.shape)
    grain *= np.float32(look.uniform(2, 14))
    rgb += grain
    np.clip(rgb, 0, 255, out=rgb)
    return rgb.astype(np.uint8)
