"""A local anomaly from a whole synthetic image (RealNet, CVPR 2024, section 3.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import blending

OPACITIES = (0.5, 1.0)
"""Range of the published opacity."""


def local_anomaly(
    image: npt.NDArray[np.uint8], synthetic: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], opacity: float
) -> npt.NDArray[np.uint8]:
    """Blends the synthetic image in through the mask: A = (1 - M) I + M ((1 - delta) I + delta P).

    Args:
        image: uint8 [H, W, 3], the good image I.
        synthetic: uint8 [H, W, 3], the synthetic image P.
        mask: bool [H, W], M.
        opacity: delta, in 0 to 1.

    Returns:
        uint8 [H, W, 3].
    """
    return blending.blend(image, synthetic, mask, opacity)
