"""Losses of AnoSeg's generator and discriminator (section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from automl_ad.methods.anoseg.networks import Discriminator, Generator

Segmentation = Literal["l1", "balanced"]

REAL = 0.9
"""Target of the discriminator for a real pair: one-sided label smoothing."""
_MIN_SHARE = 0.01
"""Lower bound of a class's pixel share in the balanced loss; limits the weight of rare pixels."""


@dataclass(frozen=True)
class LossWeights:
    """Form and weights of the terms of the loss.

    Attributes:
        segmentation: Loss of the predicted mask.
        reconstruction: Weight of the reconstruction loss.
        adversarial: Weight of the adversarial loss.
    """

    segmentation: Segmentation
    reconstruction: float
    adversarial: float


def joint_loss(
    generator: Generator, discriminator: Discriminator | None, images: Tensor, normal: Tensor, weights: LossWeights
) -> Tensor:
    """The loss of one joint step of generator and discriminator, a scalar.

    One optimiser serves both: each term of the sum gives gradients to one network only, and Adam treats every parameter
    separately, so a step on the sum is a step of each network on its own loss.

    Args:
        generator: Always trained.
        discriminator: Trained as well; None to train the generator without it.
        images: float32 [B, 3, H, W] in 0 to 1, normal and anomalous ones.
        normal: float32 [B, 1, H, W], ground truth: 1 where normal and 0 where anomalous.
        weights: Weights of the generator's terms.
    """
    rebuilt, logits = (output.float() for output in generator(images))
    loss = segmentation_loss(logits, normal, weights.segmentation)
    loss = loss + weights.reconstruction * masked_reconstruction_loss(images, rebuilt, normal)
    if discriminator is None:
        return loss
    predicted = torch.sigmoid(logits)
    loss = loss + weights.adversarial * adversarial_loss(discriminator, rebuilt, predicted)
    return loss + discriminator_loss(discriminator, (images, normal), (rebuilt.detach(), predicted.detach()))


def segmentation_loss(logits: Tensor, normal: Tensor, kind: Segmentation) -> Tensor:
    """Loss of the predicted mask, a scalar.

    Args:
        logits: float32 [B, 1, H, W], of the class normal.
        normal: float32 [B, 1, H, W], 1 where normal and 0 where anomalous.
        kind: ``l1`` is the published mean absolute error. It is small already if every pixel is predicted normal, and
            the sigmoid's gradient vanishes there, so that short trainings do not learn the anomalies. ``balanced`` is
            cross entropy with equal total weights of the anomalous and of the normal pixels.
    """
    if kind == "l1":
        return (normal - torch.sigmoid(logits)).abs().mean()
    share = normal.mean().clamp(_MIN_SHARE, 1 - _MIN_SHARE)
    balance = normal / (2 * share) + (1 - normal) / (2 * (1 - share))
    return functional.binary_cross_entropy_with_logits(logits, normal, balance)


def masked_reconstruction_loss(images: Tensor, rebuilt: Tensor, normal: Tensor) -> Tensor:
    """Mean absolute reconstruction error over the normal pixels, a scalar: E|x A - x' A| / E|A|.

    Args:
        images: float32 [B, 3, H, W].
        rebuilt: float32 [B, 3, H, W].
        normal: float32 [B, 1, H, W], 1 where normal and 0 where anomalous.
    """
    error = ((images - rebuilt).abs() * normal).mean()
    return error / normal.mean().clamp_min(torch.finfo(normal.dtype).eps)


def adversarial_loss(discriminator: Discriminator, rebuilt: Tensor, predicted: Tensor) -> Tensor:
    """The generator's adversarial loss, a scalar without gradients for the discriminator.

    Non-saturating, unlike the published log(1 - D), whose gradient vanishes while the discriminator is confident.

    Args:
        discriminator: Held fixed.
        rebuilt: float32 [B, 3, H, W] in 0 to 1.
        predicted: float32 [B, 1, H, W] in 0 to 1, the predicted mask.
    """
    fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    return functional.softplus(-functional_call(discriminator, fixed, (rebuilt, predicted))).mean()


def discriminator_loss(
    discriminator: Discriminator, real: tuple[Tensor, Tensor], generated: tuple[Tensor, Tensor]
) -> Tensor:
    """The discriminator's loss, a scalar.

    Args:
        discriminator: Trained.
        real: Images, normal and anomalous, with their true masks.
        generated: The generator's outputs for these images, detached.
    """
    logits = discriminator(*real)
    real_loss = functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, REAL))
    return real_loss + functional.softplus(discriminator(*generated)).mean()
