"""The quality gate of the diffusion model, which excludes models that did not learn the product.

A model passes if its images without added variance look normal to a training-free reference detector, and if its
anomalies are easier to detect with more added variance and with higher opacity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.sdas.local import local_anomaly

Image = npt.NDArray[np.uint8]
STRENGTHS = (0.0, 0.2, 1.0)
OPACITIES = (0.3, 1.0)
BASES = 8
IMAGES = BASES * len(STRENGTHS)
MASKS = 3
"""Local anomalies drawn on each base."""
MAX_DISTANCE = 1.0
"""Largest allowed ``ReferenceDetector.distance`` of images at strength 0."""
AUROC_TOLERANCE = 0.03
"""Decrease in image AUROC from one strength to the next that is attributed to chance."""
MIN_GAIN = 0.05
"""Minimum gain in image AUROC from the weakest to the strongest."""


class ReferenceDetector(Protocol):
    """A detector that is not a candidate, used to evaluate synthetic images."""

    def detectability(self, images: ImageSet) -> float:
        """Image AUROC of the images against unseen good images, 0 to 1."""
        ...

    def distance(self, images: ImageSet) -> float:
        """Median nearest-neighbour distance to the normals, in units of the 95th percentile of unseen good images."""
        ...


@dataclass(frozen=True)
class GateResult:
    """The result of the gate.

    Attributes:
        distance: ``ReferenceDetector.distance`` of whole images at strength 0.
        detectability: Image AUROC of local anomalies by strength and opacity.
        fault: Why the model is rejected, as the end of a sentence; None if it passed.
    """

    distance: float
    detectability: Mapping[tuple[float, float], float]
    fault: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """The result as JSON-able values; ``detectability`` as triples of strength, opacity and image AUROC."""
        table = [[*key, value] for key, value in self.detectability.items()]
        return {"distance": self.distance, "detectability": table, "fault": self.fault}


def run_gate(
    drawn: Mapping[float, Sequence[Image]],
    bases: Image,
    foreground: Foreground,
    reference: ReferenceDetector,
    seed: int,
) -> GateResult:
    """Evaluates a model by its images of bases outside its training set.

    Args:
        drawn: For each of ``STRENGTHS``, one image of each of the first ``BASES`` bases.
        bases: uint8 [M, H, W, 3].
        foreground: Where the product is.
        reference: The reference detector.
        seed: Seed of the masks, which are the same for all strengths and opacities.
    """
    distance = reference.distance(ImageSet.from_hwc(drawn[0.0]))
    table = detectability_table(drawn, list(bases[:BASES]), foreground, reference, OPACITIES, seed)
    return GateResult(distance, table, _fault(distance, table))


def detectability_table(
    drawn: Mapping[float, Sequence[Image]],
    bases: Sequence[Image],
    foreground: Foreground,
    reference: ReferenceDetector,
    opacities: Sequence[float],
    seed: int,
) -> dict[tuple[float, float], float]:
    """Image AUROC of local anomalies by strength and opacity, with the same masks for all.

    Args:
        drawn: By strength, one image of each base.
        bases: uint8 [H, W, 3] each.
        foreground: Where the product is.
        reference: The reference detector.
        opacities: In 0 to 1.
        seed: Seed of the masks.
    """
    table = {}
    for strength, sources in drawn.items():
        for opacity in opacities:
            rng = np.random.default_rng(seed)
            images = [
                local_anomaly(base, source, perlin_mask(inside.shape, rng, foreground=inside), opacity)
                for base, source in zip(bases, sources, strict=True)
                for inside in [foreground.mask_of(base)] * MASKS
            ]
            table[strength, opacity] = reference.detectability(ImageSet.from_hwc(images))
    return table


def _fault(distance: float, table: Mapping[tuple[float, float], float]) -> str | None:
    if distance > MAX_DISTANCE:
        return f"its normal images lie {distance:.2f} times as far from the good images as 95 % of unseen good ones do"
    full = [table[strength, 1.0] for strength in STRENGTHS]
    faint, opaque = table[STRENGTHS[-1], OPACITIES[0]], full[-1]
    if full[-1] - full[0] < MIN_GAIN or min(np.diff(full)) < -AUROC_TOLERANCE:
        steps = ", ".join(f"{value:.2f}" for value in full)
        return f"its anomalies are not found more easily when they are stronger (reference image AUROC {steps})"
    if opaque - faint < MIN_GAIN:
        return f"its anomalies are found no more easily when opaque ({faint:.2f}, {opaque:.2f})"
    return None
