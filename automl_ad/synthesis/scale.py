"""Sizes in pixels hold for an image of 256 pixels and grow with it."""

from __future__ import annotations

from collections.abc import Sequence

REFERENCE_SIDE = 256


def pixel_scale(shape: Sequence[int]) -> float:
    """How many pixels of an image (H, W, ...) one pixel of a 256-pixel image is, by the shorter side."""
    return min(shape[:2]) / REFERENCE_SIDE
