"""RealNet's batches and its joint loss, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from handmade import noise
from torch import Tensor

from automl_ad.methods.realnet.head import RealNetHead
from automl_ad.methods.realnet.training import Batch, FeaturePairs, joint_loss

pytestmark = pytest.mark.usefixtures("gradients_as_in_trainings")

PAIRS = 6


def numbered(dtype: torch.dtype = torch.float16) -> FeaturePairs:
    """Pair i has features i where it is good and 100 + i where it is not; its mask is pixel i."""
    numbers = torch.arange(PAIRS, dtype=dtype)[:, None, None, None]
    clean = [numbers.expand(PAIRS, 2, 4, 4), numbers.expand(PAIRS, 3, 2, 2)]
    masks = torch.eye(PAIRS, 16, dtype=torch.bool).reshape(PAIRS, 4, 4)
    return FeaturePairs(clean, [level + 100 for level in clean], masks)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers_of(levels: Sequence[Tensor]) -> Tensor:
    """The one number that every feature of an image is, after making sure of that."""
    flat = torch.cat([level.flatten(1) for level in levels], 1)
    assert bool((flat == flat[:, :1]).all())
    return flat[:, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999_999])
def test_seen_ideal_and_mask_belong_together(share: float, dtype: torch.dtype) -> None:
    batch = numbered(dtype).draw(50, share, generator())
    targets, seen = numbers_of(batch.targets), numbers_of(batch.inputs)
    spoilt = seen != targets
    assert [level.dtype for level in (*batch.inputs, *batch.targets)] == [torch.float32] * 4
    assert [tuple(level.shape) for level in batch.inputs] == [(50, 2, 4, 4), (50, 3, 2, 2)]
    torch.testing.assert_close(seen, targets + 100 * spoilt)
    by_hand = torch.zeros(50, 16, dtype=torch.bool)
    by_hand[torch.arange(50), targets.long()] = spoilt
    assert torch.equal(batch.masks, by_hand.reshape(50, 4, 4))
    assert int(spoilt.sum()) in {0.0: [50], 0.999_999: [0]}.get(share, range(12, 39))


def test_shares_and_pairs_are_drawn_evenly() -> None:
    batch = numbered().draw(6000, 0.25, generator())
    targets = numbers_of(batch.targets).long()
    spoilt = batch.masks.flatten(1).any(1)
    # Three standard deviations: of 6000 draws at a quarter 34, of 1000 of 6000 29.
    assert int((~spoilt).sum()) == pytest.approx(1500, abs=101)
    assert torch.bincount(targets, minlength=PAIRS).tolist() == pytest.approx([1000] * PAIRS, abs=87)


def test_draws_follow_the_generator() -> None:
    first, again, other = (numbered().draw(40, 0.5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(numbers_of(first.inputs), numbers_of(again.inputs))
    assert not torch.equal(numbers_of(first.inputs), numbers_of(other.inputs))
    running = generator(1)
    numbered().draw(40, 0.5, running)
    assert not torch.equal(numbers_of(first.inputs), numbers_of(numbered().draw(40, 0.5, running).inputs))


class Scripted(RealNetHead):
    """A head that answers what it was told."""

    def __init__(self, rebuilt: list[Tensor], logits: Tensor) -> None:
        super().__init__([torch.arange(2)], 2, "max", "light")
        self.answer, self.judgement = rebuilt, logits

    def rebuilt(self, features: Sequence[Tensor]) -> list[Tensor]:
        return self.answer

    def logits(self, features: Sequence[Tensor], rebuilt: Sequence[Tensor]) -> Tensor:
        return self.judgement


def test_the_loss_adds_squared_errors_of_levels_and_cross_entropy_of_pixels() -> None:
    targets = [torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 1)]
    rebuilt = [torch.tensor([[[[1.0, 2.0], [0.0, 1.0]]]]), torch.full((1, 1, 1, 1), 4.0)]
    logits = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]], [[math.log(3), 0.0], [0.0, math.log(7)]]]])
    masks = torch.tensor([[[True, False], [True, False]]])
    loss = joint_loss(Scripted(rebuilt, logits), Batch(targets, targets, masks))
    squared = (1 + 4 + 0 + 1) / 4 + 9  # each level's mean, though the levels differ in size
    entropy = -(math.log(3 / 4) + math.log(1 / 2) + math.log(1 / 2) + math.log(1 / 8)) / 4
    assert float(loss) == pytest.approx(squared + entropy)


def test_logits_are_brought_to_the_masks_with_corners_on_corners() -> None:
    one = [torch.zeros(1, 1, 1, 1)]
    logits = torch.tensor([[[[0.0, 0.0]], [[0.0, 2.0]]]])
    masks = torch.tensor([[[False, True, True]]])
    loss = joint_loss(Scripted(one, logits), Batch(one, one, masks))
    by_hand = math.log(2) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))
    assert float(loss) == pytest.approx(by_hand / 3)


def test_errors_are_counted_against_the_good_image_not_against_what_is_seen() -> None:
    seen, targets = [torch.full((1, 1, 1, 1), 5.0)], [torch.zeros(1, 1, 1, 1)]
    calm, masks = torch.tensor([[[[50.0]], [[-50.0]]]]), torch.zeros(1, 1, 1, dtype=torch.bool)
    assert float(joint_loss(Scripted(targets, calm), Batch(seen, targets, masks))) == 0
    assert float(joint_loss(Scripted(seen, calm), Batch(seen, targets, masks))) == 25


def test_segmentation_trains_the_reconstruction_too() -> None:
    """Residuals pass gradients on (section 3.3), also where the rebuilt features are already targets."""
    torch.manual_seed(0)
    head = RealNetHead([torch.arange(8)], 4, "both", "light")
    seen = [noise(2, 8, 8, 8)]
    targets = [level.detach() for level in head.rebuilt(seen)]
    joint_loss(head, Batch(seen, targets, torch.rand(2, 16, 16) > 0.5)).backward()
    assert all(weight.grad is not None for weight in head.parameters())
    assert max(float(weight.grad.abs().max()) for weight in head.rebuild.parameters() if weight.grad is not None) > 0
