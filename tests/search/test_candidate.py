"""What the scores on a suite say of a candidate, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.intervals import BootstrapPlan
from automl_ad.evaluation.scoring import SCORING_RULES
from automl_ad.evaluation.suite import Suite
from automl_ad.methods.registry import detector_class
from automl_ad.search.candidate import Configuration, SuiteScores, away_cells, best_rule, proxy_score, rule_means

CELLS = ("texture/0.7", "texture/0.9", "poisson/0.7")
NORMALS = [1.0, 2.0, 3.0, 4.0]
LOW, HALF, HIGH = 0.0, 2.5, 5.0
"""Scores below all normals, above two of four, and above all."""


def suite() -> Suite:
    """Two anomalies in each cell."""
    images = ImageSet.of(np.zeros((6, 3, 32, 32), np.uint8))
    masks = np.ones((6, 32, 32), np.bool_)
    return Suite(images, masks, tuple(np.repeat(CELLS, 2).tolist()), (0, 1, 0, 1, 0, 1), "by hand")


def scores(**anomalies: list[float]) -> SuiteScores:
    """What each rule says of the six anomalies; rules that are not named (with _ for %) say the lowest of all."""
    named = {rule.name: anomalies.get(rule.name.replace("%", "_"), [LOW] * 6) for rule in SCORING_RULES}
    return SuiteScores(
        {rule: np.array(NORMALS) for rule in named},
        {rule: np.array(values, np.float64) for rule, values in named.items()},
    )


TEXTURES = scores(max=[HIGH, HIGH, HIGH, HIGH, HALF, LOW], top1_=[HALF, LOW, HALF, LOW, HIGH, HALF])
"""Rule max: 1, 1 and 0.25 in the cells, in their order; rule top1%: 0.25, 0.25 and 0.75."""
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
        assert away_cells(CELLS, {"texture"}) == ["poisson/0.7"]
        assert away_cells(CELLS, {"poisson", "sdas"}) == ["texture/0.7", "texture/0.9"]
        assert away_cells(CELLS, ()) == list(CELLS)

    def test_families_are_told_by_their_whole_name(self) -> None:
        assert away_cells(["cutpaste/0.7", "cut/0.7"], {"cut"}) == ["cutpaste/0.7"]

    def test_where_nothing_else_is_left_all_count(self) -> None:
        assert away_cells(CELLS, {"poisson", "texture"}) == list(CELLS)


class TestProxyScore:
    def test_without_a_home_all_cells_count(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN)
        assert (found.rule, found.value) == ("max", pytest.approx(0.75))
        # Draws of poisson are 0.25, 0.5 and 0, of textures all 1; means 0.75, 5/6 and 2/3.
        assert found.interval == pytest.approx((2 / 3 + 0.1 / 12, 5 / 6 - 0.1 / 12))

    def test_home_cells_do_not_count_in_the_value_nor_its_interval_nor_the_choice_of_the_rule(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN, {"texture"})
        assert (found.rule, found.value) == ("top1%", pytest.approx(0.75))
        # Draws of poisson alone: 0.75, 1 and 0.5.
        assert found.interval == pytest.approx((0.525, 0.975))
        assert found.rules["max"] == pytest.approx(0.25)

    def test_cells_and_families_are_all_told_of(self) -> None:
        found = proxy_score(TEXTURES, suite(), PLAN, {"texture"})
        assert found.cells == pytest.approx({"texture/0.7": 0.25, "texture/0.9": 0.25, "poisson/0.7": 0.75})
        assert found.families == pytest.approx({"texture": 0.25, "poisson": 0.75})
        assert set(found.rules) == {rule.name for rule in SCORING_RULES}

    @pytest.mark.parametrize("home", [(), {"sdas"}, {"texture", "poisson"}, {"texture", "poisson", "sdas"}])
    def test_a_home_that_is_all_or_nothing_changes_nothing(self, home: Any) -> None:
        assert proxy_score(TEXTURES, suite(), PLAN, home) == proxy_score(TEXTURES, suite(), PLAN)

    @given(st.sets(st.sampled_from(["texture", "poisson", "sdas"])), st.lists(st.floats(0, 5), min_size=6, max_size=6))
    def test_value_rules_and_best_rule_agree(self, home: set[str], values: list[float]) -> None:
        made = scores(max=values, top1_=values[::-1])
        found = proxy_score(made, suite(), PLAN, home)
        assert (found.rule, found.value) == best_rule(made, suite(), home)
        assert found.rules == rule_means(made, suite(), home)
        away = [found.cells[cell] for cell in away_cells(CELLS, home)]
        assert found.value == pytest.approx(np.mean(away))
        assert found.value >= max(found.rules.values()) - 1e-6


class TestRules:
    def test_means_by_hand(self) -> None:
        assert rule_means(TEXTURES, suite())["max"] == pytest.approx(0.75)
        assert rule_means(TEXTURES, suite())["top1%"] == pytest.approx(1.25 / 3)
        assert rule_means(TEXTURES, suite(), {"poisson"})["top1%"] == pytest.approx(0.25)
        assert rule_means(TEXTURES, suite(), {"poisson"})["pool16"] == 0

    def test_a_rule_that_shines_at_home_alone_is_not_chosen(self) -> None:
        assert best_rule(TEXTURES, suite()) == ("max", pytest.approx(0.75))
        assert best_rule(TEXTURES, suite(), {"texture"}) == ("top1%", pytest.approx(0.75))


class TestDraws:
    def test_draws_are_means_over_the_cells_asked_for(self) -> None:
        drawn = TEXTURES.draws(suite(), "top1%", PLAN, ["texture/0.9"])
        assert drawn.tolist() == [0.5, 0.25, 0.0]
        both = TEXTURES.draws(suite(), "top1%", PLAN, ["texture/0.9", "poisson/0.7"])
        assert both.tolist() == [(0.5 + 0.75) / 2, (0.25 + 1.0) / 2, (0.0 + 0.5) / 2]

    def test_all_cells_unless_some_are_named(self) -> None:
        every = TEXTURES.draws(suite(), "max", PLAN, suite().cell_names)
        np.testing.assert_array_equal(TEXTURES.draws(suite(), "max", PLAN), every)


class TestStoredScores:
    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        TEXTURES.save(tmp_path / "scores.npz")
        loaded = SuiteScores.load(tmp_path / "scores.npz")
        assert proxy_score(loaded, suite(), PLAN, {"texture"}) == proxy_score(TEXTURES, suite(), PLAN, {"texture"})


class TestConfiguration:
    @pytest.mark.parametrize(
        ("method", "settings", "wanted"),
        [
            ("padim", {}, set()),
            ("dfr", {"model": "autoencoder"}, set()),
            ("realnet", {}, {"texture"}),
            ("realnet", {"families": "sdas"}, {"sdas"}),
            ("realnet", {"families": "both"}, {"texture", "sdas"}),
        ],
    )
    def test_settings_know_what_they_learn_from(self, method: str, settings: dict[str, Any], wanted: set[str]) -> None:
        configuration = Configuration.of(method, 64, {"backbone": "embedded", "levels": (-4, -3), **settings})
        assert detector_class(method).settings_type(**configuration.settings).learns_from == wanted

    def test_what_it_learns_from_is_part_of_what_it_is(self) -> None:
        common = {"backbone": "embedded", "levels": (-4, -3)}
        plain, sdas = (Configuration.of("realnet", 64, common | {"families": name}) for name in ("texture", "sdas"))
        assert plain.digest != sdas.digest
        assert plain.digest == Configuration.of("realnet", 64, common).digest
