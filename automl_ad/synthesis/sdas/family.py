"""The family ``sdas``: low-density samples of the diffusion model, blended in through an irregular mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from automl_ad.errors import InputError
from automl_ad.synthesis import blending
from automl_ad.synthesis.base import ATTEMPTS, AnomalyFamily, Context
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.sdas.local import OPACITIES, local_anomaly


class SdasFamily(AnomalyFamily):
    """Perlin-shaped regions of a synthetic image, sampled from the same image with added variance.

    The severity is the strength s. The opacity is drawn from the published range.
    """

    name = "sdas"

    def __init__(self, context: Context) -> None:
        """Uses the synthesiser of the context.

        Raises:
            InputError: The context has none.
        """
        super().__init__(context)
        if context.sdas is None:
            raise InputError("The family sdas needs a trained diffusion model: leave it out or let a search train one.")
        self._source = context.sdas

    def prepare(self, images: Sequence[npt.NDArray[np.uint8]], severities: Sequence[float]) -> None:
        """See ``AnomalyFamily.prepare``: on a GPU a batch takes as long as one image."""
        self._source.synthesise(images, severities)

    def attempt(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """See ``AnomalyFamily.attempt``."""
        synthetic = self._source.synthesise([image], [severity])[0]
        for _ in range(ATTEMPTS):
            mask = perlin_mask((image.shape[0], image.shape[1]), rng, foreground=inside)
            blended = local_anomaly(image, synthetic, mask, float(rng.uniform(*OPACITIES)))
            changed = blending.changed_mask(image, blended, mask.astype(np.float32))
            if changed.any():
                return np.where(changed[..., None], blended, image), changed
        return None
