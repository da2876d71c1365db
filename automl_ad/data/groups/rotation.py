"""Tells whether images show one part at different angles, by comparing them at every rotation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.data.groups.descriptions import Floats

_SIDE = 64
_RADII, _ANGLES, _HARMONICS = 24, 72, 16
_FIRST_HARMONIC = 2
"""Of the angular harmonics, 0 is what a round part has, and 1 comes from light from one side or a part off centre."""
_LEAST_DIRECTED = 0.03
"""Share of a part's contrast that must depend on the angle; below it, the part is round but for noise and place."""
_ALIKE = 0.65
_GAIN = 0.2
_SALIENT = 0.25
_LIGHTING_SIGMA = 5.0
"""Structures larger than this many pixels may be reflexes, of which any two are alike at some rotation."""
_MOST_COMPARED = 48

_Waves = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class PolarMaps:
    """Images around the centre of their part, as angular harmonics.

    Attributes:
        waves: complex [N, radii, harmonics], the structure that depends on the angle, of length 1 an image.
        directed: [N], share of the contrast that depends on the angle, 0 to 1.
    """

    waves: _Waves
    directed: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> PolarMaps:
        """The maps of some images."""
        return PolarMaps(self.waves[rows], self.directed[rows])


def polar_maps(images: npt.NDArray[np.uint8]) -> PolarMaps:
    """Maps of uint8 [N, 3, H, W]."""
    found = [_polar(image.mean(axis=0, dtype=np.float32) / np.float32(255)) for image in images]
    return PolarMaps(np.stack([waves for waves, _ in found]), np.array([share for _, share in found]))


def varied_angle(maps: PolarMaps) -> float | None:
    """The arc in degrees over which the angles of one part are spread, or None if they do not vary.

    They vary if images are alike after the best rotation, but much less so as they are. Textures are not alike at any
    rotation, upright parts are alike as they are, and round parts have nothing that depends on the angle.
    """
    maps = maps.take(np.linspace(0, len(maps.directed) - 1, min(len(maps.directed), _MOST_COMPARED)).astype(np.int64))
    if np.median(maps.directed) < _LEAST_DIRECTED:
        return None
    others = ~np.eye(len(maps.directed), dtype=bool)
    likeness = _likeness(maps.waves, maps.waves)
    best, upright = likeness.max(axis=2), likeness[:, :, 0]
    if np.quantile(best[others], 0.25) < _ALIKE or float((best - upright)[others].mean()) < _GAIN:
        return None
    centre = int(np.argmax(best.sum(axis=1)))
    return _arc(likeness[centre].argmax(axis=1) * 360 / _ANGLES)


def is_rotated(one: PolarMaps, other: PolarMaps) -> bool:
    """Whether two groups of images show one part at different angles."""
    if min(np.median(one.directed), np.median(other.directed)) < _LEAST_DIRECTED:
        return False
    rows = [
        np.linspace(0, len(maps.directed) - 1, min(len(maps.directed), 12)).astype(np.int64) for maps in (one, other)
    ]
    likeness = _likeness(one.waves[rows[0]], other.waves[rows[1]])
    best, upright = likeness.max(axis=2), likeness[:, :, 0]
    return bool(np.median(best) >= _ALIKE and np.median(best - upright) >= _GAIN)


def _likeness(some: _Waves, others: _Waves) -> Floats:
    """Correlation of each pair of images at each rotation, [N, M, angles]; index 0 is no rotation."""
    products = np.einsum("irh,jrh->ijh", some.conj(), others)
    padded = np.zeros((*products.shape[:2], _ANGLES), complex)
    padded[:, :, _FIRST_HARMONIC : _FIRST_HARMONIC + products.shape[2]] = products
    return np.asarray(np.fft.ifft(padded, axis=2).real * _ANGLES)


def _arc(angles: Floats) -> float:
    """The smallest arc that holds 90 % of some angles, in degrees."""
    ordered = np.sort(angles % 360)
    inside = int(np.ceil(0.9 * len(ordered)))
    twice = np.concatenate([ordered, ordered + 360])
    return float(np.min(twice[inside - 1 : inside - 1 + len(ordered)] - ordered))


def _polar(grey: npt.NDArray[np.float32]) -> tuple[_Waves, float]:
    scale = _SIDE / min(grey.shape)
    size = (max(round(grey.shape[1] * scale), _SIDE), max(round(grey.shape[0] * scale), _SIDE))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
    across, down = _centre(small)
    small = small - np.asarray(cv2.GaussianBlur(small, (0, 0), _LIGHTING_SIGMA), np.float32)
    radius = min(across, down, size[0] - 1 - across, size[1] - 1 - down, _SIDE / 2)
    flags = cv2.WARP_POLAR_LINEAR | cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    whole = cv2.warpPolar(small, (_RADII, _ANGLES), (across, down), max(radius, _SIDE / 4), flags=flags).T
    # Rings have lengths in proportion to their radii.
    weighted = whole * np.sqrt(np.arange(1, _RADII + 1))[:, None]
    waves = np.fft.fft(weighted, axis=1) / _ANGLES
    weights = np.sqrt(np.arange(1, _RADII + 1))
    mean = float((weights**2 * whole.mean(axis=1)).sum() / (weights**2).sum())
    contrast = float(((whole - mean) ** 2 * weights[:, None] ** 2).mean(axis=1).sum())
    directed = waves[:, _FIRST_HARMONIC : _FIRST_HARMONIC + _HARMONICS]
    energy = float((np.abs(directed) ** 2).sum())
    return directed / max(np.sqrt(2 * energy), 1e-6) * np.sqrt(2), 2 * energy / max(contrast, 1e-6)


def _centre(grey: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Column and row of the centre of what differs most from the border; the image's centre where nothing does."""
    rim = np.concatenate([grey[:2].ravel(), grey[-2:].ravel(), grey[:, :2].ravel(), grey[:, -2:].ravel()])
    salience = np.abs(cv2.GaussianBlur(grey, (0, 0), 1.5) - np.median(rim))
    weights = np.maximum(salience - _SALIENT * salience.max(), 0)
    total = float(weights.sum())
    height, width = grey.shape
    if total < 1e-3 * grey.size:
        return (width - 1) / 2, (height - 1) / 2
    column = float((weights.sum(axis=0) * np.arange(width)).sum() / total)
    row = float((weights.sum(axis=1) * np.arange(height)).sum() / total)
    return column, row
