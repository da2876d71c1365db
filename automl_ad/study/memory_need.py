"""How much memory a search or a synthesis needs, estimated before any image is read.

The estimates count the largest arrays that are held at the same time. They are meant to be right within a factor of
two: enough to refuse, in a sentence, what the system would otherwise end without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from automl_ad.data.preprocessing import STRIDE
from automl_ad.errors import NotEnoughMemoryError
from automl_ad.evaluation.severity import STRENGTHS
from automl_ad.memory import format_bytes, free_bytes
from automl_ad.study.settings import StudySettings

_PROGRAM = 300e6
"""Bytes of libraries and buffers that are taken after the start, whatever the images are."""
_COPIES = 3
"""Copies of the good images: as read, by split, and as families draw on them."""
_PER_PIXEL = 4
"""Bytes of a colour pixel and its mask."""
_BATCH_PER_PIXEL = 8 * 60
"""Bytes a pixel of a batch of eight images in the first layers of a backbone."""
_PANEL_PER_PIXEL = 2 * 42**2 * 4 / 64
"""Bytes a pixel of the covariances of the reference panel: 42 channels on a grid of stride 8, held twice."""

Need = Callable[[int, int], float]
"""Bytes needed for so many images of so many pixels each."""


def search_need(settings: StudySettings) -> Need:
    """What reading, suites and the reference panel of a search need."""
    anomalies = len(settings.families) * len(settings.severities) * settings.per_cell
    calibrating = settings.per_cell * len(STRENGTHS)

    def need(images: int, pixels: int) -> float:
        held = _COPIES * 3 * images + _PER_PIXEL * (3 * anomalies + 2 * calibrating)
        return _PROGRAM + pixels * (held + _BATCH_PER_PIXEL + _PANEL_PER_PIXEL)

    return need


def synthesis_need(images: int, pixels: int) -> float:
    """What reading the images and drawing on one of them needs."""
    return _PROGRAM + pixels * (_COPIES * 3 * images + 30 * _PER_PIXEL)


def require_memory(need: Need, what: str) -> Callable[[int, tuple[int, int]], None]:
    """A check of how many images were found and of their working size.

    Args:
        need: Of the work.
        what: Its name, such as ``The search``.

    Returns:
        A function of the number of images and the working size (height, width), which raises `NotEnoughMemoryError`
        where less memory is free than is needed.
    """

    def check(images: int, size: tuple[int, int]) -> None:
        free, needed = free_bytes(), need(images, size[0] * size[1])
        if free is None or needed <= free:
            return
        raise NotEnoughMemoryError(
            f"{what} needs about {format_bytes(needed)} of memory for {images} images at the working size "
            f"{size[1]} x {size[0]}, but {format_bytes(free)} are free; {_remedy(need, images, size, free)}."
        )

    return check


def _remedy(need: Need, images: int, size: tuple[int, int], free: int) -> str:
    side = largest_side(need, images, math.isqrt(size[0] * size[1]), free)
    return f"--image-size {side} fits" if side is not None else "end other programs or give fewer images"


def largest_side(need: Need, images: int, side: int, free: int) -> int | None:
    """The largest multiple of 32 below a side that fits into the free memory; None if none does."""
    return next((one for one in range(side // STRIDE * STRIDE, 0, -STRIDE) if need(images, one * one) <= free), None)
