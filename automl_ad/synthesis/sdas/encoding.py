"""Encoding of images for the diffusion model: deviation from the mean image along scaled principal colour axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.synthesis.colour import is_grey

TYPICAL = 0.5
"""Standard deviation of encoded images, about that of photographs scaled to -1 to 1."""
LARGEST_GAIN = 8.0
"""Largest gain of a faint axis; below that, variation is mostly camera noise."""
_SAMPLE = 200_000


@dataclass(frozen=True)
class Encoding:
    """Converts images to and from the diffusion model's representation.

    The published model diffuses the images themselves, which takes days to learn exactly. Here the mean good image is
    subtracted, and the residual is rotated to its principal colour axes and scaled to equal spread. Noise is then
    relative to the variation between good images: large for an irregular surface, small for an aligned part, whose
    outlines it would otherwise hide. Faint axes are amplified, as noise would hide the small hue differences within a
    product. Grey images have one channel, so that no hue is introduced.

    Attributes:
        mean: float32 [3, H, W], levels -1 to 1.
        axes: float32 [C, 3], one scaled axis per row.
        inverse: float32 [3, C].
        max_abs: Largest magnitude in the encoded good images.
    """

    mean: Tensor
    axes: Tensor
    inverse: Tensor
    max_abs: float = 1.0

    @classmethod
    def plain(cls, height: int, width: int) -> Encoding:
        """The identity: red, green and blue, -1 to 1."""
        return cls(torch.zeros(3, height, width), torch.eye(3), torch.eye(3))

    @classmethod
    def of(cls, images: npt.NDArray[np.uint8]) -> Encoding:
        """The encoding of a set of good images, uint8 [N, H, W, 3]."""
        levels = images.mean(0, dtype=np.float64) / 127.5 - 1
        mean = _tensor(levels.transpose(2, 0, 1))
        pixels = images.reshape(-1, 3)
        places = np.arange(0, len(pixels), max(1, len(pixels) // _SAMPLE))
        residual = pixels[places] / 127.5 - 1 - levels.reshape(-1, 3)[places % (levels.size // 3)]
        axes, inverse = _grey_axes(residual) if all(is_grey(image) for image in images) else _colour_axes(residual)
        max_abs = float(np.abs(residual @ axes.T).max())
        return cls(mean, _tensor(axes), _tensor(inverse), max_abs)

    @property
    def channels(self) -> int:
        """Number of encoded channels C."""
        return len(self.axes)

    def encode(self, images: Tensor, mean: Tensor | None = None) -> Tensor:
        """Encodes images, on their device.

        Args:
            images: uint8 [B, 3, H, W], whole images or crops.
            mean: The part of ``mean`` that belongs to each crop, float32 [B, 3, H, W].

        Returns:
            float32 [B, C, H, W].
        """
        levels = images.float() / 127.5 - 1 - (self.mean if mean is None else mean).to(images.device)
        return torch.einsum("bchw,dc->bdhw", levels, self.axes.to(images.device))

    def decode(self, encoded: Tensor) -> Tensor:
        """float32 [B, C, H, W] to uint8 [B, 3, H, W], on the same device."""
        levels = torch.einsum("bdhw,cd->bchw", encoded, self.inverse.to(encoded.device)) + self.mean.to(encoded.device)
        return ((levels.clamp(-1, 1) + 1) * 127.5).round().byte()


Floats = npt.NDArray[np.float64]


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()


def _grey_axes(residual: Floats) -> tuple[Floats, Floats]:
    """The mean of the three channels, scaled; float64 [1, 3] and its inverse [3, 1]."""
    gain = _gains(residual.mean(1, keepdims=True))
    return np.full((1, 3), gain / 3), np.full((3, 1), 1 / gain)


def _colour_axes(residual: Floats) -> tuple[Floats, Floats]:
    """Principal axes, scaled; float64 [3, 3] and their inverse."""
    _, axes = np.linalg.eigh(residual.T @ residual)
    gains = _gains(residual @ axes)
    return (axes * gains).T, axes / gains


def _gains(values: Floats) -> Floats:
    gains: Floats = TYPICAL / np.maximum(np.sqrt((values**2).mean(0)), TYPICAL / LARGEST_GAIN)
    return gains
