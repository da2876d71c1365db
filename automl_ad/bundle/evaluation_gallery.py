"""Pictures of where a bundle was most mistaken: small, with the true defect outlined and the heatmap beside it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.bundle.runtime import Bundle, heat, overlay
from automl_ad.data.labelled import LabelledImage
from automl_ad.data.preprocessing import Preprocessing

_Picture = npt.NDArray[np.uint8]
_Map = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]

SIDE = 320
"""Longest side of a small picture, in pixels."""

_QUALITY = 85
_INNER, _OUTER = (255, 255, 255), (0, 0, 0)
_CLEAR = 4
"""Pixels from a mask to its outline."""


@dataclass(frozen=True)
class Scored:
    """A labelled image and its raw score."""

    image: LabelledImage
    score: float


@dataclass(frozen=True)
class Exhibit:
    """One image of a gallery.

    Attributes:
        scored: The image and its score.
        picture: Small, with the mask outlined if there is one; a data URI.
        heatmap: The same picture under its heatmap, without the outline; a data URI.
    """

    scored: Scored
    picture: str
    heatmap: str


def exhibits(bundle: Bundle, chosen: Sequence[Scored]) -> Iterator[Exhibit]:
    """Judges a few images once more, now with their pictures; those that have become unreadable are left out.

    Judging again costs little and spares keeping the pictures of all images.
    """
    low, high = bundle.manifest["map_range"]
    preprocessing = Preprocessing.model_validate(bundle.manifest["preprocessing"])
    judgements = bundle.judge([scored.image.path for scored in chosen], pictures=True)
    for scored, judgement in zip(chosen, judgements, strict=True):
        mask = preprocessing.mask(scored.image.mask) if scored.image.mask is not None else None
        if judgement.picture is not None and judgement.anomaly_map is not None:
            yield _exhibit(scored, judgement.picture, judgement.anomaly_map, mask, (low, high))


def small(picture: _Picture, side: int = SIDE) -> _Picture:
    """Shrinks a picture until its longest side is ``side``; smaller ones stay as they are."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def outlined(picture: _Picture, mask: _Mask) -> _Picture:
    """Draws the outline of a mask, white with a dark edge, which shows on any ground.

    It keeps clear of the mask itself: a line on the rim of a thin scratch would hide the scratch.

    Args:
        picture: [H, W, 3].
        mask: [h, w], stretched to the picture.
    """
    size = picture.shape[1], picture.shape[0]
    shape = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    around = cv2.dilate(shape, np.ones((2 * _CLEAR + 1, 2 * _CLEAR + 1), np.uint8))
    contours = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    drawn: _Picture = picture.copy(order="C")
    for colour, thickness in ((_OUTER, 3), (_INNER, 1)):
        cv2.drawContours(drawn, contours, -1, colour, thickness)
    return drawn


def data_uri(picture: _Picture) -> str:
    """A picture, [H, W, 3] RGB, as a JPEG inside of its address."""
    encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _exhibit(
    scored: Scored, picture: _Picture, anomaly_map: _Map, mask: _Mask | None, map_range: tuple[float, float]
) -> Exhibit:
    thumbnail = small(picture)
    marked = thumbnail if mask is None else outlined(thumbnail, mask)
    return Exhibit(scored, data_uri(marked), data_uri(_under_heat(thumbnail, anomaly_map, map_range)))


def _under_heat(picture: _Picture, anomaly_map: _Map, map_range: tuple[float, float]) -> _Picture:
    return overlay(picture, heat(anomaly_map, map_range))
