from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from automl_ad.evaluation import metrics
from automl_ad.evaluation.intervals import cell_draws
from automl_ad.evaluation.resampled import auroc_draws
from automl_ad.selection.few_defects import placements


def brute_auroc(scores, labels):
    pairs = [(a > n) + 0.5 * (a == n) for a in scores[labels == 1] for n in scores[labels == 0]]
    return float(np.mean(pairs))


def brute_regions(masks):
    """Each region as a boolean stack over the whole set."""
    regions = []
    for image, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for region in range(1, count + 1):
            whole = np.zeros_like(masks)
            whole[image] = labels == region
            regions.append(whole)
    return regions


def brute_aupro(maps, masks, max_fpr):
    """Walks over every distinct threshold, then cuts the curve at max_fpr."""
    regions = brute_regions(masks)
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        fpr.append(found[~masks].mean())
        pro.append(np.mean([found[region].mean() for region in regions]))
    fpr, pro = np.array(fpr), np.array(pro)
    area = 0.0
    for left in range(len(fpr) - 1):
        width = fpr[left + 1] - fpr[left]
        inside = min(fpr[left + 1], max_fpr) - fpr[left]
        if inside > 0:
            height_at_cut = pro[left] + (pro[left + 1] - pro[left]) * inside / width
            area += inside * (pro[left] + height_at_cut) / 2
    return area / max_fpr


def brute_iap(maps, masks):
    """Instance scores by trying every threshold, precision by counting pixels."""
    instance_scores = []
    for region in brute_regions(masks):
        found = [t for t in np.unique(maps) if (maps[region] >= t).mean() > 0.5]
        instance_scores.append(max(found))
    precisions, best = [], 0.0
    for threshold in sorted(instance_scores):
        best = max(best, masks[maps >= threshold].mean())
        precisions.append(best)
    count = len(precisions)
    at_90 = [p for i, p in enumerate(precisions) if (count - i) * 10 >= 9 * count][-1]
    return float(np.mean(precisions)), float(at_90)


def random_set(rng, images=3, side=9, levels=12):
    """Coarse scores, so that ties abound, and blobs of several sizes."""
    masks = ndimage.gaussian_filter(rng.normal(size=(images, side, side)), (0, 1, 1)) > 0.3
    maps = np.round(rng.normal(size=masks.shape) * levels / 4 + 2 * masks).astype(np.float32)
    return maps, masks


class TestImages:
    def test_hand_computed(self):
        # Pairs (anomalous against normal): 3>1, 3>2, 2>1 won, 2=2 tied: 3.5 of 4.
        assert metrics.image_auroc([1, 2, 2, 3], [0, 0, 1, 1]) == 0.875
        # Recall 1/2 at precision 1, then recall 1 at precision 2/3.
        assert metrics.image_ap([1, 2, 2, 3], [0, 0, 1, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)

    def test_all_tied_is_chance(self):
        assert metrics.image_auroc(np.ones(10), np.arange(10) < 3) == 0.5
        assert metrics.image_ap(np.ones(10), np.arange(10) < 3) == pytest.approx(0.3)

    def test_worse_than_chance_is_reported_as_such(self):
        assert metrics.image_auroc([1.0, 0.0], [0, 1]) == 0.0

    def test_large_raw_scores_are_not_merged(self):
        # A sigmoid would turn all of these into 1.0; float32 keeps them apart.
        scores = np.array([25, 26, 40, 3e38], dtype=np.float32)
        assert metrics.image_auroc(scores, [0, 0, 1, 1]) == 1.0
        assert metrics.image_auroc([1e300, -1e300, 1e301], [0, 0, 1]) == 1.0

    @given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40))
    def test_against_brute_force_and_sklearn(self, pairs):
        scores = np.array([score for score, _ in pairs], dtype=np.float64)
        labels = np.array([label for _, label in pairs], dtype=int)
        if labels.min() == labels.max():
            with pytest.raises(ValueError, match="only one kind is present"):
                metrics.image_auroc(scores, labels)
            return
        assert metrics.image_auroc(scores, labels) == pytest.approx(brute_auroc(scores, labels), abs=1e-12)
        assert metrics.image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert metrics.image_ap(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)

    @given(st.lists(st.integers(-4, 4), min_size=1, max_size=20), st.lists(st.integers(-3, 5), min_size=1, max_size=20))
    def test_every_auroc_is_the_same_to_the_last_bit(self, normal, anomalous):
        """Sums of whole and half numbers are exact, so that one division rounds, and equals never become unequal."""
        good, bad = np.array(normal, float), np.array(anomalous, float)
        wins_twice = sum(int(b > g) + int(b >= g) for b in anomalous for g in normal)
        expected = wins_twice / (2 * len(good) * len(bad))
        levels, bins = np.unique(np.r_[good, bad], return_inverse=True)
        counts = [
            np.bincount(each, minlength=len(levels))[None] * 1.0 for each in (bins[: len(good)], bins[len(good) :])
        ]
        assert metrics.image_auroc(np.r_[good, bad], np.repeat([0, 1], [len(good), len(bad)])) == expected
        assert metrics.auroc(good, bad) == expected
        assert cell_draws(good, bad, np.ones((1, len(good))), np.ones((1, len(bad)))) == [expected]
        assert auroc_draws(*counts) == [expected]
        assert placements(good, bad).mean() == pytest.approx(expected)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_non_finite_scores_are_refused(self, bad):
        with pytest.raises(ValueError, match="finite"):
            metrics.image_auroc([0.0, bad, 1.0], [0, 0, 1])
        for sides in (([bad], [0.0]), ([0.0], [bad])):
            with pytest.raises(ValueError, match="finite"):
                metrics.auroc(*sides)

    @pytest.mark.parametrize("sides", [([], [1.0]), ([1.0], [])])
    def test_a_side_without_scores_is_refused(self, sides):
        with pytest.raises(ValueError, match="only one kind is present"):
            metrics.auroc(*sides)

    def test_bad_labels_and_shapes_are_refused(self):
        with pytest.raises(ValueError, match="labels must be 0"):
            metrics.image_auroc([1.0, 2.0], [0, 2])
        with pytest.raises(ValueError, match="one length"):
            metrics.image_ap([1.0, 2.0], [0, 1, 1])


class TestPixels:
    @pytest.mark.parametrize("seed", range(8))
    def test_against_references(self, seed):
        maps, masks = random_set(np.random.default_rng(seed))
        flat_maps, flat_masks = maps.ravel(), masks.ravel()
        assert metrics.pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(flat_masks, flat_maps), abs=1e-12)
        assert metrics.pixel_ap(maps, masks) == pytest.approx(average_precision_score(flat_masks, flat_maps), abs=1e-12)
        for max_fpr in (0.05, 0.3, 1.0):
            expected = brute_aupro(maps, masks, max_fpr)
            assert metrics.aupro(maps, masks, max_fpr) == pytest.approx(expected, abs=1e-12)
        assert metrics.iap(maps, masks) == pytest.approx(brute_iap(maps, masks), abs=1e-12)

    def test_combined_equals_single(self):
        maps, masks = random_set(np.random.default_rng(3))
        together = metrics.pixel_metrics(maps, masks, max_fpr=0.2)
        assert (together.auroc, together.ap) == (metrics.pixel_auroc(maps, masks), metrics.pixel_ap(maps, masks))
        assert together.aupro == metrics.aupro(maps, masks, 0.2)
        assert (together.iap, together.iap_at_90) == metrics.iap(maps, masks)

    @given(st.integers(0, 1000), st.sampled_from([np.exp, np.cbrt, lambda x: 1e6 * x - 3]))
    def test_only_the_order_of_scores_matters(self, seed, increasing):
        maps, masks = random_set(np.random.default_rng(seed), images=1, side=7)
        if masks.all() or not masks.any():
            return
        moved = increasing(maps.astype(np.float64))
        assert metrics.pixel_metrics(maps, masks) == metrics.pixel_metrics(moved, masks)

    def test_wrong_types_and_shapes_are_refused(self):
        with pytest.raises(ValueError, match="bool"):
            metrics.pixel_auroc(np.zeros((1, 2, 2)), np.zeros((1, 2, 2), dtype=np.uint8))
        with pytest.raises(ValueError, match=r"\[N, H, W\]"):
            metrics.pixel_ap(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool))
        with pytest.raises(ValueError, match="only one kind"):
            metrics.aupro(np.zeros((1, 2, 2)), np.zeros((1, 2, 2), dtype=bool))
        with pytest.raises(ValueError, match="maps must be finite"):
            metrics.iap(np.full((1, 2, 2), np.nan), np.eye(2, dtype=bool)[None])


class TestAupro:
    def test_hand_computed_with_the_cut_between_two_thresholds(self):
        # Two regions of 1 and 2 pixels, five normal pixels.
        masks = np.array([[[1, 0, 1, 1, 0, 0, 0, 0]]], dtype=bool)
        maps = np.array([[[9, 8, 7, 1, 5, 4, 3, 2]]], dtype=np.float32)
        # Overlap 1/2 from rate 0 to 0.2, 3/4 from there on (the last anomalous pixel is found at rate 1).
        assert metrics.aupro(maps, masks, 0.3) == pytest.approx((0.2 * 0.5 + 0.1 * 0.75) / 0.3)
        assert metrics.aupro(maps, masks, 1.0) == pytest.approx(0.2 * 0.5 + 0.8 * 0.75)

    def test_ties_are_a_straight_line(self):
        masks = np.array([[[True, False]]])
        assert metrics.aupro(np.ones((1, 1, 2)), masks, 1.0) == pytest.approx(0.5)
        assert metrics.aupro(np.ones((1, 1, 2)), masks, 0.3) == pytest.approx(0.15)

    def test_diagonal_neighbours_are_one_region(self):
        # The diagonal pair is half found and the lone pixel found: 3/4; as three regions it would be 2/3.
        masks = np.array([[[1, 0, 0, 0], [0, 1, 0, 1]]], dtype=bool)
        maps = np.array([[[9, 2, 2, 2], [2, 1, 2, 9]]], dtype=np.float32)
        assert metrics.aupro(maps, masks, 0.3) == pytest.approx(0.75)

    def test_holes_count_as_normal_pixels(self):
        ring = np.ones((1, 3, 3), dtype=bool)
        ring[0, 1, 1] = False
        assert metrics.aupro(ring.astype(np.float32), ring, 0.3) == 1.0

    def test_small_and_large_regions_count_alike(self):
        masks = np.zeros((1, 12, 12), dtype=bool)
        masks[0, :6, :6] = masks[0, 9, 9] = True
        found_large, found_small = masks.astype(np.float32), masks.astype(np.float32)
        found_large[0, 9, 9] = found_small[0, :6, :6] = -1
        assert metrics.aupro(found_large, masks) == pytest.approx(0.5)
        assert metrics.aupro(found_small, masks) == pytest.approx(0.5)

    @pytest.mark.parametrize("max_fpr", [0, -0.1, 1.1, np.nan])
    def test_rate_out_of_range_is_refused(self, max_fpr):
        with pytest.raises(ValueError, match="max_fpr"):
            metrics.aupro(np.zeros((1, 1, 2)), np.array([[[True, False]]]), max_fpr)


class TestIap:
    def test_hand_computed(self):
        # Instance of 4 pixels: found at 5 (3 of 4 pixels, more than half); instance of 1 pixel: found at 3.
        masks = np.array([[[1, 1, 1, 1, 0, 0, 1, 0]]], dtype=bool)
        maps = np.array([[[8, 7, 5, 1, 6, 4, 3, 2]]], dtype=np.float32)
        # At 3: 4 of 6 pixels are right; at 5: 3 of 4.
        assert metrics.iap(maps, masks) == (pytest.approx((4 / 6 + 3 / 4) / 2), pytest.approx(4 / 6))

    def test_exactly_half_is_not_found(self):
        masks = np.array([[[1, 1, 0]]], dtype=bool)
        maps = np.array([[[9, 1, 5]]], dtype=np.float32)
        assert metrics.iap(maps, masks)[0] == pytest.approx(2 / 3)

    def test_recall_of_exactly_90_percent_allows_one_miss_in_ten(self):
        masks = np.zeros((1, 1, 40), dtype=bool)
        masks[0, 0, ::4] = True
        maps = np.where(masks, 10.0, 0.0)
        maps[0, 0, 0] = -1.0  # one instance in ten below all normals
        assert metrics.iap(maps, masks)[1] == 1.0
        maps[0, 0, 4] = -1.0
        assert metrics.iap(maps, masks)[1] == pytest.approx(10 / 40)

    def test_precision_never_falls_as_the_threshold_rises(self):
        # At 1 precision is 3/4; at 2, with the third instance lost, still 2/3 alone but reported as 3/4; at 4 it is 1.
        masks = np.array([[[1, 0, 1, 0, 1]]], dtype=bool)
        maps = np.array([[[4, 3, 2, 0, 1]]], dtype=np.float32)
        assert metrics.iap(maps, masks)[0] == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)


class TestResize:
    def test_half_pixel_centres(self):
        # Centres of the four new columns lie at -0.25, 0.25, 0.75 and 1.25 of the old ones; borders are replicated.
        resized = metrics.resize_maps(np.array([[[0.0, 8.0]]]), (1, 4))
        np.testing.assert_allclose(resized, [[[0.0, 2.0, 6.0, 8.0]]])
        assert resized.dtype == np.float32

    def test_shape_is_height_then_width_and_values_stay_raw(self):
        maps = np.full((2, 3, 5), 1e20, dtype=np.float32)
        resized = metrics.resize_maps(maps, (7, 11))
        assert resized.shape == (2, 7, 11)
        np.testing.assert_allclose(resized, 1e20)
