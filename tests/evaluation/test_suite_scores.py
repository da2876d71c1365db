"""What the scores on a suite say of a candidate, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import AGGREGATIONS
from automl_ad.evaluation.cells import Cells, joined
from automl_ad.evaluation.intervals import BootstrapPlan
from automl_ad.evaluation.suite import Suite
from automl_ad.evaluation.suite_scores import (
    SuiteScores,
    aggregation_means,
    pooled,
    proxy_score,
    quick_score,
    score_suite,
    shared_aggregation,
    unlearned_cells,
)

CELLS = ("texture/0.7", "texture/0.9", "poisson/0.7")
NORMALS = [1.0, 2.0, 3.0, 4.0]
LOW, HALF, HIGH = 0.0, 2.5, 5.0
"""Scores below all normals, above two of four, and above all."""


def suite() -> Suite:
    """Two anomalies in each cell."""
    images = ImageSet.of(np.zeros((6, 3, 32, 32), np.uint8))
    masks = np.ones((6, 32, 32), np.bool_)
    return Suite(images, masks, tuple(np.repeat(CELLS, 2).tolist()), (0, 1, 0, 1, 0, 1), "by hand")


RULES = [rule.name for rule in AGGREGATIONS]


def scores(located: list[float], **anomalies: list[float]) -> SuiteScores:
    """What each rule says of the six anomalies; rules that are not named (with _ for %) say the lowest of all."""
    return SuiteScores(
        {rule: np.array(NORMALS) for rule in RULES},
        {rule: np.array(anomalies.get(rule.replace("%", "_"), [LOW] * 6), np.float64) for rule in RULES},
        np.array(located, np.float64),
    )


TEXTURES = scores(
    located=[HIGH, HALF, HALF, HALF, LOW, LOW],
    max=[HIGH, HIGH, HIGH, HIGH, HALF, LOW],
    top1_=[HALF, LOW, HALF, LOW, HIGH, HALF],
)
"""In the cells, in their order, rule max gives 1, 1 and 0.25, rule top1% 0.25, 0.25 and 0.75, and the anomalies
themselves 0.75, 0.5 and 0."""
PLAN = BootstrapPlan(
    np.ones((3, 4)),
    {
        "texture/0.7": np.ones((3, 2)),
        "texture/0.9": np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]),
        "poisson/0.7": np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]),
    },
)


class TestAwayCells:
    def test_cells_of_the_families_learned_from_do_not_count(self) -> None:
        assert unlearned_cells(CELLS, {"texture"}) == ["poisson/0.7"]
        assert unlearned_cells(CELLS, {"poisson", "sdas"}) == ["texture/0.7", "texture/0.9"]
        assert unlearned_cells(CELLS, ()) == list(CELLS)

    def test_families_are_told_by_their_whole_name(self) -> None:
        assert unlearned_cells(["cutpaste/0.7", "cut/0.7"], {"cut"}) == ["cutpaste/0.7"]

    def test_where_nothing_else_is_left_all_count(self) -> None:
        assert unlearned_cells(CELLS, {"poisson", "texture"}) == list(CELLS)


class TestProxyScore:
    def test_without_a_home_all_families_count_alike(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN)
        # The cells are worth (1 + 0.75) / 2, (1 + 0.5) / 2 and (0.25 + 0) / 2.
        assert (found.aggregation, found.value) == ("max", pytest.approx(((0.875 + 0.75) / 2 + 0.125) / 2))
        # Draws of poisson are 0.125, 0.25 and 0, of textures always the same.
        low, high = (0.8125 + 0) / 2, (0.8125 + 0.25) / 2
        assert found.interval == pytest.approx((low + 0.1 / 16, high - 0.1 / 16))

    def test_home_cells_do_not_count_in_the_value_nor_its_interval_nor_the_choice_of_the_rule(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN, {"texture"})
        assert (found.aggregation, found.value) == ("top1%", pytest.approx((0.75 + 0) / 2))
        # Draws of poisson alone: (0.75 + 0) / 2, (1 + 0) / 2 and (0.5 + 0) / 2.
        assert found.interval == pytest.approx((0.2625, 0.4875))
        assert found.aggregations["max"] == pytest.approx(0.25)

    def test_cells_and_families_are_all_told_of(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN, {"texture"})
        assert found.cells == pytest.approx({"texture/0.7": 0.25, "texture/0.9": 0.25, "poisson/0.7": 0.75})
        assert found.localisation == pytest.approx({"texture/0.7": 0.75, "texture/0.9": 0.5, "poisson/0.7": 0.0})
        assert found.families == pytest.approx({"texture": (0.5 + 0.375) / 2, "poisson": 0.375})
        assert list(found.aggregations) == RULES

    @pytest.mark.parametrize("home", [(), {"sdas"}, {"texture", "poisson"}, {"texture", "poisson", "sdas"}])
    def test_a_home_that_is_all_or_nothing_changes_nothing(self, home: Any) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN, home)
        assert found.learned == set(home)
        assert replace(found, learned=frozenset()) == proxy_score(TEXTURES, suite(), PLAN)

    def test_an_advantage_is_taken_off_the_value_and_its_interval_alone(self) -> None:
        plain, less = (proxy_score(TEXTURES, suite(), PLAN, advantage=off) for off in (0.0, 0.05))
        assert (plain.advantage, less.advantage) == (0.0, 0.05)
        assert less.value == pytest.approx(plain.value - 0.05)
        assert less.interval == pytest.approx((plain.interval[0] - 0.05, plain.interval[1] - 0.05))
        same = replace(less, value=plain.value, interval=plain.interval, advantage=0.0)
        assert same == plain

    def test_no_score_falls_below_zero(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN, {"texture"}, advantage=0.4)
        assert (found.value, found.interval[0]) == (0, 0)  # 0.375 and 0.2625 less 0.4
        assert found.interval[1] == pytest.approx(0.0875)
        assert quick_score(TEXTURES, suite(), {"texture"}, 0.4) == 0

    def test_the_rule_is_the_one_that_serves_the_method_best(self) -> None:
        """Alone it would take max, which gives it 0.625 instead of 0.5."""
        like = dict.fromkeys(RULES, 0.0) | {"max": 0.6, "top1%": 0.7}
        once, twice = (proxy_score(TEXTURES, suite(), PLAN, precedents=[like] * count) for count in (1, 2))
        assert (once.aggregation, twice.aggregation) == (
            "max",
            "top1%",
        )  # 1.225 / 2 against 1.2 / 2, 1.825 / 3 against 1.9 / 3
        assert twice.value == pytest.approx(((0.25 + 0.75 + 0.25 + 0.5) / 4 + (0.75 + 0) / 2) / 2)
        assert twice.cells == pytest.approx({"texture/0.7": 0.25, "texture/0.9": 0.25, "poisson/0.7": 0.75})
        assert twice.aggregations == proxy_score(TEXTURES, suite(), PLAN).aggregations  # of the candidate alone

    def test_what_is_high_beside_the_anomaly_is_half_the_score(self) -> None:
        seen = scores(located=[HIGH] * 6, max=[HIGH] * 6)
        restless = scores(located=[LOW] * 6, max=[HIGH] * 6)
        assert proxy_score(seen, suite(), PLAN).value == 1
        assert proxy_score(restless, suite(), PLAN).value == 0.5

    @given(
        st.sets(st.sampled_from(["texture", "poisson", "sdas"])),
        st.lists(st.floats(0, 5), min_size=6, max_size=6),
        st.lists(st.floats(0, 5), min_size=6, max_size=6),
    )
    def test_value_rules_and_cells_agree(self, home: set[str], values: list[float], located: list[float]) -> None:
        made = scores(located, max=values, top1_=values[::-1])
        found = proxy_score(made, suite(), PLAN, home)
        assert found.aggregations == aggregation_means(made, suite(), home)
        assert found.aggregation == shared_aggregation([found.aggregations])
        assert found.aggregations[found.aggregation] >= max(found.aggregations.values()) - 1e-6
        families = {"texture", "poisson"} - home or {"texture", "poisson"}
        assert found.value == pytest.approx(np.mean([found.families[family] for family in families]))
        assert quick_score(made, suite(), home) == pytest.approx(found.value)


class TestRules:
    def test_means_by_hand(self) -> None:
        assert aggregation_means(TEXTURES, suite())["max"] == pytest.approx(0.625)
        assert aggregation_means(TEXTURES, suite())["top1%"] == pytest.approx(0.5)
        assert aggregation_means(TEXTURES, suite(), {"poisson"})["top1%"] == pytest.approx(0.25)
        assert aggregation_means(TEXTURES, suite(), {"poisson"})["pool16"] == 0

    def test_a_rule_that_shines_at_home_alone_is_not_chosen(self) -> None:
        assert shared_aggregation([aggregation_means(TEXTURES, suite())]) == "max"
        assert shared_aggregation([aggregation_means(TEXTURES, suite(), {"texture"})]) == "top1%"

    def test_the_shared_rule_is_the_best_on_average(self) -> None:
        one, two = {"max": 0.9, "top1%": 0.8, "pool16": 0.7}, {"max": 0.5, "top1%": 0.7, "pool16": 0.75}
        assert shared_aggregation([one]) == "max"
        assert shared_aggregation([two]) == "pool16"
        assert shared_aggregation([one, two]) == shared_aggregation([two, one]) == "top1%"

    def test_the_first_of_equals_is_shared_and_dust_does_not_decide(self) -> None:
        assert shared_aggregation([{"max": 0.8, "top1%": 0.8 + 1e-9}]) == "max"
        assert shared_aggregation([{"max": 0.1, "top1%": 0.3}, {"max": 0.2 + 1e-17, "top1%": 0.0}]) == "max"


class TestQuickScore:
    def test_by_hand(self) -> None:
        assert quick_score(TEXTURES, suite()) == pytest.approx((0.625 + (0.625 + 0) / 2) / 2)
        assert quick_score(TEXTURES, suite(), {"texture"}) == pytest.approx(0.375)
        assert quick_score(TEXTURES, suite(), {"texture"}, 0.1) == pytest.approx(0.275)


class TestDraws:
    def test_draws_are_those_of_each_cell_asked_for(self) -> None:
        drawn = TEXTURES.draws(suite(), "top1%", PLAN, ["texture/0.9", "poisson/0.7"])
        # Image AUROC 0.5, 0.25 and 0, and 0.75, 1 and 0.5; located 0.5 and 0 whatever is drawn.
        assert drawn.tolist() == [[0.5, 0.375, 0.25], [0.375, 0.5, 0.25]]

    def test_located_scores_are_resampled_with_the_images(self) -> None:
        uneven = scores(located=[LOW, LOW, HIGH, LOW, LOW, LOW])
        assert uneven.draws(suite(), "max", PLAN, ["texture/0.9"]).tolist() == [[0.5, 0.25, 0.0]]
        few = BootstrapPlan(np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 3.0]]), {"texture/0.9": np.ones((2, 2))})
        assert TEXTURES.draws(suite(), "pool16", few, ["texture/0.9"]).tolist() == [[0.5, 0.0]]  # located at HALF

    def test_all_cells_unless_some_are_named(self) -> None:
        every = TEXTURES.draws(suite(), "max", PLAN, suite().cell_names)
        assert every.shape == (3, 3)
        np.testing.assert_array_equal(TEXTURES.draws(suite(), "max", PLAN), every)


class TestPooled:
    FIRST = SuiteScores({"max": np.array([1.0, 2.0])}, {"max": np.array([1.5, 9.0])}, np.array([2.5, 0.0]))
    SECOND = SuiteScores({"max": np.array([3.0, 4.0])}, {"max": np.array([3.5])}, np.array([1.5]))

    def test_every_anomaly_is_held_against_the_normals_of_both(self) -> None:
        parts = [Cells(("texture/0.7", "poisson/0.7"), (0, 1)), Cells(("texture/0.7",), (0,))]
        cells = joined(parts, ["proxy", "certify"], [2, 2])
        both = pooled(self.FIRST, self.SECOND)
        # Alone 1.5 is above one normal of two, and so is 3.5 in the other suite.
        expected = {"texture/0.7/proxy": 0.25, "poisson/0.7/proxy": 1.0, "texture/0.7/certify": 0.75}
        assert both.cells(cells, "max") == expected
        located = {"texture/0.7/proxy": 0.5, "poisson/0.7/proxy": 0.0, "texture/0.7/certify": 0.25}
        assert both.localisation_cells(cells) == located

    def test_the_order_is_that_of_the_suites(self) -> None:
        both = pooled(self.SECOND, self.FIRST)
        assert both.normals["max"].tolist() == [3, 4, 1, 2]
        assert both.anomalies["max"].tolist() == [3.5, 1.5, 9]
        assert both.localisation.tolist() == [1.5, 2.5, 0]


class TestScoreSuite:
    def maps(self) -> dict[str, Any]:
        """Maps of 2 x 2; each pixel stands for 16 x 16 of the image."""
        anomaly = np.tile(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), (6, 1, 1))
        return {"normal": np.zeros((4, 2, 2), np.float32), "anomaly": anomaly}

    def test_all_rules_and_what_is_on_the_anomalies(self) -> None:
        masks = np.zeros((6, 32, 32), np.bool_)
        masks[:3, :8, :8] = True
        masks[3:, 16:, :16] = True
        whole = suite()
        found = score_suite(self.maps(), Suite(whole.anomalies, masks, whole.cells, whole.bases, "by hand"))
        assert list(found.normals) == list(found.anomalies) == RULES
        assert found.normals["max"].tolist() == [0] * 4
        assert found.anomalies["max"].tolist() == [4] * 6
        assert found.localisation.tolist() == [1, 1, 1, 3, 3, 3]

    @pytest.mark.parametrize("kind", ["normal", "anomaly"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_maps_that_are_not_finite_are_refused(self, kind: str, value: float) -> None:
        maps = self.maps()
        maps[kind][1, 0, 1] = value
        with pytest.raises(FloatingPointError, match="not finite"):
            score_suite(maps, suite())


class TestStoredScores:
    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        TEXTURES.save(tmp_path / "scores.npz")
        loaded = SuiteScores.load(tmp_path / "scores.npz")
        assert proxy_score(loaded, suite(), PLAN, {"texture"}) == proxy_score(TEXTURES, suite(), PLAN, {"texture"})
        np.testing.assert_array_equal(loaded.localisation, TEXTURES.localisation)
