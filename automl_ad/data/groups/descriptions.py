"""Describes images by a few blocks of numbers, each of which answers to one kind of difference."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

THUMBNAIL = 32
"""Side of `Descriptions.thumbnails` in pixels."""

_SPECTRUM_SIDE = 64
_RADII = (2, 4, 6, 9, 13, 18, 24, 30)
"""Bounds of the rings of the spectrum, in cycles an image."""
FREQUENCIES = (np.array(_RADII[:-1]) + np.array(_RADII[1:])) / 2
"""Middle of each ring."""
_SECTORS = 8
_BINS = (len(_RADII) - 1) * _SECTORS
_FAINTEST_POWER = 0.01
_LIGHTING_SIGMA = 6.0
"""Structures larger than this many pixels of a thumbnail may be due to the light."""
_FAINTEST_CONTRAST = 0.02
_DARKEST = 0.02
_QUIETEST = 0.002
"""Noise and detail below half a grey level are rounding."""
_BLACK, _WHITE, _LEAST_USABLE = 0.02, 0.95, 0.05
_CAMERA_SIDE = 512
"""Largest side of what `Descriptions.camera` looks at, in pixels."""
_MAD_OF_LAPLACIAN = 6 * np.sqrt(2 / np.pi)
"""Mean absolute response of the noise kernel to white noise of standard deviation 1 (Immerkaer 1996)."""


@dataclass(frozen=True)
class Descriptions:
    """Images described for comparison; every array has a row an image.

    Attributes:
        layout: Fine structure by place, of length 1 an image: no brightness, contrast or gradients of light.
        spectrum: Log power by spatial frequency and orientation, mean 0: independent of place and contrast.
        colour: Chroma by place relative to the image's mean colour: independent of the light's colour.
        light: Log of the mean brightness, of red and of blue to green, of left to right and of top to bottom.
        camera: Log of the noise and of fine to coarse detail.
        thumbnails: Colour thumbnails, [N, 32, 32, 3], 0 to 1.
        power: Power by spatial frequency and orientation, [N, 56].
        level: Mean brightness, [N], 0 to 1.
    """

    layout: Floats
    spectrum: Floats
    colour: Floats
    light: Floats
    camera: Floats
    thumbnails: Floats
    power: Floats
    level: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> Descriptions:
        """The descriptions of some images."""
        return Descriptions(**{name: values[rows] for name, values in vars(self).items()})


def describe(images: npt.NDArray[np.uint8]) -> Descriptions:
    """Describes images.

    Args:
        images: uint8 [N, 3, H, W], RGB, N at least 1.
    """
    rows = [_describe(image) for image in images]
    return Descriptions(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def _describe(image: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    colours = image.transpose(1, 2, 0)
    thumbnail = _shrunk(colours, THUMBNAIL)
    power = _power(_shrunk(colours, _SPECTRUM_SIDE).mean(axis=2))
    log_power = np.log(power + _FAINTEST_POWER)
    return {
        "layout": _layout(thumbnail.mean(axis=2)),
        "spectrum": (log_power - log_power.mean()) / np.sqrt(_BINS),
        "colour": _chroma(_shrunk(thumbnail, 8)),
        "light": _light(thumbnail),
        "camera": _camera(_middle(image).mean(axis=0, dtype=np.float32) / np.float32(255)),
        "thumbnails": thumbnail,
        "power": power,
        "level": np.asarray(thumbnail.mean()),
    }


def _shrunk(colours: npt.NDArray[np.uint8] | Floats, side: int) -> Floats:
    small = cv2.resize(colours, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64)
    return np.asarray(small / 255 if colours.dtype == np.uint8 else small)


def _layout(grey: Floats) -> Floats:
    fine = grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), _LIGHTING_SIGMA), np.float64)
    # A part of a pixel of blur makes up for small movements and for differences of focus.
    fine = np.asarray(cv2.GaussianBlur(fine, (0, 0), 1.0), np.float64).ravel()
    return np.asarray(fine / max(float(np.linalg.norm(fine)), _FAINTEST_CONTRAST * THUMBNAIL))


def _power(grey: Floats) -> Floats:
    """Mean power in each of 7 rings x 8 sectors of the spatial frequencies, [56]."""
    # A plane is subtracted: light from one side would count as a coarse structure.
    slopes = (grey @ _RAMP).sum() * _RAMP[None, :] + (_RAMP @ grey).sum() * _RAMP[:, None]
    spectrum = np.fft.fftshift(np.fft.fft2((grey - grey.mean() - slopes / _SPECTRUM_SIDE) * _WINDOW))
    return np.asarray(np.bincount(_BIN, (np.abs(spectrum) ** 2).ravel(), _BINS + 1)[:_BINS] / _MEMBERS)


def _frequency_bins() -> npt.NDArray[np.int64]:
    """Bin of each spatial frequency, [64 * 64]; `_BINS` for those that are too low or too high."""
    rows, columns = np.mgrid[:_SPECTRUM_SIDE, :_SPECTRUM_SIDE] - _SPECTRUM_SIDE / 2
    ring = np.digitize(np.hypot(rows, columns), _RADII) - 1
    sector = np.floor((np.arctan2(rows, columns) % np.pi) / np.pi * _SECTORS).astype(int) % _SECTORS
    inside = (ring >= 0) & (ring < len(_RADII) - 1)
    return np.asarray(np.where(inside, ring * _SECTORS + sector, _BINS).ravel(), np.int64)


_RAMP = np.linspace(-1, 1, _SPECTRUM_SIDE)
_RAMP /= np.linalg.norm(_RAMP)
_WINDOW = np.outer(np.hanning(_SPECTRUM_SIDE), np.hanning(_SPECTRUM_SIDE))
_BIN = _frequency_bins()
_MEMBERS = np.bincount(_BIN, minlength=_BINS + 1)[:_BINS]


def _chroma(cells: Floats) -> Floats:
    """Chroma of [8, 8, 3] cells when the mean colour of the image is taken for grey."""
    balanced = cells / np.maximum(cells.mean(axis=(0, 1)), _DARKEST)
    brightness = balanced.mean(axis=2, keepdims=True)
    return np.asarray(((balanced - brightness) / np.maximum(brightness, 0.2)).ravel() / 8)


def _light(thumbnail: Floats) -> Floats:
    red, green, blue = np.log(np.maximum(thumbnail.mean(axis=(0, 1)), _DARKEST))
    grey, half = thumbnail.mean(axis=2), THUMBNAIL // 2
    halves = [grey[:, :half], grey[:, half:], grey[:half], grey[half:]]
    left, right, top, bottom = (np.log(max(float(part.mean()), _DARKEST)) for part in halves)
    return np.array([(red + green + blue) / 3, red - green, blue - green, left - right, top - bottom])


def _middle(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What a camera does to pixels shows in the middle of a large image as well, in a fraction of the time."""
    top, left = (max(0, side - _CAMERA_SIDE) // 2 for side in image.shape[1:])
    return image[:, top : top + _CAMERA_SIDE, left : left + _CAMERA_SIDE]


def _camera(grey: npt.NDArray[np.float32]) -> Floats:
    # What oriented structure shares with its neighbours cancels in this kernel, so that it answers to noise alone.
    across = grey[:, :-2] - 2 * grey[:, 1:-1] + grey[:, 2:]
    response = np.abs(across[:-2] - 2 * across[1:-1] + across[2:])
    inner = grey[1:-1, 1:-1]
    usable = (inner > _BLACK) & (inner < _WHITE)
    # Clipped pixels have no noise.
    response = response[usable] if usable.mean() > _LEAST_USABLE else response.ravel()
    # Half of the pixels: those on edges would count as noise.
    quiet = float(np.mean(response[response <= np.median(response)]))
    steps = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.8, 1.6, 3.2)]
    fine, coarse = float(np.std(steps[0] - steps[1])), float(np.std(steps[1] - steps[2]))
    noise = quiet / _MAD_OF_LAPLACIAN
    described: Floats = np.log(np.array([noise + _QUIETEST, (fine + _QUIETEST) / (coarse + _QUIETEST)]))
    return described
