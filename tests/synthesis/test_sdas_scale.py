"""The scale of strengths, and how what is plain to see is found."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.synthesis.sdas.scale import FACTOR, FIRST, HIGHEST, LOWEST, PUBLISHED, StrengthScale, find_full


@given(full=st.floats(1e-3, 10), strength=st.floats(0, 1))
def test_the_change_of_the_image_is_proportional_to_the_strength(full: float, strength: float) -> None:
    scale = StrengthScale(full)
    assert scale.added_variance(strength) ** 0.5 == pytest.approx(strength * scale.added_variance(1.0) ** 0.5)


def test_the_published_model_has_the_strengths_of_the_paper() -> None:
    assert [PUBLISHED.added_variance(strength) for strength in (0.0, 0.5, 1.0)] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(
    ("plain_from", "full"),
    [(0.01, 0.01), (0.011, 0.04), (0.16, 0.16), (0.17, 0.64), (2.5, 2.56), (5.0, 10.24), (99.0, 10.24), (0.0, 0.0025)],
)
def test_the_smallest_value_that_is_plain_is_found_with_few_looks(plain_from: float, full: float) -> None:
    looked: list[float] = []

    def is_plain(s: float) -> bool:
        looked.append(s)
        return s >= plain_from

    assert find_full(is_plain) == pytest.approx(full)
    assert looked[0] == FIRST
    assert len(looked) == len(set(looked)) <= 4
    assert LOWEST <= min(looked) <= max(looked) <= HIGHEST * 1.001
    assert all(b / a in (pytest.approx(FACTOR), pytest.approx(1 / FACTOR)) for a, b in pairwise(looked))
