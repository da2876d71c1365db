"""AnoSeg's networks: one encoder with two decoders, the discriminator of their pairs, and both as a head."""

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
"""Image pixels a step of the published encoder's output."""
FEATURE_WEIGHT, IMAGE_WEIGHT = 1.0, 0.1
"""Alpha and beta of the published image score."""
_LEAST_SPREAD = 0.02
"""Contrast below which a product counts as plain: noise must not be blown up."""
_DECODED = (4, 2, 1, 1, 1, 1)
"""Channels of the decoder's stages, from the coarsest, as multiples of the width (table 6); each doubles the side."""


def coordinate_channels(size: int) -> Tensor:
    """The row and the column of every pixel, each linear from -1 to 1: float32 [1, 2, size, size]."""
    line = torch.linspace(-1, 1, size)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"))[None]


def shrink(images: Tensor, size: int) -> Tensor:
    """Images of any size as squares, float32 [B, C, size, size], bilinear and antialiased."""
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


class Decoder(nn.Sequential):
    """From the encoder's output to an image of some channels, without connections past the bottleneck (table 6).

    Args:
        width: 128 as published.
        outputs: Channels of the image.
        doublings: How often the side is doubled, 5 as published; fewer leave out the coarsest stages.
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
    """Rebuilds an image and tells where it is normal, from one encoding (section 3).

    Args:
        size: Side of the images in pixels, a multiple of 32.
        width: 128 as published.
        coordinates: Whether the encoder is told where each pixel lies.
        stride: Image pixels a step of the encoding: 8, 16 or, as published, 32.

    Buffers:
        centre: float32 [1, 3, 1, 1], and spread, float32 scalar: what the encoder takes for black and for one unit of
            contrast; see `settle`.

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

    def settle(self, images: Tensor) -> None:
        """Lets the encoder see good images, float32 [N, 3, H, W], with zero mean and unit variance.

        Pictures of one product differ by a tenth of the range, coordinates by all of it: side by side as they are, the
        first layer would see little but coordinates, and a short training never gets to the picture.
        """
        self.centre.copy_(images.mean((0, 2, 3), keepdim=True))
        self.spread.copy_((images - self.centre).std().clamp_min(_LEAST_SPREAD))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Looks at images.

        Args:
            images: float32 [B, 3, size, size] in 0 to 1.

        Returns:
            The rebuilt images, float32 [B, 3, size, size] in 0 to 1, and the logits of normal, float32
            [B, 1, size, size]: high where an image is normal, as published.
        """
        seen = (images - self.centre) / self.spread
        placed = torch.cat([seen, self.places.expand(images.shape[0], -1, -1, -1)], 1)
        encoded = self.encoder(placed.contiguous(memory_format=torch.channels_last))
        return torch.sigmoid(self.rebuild(encoded)), self.locate(encoded)


def halvings(size: int) -> int:
    """How often a side can be halved, rounded down, until one pixel is left."""
    return int(math.log2(size))


class Discriminator(nn.Module):
    """Tells pairs of real images and true masks from pairs that the generator made (table 6).

    Every layer halves the side until one number is left, so that the size decides how many layers there are: 8 for the
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
        """Judges pairs.

        Args:
            images: float32 [B, 3, size, size] in 0 to 1.
            normal: float32 [B, 1, size, size] in 0 to 1, 1 where the image is normal.

        Returns:
            The logits of real, float32 [B].
        """
        logits: Tensor = self.last(self.features(images, normal))
        return logits.flatten()

    def features(self, images: Tensor, normal: Tensor) -> Tensor:
        """What the last layer sees, f in the paper: float32 [B, width, 2, 2] of pairs of 256 pixels."""
        pairs = torch.cat([images, normal], 1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.body(pairs)
        return features


class AnoSegHead(nn.Module):
    """AnoSeg's trained part: from images to anomaly maps.

    Args:
        size: Side of the square that images are brought to, in pixels.
        width: 128 as published.
        coordinates: Whether the encoder is told where each pixel lies.
        judged: Whether there is a discriminator.
        stride: Image pixels a step of the encoding.
        score: ``gan`` adds to the map how far the discriminator and the rebuilt image say that the image as a whole is
            off; it needs a discriminator.
    """

    def __init__(
        self, size: int, width: int, coordinates: bool, judged: bool, score: Score = "map", stride: int = STRIDE
    ) -> None:
        super().__init__()
        self.generator = Generator(size, width, coordinates, stride)
        self.discriminator = Discriminator(size, width) if judged else None
        self._score: Score = score
        self.to(memory_format=torch.channels_last)  # a third faster on a processor

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The images, last of the list, to float32 [B, size, size]: the logit of anomalous, high where anomalous."""
        images = shrink(maps[-1], self.generator.size)
        rebuilt, logits = self.generator(images)
        found: Tensor = -logits[:, 0]
        if self._score == "map":
            return found
        return found + self.image_score(images, rebuilt, logits)[:, None, None]

    def image_score(self, images: Tensor, rebuilt: Tensor, logits: Tensor) -> Tensor:
        """How far each image as a whole is from what the generator makes of it, float32 [B].

        The paper (appendix) trains a second pair of networks on good images for this. Here those at hand serve: the
        discriminator's features of the image, as if all of it were normal, are compared with those of what the
        generator made, and the image with the rebuilt one.
        """
        assert self.discriminator is not None
        claimed = self.discriminator.features(images, torch.ones_like(logits))
        made = self.discriminator.features(rebuilt, torch.sigmoid(logits))
        apart = ((claimed - made) ** 2).mean((1, 2, 3))
        return FEATURE_WEIGHT * apart + IMAGE_WEIGHT * ((images - rebuilt) ** 2).mean((1, 2, 3))
