"""Content hashes of images, and the detection of near-duplicates."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

_SIDE = 128
_DETAIL_SIGMA = 3.0
_FAINTEST = 0.25
_COPY_QUALITY, _COPY_SCALE, _COPY_GAIN = 60, 0.9, 1.1
_SHARED_DETAIL = 0.71
_ROUNDING = 0.05
_BLOCK = 512

_Detail = npt.NDArray[np.float32]


def content_hash(path: Path) -> str:
    """SHA-256 of the bytes of a file, as a hex digest."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pixel_hash(pixels: npt.NDArray[np.uint8]) -> str:
    """SHA-256 of an array and its shape, as a hex digest: equal for equal pixels, whatever file they come from."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def near_duplicate_groups(images: npt.NDArray[np.uint8]) -> list[int]:
    """Finds re-encoded, rescaled or slightly brightened copies of an image, as opposed to images of similar parts.

    Good parts in a fixture look alike, so similarity alone is not enough. That excludes libraries of perceptual hashes:
    by the usual rule (64 bits, at most 10 of them different) 98 % of the pairs of 120 different ball screws are
    duplicates, and 21 % of the pairs of 40 moulded figures. Images are compared by their fine detail (128 px thumbnails
    minus their local mean, scaled to unit length, which removes illumination). Two images are duplicates if both hold:

    * They differ no more than either differs from its own copy that is a tenth brighter (white clipped), at 0.9 of its
      size and JPEG quality 60.
    * Their individual detail matches: after subtracting the mean detail of the set and scaling each pixel by its
      spread, so that slightly moving edges do not dominate the grain, the correlation is at least 0.71, half of the
      variance. Noise and grain of two exposures are uncorrelated, so parts that differ in nothing else stay distinct.

    Images that are equal up to rounding are always duplicates. Groups are transitive: if A matches B and B matches C,
    all three are in one group. In doubt, images count as distinct: a copy compressed so much that its grain is lost,
    or a set that consists of one image in several qualities, is not recognised.

    Args:
        images: uint8 [N, H, W] or [N, 3, H, W].

    Returns:
        A group number for each image, counted from 0 in order of first appearance.
    """
    if len(images) == 0:
        return []
    greys = [_grey(image) for image in images]
    details = np.stack([_detail(grey) for grey in greys])
    copies = np.stack([_detail(_resaved(grey)) for grey in greys])
    tolerances = np.linalg.norm(copies - details, axis=1)
    linked = _linked_pairs(details, tolerances)
    _, labels = connected_components(linked, directed=False)
    return _numbered_by_appearance(labels)


def _linked_pairs(details: _Detail, tolerances: _Detail) -> csr_array:
    """Sparse [N, N], true where images are duplicates; computed in blocks of rows to bound memory."""
    own = _individual(details)
    rows, columns = [], []
    for start in range(0, len(details), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = _distances(details[block], details)
        allowed = np.maximum(tolerances[block, None], tolerances[None, :])
        alike = (distances <= allowed) & (own[block] @ own.T >= _SHARED_DETAIL)
        row, column = np.nonzero(alike | (distances <= _ROUNDING * allowed))
        rows.append(row + start)
        columns.append(column)
    ends = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.ones(len(ends[0]), np.bool_), ends), shape=(len(details), len(details)))


def _distances(some: _Detail, others: _Detail) -> _Detail:
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :] - 2 * some @ others.T
    # Smaller values are rounding errors of float32.
    return np.where(squares < 1e-5, 0, np.sqrt(np.maximum(squares, 0))).astype(np.float32)


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY), np.uint8)


def _detail(grey: npt.NDArray[np.uint8]) -> _Detail:
    """Fine detail of an image as float32 [128 * 128] of length 1, or shorter for nearly empty images."""
    small = cv2.resize(grey.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    detail = (small - cv2.GaussianBlur(small, (0, 0), _DETAIL_SIGMA)).ravel()
    return np.asarray(detail / max(float(np.linalg.norm(detail)), _FAINTEST * _SIDE), np.float32)


def _resaved(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A copy with the strongest change that still counts as the same image."""
    height, width = grey.shape
    smaller = (max(round(width * _COPY_SCALE), 1), max(round(height * _COPY_SCALE), 1))
    brighter = cv2.convertScaleAbs(grey, alpha=_COPY_GAIN)
    shrunk = cv2.resize(brighter, smaller, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", shrunk, [cv2.IMWRITE_JPEG_QUALITY, _COPY_QUALITY])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    return np.asarray(cv2.resize(np.asarray(decoded), (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _individual(details: _Detail) -> _Detail:
    """The deviation of each image from the set, [N, 128 * 128], rows of length 1."""
    spread = details.std(axis=0)
    own = (details - details.mean(axis=0)) / np.maximum(spread, max(float(np.median(spread)), 1e-9))
    return np.asarray(own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6), np.float32)


def _numbered_by_appearance(labels: npt.NDArray[np.int32]) -> list[int]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return [int(group) for group in rank[inverse]]
