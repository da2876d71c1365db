"""AnoSeg's networks: a generator of one encoder and two decoders, a discriminator, and both as a head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.resnet import resnet18

Score = Literal["map", "gan"]

PUBLISHED_WIDTH = 128
STRIDE = 32
"""Total stride of the published encoder."""
FEATURE_WEIGHT, IMAGE_WEIGHT = 1.0, 0.1
"""Alpha and beta of the published image score."""
_LEAST_SPREAD = 0.02
"""Lower bound of the contrast used in normalisation, so that noise is not amplified."""
_DECODED = (4, 2, 1, 1, 1, 1)
"""Channels of the decoder's stages, from the coarsest, as multiples of the width (table 6); each upsamples by 2."""


def coordinate_channels(size: int) -> Tensor:
    """Row and column coordinate of every pixel, linear from -1 to 1: float32 [1, 2, size, size]."""
    line = torch.linspace(-1, 1, size)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"))[None]


def shrink(images: Tensor, size: int) -> Tensor:
    """Resizes images to float32 [B, C, size, size], bilinear with antialiasing."""
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


class Decoder(nn.Sequential):
    """Decodes the encoder's output to an image, without skip connections (table 6).

    Args:
        width: 128 as published.
        outputs: Channels of the image.
        doublings: Number of upsampling stages, 5 as published; fewer leave out the coarsest stages.
    """

    def __init__(self, width: int, outputs: int, doublings: int = 5) -> None:
        widths = [width * factor for factor in _DECODED[-1 - doublings :]]
        layers = list(_conv(widths[0], widths[0]))
        for before, after in pairwise(widths):
            layers += [*_doubling(before), *_conv(before, after)]
        super().__init__(*layers, nn.Conv2d(widths[-1], outputs, 3, padding=1))


def _conv(inputs: int, outputs: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    yield nn.BatchNorm2d(outputs)
    yield nn.ReLU()


def _doubling(channels: int) -> Iterator[nn.Module]:
    yield nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
    yield nn.BatchNorm2d(channels)
    yield nn.ReLU()


class Generator(nn.Module):
    """Reconstructs an image and predicts its normal pixels from one encoding (section 3).

    Args:
        size: Side of the images in pixels, a multiple of 32.
        width: 128 as published.
        coordinates: Whether the encoder gets pixel coordinates.
        stride: Total stride of the encoder: 8, 16 or, as published, 32.

    Buffers:
        centre: float32 [1, 3, 1, 1], and spread, float32 scalar: mean and standard deviation for the input
            normalisation; see `fit_normalisation`.

    Raises:
        ValueError: The size is no multiple of 32.
    """

    places: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, size: int, width: int = PUBLISHED_WIDTH, coordinates: bool = True, stride: int = STRIDE) -> None:
        super().__init__()
        if size < STRIDE or size % STRIDE:
            raise ValueError(f"the size must be a multiple of {STRIDE} but is {size}")
        self.size = size
        places = coordinate_channels(size) if coordinates else torch.empty(1, 0, size, size)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("centre", torch.zeros(1, 3, 1, 1))
        self.register_buffer("spread", torch.ones(()))
        halved = int(math.log2(stride))
        self.encoder = resnet18(3 + places.shape[1], width // 2, halved)
        self.rebuild = Decoder(width, 3, halved)
        self.locate = Decoder(width, 1, halved)

    def fit_normalisation(self, images: Tensor) -> None:
        """Sets the input normalisation from normal images, float32 [N, 3, H, W], to zero mean and unit variance.

        Images of one product use about a tenth of the range, coordinates all of it. Without normalisation the first
        layer would respond mostly to the coordinates, and a short training would not learn the image.
        """
        self.centre.copy_(images.mean((0, 2, 3), keepdim=True))
        self.spread.copy_((images - self.centre).std().clamp_min(_LEAST_SPREAD))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructs images and predicts where they are normal.

        Args:
            images: float32 [B, 3, size, size] in 0 to 1.

        Returns:
            The reconstructed images, float32 [B, 3, size, size] in 0 to 1, and the logits of the class normal, float32
            [B, 1, size, size]: high where an image is normal, as published.
        """
        seen = (images - self.centre) / self.spread
        placed = torch.cat([seen, self.places.expand(images.shape[0], -1, -1, -1)], 1)
        encoded = self.encoder(placed.contiguous(memory_format=torch.channels_last))
        return torch.sigmoid(self.rebuild(encoded)), self.locate(encoded)


def halvings(size: int) -> int:
    """How often a side can be halved, rounded down, until one pixel is left.

    >>> halvings(256)
    8
    """
    return int(math.log2(size))


class Discriminator(nn.Module):
    """Discriminates pairs of real image and true mask from generated pairs (table 6).

    Every layer halves the resolution until one value is left, so the size determines the number of layers: 8 for the
    published 256 pixels.

    Args:
        size: Side of the images in pixels, at least 8.
        width: 128 as published.
    """

    def __init__(self, size: int, width: int = PUBLISHED_WIDTH) -> None:
        super().__init__()
        growing = [width // 2 * min(2**stage, 8) for stage in range(halvings(size) - 2)]
        widths = [4, *growing, width]
        layers: list[nn.Module] = []
        for stage, (before, after) in enumerate(pairwise(widths)):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=stage == 0))
            layers += [nn.BatchNorm2d(after)] if stage else []
            layers.append(nn.LeakyReLU(0.2))
        self.body = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, 1, 4, stride=2, padding=1)

    def forward(self, images: Tensor, normal: Tensor) -> Tensor:
        """Classifies pairs.

        Args:
            images: float32 [B, 3, size, size] in 0 to 1.
            normal: float32 [B, 1, size, size] in 0 to 1, 1 where the image is normal.

        Returns:
            The logits of the class real, float32 [B].
        """
        logits: Tensor = self.last(self.features(images, normal))
        return logits.flatten()

    def features(self, images: Tensor, normal: Tensor) -> Tensor:
        """Input of the last layer, f in the paper: float32 [B, width, 2, 2] for pairs of 256 pixels."""
        pairs = torch.cat([images, normal], 1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.body(pairs)
        return features


class AnoSegHead(nn.Module):
    """AnoSeg's trained part: maps images to anomaly maps.

    Args:
        size: Side of the square to which images are resized, in pixels.
        width: 128 as published.
        coordinates: Whether the encoder gets pixel coordinates.
        with_discriminator: Whether there is a discriminator.
        stride: Total stride of the encoder.
        score: ``gan`` adds an image-level score to the map, from the discriminator's features and the
            reconstruction; it needs a discriminator.
    """

    def __init__(
        self,
        size: int,
        width: int,
        coordinates: bool,
        with_discriminator: bool,
        score: Score = "map",
        stride: int = STRIDE,
    ) -> None:
        super().__init__()
        self.generator = Generator(size, width, coordinates, stride)
        self.discriminator = Discriminator(size, width) if with_discriminator else None
        self._score: Score = score
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The images, last of the list, to float32 [B, size, size]: the logit of anomalous, high where anomalous."""
        images = shrink(maps[-1], self.generator.size)
        rebuilt, logits = self.generator(images)
        anomalous: Tensor = -logits[:, 0]
        if self._score == "map":
            return anomalous
        return anomalous + self.image_score(images, rebuilt, logits)[:, None, None]

    def image_score(self, images: Tensor, rebuilt: Tensor, logits: Tensor) -> Tensor:
        """Distance between each image and the generator's outputs for it, float32 [B].

        The paper (appendix) trains a second pair of networks on normal images for this; here the same networks are
        used. The discriminator's features of the image with an all-normal mask are compared with those of the
        generated pair, and the image with its reconstruction.
        """
        assert self.discriminator is not None
        as_normal = self.discriminator.features(images, torch.ones_like(logits))
        generated = self.discriminator.features(rebuilt, torch.sigmoid(logits))
        distance = ((as_normal - generated) ** 2).mean((1, 2, 3))
        return FEATURE_WEIGHT * distance + IMAGE_WEIGHT * ((images - rebuilt) ** 2).mean((1, 2, 3))
