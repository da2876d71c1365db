"""The family ``texture``: a foreign texture blended in through an irregular mask (DRAEM, ICCV 2021)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.base import BlendedFamily, Context, Proposal
from automl_ad.synthesis.colour import augment, is_grey, without_colour
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.textures import TextureFolder, procedural_texture, shuffled_tiles

OWN_SHARE = 0.25
FOLDER_SHARE = 0.6


class TextureFamily(BlendedFamily):
    """Perlin-shaped regions of a foreign texture, or of the product's own texture from elsewhere."""

    name = "texture"

    def __init__(self, context: Context) -> None:
        """Opens the texture folder of the context, if there is one.

        Raises:
            InputError: If that folder is missing or empty.
        """
        super().__init__(context)
        self._folder = TextureFolder.open(context.texture_dir) if context.texture_dir is not None else None

    def propose(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        height, width = image.shape[:2]
        mask = perlin_mask((height, width), rng, foreground=inside)
        return Proposal(self.texture(image, rng), mask.astype(np.float32))

    def texture(self, image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """A foreign texture of the image's size, uint8 [H, W, 3]."""
        source = augment(self._source(image, rng), rng)
        # Colour on a grey product could be detected by its hue alone.
        return without_colour(source) if is_grey(image) else source

    def _source(self, image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """A texture of the image's size: shuffled tiles of the product, a user's texture or a procedural one."""
        shape = (image.shape[0], image.shape[1])
        if rng.random() < OWN_SHARE:
            return shuffled_tiles(image, rng)
        if self._folder is not None and rng.random() < FOLDER_SHARE:
            return self._folder.draw(shape, rng)
        return procedural_texture(shape, rng)
