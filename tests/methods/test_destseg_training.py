"""What DeSTSeg learns from, and its two losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
from handmade import noise

from automl_ad.methods.destseg.training import (
    SegmentationData,
    StudentData,
    distillation_loss,
    on_grid,
    segmentation_loss,
)

pytestmark = pytest.mark.usefixtures("gradients_as_in_trainings")

COUNT = 6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered() -> StudentData:
    """Image i is grey i; the targets of it is i on every level."""
    numbers = torch.arange(COUNT)[:, None, None, None]
    targets = [numbers.half().expand(COUNT, 2, 4, 6), numbers.half().expand(COUNT, 3, 2, 3)]
    return StudentData(numbers.byte().expand(COUNT, 3, 8, 8), targets)


def test_images_and_their_ideals_stay_together() -> None:
    images, targets = numbered().draw(50, generator())
    greys = (images[:, 0, 0, 0] * 255).round()
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, (greys / 255)[:, None, None, None].expand(50, 3, 8, 8))
    for level, shape in zip(targets, [(2, 4, 6), (3, 2, 3)], strict=True):
        torch.testing.assert_close(level, greys[:, None, None, None].expand(50, *shape))
    assert numbered().sizes == [(4, 6), (2, 3)]


def test_all_images_are_drawn_evenly_and_by_the_generator() -> None:
    images, _ = numbered().draw(6000, generator(1))
    greys = (images[:, 0, 0, 0] * 255).round().long()
    assert torch.bincount(greys, minlength=COUNT).tolist() == pytest.approx([1000] * COUNT, abs=87)
    assert torch.equal(numbered().draw(9, generator(2))[0], numbered().draw(9, generator(2))[0])
    assert not torch.equal(numbered().draw(9, generator(2))[0], numbered().draw(9, generator(3))[0])


def test_products_and_their_masks_stay_together() -> None:
    numbers = torch.arange(COUNT)[:, None, None]
    examples = SegmentationData(numbers[:, None].half().expand(COUNT, 5, 2, 2), numbers.float().expand(COUNT, 2, 2))
    products, masks = examples.draw(40, generator())
    assert products.dtype == torch.float32
    torch.testing.assert_close(products, masks[:, None].expand(40, 5, 2, 2))
    assert set(masks.flatten().tolist()) == set(range(COUNT))


def test_masks_are_cut_at_one_half() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 1, 1:3] = True  # two of the four pixels in the middle of the first cell
    masks[0, 5, 5] = True  # one of four
    masks[0, 0, 4:8] = True  # the rim of a cell only
    masks[1, 4:, :4] = True
    small = on_grid(masks, (2, 2))
    assert small.dtype == torch.float32
    assert small.tolist() == [[[1, 0], [0, 0]], [[0, 0], [1, 0]]]
    assert torch.equal(on_grid(masks, (8, 8)), masks.float())


def test_the_imitation_loss_by_hand() -> None:
    student = [torch.tensor([[[[2.0, 0.0]], [[0.0, 3.0]]]]), torch.tensor([[[[1.0]], [[1.0]]]])]
    targets = [torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]]), torch.tensor([[[[-1.0]], [[0.0]]]])]
    by_hand = (0 + 1) / 2 + (1 + 1 / math.sqrt(2))  # positions are averaged, levels are added
    assert float(distillation_loss(student, targets)) == pytest.approx(by_hand)


def test_the_imitation_loss_is_the_sum_over_the_batch() -> None:
    student = [noise(4, 3, 5, 5), noise(4, 6, 2, 2)]
    targets = [torch.nn.functional.normalize(noise(*level.shape, seed=1)) for level in student]
    alone = [distillation_loss([a[i : i + 1] for a in student], [b[i : i + 1] for b in targets]) for i in range(4)]
    torch.testing.assert_close(distillation_loss(student, targets), torch.stack(alone).sum())
    assert float(distillation_loss([7 * level for level in targets], targets)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 4.0])
def test_the_segmentation_loss_by_hand(gamma: float) -> None:
    logits = torch.tensor([[[math.log(3), 0.0], [-math.log(4), math.log(9)]]])
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    right = [3 / 4, 1 / 2, 4 / 5, 1 / 10]  # probability of the true class
    focal = sum(-((1 - p) ** gamma) * math.log(p) for p in right) / 4
    absolute = sum(1 - p for p in right) / 4
    assert float(segmentation_loss(logits, masks, gamma)) == pytest.approx(focal + absolute)


def test_certain_pixels_neither_cost_nor_break_the_gradient() -> None:
    logits = torch.tensor([[[200.0, -200.0]]], requires_grad=True)
    loss = segmentation_loss(logits, torch.tensor([[[1.0, 0.0]]]), 4.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    assert float(segmentation_loss(logits.detach(), torch.tensor([[[0.0, 1.0]]]), 4.0)) == pytest.approx(201)
