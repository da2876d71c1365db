"""Unsupervised foreground segmentation: where the product is on an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Method = Literal["otsu", "triangle"]
Mask = npt.NDArray[np.bool_]

_FLAGS: dict[Method, int] = {"otsu": cv2.THRESH_OTSU, "triangle": cv2.THRESH_TRIANGLE}
_SMALLEST_AREA, _LARGEST_AREA = 0.05, 0.9
_AGREEING_POLARITY = 0.8
_STABLE_OVERLAP = 0.7
_SHARP_STEP = 0.5
_LEAST_CONTRAST = 15.0
_LARGEST_BORDER_SHARE = 0.4
_MAIN_PART_SHARE = 0.35


@dataclass(frozen=True)
class Foreground:
    """A segmentation rule for the images of one product line.

    Attributes:
        method: How the grey threshold of an image is chosen; None if the product fills the image (a texture).
        bright: Whether the product is brighter than the background.
    """

    method: Method | None = None
    bright: bool = True

    @classmethod
    def fit(cls, normals: npt.NDArray[np.uint8], sample: int = 24) -> Foreground:
        """Chooses the rule for a set of good images.

        A rule is accepted only if its masks are plausible on nearly all images: area 0.05 to 0.9 of the image, equal
        polarity, one main component, a sharp outline, little contact with the image border, and an outline that is
        stable up to shifts and rotations. Otherwise the whole image is foreground.

        Args:
            normals: uint8 [N, H, W, 3], N >= 1.
            sample: Maximum number of images used, evenly spread over the set.

        Returns:
            The rule; deterministic.
        """
        chosen = np.unique(np.linspace(0, len(normals) - 1, min(sample, len(normals))).astype(int))
        images = [np.ascontiguousarray(normals[i]) for i in chosen]
        bright = _polarity(images)
        if bright is None:
            return cls()
        rated = [(_rate(images, rule), rule) for rule in (cls("otsu", bright), cls("triangle", bright))]
        rating, best = max(rated, key=lambda pair: pair[0])
        return best if rating >= _STABLE_OVERLAP else cls()

    @property
    def is_whole_image(self) -> bool:
        """Whether every pixel is foreground, as for textures."""
        return self.method is None

    def mask_of(self, image: npt.NDArray[np.uint8]) -> Mask:
        """The foreground mask of one image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            bool [H, W], never empty: all True for textures and if nothing was found.
        """
        if self.method is not None:
            mask = _segment(image, self.method, self.bright)
            if mask.any():
                return mask
        return np.ones(image.shape[:2], np.bool_)


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Slightly smoothed grey image, uint8 [H, W]."""
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0), np.uint8)


def _segment(image: npt.NDArray[np.uint8], method: Method, bright: bool) -> Mask:
    """Thresholds, closes and opens the mask, fills holes and removes small components."""
    polarity = cv2.THRESH_BINARY if bright else cv2.THRESH_BINARY_INV
    _, binary = cv2.threshold(_grey(image), 0, 1, polarity | _FLAGS[method])
    side = max(3, min(image.shape[:2]) // 40)
    square = np.ones((side, side), np.uint8)
    for operation in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        binary = cv2.morphologyEx(binary, operation, square)
    return _without_small_components(_filled(np.asarray(binary, np.uint8)))


def _filled(binary: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Fills every hole: zeros that are not connected to the image border become ones."""
    padded = cv2.copyMakeBorder(binary, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(padded, None, (0, 0), 2)
    filled: npt.NDArray[np.uint8] = (padded[1:-1, 1:-1] != 2).astype(np.uint8)
    return filled


def _without_small_components(binary: npt.NDArray[np.uint8]) -> Mask:
    """Removes components smaller than a twentieth of the largest one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = (areas >= areas.max() / 20) & (np.arange(count) > 0)
    mask: Mask = keep[labels]
    return mask


def _polarity(images: Sequence[npt.NDArray[np.uint8]]) -> bool | None:
    """Whether the centre is brighter than the border; None where the images disagree."""
    brighter = []
    for image in images:
        grey = _grey(image)
        h, w = grey.shape
        centre = grey[h // 4 : h - h // 4, w // 4 : w - w // 4]
        brighter.append(float(np.median(centre)) > float(np.median(grey[_frame(h, w)])))
    share = float(np.mean(brighter))
    return None if 1 - _AGREEING_POLARITY < share < _AGREEING_POLARITY else share > 0.5


def _frame(h: int, w: int) -> Mask:
    """The outermost sixteenth of the image on every side."""
    frame = np.ones((h, w), np.bool_)
    frame[h // 16 : h - h // 16, w // 16 : w - w // 16] = False
    return frame


def _rate(images: Sequence[npt.NDArray[np.uint8]], rule: Foreground) -> float:
    """How stable the outline is, 0 to 1; 0 if too few of the images show a plausible product."""
    masks = [rule.mask_of(image) for image in images]
    plausible = [_plausible(_grey(image), mask) for image, mask in zip(images, masks, strict=True)]
    return _stability(masks) if float(np.mean(plausible)) >= _AGREEING_POLARITY else 0.0


def _plausible(grey: npt.NDArray[np.uint8], mask: Mask) -> bool:
    """Whether a mask is plausible as one product on a background."""
    area = float(mask.mean())
    if not _SMALLEST_AREA <= area <= _LARGEST_AREA or mask[_frame(*mask.shape)].mean() > _LARGEST_BORDER_SHARE:
        return False
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2]
    main_part = stats[1:, cv2.CC_STAT_AREA].max() / mask.sum()
    return bool(main_part >= _MAIN_PART_SHARE) and _is_sharp(grey, mask)


def _is_sharp(grey: npt.NDArray[np.uint8], mask: Mask) -> bool:
    """Whether the grey level has a step at the outline, unlike gradual shading."""
    binary = mask.astype(np.uint8)
    reach = 2 * max(2, min(mask.shape) // 64) + 1
    square = np.ones((reach, reach), np.uint8)
    inner = mask & (cv2.erode(binary, square) == 0)
    outer = ~mask & (cv2.dilate(binary, square) == 1)
    overall = abs(float(grey[mask].mean()) - float(grey[~mask].mean()))
    step = abs(float(grey[inner].mean()) - float(grey[outer].mean()))
    return overall >= _LEAST_CONTRAST and step >= _SHARP_STEP * overall


def _stability(masks: Sequence[Mask]) -> float:
    """Mean overlap of the masks with their median mask: unaligned, centred, or centred and rotated; the best."""
    as_bytes = [mask.astype(np.uint8) for mask in masks]
    centred = [_aligned(mask, rotate=False) for mask in as_bytes]
    rotated = [_aligned(mask, rotate=True) for mask in as_bytes]
    return max(_overlap_with_median(stack) for stack in (as_bytes, centred, rotated))


def _aligned(mask: npt.NDArray[np.uint8], rotate: bool) -> npt.NDArray[np.uint8]:
    """Moves the centroid to the image centre and optionally rotates the longest axis to the horizontal."""
    moments = cv2.moments(mask, binaryImage=True)
    x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    angle = 0.5 * np.degrees(np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])) if rotate else 0.0
    matrix = cv2.getRotationMatrix2D((x, y), float(angle), 1.0)
    matrix[:, 2] += (mask.shape[1] / 2 - x, mask.shape[0] / 2 - y)
    size = (mask.shape[1], mask.shape[0])
    return np.asarray(cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST), np.uint8)


def _overlap_with_median(masks: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Mean intersection over union of the masks with their pixelwise majority."""
    stack = np.stack(masks).astype(bool)
    median = stack.mean(axis=0) > 0.5
    shared = (stack & median).sum(axis=(1, 2))
    union = (stack | median).sum(axis=(1, 2))
    return float(np.mean(shared / np.maximum(union, 1)))
