"""AnoSeg's losses by hand, and who learns from which."""

from __future__ import annotations

import math

import pytest
import torch
from handmade import noise
from torch import Tensor, nn

from automl_ad.methods.anoseg.losses import (
    REAL,
    LossWeights,
    Segmentation,
    adversarial_loss,
    discriminator_loss,
    joint_loss,
    masked_reconstruction_loss,
    segmentation_loss,
)
from automl_ad.methods.anoseg.networks import Discriminator, Generator

pytestmark = pytest.mark.usefixtures("gradients_as_in_trainings")

WEIGHTS = LossWeights("balanced", 1.0, 0.1)


def rows(*values: list[float]) -> Tensor:
    """One image of one channel."""
    return torch.tensor([[values]])


def players() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(64, 8), Discriminator(64, 8)


def batch() -> tuple[Tensor, Tensor]:
    """Four images and their masks."""
    normal = torch.ones(4, 1, 64, 64)
    normal[:2, :, 10:20, 10:20] = 0
    return torch.sigmoid(noise(4, 3, 64, 64)), normal


def gradients(module: nn.Module) -> float:
    """The largest gradient of any parameter; 0 where there is none."""
    found = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return max((float(gradient.abs().max()) for gradient in found), default=0.0)


def test_l1_by_hand() -> None:
    logits = rows([0.0, math.log(3)], [math.log(9), 0.0])
    normal = rows([1.0, 1.0], [0.0, 0.0])
    assert float(segmentation_loss(logits, normal, "l1")) == pytest.approx((0.5 + 0.25 + 0.9 + 0.5) / 4)


def test_balanced_by_hand() -> None:
    logits = rows([math.log(3), 0.0], [math.log(7), math.log(3)])
    normal = rows([1.0, 1.0], [0.0, 1.0])
    of_normal = (-math.log(3 / 4) - math.log(1 / 2) - math.log(3 / 4)) / 3
    of_anomalous = -math.log(1 / 8)
    loss = float(segmentation_loss(logits, normal, "balanced"))
    assert loss == pytest.approx((of_normal + of_anomalous) / 2)


@pytest.mark.parametrize("kind", ["l1", "balanced"])
def test_masks_are_high_where_normal(kind: Segmentation) -> None:
    normal = rows([1.0, 1.0], [1.0, 0.0])
    right, wrong = 10 * (2 * normal - 1), -10 * (2 * normal - 1)
    assert float(segmentation_loss(right, normal, kind)) < 0.001
    assert float(segmentation_loss(wrong, normal, kind)) > 0.99


def test_all_called_normal_satisfies_l1_but_not_the_balanced_loss() -> None:
    """The published loss rewards a collapse; the other pulls rare anomalies as hard as frequent normal pixels."""
    normal = torch.ones(1, 1, 32, 32)
    normal[..., :3, :3] = 0
    for kind, least, most in (("l1", 0.0, 0.02), ("balanced", 2.0, 3.0)):
        logits = torch.full_like(normal, 5.0, requires_grad=True)
        loss = segmentation_loss(logits, normal, kind)  # type: ignore[arg-type]
        assert least < loss.item() < most
        loss.backward()
        assert logits.grad is not None
        pull = float(logits.grad[normal == 0].sum()) / float(-logits.grad[normal == 1].sum())
        assert pull > 100 if kind == "balanced" else pull < 0.01


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_masks_of_one_kind_have_a_finite_loss(value: float) -> None:
    logits = noise(2, 1, 8, 8)
    assert math.isfinite(float(segmentation_loss(logits, torch.full_like(logits, value), "balanced")))
    images = torch.rand(2, 3, 8, 8)
    assert math.isfinite(float(masked_reconstruction_loss(images, images + 1, torch.full_like(logits, value))))


def test_masked_reconstruction_by_hand() -> None:
    images = torch.stack([rows([0.1, 0.2], [0.3, 0.4])[0, 0]] * 3)[None]
    rebuilt = images + torch.tensor([1.0, -2.0, 3.0])[:, None, None]
    rebuilt[..., 1, 1] += 100
    normal = rows([1.0, 1.0], [1.0, 0.0])
    # Each of the three normal pixels is off by 1, 2 and 3 in its channels; the anomalous one does not count.
    assert float(masked_reconstruction_loss(images, rebuilt, normal)) == pytest.approx(2)


def test_how_many_pixels_are_anomalous_does_not_scale_the_reconstruction_loss() -> None:
    images = torch.zeros(1, 3, 8, 8)
    normal = torch.ones(1, 1, 8, 8)
    whole = masked_reconstruction_loss(images, images + 0.3, normal)
    normal[..., :5] = 0
    torch.testing.assert_close(masked_reconstruction_loss(images, images + 0.3, normal), whole)


def test_anomalous_pixels_give_the_rebuilt_image_no_gradient() -> None:
    rebuilt = torch.rand(2, 3, 8, 8, requires_grad=True)
    normal = (torch.rand(2, 1, 8, 8) > 0.5).float()
    masked_reconstruction_loss(torch.zeros(2, 3, 8, 8), rebuilt, normal).backward()
    assert rebuilt.grad is not None
    torch.testing.assert_close((rebuilt.grad != 0).float(), normal.expand(-1, 3, -1, -1))


class Summed(Discriminator):
    """Judges a pair by twice the mean of its mask, less one."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor, normal: Tensor) -> Tensor:
        return self.factor * normal.mean((1, 2, 3)) - 1


def test_the_game_by_hand() -> None:
    images = torch.zeros(2, 3, 8, 8)
    real, made = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)  # judged 1 and -1

    def told(logit: float, answer: float) -> float:
        share = 1 / (1 + math.exp(-logit))
        return -answer * math.log(share) - (1 - answer) * math.log(1 - share)

    assert float(adversarial_loss(Summed(), images, made)) == pytest.approx(told(-1, 1))
    wanted = told(1, REAL) + told(-1, 0)
    assert REAL == 0.9
    assert float(discriminator_loss(Summed(), (images, real), (images, made))) == pytest.approx(wanted)


def test_deceiving_teaches_the_generator_alone() -> None:
    generator, discriminator = players()
    rebuilt, logits = generator(batch()[0])
    adversarial_loss(discriminator, rebuilt, torch.sigmoid(logits)).backward()
    assert gradients(generator.rebuild) > 0
    assert gradients(generator.locate) > 0
    assert gradients(discriminator) == 0
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_telling_apart_teaches_the_discriminator_alone() -> None:
    generator, discriminator = players()
    images, normal = batch()
    silent = LossWeights("balanced", 0.0, 0.0)
    joint_loss(generator, discriminator, images, normal, silent).backward()
    told = {name: weight.grad.clone() for name, weight in generator.named_parameters() if weight.grad is not None}
    assert gradients(discriminator) > 0
    assert gradients(generator.rebuild) == 0  # nothing else of this loss looks at the rebuilt image
    generator.zero_grad()
    segmentation_loss(generator(images)[1], normal, "balanced").backward()
    alone = {name: weight.grad for name, weight in generator.named_parameters() if weight.grad is not None}
    for name, gradient in alone.items():
        torch.testing.assert_close(told[name], gradient, atol=1e-6, rtol=1e-4)


def test_one_optimiser_moves_both_players_as_two_would() -> None:
    moved = []
    for together in (True, False):
        generator, discriminator = players()
        images, normal = batch()
        both = [*generator.parameters(), *discriminator.parameters()]
        groups = [both] if together else [list(generator.parameters()), list(discriminator.parameters())]
        optimisers = [torch.optim.Adam(group, 1e-3, (0.5, 0.999)) for group in groups]
        if together:
            joint_loss(generator, discriminator, images, normal, WEIGHTS).backward()
        else:
            rebuilt, logits = generator(images)
            made = torch.sigmoid(logits)
            loss = segmentation_loss(logits, normal, "balanced") + masked_reconstruction_loss(images, rebuilt, normal)
            (loss + 0.1 * adversarial_loss(discriminator, rebuilt, made)).backward()
            discriminator_loss(discriminator, (images, normal), (rebuilt.detach(), made.detach())).backward()
        for optimiser in optimisers:
            optimiser.step()
        moved.append(torch.cat([parameter.detach().flatten() for parameter in both]))
    assert float((moved[0] - moved[1]).abs().max()) < 1e-6


def test_without_a_discriminator_the_terms_add_up() -> None:
    generator, _ = players()
    images, normal = batch()
    generator.eval()
    rebuilt, logits = generator(images)
    by_hand = segmentation_loss(logits, normal, "l1") + 0.3 * masked_reconstruction_loss(images, rebuilt, normal)
    loss = joint_loss(generator, None, images, normal, LossWeights("l1", 0.3, 0.1))
    torch.testing.assert_close(loss, by_hand)
