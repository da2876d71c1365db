"""Thumbnails for the evaluation report: the image with the ground truth outlined, and its heatmap."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.bundle.runtime import Bundle, heat, overlay
from automl_ad.data.labelled import LabelledImage
from automl_ad.data.masks import read_masks

_Image = npt.NDArray[np.uint8]
_Map = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]

SIDE = 320
"""Longest side of a thumbnail, in pixels."""

_QUALITY = 85
_INNER, _OUTER = (255, 255, 255), (0, 0, 0)
_MARGIN = 4
"""Distance from a mask to its outline, in pixels."""


@dataclass(frozen=True)
class Scored:
    """A labelled image and its raw score.

    Attributes:
        image: The image.
        score: Higher = more anomalous.
        mask_values: The values that mark in its masks; every value but 0 when empty.
    """

    image: LabelledImage
    score: float
    mask_values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """One image of a gallery.

    Attributes:
        scored: The image and its score.
        picture: The image, with the mask outlined if there is one; a data URI.
        heatmap: The image under its heatmap, without the outline; a data URI.
    """

    scored: Scored
    picture: str
    heatmap: str


def exhibits(bundle: Bundle, chosen: Sequence[Scored]) -> Iterator[Exhibit]:
    """Predicts a few images again, this time keeping their pixels; images that can no longer be read are left out.

    Predicting them again is cheap and avoids keeping the pixels of all images in memory.
    """
    low, high = bundle.manifest["map_range"]
    predictions = bundle.raw_predictions([scored.image.path for scored in chosen], keep_images=True)
    for scored, prediction in zip(chosen, predictions, strict=True):
        image = scored.image
        mask = read_masks(image.masks, image.path, bundle.size, scored.mask_values) if image.masks else None
        if prediction.image is not None and prediction.anomaly_map is not None:
            yield _exhibit(scored, prediction.image, prediction.anomaly_map, mask, (low, high))


def small(image: _Image, side: int = SIDE) -> _Image:
    """Shrinks an image until its longest side is ``side``; smaller ones are returned as they are."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def outlined(image: _Image, mask: _Mask) -> _Image:
    """Draws the outline of a mask, white with a black edge, which is visible on any background.

    The outline is drawn around the mask at a small distance: on the mask it would hide a thin scratch.

    Args:
        image: uint8 [H, W, 3].
        mask: bool [h, w], enlarged to the size of the image.
    """
    size = image.shape[1], image.shape[0]
    shape = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    around = cv2.dilate(shape, np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8))
    contours = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    drawn: _Image = image.copy(order="C")
    for colour, thickness in ((_OUTER, 3), (_INNER, 1)):
        cv2.drawContours(drawn, contours, -1, colour, thickness)
    return drawn


def data_uri(image: _Image) -> str:
    """An image, uint8 [H, W, 3] RGB, as a JPEG data URI."""
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _exhibit(
    scored: Scored, image: _Image, anomaly_map: _Map, mask: _Mask | None, map_range: tuple[float, float]
) -> Exhibit:
    thumbnail = small(image)
    marked = thumbnail if mask is None else outlined(thumbnail, mask)
    return Exhibit(scored, data_uri(marked), data_uri(_under_heat(thumbnail, anomaly_map, map_range)))


def _under_heat(image: _Image, anomaly_map: _Map, map_range: tuple[float, float]) -> _Image:
    return overlay(image, heat(anomaly_map, map_range))
