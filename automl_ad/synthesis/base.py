"""Interface and base classes of the families of synthetic anomalies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from automl_ad.errors import InputError
from automl_ad.synthesis import blending, masks
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.regions import region_of

ATTEMPTS = 5
MIN_CLOSENESS = 0.8
REFERENCE_SIDE = 256
"""Side in pixels of the images that pixel sizes are given for."""
_MOST_KEPT = 256 * 2**20
"""Bytes of facts about normals that a context keeps."""


class ImageSynthesiser(Protocol):
    """Generates synthetic images from good ones (see ``automl_ad.synthesis.sdas``)."""

    def synthesise(
        self, images: Sequence[npt.NDArray[np.uint8]], strengths: Sequence[float]
    ) -> list[npt.NDArray[np.uint8]]:
        """One synthetic image, uint8 [H, W, 3], for each image and strength."""
        ...


@dataclass(frozen=True)
class Context:
    """Inputs shared by all families.

    Attributes:
        normals: uint8 [N, H, W, 3] with N >= 1, RGB: other good images, from which patches are taken.
        foreground: Segments the product.
        texture_dir: Folder of the user's own texture images, or None for procedural textures.
        sdas: Synthesiser for the family ``sdas``; None if there is none.
    """

    normals: npt.NDArray[np.uint8]
    foreground: Foreground = field(default_factory=Foreground)
    texture_dir: Path | None = None
    sdas: ImageSynthesiser | None = None
    _kept: dict[tuple[str, int], npt.NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.normals.ndim != 4 or self.normals.shape[3] != 3 or self.normals.dtype != np.uint8:
            raise ValueError(f"normals must be uint8 [N, H, W, 3] but are {self.normals.dtype} {self.normals.shape}")
        if len(self.normals) == 0:
            raise InputError("No good image is left to draw synthetic anomalies from: add more good images.")

    def product_of(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Where the product is on an image, bool [H, W], never empty; found once for each of the normals."""
        return self._once("product", image, self.foreground.mask_of)

    def variation_of(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The local variation of an image, float32 [H, W]; computed once for each of the normals."""
        return self._once("variation", image, blending.local_variation)

    def _once(
        self, name: str, image: npt.NDArray[np.uint8], compute: Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """A fact about an image; kept for the normals, many anomalies of which are drawn, while there is room."""
        number = self._number(image)
        if number is None:
            return compute(image)
        found = self._kept.get((name, number))
        if found is None:
            found = compute(image)
            if sum(array.nbytes for array in self._kept.values()) + found.nbytes <= _MOST_KEPT:
                self._kept[name, number] = found
        return found

    def _number(self, image: npt.NDArray[np.uint8]) -> int | None:
        """Which of the normals a view of their array shows; None for any other image."""
        normals = self.normals
        if not (normals.flags.c_contiguous and image.flags.c_contiguous and image.shape == normals.shape[1:]):
            return None
        number, rest = divmod(image.ctypes.data - normals.ctypes.data, image.nbytes)
        return None if rest or not 0 <= number < len(normals) else number


@dataclass(frozen=True)
class Proposal:
    """A defect at full strength, before the severity determines its opacity.

    Attributes:
        source: uint8 [H, W, 3], the pixels of the defect at weight 1.
        weight: float32 [H, W] in 0 to 1, the shape of the defect with soft edges.
    """

    source: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.float32]


class AnomalyFamily(ABC):
    """One way to synthesise anomalies."""

    name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context

    def prepare(self, images: Sequence[npt.NDArray[np.uint8]], severities: Sequence[float]) -> None:  # noqa: B027
        """Announces upcoming draws, for families that are faster in batches.

        Args:
            images: uint8 [H, W, 3] each.
            severities: Severity for each image.
        """

    def draw(
        self, image: npt.NDArray[np.uint8], severity: float, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Draws an anomalous version of a good image.

        Args:
            image: uint8 [H, W, 3], RGB, sides multiples of 32; not modified.
            severity: In (0, 1]: 1 is easy to see, values near 0 are hard.
            rng: The only source of randomness.

        Returns:
            The uint8 [H, W, 3] image and a bool [H, W] mask, True where it was changed. The mask is never empty and
            all pixels outside it equal the input.

        Raises:
            InputError: If the severity is out of range.
            ValueError: If the image has another shape than the normals of the context.
        """
        drawn = self.try_draw(image, severity, rng)
        if drawn is not None:
            return drawn
        spot = _fallback_spot(image, self.context.product_of(image), rng)
        return _finish(image, spot, self.context.variation_of(image), severity)

    def try_draw(
        self, image: npt.NDArray[np.uint8], severity: float, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """As ``draw``, but returns None if no anomaly could be drawn; ``draw`` then uses a simple spot."""
        if not 0 < severity <= 1:
            raise InputError(f"A severity must be above 0 and at most 1 but is {severity}: choose for example 0.6.")
        if image.dtype != np.uint8 or image.shape != self.context.normals.shape[1:]:
            raise ValueError(f"image is {image.dtype} {image.shape} but the normals are {self.context.normals.shape}")
        drawn = self.attempt(image, self.context.product_of(image), severity, rng)
        return drawn if drawn is not None and drawn[1].any() else None

    @abstractmethod
    def attempt(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """Draws one anomaly, if possible.

        Args:
            image: uint8 [H, W, 3], the good image; not to be modified.
            inside: bool [H, W], never empty: where the product is.
            severity: In (0, 1].
            rng: The only source of randomness.

        Returns:
            As ``draw``, but None or an empty mask if the attempt failed.
        """


class BlendedFamily(AnomalyFamily):
    """A family that proposes defects at full strength.

    They are blended in with the opacity at which their contrast, relative to the local variation of the image, matches
    the severity. This makes severities comparable between families and between products of low and high contrast.
    """

    @abstractmethod
    def propose(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> Proposal | None:
        """Draws one defect at full strength.

        Args:
            image: uint8 [H, W, 3], the good image; not to be modified.
            inside: bool [H, W], never empty: where the product is.
            severity: In (0, 1]; only for what opacity cannot express, such as size.
            rng: The only source of randomness.

        Returns:
            The defect, or None if this attempt failed.
        """

    def attempt(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """See ``AnomalyFamily.attempt``: the first proposal that reaches the target contrast, else the closest."""
        variation = self.context.variation_of(image)
        best, best_closeness = None, 0.0
        for _ in range(ATTEMPTS):
            proposal = self.propose(image, inside, severity, rng)
            if proposal is None:
                continue
            wanted = blending.target_contrast(severity, variation, proposal.weight)
            closeness = blending.contrast(image, proposal.source, proposal.weight) / wanted
            if closeness > best_closeness:
                best, best_closeness = proposal, closeness
            if closeness >= MIN_CLOSENESS:
                break
        return None if best is None else _finish(image, best, variation, severity)


def _finish(
    image: npt.NDArray[np.uint8], proposal: Proposal, variation: npt.NDArray[np.float32], severity: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Blends a proposal in at the opacity of the severity, and masks the pixels that changed."""
    wanted = blending.target_contrast(severity, variation, proposal.weight)
    opacity = min(1.0, wanted / max(blending.contrast(image, proposal.source, proposal.weight), 1e-6))
    blended = blending.blend(image, proposal.source, proposal.weight, opacity)
    mask = blending.changed_mask(image, blended, proposal.weight)
    return _where_changed(mask, blended, image), mask


def _where_changed(
    mask: npt.NDArray[np.bool_], changed: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The changed image inside the mask and the good one elsewhere."""
    result: npt.NDArray[np.uint8] = image.copy()
    region = region_of(mask)
    if region is not None:
        result[region] = np.where(mask[region][..., None], changed[region], image[region])
    return result


def _fallback_spot(image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> Proposal:
    """A spot of inverted tone, visible on every image."""
    shape = masks.random_ellipse(inside, rng, (0.005, 0.05))
    return Proposal(image ^ np.uint8(128), shape.astype(np.float32))


def pixel_scale(shape: Sequence[int]) -> float:
    """Ratio of the shorter side of an image (H, W, ...) to 256 pixels.

    >>> pixel_scale((512, 1024, 3))
    2.0
    """
    return min(shape[:2]) / REFERENCE_SIDE
