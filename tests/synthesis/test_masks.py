"""Random shapes inside a product."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.synthesis.masks import blob_at, log_uniform, random_blob, random_ellipse, random_point, random_radii


def test_points_are_spread_over_all_of_the_product_and_nowhere_else() -> None:
    inside = np.zeros((4, 6), np.bool_)
    inside[1, 2] = inside[3, 5] = inside[0, 0] = True
    rng = np.random.default_rng(0)
    drawn = {random_point(inside, rng) for _ in range(60)}
    assert drawn == {(1, 2), (3, 5), (0, 0)}


def test_log_uniform_has_its_median_at_the_geometric_mean() -> None:
    rng = np.random.default_rng(0)
    drawn = [log_uniform(0.01, 1.0, rng) for _ in range(2000)]
    assert min(drawn) >= 0.01
    assert max(drawn) <= 1.0
    assert 0.08 < np.median(drawn) < 0.125


def test_radii_give_the_area_asked_for() -> None:
    a, b = random_radii(np.ones((100, 100), np.bool_), np.random.default_rng(0), (0.05, 0.05))
    assert np.isclose(np.pi * a * b, 500)


@given(row=st.integers(0, 31), column=st.integers(0, 63), seed=st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_ellipses_and_blobs_exist_even_in_a_product_of_one_pixel(row: int, column: int, seed: int) -> None:
    inside = np.zeros((32, 64), np.bool_)
    inside[row, column] = True
    np.testing.assert_array_equal(random_ellipse(inside, np.random.default_rng(seed), (0.1, 0.2)), inside)
    blob = random_blob(inside, np.random.default_rng(seed), (0.1, 0.2), 0.5)
    assert blob[row, column] == 1
    assert blob.sum() == 1


def test_blobs_fade_from_their_centre_and_harder_edges_fill_more() -> None:
    inside = np.ones((96, 96), np.bool_)
    for seed in range(10):
        soft = random_blob(inside, np.random.default_rng(seed), (0.05, 0.05), 1.0)
        hard = random_blob(inside, np.random.default_rng(seed), (0.05, 0.05), 0.05)
        assert soft.max() == 1
        assert soft.min() == 0
        assert hard.sum() > soft.sum()
        assert ((soft > 0) == (hard > 0)).all()


def test_a_blob_lies_where_it_was_put_and_has_the_size_asked_for() -> None:
    inside = np.ones((96, 128), np.bool_)
    for seed in range(10):
        blob = blob_at((30, 80), inside, (12.0, 8.0), 0.2, np.random.default_rng(seed))
        assert blob.dtype == np.float32
        assert blob[30, 80] == 1
        rows, columns = np.nonzero(blob)
        assert 30 - 18 <= rows.min() < rows.max() <= 30 + 18
        assert 80 - 18 <= columns.min() < columns.max() <= 80 + 18
        assert 0.6 < (blob > 0).sum() / (np.pi * 12 * 8) < 1.7


def test_blobs_at_the_rim_are_cut_to_the_product() -> None:
    inside = np.zeros((64, 64), np.bool_)
    inside[:, 32:] = True
    blob = blob_at((20, 32), inside, (9.0, 9.0), 0.5, np.random.default_rng(0))
    assert not blob[:, :32].any()
    assert blob[20, 32] == 1


def test_a_random_blob_is_one_at_a_random_point() -> None:
    inside = np.ones((64, 64), np.bool_)
    rng = np.random.default_rng(5)
    centre, radii = random_point(inside, rng), random_radii(inside, rng, (0.02, 0.1))
    expected = blob_at(centre, inside, radii, 0.4, rng)
    np.testing.assert_array_equal(random_blob(inside, np.random.default_rng(5), (0.02, 0.1), 0.4), expected)
