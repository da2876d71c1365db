"""Hairlines and cracks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from automl_ad.synthesis.base import Context
from automl_ad.synthesis.scratch import LENGTH, MOST_BRANCHES, MOST_HAIRLINES, ScratchFamily, crack, hairlines

INSIDE = np.ones((256, 256), np.bool_)


def brushed() -> np.ndarray:
    """A surface with horizontal grain."""
    rows = np.random.default_rng(0).normal(120, 15, (256, 1, 1))
    return np.clip(rows + np.zeros((256, 256, 3)), 0, 255).astype(np.uint8)


def angles(paths: list[np.ndarray]) -> np.ndarray:
    """Degrees from the horizontal of each line from end to end, 0 to 90."""
    ends = np.array([path[-1] - path[0] for path in paths])
    return np.degrees(np.arctan2(np.abs(ends[:, 1]), np.abs(ends[:, 0])))


def length(path: np.ndarray) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def test_half_of_the_hairlines_run_with_the_grain() -> None:
    sets = [hairlines(brushed(), INSIDE, np.random.default_rng(seed)) for seed in range(60)]
    assert {len(paths) for paths in sets} == set(range(1, MOST_HAIRLINES + 1))
    along = np.mean([angles(paths).max() < 12 for paths in sets])
    assert 0.4 < along < 0.75  # half, and some of the others by chance
    assert max(float(np.ptp(angles(paths))) for paths in sets) < 3
    assert all(LENGTH[0] * 255 <= length(path) <= LENGTH[1] * 257 for paths in sets for path in paths)


def test_the_first_hairline_starts_on_the_product() -> None:
    inside = np.zeros((256, 256), np.bool_)
    inside[100:110, 50:60] = True
    for seed in range(10):
        x, y = hairlines(brushed(), inside, np.random.default_rng(seed))[0][0]
        assert inside[int(y), int(x)]


def test_branches_start_on_the_crack_and_are_shorter() -> None:
    counts = set()
    for seed in range(40):
        trunk, *branches = crack(INSIDE, np.random.default_rng(seed))
        counts.add(len(branches))
        for branch in branches:
            assert np.hypot(*(trunk - branch[0]).T).min() == pytest.approx(0)
            assert length(branch) < 0.41 * length(trunk)
    assert counts == set(range(MOST_BRANCHES + 1))


def test_lines_are_thin() -> None:
    family = ScratchFamily(Context(brushed()[None]))
    for seed in range(15):
        proposal = family.propose(brushed(), INSIDE, 0.5, np.random.default_rng(seed))
        assert proposal is not None
        mask = proposal.weight > 0.5
        assert 0 < mask.mean() < 0.03
        thickness = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5).max()
        assert thickness <= 5  # where lines meet; a single one has 2 at most
