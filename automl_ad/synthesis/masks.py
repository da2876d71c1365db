"""Random shapes inside a product."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.regions import around

_LONGEST = 1.0 + sum(0.35 / order for order in range(2, 6))
"""Upper bound of the radius of a blob's outline, in units of its semi-axes."""


def random_point(inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """A (row, column) drawn uniformly among the True pixels of a bool [H, W] array that has at least one."""
    before = np.cumsum(np.count_nonzero(inside, axis=1))
    place = int(rng.integers(before[-1]))
    row = int(np.searchsorted(before, place, side="right"))
    column = np.flatnonzero(inside[row])[place - (before[row - 1] if row else 0)]
    return row, int(column)


def log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """A number in [low, high], 0 < low <= high, whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_radii(
    inside: npt.NDArray[np.bool_], rng: np.random.Generator, window: tuple[float, float]
) -> tuple[float, float]:
    """Semi-axes in pixels of an ellipse whose area is a log-uniform share, within the window, of the product."""
    area = log_uniform(*window, rng) * float(np.count_nonzero(inside))
    aspect = log_uniform(0.4, 2.5, rng)
    radius = np.sqrt(area / np.pi)
    return max(1.0, float(radius * np.sqrt(aspect))), max(1.0, float(radius / np.sqrt(aspect)))


def random_ellipse(
    inside: npt.NDArray[np.bool_], rng: np.random.Generator, window: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """A filled ellipse around a point of the product, clipped to the product: never empty.

    Args:
        inside: bool [H, W] with at least one True.
        rng: Draws position, size, aspect and angle.
        window: Smallest and largest area as a share of the product, before clipping.

    Returns:
        bool [H, W].
    """
    row, column = random_point(inside, rng)
    a, b = random_radii(inside, rng, window)
    canvas = np.zeros(inside.shape, np.uint8)
    cv2.ellipse(canvas, ((column, row), (2 * a, 2 * b), float(rng.uniform(0, 180))), 1, -1)
    canvas[row, column] = 1
    cut: npt.NDArray[np.bool_] = canvas.astype(bool) & inside
    return cut


def random_blob(
    inside: npt.NDArray[np.bool_], rng: np.random.Generator, window: tuple[float, float], softness: float
) -> npt.NDArray[np.float32]:
    """An irregular, soft-edged spot inside the product, similar to a drop or a stain.

    Args:
        inside: bool [H, W] with at least one True.
        rng: Draws position, size and outline.
        window: Smallest and largest area as a share of the product.
        softness: In (0, 1]: share of the radius over which the edge fades out.

    Returns:
        float32 [H, W] in 0 to 1, 0 outside the product.
    """
    centre = random_point(inside, rng)
    return blob_at(centre, inside, random_radii(inside, rng, window), softness, rng)


def blob_at(
    centre: tuple[int, int],
    inside: npt.NDArray[np.bool_],
    radii: tuple[float, float],
    softness: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """As `random_blob`, around a given (row, column) and with given semi-axes in pixels."""
    (row, column), (a, b) = centre, radii
    angle = rng.uniform(0, np.pi)
    weight = np.zeros(inside.shape, np.float32)
    region = around(centre, _LONGEST * max(a, b) + 1, inside.shape)  # the weight is 0 beyond
    y = np.arange(inside.shape[0], dtype=np.float32)[region[0], None] - row
    x = np.arange(inside.shape[1], dtype=np.float32)[None, region[1]] - column
    u = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) / np.float32(a)
    v = (y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))) / np.float32(b)
    distance = np.hypot(u, v) / _wavy_outline(np.arctan2(v, u), rng)
    ramp = np.clip((1 - distance) / softness, 0, 1)
    weight[region] = ramp * ramp * (3 - 2 * ramp) * inside[region]
    return weight


def _wavy_outline(theta: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Radius 1 plus a few random harmonics of the angle, float32, always above 0.3."""
    radius = np.ones_like(theta)
    for order in range(2, 6):
        radius += np.float32(rng.uniform(0, 0.35) / order) * np.cos(order * theta + np.float32(rng.uniform(0, 6.28)))
    return radius
