"""What the good images of a study have in common as files: sizes, proportions, depths, colour, transparency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from automl_ad.data.levels import EIGHT_BIT_WHITE
from automl_ad.data.reading import ImageInfo


class ImageFacts(BaseModel):
    """Of the good images, kept in a bundle: images of another kind get a warning at prediction.

    Attributes:
        heights: Smallest and largest height in pixels.
        widths: Smallest and largest width in pixels.
        aspects: Smallest and largest width over height.
        bit_depths: Bits a channel, each once, ascending.
        colour: Whether images are in colour: each answer once. Three equal channels are grey.
        transparent: Whether images have transparent pixels: each answer once.
    """

    model_config = ConfigDict(frozen=True)

    heights: tuple[int, int]
    widths: tuple[int, int]
    aspects: tuple[float, float]
    bit_depths: tuple[int, ...]
    colour: tuple[bool, ...]
    transparent: tuple[bool, ...]

    @classmethod
    def of(
        cls, infos: Sequence[ImageInfo], pixels: npt.NDArray[np.uint8], transparent: Sequence[bool], white_level: int
    ) -> ImageFacts:
        """The facts of a set of images.

        Args:
            infos: Header of each, at least one.
            pixels: uint8 [N, 3, H, W], RGB.
            transparent: Whether each has transparent pixels.
            white_level: Of the deep files; 255 makes them count as 8-bit ones.
        """
        heights, widths = [info.height for info in infos], [info.width for info in infos]
        aspects = [info.width / info.height for info in infos]
        coloured = [bool((image[1:] != image[0]).any()) for image in pixels]
        depths = {8 if info.bit_depth > 8 and white_level <= EIGHT_BIT_WHITE else info.bit_depth for info in infos}
        return cls(
            heights=(min(heights), max(heights)),
            widths=(min(widths), max(widths)),
            aspects=(min(aspects), max(aspects)),
            bit_depths=tuple(sorted(depths)),
            colour=tuple(sorted(set(coloured))),
            transparent=tuple(sorted(set(transparent))),
        )
