"""Seamless cloning: transfers the gradients of one image to another (Perez et al., SIGGRAPH 2003)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

Real = npt.NDArray[np.float32]


def seamless_clone(source: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], mixed: bool) -> npt.NDArray[np.uint8]:
    """The image with the target's outermost pixels and, inside, gradients closest to the source's.

    The domain is the whole rectangle, so a sine transform solves Poisson's equation exactly and fast. OpenCV's
    ``seamlessClone`` is no substitute: it erodes the region by three pixels first, which leaves little of a patch of
    nine, truncates instead of rounding, and mixes gradients channel by channel, by the difference of the horizontal
    and the vertical one. On patches of 9 to 41 pixels it is off by up to 15 to 26 grey levels.

    Args:
        source: uint8 [H, W, 3], H and W at least 3.
        target: uint8 [H, W, 3].
        mixed: Uses the stronger of both gradients at every pixel instead of the source's, which preserves structure of
            the target and suits textures.

    Returns:
        uint8 [H, W, 3].
    """
    wanted, ground = source.astype(np.float32), target.astype(np.float32)
    down, right = np.diff(wanted, axis=0), np.diff(wanted, axis=1)
    if mixed:
        down, right = _stronger(down, np.diff(ground, axis=0)), _stronger(right, np.diff(ground, axis=1))
    divergence = np.diff(down, axis=0)[:, 1:-1] + np.diff(right, axis=1)[1:-1]
    cloned = ground.copy()
    cloned[1:-1, 1:-1] = _solve(divergence, ground)
    rounded: npt.NDArray[np.uint8] = np.clip(np.rint(cloned), 0, 255).astype(np.uint8)
    return rounded


def _stronger(first: Real, second: Real) -> Real:
    """Per pixel the gradient, of all channels together, with the larger absolute sum."""
    stronger = np.abs(first).sum(axis=2, keepdims=True) > np.abs(second).sum(axis=2, keepdims=True)
    return np.where(stronger, first, second)


def _solve(divergence: Real, frame: Real) -> Real:
    """Interior u of ``frame`` with laplacian(u) = divergence and the outermost pixels of ``frame`` as border."""
    right_side = divergence.copy()
    right_side[0] -= frame[0, 1:-1]
    right_side[-1] -= frame[-1, 1:-1]
    right_side[:, 0] -= frame[1:-1, 0]
    right_side[:, -1] -= frame[1:-1, -1]
    h, w = right_side.shape[:2]
    eigenvalues = _second_difference(h)[:, None, None] + _second_difference(w)[None, :, None]
    spectrum = fft.dstn(right_side, type=1, axes=(0, 1)) / eigenvalues
    solution: Real = fft.idstn(spectrum, type=1, axes=(0, 1)).astype(np.float32)
    return solution


def _second_difference(length: int) -> Real:
    """Eigenvalues of the second difference with zero ends, for the sine transform of that length."""
    return (2 * np.cos(np.pi * np.arange(1, length + 1) / (length + 1)) - 2).astype(np.float32)
