"""AnoSeg's training images: their size, their masks and their shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import draw_discs
from torch import Tensor

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.anoseg.networks import shrink
from automl_ad.methods.anoseg.samples import Samples
from automl_ad.methods.fit_memory import Placement
from automl_ad.methods.pairs import Pairs

COUNT = 6
CPU = torch.device("cpu")


def numbered() -> Samples:
    """Pair i has the grey value i where it is good and 100 + i where it is not; its mask is pixel i."""
    numbers = torch.arange(COUNT, dtype=torch.uint8)[:, None, None, None].expand(COUNT, 3, 4, 4)
    masks = torch.eye(COUNT, 16, dtype=torch.bool).reshape(COUNT, 1, 4, 4)
    return Samples(numbers, numbers + 100, masks)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values_of(images: Tensor) -> Tensor:
    """The one grey value that every pixel of an image has, after making sure of that."""
    flat = (images * 255).round().flatten(1)
    assert bool((flat == flat[:, :1]).all())
    return flat[:, 0].long()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999_999])
def test_masks_are_1_where_normal_and_0_where_anomalous(share: float) -> None:
    images, normal = numbered().draw(50, share, generator())
    values = values_of(images)
    spoilt = values >= 100
    by_hand = torch.ones(50, 16)
    by_hand[torch.arange(50)[spoilt], values[spoilt] - 100] = 0
    assert images.dtype == normal.dtype == torch.float32
    assert torch.equal(normal, by_hand.reshape(50, 1, 4, 4))
    assert int(spoilt.sum()) in {0.0: [50], 0.999_999: [0]}.get(share, range(12, 39))


def test_shares_and_pairs_are_drawn_evenly() -> None:
    values = values_of(numbered().draw(6000, 0.25, generator())[0])
    # Three standard deviations: of 6000 draws at a quarter 101, of 1000 of 6000 87.
    assert int((values < 100).sum()) == pytest.approx(1500, abs=101)
    assert torch.bincount(values % 100, minlength=COUNT).tolist() == pytest.approx([1000] * COUNT, abs=87)


def test_draws_follow_the_generator() -> None:
    first, again, other = (values_of(numbered().draw(40, 0.5, generator(seed))[0]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_pairs_are_brought_to_squares() -> None:
    discs = draw_discs(10, (64, 96))
    masks = torch.zeros(10, 64, 96, dtype=torch.bool)
    masks[0, 16:32, 24:48] = True
    samples = Samples.of(Pairs(ImageSet.of(discs), ImageSet.of(255 - discs), masks), 32, Placement(CPU, CPU))
    assert samples.clean.dtype == samples.anomalous.dtype == torch.uint8
    assert samples.masks.dtype == torch.bool
    wanted = shrink(torch.from_numpy(discs).float(), 32)
    assert float((samples.clean.float() - wanted).abs().max()) <= 0.5001
    assert float((samples.anomalous.float() - (255 - wanted)).abs().max()) <= 0.5001
    by_hand = np.zeros((10, 1, 32, 32), bool)
    by_hand[0, 0, 8:16, 8:16] = True
    np.testing.assert_array_equal(samples.masks.numpy(), by_hand)


def test_images_of_the_right_size_stay_as_they_are() -> None:
    discs = draw_discs(3, (64, 64))
    masks = torch.from_numpy(np.random.default_rng(0).random((3, 64, 64)) < 0.1)
    samples = Samples.of(Pairs(ImageSet.of(discs), ImageSet.of(discs + np.uint8(1)), masks), 64, Placement(CPU, CPU))
    np.testing.assert_array_equal(samples.clean.numpy(), discs)
    np.testing.assert_array_equal(samples.anomalous.numpy(), discs + np.uint8(1))
    assert torch.equal(samples.masks[:, 0], masks)
