"""Finds outliers among good images without training: defects, other products, bad exposures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

_SIDE = 64
_CELL = 8
_CELLS = _SIDE // _CELL
_ORIENTATIONS = 8
_EXPLAINED = 0.95
_NEIGHBOURS = 5
_FEWEST = 8
_THRESHOLD = 3.5
_MAD_TO_SIGMA = 1.4826
_FAINTEST = 1e-4

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Suspect:
    """An image that may not be good.

    Attributes:
        index: Its index in the given array.
        score: Distance from the others in robust standard deviations; at least 3.5.
    """

    index: int
    score: float


def find_suspects(images: npt.NDArray[np.uint8]) -> list[Suspect]:
    """Lists images that a person should check, worst first.

    Each image is described by the colour layout, local contrast and gradient orientations of a 64 px thumbnail; its
    score is the robust z value (median and median absolute deviation over the set) of the logarithm of its mean
    distance to the 5 nearest others. The logarithm shortens the long tail of such distances in clean sets.
    Sets of fewer than 8 images have no suspects.

    Args:
        images: uint8 [N, 3, H, W], RGB.
    """
    if len(images) < _FEWEST:
        return []
    scores = outlier_scores(images)
    worst_first = np.argsort(-scores, kind="stable")
    return [Suspect(int(i), float(scores[i])) for i in worst_first if scores[i] >= _THRESHOLD]


def outlier_scores(images: npt.NDArray[np.uint8]) -> _Floats:
    """Robust z value of each image's distance to its nearest others, float32 [N]; see `find_suspects`."""
    points = _principal(_describe(images))
    distances = np.log(_neighbour_distances(points) + 1e-6)
    deviations = distances - np.median(distances)
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(deviations)))
    # A smaller spread occurs if most images are identical; tiny differences would then count as outliers.
    return np.asarray(deviations / max(spread, 0.05), np.float32)


def _neighbour_distances(points: _Floats) -> _Floats:
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors()
    return np.asarray(distances.mean(axis=1), np.float32)


def _principal(descriptions: _Floats) -> _Floats:
    """Coordinates on the principal axes that hold 95 % of the variance."""
    if np.ptp(descriptions, axis=0).max() == 0:
        return np.zeros((len(descriptions), 1), np.float32)
    return np.asarray(PCA(_EXPLAINED, svd_solver="full").fit_transform(descriptions), np.float32)


def _describe(images: npt.NDArray[np.uint8]) -> _Floats:
    """Layout and overall statistics, standardised and with equal weight: float32 [N, 780]."""
    cells = np.stack([_cells(image) for image in images])
    layout = cells.reshape(len(images), -1)
    overall = np.concatenate([cells.mean(axis=(1, 2)), cells.std(axis=(1, 2))], axis=1)
    return np.concatenate([_standardised(layout), _standardised(overall)], axis=1)


def _standardised(block: _Floats) -> _Floats:
    """Scales columns to mean 0 and equal variances that sum to 1; nearly constant columns become 0."""
    spread = block.std(axis=0)
    standard = (block - block.mean(axis=0)) / np.maximum(spread, _FAINTEST)
    return np.asarray(np.where(spread < _FAINTEST, 0, standard) / np.sqrt(block.shape[1]), np.float32)


def _cells(image: npt.NDArray[np.uint8]) -> _Floats:
    """float32 [8, 8, 12]: mean colour, contrast and gradient orientations of the cells of a 64 px thumbnail."""
    reduced = cv2.resize(image.transpose(1, 2, 0), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small = reduced.astype(np.float32) / np.float32(255)
    grey: _Floats = small.mean(axis=2, keepdims=True)
    contrast = np.sqrt(np.maximum(_cell_means(grey**2) - _cell_means(grey) ** 2, 0))
    return np.concatenate([_cell_means(small), contrast, _cell_means(_orientations(grey[:, :, 0]))], axis=2)


def _orientations(grey: _Floats) -> _Floats:
    """float32 [64, 64, 8]: gradient magnitude of each pixel in the bin of its unsigned orientation."""
    across, down = np.gradient(grey, axis=1), np.gradient(grey, axis=0)
    bins = np.floor(np.arctan2(down, across) / np.pi * _ORIENTATIONS).astype(int) % _ORIENTATIONS
    return np.asarray(np.eye(_ORIENTATIONS)[bins] * np.hypot(across, down)[:, :, None], np.float32)


def _cell_means(values: _Floats) -> _Floats:
    """[64, 64, C] to [8, 8, C]."""
    return np.asarray(values.reshape(_CELLS, _CELL, _CELLS, _CELL, -1).mean(axis=(1, 3)), np.float32)
