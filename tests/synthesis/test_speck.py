"""Specks."""

from __future__ import annotations

import cv2
import numpy as np

from automl_ad.synthesis.base import Context
from automl_ad.synthesis.speck import AREA, MOST, SpeckFamily


def test_specks_are_few_tiny_and_of_one_tone() -> None:
    image, inside = np.full((256, 256, 3), 120, np.uint8), np.ones((256, 256), np.bool_)
    family = SpeckFamily(Context(image[None]))
    for seed in range(20):
        proposal = family.propose(image, inside, 0.5, np.random.default_rng(seed))
        assert proposal is not None
        assert len(np.unique(proposal.source.reshape(-1, 3), axis=0)) == 1
        count, _, stats, _ = cv2.connectedComponentsWithStats((proposal.weight > 0).astype(np.uint8))
        assert 1 <= count - 1 <= MOST
        # A wavy outline and specks that meet may cover somewhat more than the ellipse behind them.
        assert stats[1:, cv2.CC_STAT_AREA].max() <= 2 * AREA[1] * inside.size
        assert proposal.weight.max() == 1


def test_severity_decides_how_they_stand_out_and_not_how_large_they_are() -> None:
    image, inside = np.full((256, 256, 3), 120, np.uint8), np.ones((256, 256), np.bool_)
    family = SpeckFamily(Context(image[None]))
    mild, severe = (family.propose(image, inside, severity, np.random.default_rng(4)) for severity in (0.05, 1.0))
    assert mild is not None
    assert severe is not None
    np.testing.assert_array_equal(mild.weight, severe.weight)
    changes = [
        np.abs(family.draw(image, severity, np.random.default_rng(4))[0].astype(int) - 120).max()
        for severity in (0.05, 1.0)
    ]
    assert changes[0] < changes[1] / 2
