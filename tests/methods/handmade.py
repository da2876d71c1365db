"""Features made by hand: a backbone that looks its maps up in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.features import FeatureDetector
from automl_ad.training import Budget, ignore_progress

Floats = npt.NDArray[np.float64]


class TableBackbone(Backbone):
    """Row ``i`` of the tables stands for an image whose pixels are all ``i``."""

    def __init__(self, tables: Sequence[Tensor], strides: Sequence[int]) -> None:
        super().__init__()
        self.name, self.weights_tag = "table", "table-1"
        self.tables = list(tables)
        self.levels = tuple(range(-len(tables), 0))
        self.channels = tuple(int(table.shape[1]) for table in tables)
        self.strides = tuple(strides)

    def forward(self, images: Tensor, levels: Sequence[int] | None = None) -> list[Tensor]:
        rows = (images[:, 0, 0, 0] * 255).round().long()
        return [self.tables[i][rows] for i in self.positions(self.levels if levels is None else levels)]


def table_images(rows: Sequence[int] | range, size: tuple[int, int]) -> ImageSet:
    """Images that stand for ``rows`` of a table."""
    pixels = np.asarray(rows, np.uint8)[:, None, None, None]
    return ImageSet.of(np.broadcast_to(pixels, (len(pixels), 3, *size)).copy())


def on_table(kind: Any, tables: Sequence[Tensor], strides: Sequence[int] = (1,), seed: int = 0, **settings: Any) -> Any:
    """An unfitted detector of class ``kind`` on all levels of a table."""
    backbone = TableBackbone(tables, strides)
    chosen = kind.settings_type(backbone="table", levels=backbone.levels, **settings)
    return kind(chosen, FeatureExtractor(backbone), seed)


def fitted(detector: Any, normals: ImageSet) -> Any:
    """``detector`` after its fit."""
    detector.fit(normals, None, Budget(), ignore_progress)
    return detector


def noise(*shape: int, seed: int = 0) -> Tensor:
    """float32 normal variates."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def draw_discs(count: int, size: tuple[int, int] = (64, 96), seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [count, 3, H, W]: a disc that shifts a little on a striped, noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centres = np.array(size) / 2 + rng.normal(0, 0.7, (count, 2))
    disc = np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None]) < 0.3 * min(size)
    grey = 90 + 12 * np.sin(x / 3) + 60 * disc
    tinted = grey[:, None] * np.array([1, 0.95, 0.85])[:, None, None]
    return (tinted + rng.normal(0, 5, tinted.shape)).clip(0, 255).astype(np.uint8)


def plant_squares(
    images: npt.NDArray[np.uint8], side: int, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Copies with one inverted square each, at random places, and their bool [N, H, W] masks."""
    rng = np.random.default_rng(seed)
    spoilt, masks = images.copy(), np.zeros((len(images), *images.shape[2:]), bool)
    for image, mask in zip(spoilt, masks, strict=True):
        top, left = (int(rng.integers(0, extent - side)) for extent in mask.shape)
        mask[top : top + side, left : left + side] = True
        image[:, mask] = 255 - image[:, mask]
    return spoilt, masks


def map_from_features(head: torch.nn.Module, maps: Sequence[Tensor]) -> Floats:
    """A head's maps as numpy."""
    with torch.no_grad():
        return head(list(maps)).double().numpy()


EMBEDDED_LEVELS = (-4, -3)

VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "padim": ("padim", {"channels": 20}),
    "patchcore": ("patchcore", {"ratio": 0.05}),
    "patchcore_standardised": ("patchcore", {"ratio": 0.05, "standardise": True}),
    "dfr_image_pca": ("dfr", {"model": "image_pca", "stride": 8, "variance": 0.95}),
    "dfr_pca": ("dfr", {"model": "pca", "stride": 8, "variance": 0.98}),
    "dfr_autoencoder": ("dfr", {"model": "autoencoder", "stride": 8, "steps": 60, "batch": 256, "mode": "nearest"}),
}
"""Every method and model, with settings that suit small drawn images."""


def variant(name: str, extractor: FeatureExtractor, seed: int = 0, **changes: Any) -> FeatureDetector:
    """An unfitted detector of ``VARIANTS`` on the embedded backbone."""
    from automl_ad.methods.registry import detector_class

    method, settings = VARIANTS[name]
    kind = detector_class(method)
    chosen = {"backbone": "embedded", "levels": EMBEDDED_LEVELS, **settings, **changes}
    return kind(kind.settings_type(**chosen), extractor, seed)


class Squares:
    """Anomalies: inverts a square at a random place.

    Args:
        side: Of the square, in pixels.
    """

    def __init__(self, side: int = 10) -> None:
        self._side = side

    def draw(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        mask = np.zeros(image.shape[:2], np.bool_)
        top, left = (int(rng.integers(0, side - self._side)) for side in mask.shape)
        mask[top : top + self._side, left : left + self._side] = True
        return np.where(mask[..., None], 255 - image, image), mask
