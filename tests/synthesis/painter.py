"""A source of anomalies that can be told from any other by one pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


class Painter:
    """Paints everything in one grey."""

    def __init__(self, grey: int) -> None:
        self.grey = grey

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, npt.NDArray[np.bool_]]:
        del rng
        return np.full_like(image, self.grey), np.ones(image.shape[:2], np.bool_)
