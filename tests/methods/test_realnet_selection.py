"""RealNet's selections, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import noise
from torch import Tensor

from automl_ad.methods.realnet.selection import ChannelRanking, Mode, ResidualSelection

pytestmark = pytest.mark.usefixtures("gradients_as_in_trainings")


def ranking_of(change: Tensor, masks: Tensor) -> ChannelRanking:
    """A ranking of one batch whose squared change is ``change``."""
    ranking = ChannelRanking()
    ranking.add(torch.zeros_like(change), change.sqrt(), masks)
    return ranking


def test_a_channel_that_changes_like_the_mask_costs_nothing_and_comes_first() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:5, 1:4] = masks[1, 5:, 5:] = True
    change = noise(2, 6, 8, 8).abs()
    change[:, 3] = masks
    ranking = ranking_of(change, masks)
    assert ranking.order()[0] == 3
    assert float(ranking.losses[3]) < 1e-4
    assert float(ranking.losses[[0, 1, 2, 4, 5]].min()) > 0.01


def test_loss_of_a_small_tensor_by_hand() -> None:
    clean = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    moved = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, -1.0], [1.0, 3.0]]]])
    ranking = ChannelRanking()
    ranking.add(clean, moved, torch.tensor([[[False, False], [False, True]]]))
    # Squared changes 0 1 4 9 and 1 1 1 9; scaled 0 1/9 4/9 1 and 0 0 0 1; the mask is 0 0 0 1.
    by_hand = torch.tensor([((1 / 9) ** 2 + (4 / 9) ** 2) / 4, 0.0])
    torch.testing.assert_close(ranking.losses, by_hand, atol=1e-5, rtol=0)
    assert ranking.order().tolist() == [1, 0]


def test_the_smoothing_keeps_a_channel_that_never_changes_finite() -> None:
    masks = torch.tensor([[[True, False], [False, False]]])
    assert ranking_of(torch.zeros(1, 1, 2, 2), masks).losses.tolist() == [0.25]
    tiny = torch.tensor([[[[1e-4, 0.0], [0.0, 0.0]]]])
    assert float(ranking_of(tiny, masks).losses) == pytest.approx(0.25 * (1 - 1e-4 / 2e-4) ** 2, rel=1e-4)


def test_a_channel_is_scaled_over_the_whole_batch() -> None:
    masks = torch.tensor([[[True, False]], [[True, False]]])
    change = torch.tensor([[[[1.0, 0.0]]], [[[4.0, 0.0]]]])
    # Over the batch the changes become 1/4 0 and 1 0; image by image both would be 1 0, at no loss.
    assert float(ranking_of(change, masks).losses) == pytest.approx((0.75**2) / 4, abs=1e-4)
    # The same for the lowest: 1/2 1 and 0 1 over the batch, 0 1 twice image by image.
    raised = torch.tensor([[[[4.0, 2.0]]], [[[4.0, 0.0]]]])
    assert float(ranking_of(raised, masks).losses) == pytest.approx((0.5**2) / 4, abs=1e-4)


def test_channels_are_scaled_each_by_itself() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 1:4] = True
    change = noise(2, 3, 8, 8).abs()
    stretched = change * torch.tensor([1.0, 1000.0, 50.0])[:, None, None]
    torch.testing.assert_close(
        ranking_of(stretched, masks).losses, ranking_of(change, masks).losses, atol=1e-4, rtol=0.001
    )


def test_a_finer_mask_gives_each_cell_its_nearest_pixel() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 2, 2] = masks[0, 1, 1] = True
    change = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
    assert float(ranking_of(change, masks).losses) < 1e-4


def test_losses_of_several_batches_are_their_mean() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, :3, :3] = True
    both, parts = ChannelRanking(), []
    for seed in (1, 2, 3):
        change = noise(2, 5, 8, 8, seed=seed) ** 2
        both.add(torch.zeros_like(change), change.sqrt(), masks)
        parts.append(ranking_of(change, masks).losses)
    torch.testing.assert_close(both.losses, torch.stack(parts).mean(0))


def test_the_order_is_that_of_the_losses_whatever_is_selected_features() -> None:
    """Cutting the order at any count gives the channels of the least losses: each cut is the start of the next."""
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, :3, :3] = True
    ranking = ranking_of(noise(2, 12, 8, 8) ** 2, masks)
    order, losses = ranking.order(), ranking.losses.numpy()
    for count in range(1, 13):
        assert set(order[:count].tolist()) == set(np.argsort(losses)[:count].tolist())


def test_channels_without_a_finite_loss_come_last() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2, :2] = True
    change = torch.stack([masks.float(), 1 - masks.float(), masks.float(), masks.float()], 1)
    change[:, 2, 0, 0] = torch.nan
    change[:, 3, 0, 0] = torch.inf
    ranking = ranking_of(change, masks)
    assert ranking.order().tolist() == [0, 1, 2, 3]
    assert ranking.losses[2] == ranking.losses[3] == ranking.losses[1] > ranking.losses[0]
    alone = ranking_of(torch.full((1, 3, 4, 4), torch.nan), masks)
    assert alone.order().tolist() == [0, 1, 2]


def test_equal_channels_keep_their_order() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 1:3, 1:3] = True
    change = (noise(1, 1, 4, 4) ** 2).repeat(1, 40, 1, 1)
    change[:, 25] = masks.float()
    assert ranking_of(change, masks).order().tolist() == [25, *range(25), *range(26, 40)]


def test_half_precision_features_are_ranked_in_single_precision() -> None:
    """Squares of features beyond 256 overflow half precision."""
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 0, 0] = True
    ranking = ChannelRanking()
    ranking.add(torch.zeros(1, 1, 4, 4).half(), (1000 * masks[:, None]).half(), masks)
    assert float(ranking.losses) < 1e-6


def test_nothing_is_ranked_before_the_first_batch() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        ChannelRanking().order()


SMALL, LARGE, SPECKLED = 1, 3, 4


def planted() -> Tensor:
    """Residuals [1, 6, 8, 8]: one small strong anomaly, one large weak one, and a channel between the two."""
    residuals = torch.zeros(1, 6, 8, 8)
    residuals[0, SMALL, 4, 4] = 9  # mean 0.14
    residuals[0, LARGE, :, :6] = 1  # mean 0.75
    residuals[0, SPECKLED, 0, :3] = 5  # mean 0.23
    return residuals


def resting(channels: int, kept: int, mode: Mode) -> ResidualSelection:
    """A selection in evaluation mode that has seen nothing: its norm leaves values as they are."""
    return ResidualSelection(channels, kept, mode).eval()


def test_only_both_finds_small_and_large_anomalies() -> None:
    residuals = planted()
    found = {mode: resting(6, 2, mode).ranked(residuals)[0].tolist() for mode in ("max", "mean", "both")}
    assert found == {"max": [SMALL, SPECKLED], "mean": [LARGE, SPECKLED], "both": [SMALL, LARGE]}


def test_both_gives_half_of_the_places_to_each_ranking_even_to_the_same_channel() -> None:
    residuals = planted()
    assert resting(6, 4, "both").ranked(residuals)[0].tolist() == [SMALL, SPECKLED, LARGE, SPECKLED]
    loud = planted()
    loud[0, 5] = 20
    assert resting(6, 2, "both").ranked(loud)[0].tolist() == [5, 5]


@pytest.mark.parametrize("mode", ["max", "mean", "both"])
def test_raw_residuals_of_each_image_go_on_best_first(mode: Mode) -> None:
    residuals = noise(3, 10, 4, 6) ** 2
    select = ResidualSelection(10, 4, mode)
    select(noise(8, 10, 4, 6, seed=5) ** 2 * 3)
    select.eval()
    mean, deviation = select.norm.running_mean, (select.norm.running_var + select.norm.eps).sqrt()
    chosen = select(residuals)
    assert chosen.shape == (3, 4, 4, 6)
    for image, result in zip(residuals, chosen, strict=True):
        normed = (image - mean[:, None, None]) / deviation[:, None, None]
        by_max = sorted(range(10), key=lambda c, n=normed: -float(n[c].max()))
        by_mean = sorted(range(10), key=lambda c, n=normed: -float(n[c].mean()))
        wanted = {"max": by_max[:4], "mean": by_mean[:4], "both": by_max[:2] + by_mean[:2]}[mode]
        torch.testing.assert_close(result, image[wanted], rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_no_channel_wins_by_its_scale(mode: Mode) -> None:
    scale = torch.ones(6)
    scale[0] = 10_000
    select = ResidualSelection(6, 1, mode)
    usual = noise(32, 6, 8, 8) ** 2 * scale[:, None, None]
    select(usual)
    select.eval()
    spoilt = usual[:4].clone()
    spoilt[:, 2, 1:4, 1:4] += 40
    assert select.ranked(spoilt).flatten().tolist() == [2] * 4
    torch.testing.assert_close(select(spoilt), spoilt[:, 2:3], rtol=0, atol=0)


def test_gradients_reach_the_gathered_residuals_alone_and_ignore_the_ranking() -> None:
    residuals = (planted() + 0.01 * noise(1, 6, 8, 8) ** 2).requires_grad_()
    weight = noise(1, 4, 8, 8, seed=3)
    select = ResidualSelection(6, 4, "both")
    with torch.no_grad():
        chosen = ResidualSelection(6, 4, "both").ranked(residuals)[0]
    (select(residuals) * weight).sum().backward()
    by_hand = torch.zeros(1, 6, 8, 8)
    for place, channel in enumerate(chosen.tolist()):
        by_hand[0, channel] += weight[0, place]
    assert len(set(chosen.tolist())) < 6
    torch.testing.assert_close(residuals.grad, by_hand)
    assert list(select.parameters()) == []


def test_after_training_a_batch_does_not_matter() -> None:
    select = ResidualSelection(12, 6, "both")
    for seed in range(3):
        select(noise(8, 12, 6, 6, seed=seed) ** 2)
    images = noise(5, 12, 6, 6, seed=9) ** 2 * torch.tensor([1.0, 100.0, 1.0, 0.01, 7.0])[:, None, None, None]
    in_training = select.ranked(images)
    select.eval()
    together = select.ranked(images)
    alone = torch.cat([select.ranked(image[None]) for image in images])
    assert together.tolist() == alone.tolist()
    assert together.tolist() != in_training.tolist()


def test_the_norm_follows_the_latest_batch() -> None:
    select = ResidualSelection(3, 1, "max")
    batches = [noise(4, 3, 5, 5, seed=seed) ** 2 for seed in (0, 1)]
    for batch in batches:
        select(batch)
    first, second = (batch.mean((0, 2, 3)) for batch in batches)
    torch.testing.assert_close(select.norm.running_mean, 0.1 * 0.9 * first + 0.9 * second)


@pytest.mark.parametrize(("kept", "mode"), [(0, "max"), (7, "mean"), (8, "both"), (3, "both")])
def test_impossible_counts_are_refused(kept: int, mode: Mode) -> None:
    with pytest.raises(ValueError, match=f"of 6 residual channels {kept} cannot be kept by mode '{mode}'"):
        ResidualSelection(6, kept, mode)
