"""Perlin noise and the irregular masks cut from it (as in DRAEM, ICCV 2021, and most methods after it)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks

LARGEST_EXPONENT = 5
LEVEL = 0.5
ATTEMPTS = 12


def perlin_noise(
    shape: tuple[int, int], resolution: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Classic gradient noise: unit gradients on a lattice, interpolated with the fade 6t^5 - 15t^4 + 10t^3.

    Args:
        shape: (H, W) in pixels, each divisible by the resolution of its axis.
        resolution: Lattice cells along (H, W).
        rng: Draws the angles of the gradients.

    Returns:
        float32 [H, W], scaled by sqrt(2) to lie in about -1 to 1; 0 on the lattice points.

    Raises:
        ValueError: If a side is not divisible by its resolution.
    """
    if shape[0] % resolution[0] or shape[1] % resolution[1]:
        raise ValueError(f"the sides {shape} must be divisible by the lattice {resolution}")
    angles = rng.uniform(0, 2 * np.pi, (resolution[0] + 1, resolution[1] + 1)).astype(np.float32)
    y, x = (_within_cell(side, cells) for side, cells in zip(shape, resolution, strict=True))
    rows = [_along_row(angles, x, y, corner, shape) for corner in (0, 1)]
    noise: npt.NDArray[np.float32] = np.float32(np.sqrt(2)) * _mix(rows[0], rows[1], _fade(y)[:, None])
    return noise


def perlin_mask(
    shape: tuple[int, int],
    rng: np.random.Generator,
    window: tuple[float, float] = (0.002, 0.2),
    foreground: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """An irregular mask inside the product.

    Noise on a random lattice (1 to 32 cells a side) is rotated by up to 90 degrees and thresholded at 0.5. Repeated
    until the area is inside the window; after several failures, a random ellipse is used.

    Args:
        shape: (H, W), multiples of 32.
        rng: The only source of randomness.
        window: Smallest and largest area as a share of the foreground.
        foreground: bool [H, W] with at least one True, or None for the whole image.

    Returns:
        bool [H, W], inside the foreground, never empty.
    """
    inside = np.ones(shape, np.bool_) if foreground is None else foreground
    low, high = (share * float(np.count_nonzero(inside)) for share in window)
    for _ in range(ATTEMPTS):
        mask = _one_mask(shape, rng) & inside
        if max(low, 1) <= np.count_nonzero(mask) <= high:
            return mask
    return masks.random_ellipse(inside, rng, window)


def _one_mask(shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Noise on a random lattice, rotated about the centre with zero fill, thresholded at `LEVEL`; may be empty."""
    exponents = rng.integers(0, LARGEST_EXPONENT + 1, 2)
    noise = perlin_noise(shape, (int(2 ** exponents[0]), int(2 ** exponents[1])), rng)
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, float(rng.uniform(-90, 90)), 1.0)
    turned: npt.NDArray[np.bool_] = cv2.warpAffine(noise, turn, (shape[1], shape[0])) > LEVEL
    return turned


def _within_cell(side: int, cells: int) -> npt.NDArray[np.float32]:
    """Position of every pixel inside its cell, float32 [side] in [0, 1)."""
    length = side // cells
    return np.tile(np.arange(length, dtype=np.float32) / np.float32(length), cells)


def _along_row(
    angles: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    below: int,
    shape: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Noise of every pixel from the two corners above it (``below`` 0) or below it (1), interpolated along x."""
    rows, cells = angles[below : len(angles) - 1 + below], angles.shape[1] - 1
    vertical = (y - below).reshape(len(rows), -1, 1)
    influence: list[npt.NDArray[np.float32]] = []
    for right in (0, 1):
        corner = rows[:, right : cells + right]
        cos, sin = (values.repeat(shape[1] // cells, axis=1)[:, None] for values in (np.cos(corner), np.sin(corner)))
        influence.append(np.asarray(cos * (x - right) + sin * vertical, np.float32).reshape(shape))
    return _mix(influence[0], influence[1], _fade(x)[None, :])


def _fade(t: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The quintic 6t^5 - 15t^4 + 10t^3 in Horner form."""
    return t * t * t * (t * (t * 6 - 15) + 10)


def _mix(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Linear interpolation from ``first`` (share 0) to ``second`` (share 1)."""
    return first + share * (second - first)
