"""Filling gaps with the tone of what surrounds them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.synthesis.inpainting import inpainted


def test_a_gap_in_an_even_surface_disappears() -> None:
    image = np.full((64, 96, 3), (40, 90, 200), np.uint8)
    known = np.ones((64, 96), np.bool_)
    known[20:40, 30:70] = False
    damaged = image.copy()
    damaged[~known] = 7
    np.testing.assert_array_equal(inpainted(damaged, known), image)


def test_each_side_of_a_gap_takes_the_tone_that_is_near() -> None:
    image = np.full((64, 128, 3), 50, np.uint8)
    image[:, 64:] = 150
    known = np.ones((64, 128), np.bool_)
    known[16:48, 32:96] = False
    filled = inpainted(image, known)[32, :, 0]
    assert filled[36] < 75
    assert filled[91] > 125
    assert 80 < filled[64] < 120


def test_texture_is_carried_in_as_its_average() -> None:
    rng = np.random.default_rng(0)
    image = np.repeat(rng.choice((80, 120), (128, 128, 1)), 3, axis=2).astype(np.uint8)
    known = np.ones((128, 128), np.bool_)
    known[40:90, 40:90] = False
    gap = inpainted(image, known)[~known].astype(float)
    assert abs(gap.mean() - 100) < 3
    assert gap.std() < 6


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    share=st.sampled_from((0.0, 0.01, 0.5)),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_what_is_known_stays_and_the_rest_lies_between(height: int, width: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 200, (height, width, 3), np.uint8)
    known = rng.random((height, width)) < share
    known[rng.integers(height), rng.integers(width)] = True
    filled = inpainted(image, known)
    np.testing.assert_array_equal(filled[known], image[known])
    assert (filled >= image[known].min(axis=0)).all()
    assert (filled <= image[known].max(axis=0)).all()
