"""The family ``speck``: tiny foreign bodies and pinholes, near the resolution of the camera."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import BlendedFamily, Proposal
from automl_ad.synthesis.colour import random_tint

AREA = (0.0002, 0.004)
"""Area of one speck as a share of the product."""
MOST = 3
"""Maximum number of specks per image."""
SOFTNESS = (0.3, 0.8)


class SpeckFamily(BlendedFamily):
    """One to three specks of one tone; the severity determines their contrast, not their size."""

    name = "speck"

    def propose(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        specks = [
            masks.random_blob(inside, rng, AREA, float(rng.uniform(*SOFTNESS)))
            for _ in range(rng.integers(1, MOST + 1))
        ]
        tint = np.rint(random_tint(image, rng)).astype(np.uint8)
        return Proposal(np.broadcast_to(tint, image.shape), reduce(np.maximum, specks))
