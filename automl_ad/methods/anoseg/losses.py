"""What AnoSeg's two players learn from (section 3)."""

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
"""What the discriminator is to answer for a real pair: smoothed, so that it never becomes sure of itself."""
_RAREST = 0.01
"""Pixels of a kind that is rarer than this count for no more than if it were not."""


@dataclass(frozen=True)
class Weights:
    """What counts how much.

    Attributes:
        segmentation: How masks are compared.
        reconstruction: Weight of the rebuilt image.
        adversarial: Weight of the discriminator's opinion.
    """

    segmentation: Segmentation
    reconstruction: float
    adversarial: float


def joint_loss(
    generator: Generator, discriminator: Discriminator | None, images: Tensor, normal: Tensor, weights: Weights
) -> Tensor:
    """The loss of one step of both players, a scalar.

    One optimiser can serve both, since each part of the sum gives gradients to one player alone, and since Adam looks
    at every parameter by itself: a step on the sum is a step of each player on its own part.

    Args:
        generator: One player.
        discriminator: The other, or None while there is none.
        images: float32 [B, 3, H, W] in 0 to 1, good and anomalous ones.
        normal: float32 [B, 1, H, W], their true masks: 1 where normal and 0 where anomalous.
        weights: Of the generator's terms.
    """
    rebuilt, logits = (made.float() for made in generator(images))
    loss = segmentation_loss(logits, normal, weights.segmentation)
    loss = loss + weights.reconstruction * masked_reconstruction_loss(images, rebuilt, normal)
    if discriminator is None:
        return loss
    made = torch.sigmoid(logits)
    loss = loss + weights.adversarial * deceiving_loss(discriminator, rebuilt, made)
    return loss + telling_loss(discriminator, (images, normal), (rebuilt.detach(), made.detach()))


def segmentation_loss(logits: Tensor, normal: Tensor, kind: Segmentation) -> Tensor:
    """How far the predicted mask is from the true one, a scalar.

    Args:
        logits: float32 [B, 1, H, W] of normal.
        normal: float32 [B, 1, H, W], 1 where normal and 0 where anomalous.
        kind: ``l1`` is the published mean absolute error. It is small already where all is called normal,
            and the gradient of a sigmoid vanishes there, so that short trainings never find the anomalies.
            ``balanced`` is the cross entropy with as much weight on all anomalous pixels together as on all normal
            ones.
    """
    if kind == "l1":
        return (normal - torch.sigmoid(logits)).abs().mean()
    share = normal.mean().clamp(_RAREST, 1 - _RAREST)
    balance = normal / (2 * share) + (1 - normal) / (2 * (1 - share))
    return functional.binary_cross_entropy_with_logits(logits, normal, balance)


def masked_reconstruction_loss(images: Tensor, rebuilt: Tensor, normal: Tensor) -> Tensor:
    """Mean absolute error where images are normal, a scalar: E|x A - x' A| / E|A|.

    Args:
        images: float32 [B, 3, H, W].
        rebuilt: float32 [B, 3, H, W].
        normal: float32 [B, 1, H, W], 1 where normal and 0 where anomalous.
    """
    error = ((images - rebuilt).abs() * normal).mean()
    return error / normal.mean().clamp_min(torch.finfo(normal.dtype).eps)


def deceiving_loss(discriminator: Discriminator, rebuilt: Tensor, made: Tensor) -> Tensor:
    """The generator's part of the game, a scalar that gives the discriminator no gradient.

    Non-saturating, unlike the published log(1 - D): while the discriminator is sure of itself the latter teaches
    nothing.

    Args:
        discriminator: Held fixed.
        rebuilt: float32 [B, 3, H, W] in 0 to 1.
        made: float32 [B, 1, H, W] in 0 to 1, the predicted mask.
    """
    fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    return functional.softplus(-functional_call(discriminator, fixed, (rebuilt, made))).mean()


def telling_loss(discriminator: Discriminator, real: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]) -> Tensor:
    """The discriminator's part of the game, a scalar.

    Args:
        discriminator: Learns.
        real: Images, good and anomalous ones, with their true masks.
        made: What the generator made of them, detached from it.
    """
    judged = discriminator(*real)
    told_real = functional.binary_cross_entropy_with_logits(judged, torch.full_like(judged, REAL))
    return told_real + functional.softplus(discriminator(*made)).mean()
