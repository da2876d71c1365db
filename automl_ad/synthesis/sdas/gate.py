"""The quality gate of the diffusion model, which excludes models that did not learn the product.

A model passes if its good images look normal to a training-free reference detector, and if its anomalies are easier to
detect with more strength and with higher opacity. The gate also finds what strength 1 means (see ``StrengthScale``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.sdas.local import local_anomaly
from automl_ad.synthesis.sdas.scale import StrengthScale, find_full
from automl_ad.tuned import SDAS_LARGEST_CHANGE, SDAS_MAX_DISTANCE, SDAS_PLAIN, SDAS_VISIBLE

Image = npt.NDArray[np.uint8]
STRENGTHS = (0.125, 0.25, 0.5, 1.0)
"""On a scale found by ``find_full``, values of s that it may have tried already."""
OPACITIES = (0.3, 1.0)
BASES = 8
IMAGES = BASES * (1 + len(STRENGTHS) + 2)
"""Images that a gate needs, typically: good ones, those of the strengths, and those of other values of s tried."""
MASKS = 3
"""Local anomalies drawn on each base."""
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
        distance: ``ReferenceDetector.distance`` of the model's good images.
        scale: What strengths mean.
        detectability: Image AUROC of local anomalies by strength and opacity.
        drawn: By strength, the images that they were taken from.
        fault: Why the model is rejected, as the end of a sentence; None if it passed.
    """

    distance: float
    scale: StrengthScale
    detectability: Mapping[tuple[float, float], float]
    drawn: Mapping[float, Sequence[Image]]
    fault: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """The result as JSON-able values; ``detectability`` as lists of strength, s, opacity and image AUROC."""
        table = [
            [strength, self.scale.added_variance(strength), opacity, value]
            for (strength, opacity), value in self.detectability.items()
        ]
        return {
            "distance": self.distance,
            "scale": dataclasses.asdict(self.scale),
            "detectability": table,
            "fault": self.fault,
        }


def run_gate(
    normals: Sequence[Image],
    draw: Callable[[float], Sequence[Image]],
    scale: StrengthScale | None,
    bases: Image,
    foreground: Foreground,
    reference: ReferenceDetector,
    seed: int,
) -> GateResult:
    """Evaluates a model by its images of bases outside its training set.

    Args:
        normals: Good images that the model made.
        draw: Makes an anomalous image of each of the bases with an added variance s.
        scale: What strengths mean; found if None.
        bases: uint8 [M, H, W, 3], M at most ``BASES``.
        foreground: Where the product is.
        reference: The reference detector.
        seed: Seed of the masks, which are the same for all strengths and opacities.
    """
    drawn = cache(draw)

    def is_plain(s: float) -> bool:
        table = detectability_table({s: drawn(s)}, list(bases), foreground, reference, [1.0], seed)
        return table[s, 1.0] >= SDAS_PLAIN or mean_change(bases, drawn(s), foreground) >= SDAS_LARGEST_CHANGE

    distance = reference.distance(ImageSet.from_hwc(normals))
    found = scale or StrengthScale(find_full(is_plain))
    images = {strength: drawn(found.added_variance(strength)) for strength in STRENGTHS}
    table = detectability_table(images, list(bases), foreground, reference, OPACITIES, seed)
    fault = _fault(distance, table) or (_invisibility(table) if scale is None else None)
    return GateResult(distance, found, table, images, fault)


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


def mean_change(bases: Sequence[Image] | Image, images: Sequence[Image], foreground: Foreground) -> float:
    """Mean absolute difference of images from their bases on the product, in grey levels."""
    pairs = zip(bases, images, strict=True)
    return float(
        np.mean([np.abs(base - image.astype(float))[foreground.mask_of(base)].mean() for base, image in pairs])
    )


def _fault(distance: float, table: Mapping[tuple[float, float], float]) -> str | None:
    if distance > SDAS_MAX_DISTANCE:
        return f"its good images lie {distance:.2f} times as far from the good images as 95 % of unseen good ones do"
    full = [table[strength, 1.0] for strength in STRENGTHS]
    faint, opaque = table[STRENGTHS[-1], OPACITIES[0]], full[-1]
    if not _rises(full[0], full[-1]) or min(np.diff(full)) < -AUROC_TOLERANCE:
        steps = ", ".join(f"{value:.2f}" for value in full)
        return f"its anomalies are not found more easily when they are stronger (reference image AUROC {steps})"
    if not _rises(faint, opaque):
        return f"its anomalies are found no more easily when opaque ({faint:.2f}, {opaque:.2f})"
    return None


def _invisibility(table: Mapping[tuple[float, float], float]) -> str | None:
    """Of a scale that was found: it ended at the largest change before the reference detector saw anything.

    Candidates would be ranked by anomalies that the severities cannot be calibrated for.
    """
    strongest = table[STRENGTHS[-1], 1.0]
    if strongest >= SDAS_VISIBLE:
        return None
    return (
        f"even its strongest anomalies are hardly detected (reference image AUROC {strongest:.2f}, needed: "
        f"{SDAS_VISIBLE:g})"
    )


def _rises(low: float, high: float) -> bool:
    """Whether image AUROC rises, or need not as it is high: images that start from noise differ in light already."""
    return high - low >= MIN_GAIN or min(low, high) >= SDAS_PLAIN
