from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.selection.decision import Decision, Finalist, decide, limitations
from automl_ad.selection.lead_model import FILTER_LEADS, NETWORK_LEADS, LeadModel, LeadModels, lead_models_for
from automl_ad.tuned import EQUAL, TIED

PLAIN = LeadModels(single=LeadModel(-0.02, 0.2, 0.04), ensemble=LeadModel(-0.01, 0.5, 0.02))
"""A single candidate breaks even at a lead of 0.1, an average at 0.02."""
SIGMA = (0.158655, 0.841345, 0.977250)
"""The normal distribution at -1, 1 and 2."""


def finalist(number: int, value: float, latency: float = 10.0, draws: tuple[float, ...] = ()) -> Finalist:
    """One that no resampling changes, unless told how."""
    return Finalist(number, value, np.array(draws or (value, value)), latency)


def choose(*finalists: Finalist, default: int | None = 0, averages: tuple[int, ...] = ()) -> Decision:
    return decide(finalists, default, averages, PLAIN)


class TestDefault:
    """The training-free default stands guard."""

    @pytest.mark.parametrize(("lead", "winner"), [(-0.1, 0), (0.0, 0), (0.11, 0), (0.204, 0), (0.206, 4), (0.3, 4)])
    def test_it_stays_unless_a_lead_is_surely_worth_something_on_real_defects(self, lead: float, winner: int) -> None:
        """Seven tenths of the normal distribution lie below 0.5244, which a gain of 0.021 is of its spread."""
        decision = choose(finalist(4, 0.7 + lead), finalist(0, 0.7))
        assert (decision.winner, decision.default_kept) == (winner, winner == 0)

    @pytest.mark.parametrize(("lead", "winner"), [(0.0, 0), (0.021, 0), (0.023, 4), (0.1, 4)])
    def test_an_average_that_holds_it_needs_a_smaller_lead(self, lead: float, winner: int) -> None:
        decision = choose(finalist(4, 0.7 + lead), finalist(0, 0.7), averages=(4,))
        assert (decision.winner, decision.default_kept) == (winner, winner == 0)

    def test_among_equals_it_stays(self) -> None:
        even = LeadModels(single=LeadModel(0.0, 1.0, 0.1), ensemble=LeadModel(0.0, 1.0, 0.1))
        assert decide([finalist(4, 0.7), finalist(0, 0.7)], 0, (), even).default_kept

    @pytest.mark.parametrize("rivals", [0, 1, 10])
    def test_how_many_compete_makes_it_no_harder_to_unseat(self, rivals: int) -> None:
        others = [finalist(number, 0.6) for number in range(1, 1 + rivals)]
        assert choose(finalist(50, 0.92), *others, finalist(0, 0.7)).winner == 50

    def test_it_says_what_it_stays_against(self) -> None:
        said = choose(finalist(4, 0.75), finalist(0, 0.7)).why[0]
        assert said.startswith("Trial 0, the training-free baseline, stays the winner: trial 4 leads")
        assert "0.750 against 0.700" in said

    def test_it_says_when_a_gain_was_too_unsure(self) -> None:
        decision = choose(finalist(4, 0.85), finalist(0, 0.7))  # a gain of 0.01, give or take 0.04
        assert decision.why[0].startswith("Trial 0, the training-free baseline, stays the winner: trial 4 leads")
        doubt = "its probability of improvement over the baseline is 59 %, and a single candidate needs 70 %"
        assert doubt in decision.why[0]
        assert decision.certainty == pytest.approx(1 - 0.598706, abs=1e-5)

    def test_a_surer_candidate_wins_over_one_of_which_more_is_expected(self) -> None:
        """Both lead by 0.21 or so; one of them hangs on which images were drawn."""
        unsure = finalist(4, 0.914, draws=(1.9, -0.5))
        decision = choose(unsure, finalist(5, 0.91), finalist(0, 0.7))
        assert decision.winner == 5
        assert decision.why[0].startswith("Trial 5 is the safer choice: trial 4 leads")
        assert "and a single candidate needs" in decision.why[0]
        assert "ensembles" not in decision.why[0]

    def test_an_equal_is_not_said_to_lead(self) -> None:
        assert "leads in the hold-out check (proxy score 1.000)" in choose(finalist(4, 1.0), finalist(0, 1.0)).why[0]

    def test_it_may_win_by_itself(self) -> None:
        decision = choose(finalist(0, 0.9), finalist(1, 0.6))
        assert (decision.winner, decision.default_kept, decision.tied) == (0, True, (0,))
        assert "the training-free baseline, leads in the hold-out check (proxy score 0.900)" in decision.why[0]

    def test_without_a_usable_one_the_best_wins(self) -> None:
        for default, lead_models in product((None, 0), (PLAIN, FILTER_LEADS)):
            decision = decide([finalist(2, 0.7, 50), finalist(1, 0.6, 5)], default, (1,), lead_models)
            assert (decision.winner, decision.default_kept) == (2, False)
            assert "There is no baseline" in " ".join(decision.why)
            assert "pretrained network" not in " ".join(decision.why)
            assert "an ensemble of the baseline" not in " ".join(decision.why)


class TestOutlook:
    @given(st.floats(-0.1, 0.0), st.floats(0.05, 1.0))
    def test_it_breaks_even_where_nothing_is_gained(self, start: float, share: float) -> None:
        lead_model = LeadModel(start, share, 0.02)
        assert float(lead_model.gain(np.float64(lead_model.break_even))) == pytest.approx(0, abs=1e-9)

    def test_where_leads_are_worth_nothing_none_is_large_enough(self) -> None:
        assert LeadModel(-0.01, 0.0, 0.02).break_even == float("inf")

    def test_on_real_sets_averages_fall_less_far_behind_than_single_candidates(self) -> None:
        assert 0 < NETWORK_LEADS.ensemble.break_even < NETWORK_LEADS.single.break_even < 0.2
        assert NETWORK_LEADS.ensemble.spread < NETWORK_LEADS.single.spread

    @pytest.mark.parametrize(
        ("backbones", "expected"),
        [
            ([], FILTER_LEADS),
            (["embedded", "none", None], FILTER_LEADS),
            (["embedded", "embedded & none"], FILTER_LEADS),
            (["none & embedded"], FILTER_LEADS),
            (["embedded", "resnet18"], NETWORK_LEADS),
            (["resnet18+filters"], NETWORK_LEADS),
            (["embedded", "embedded & resnet18"], NETWORK_LEADS),
            (["none & embedded & resnet18+filters"], NETWORK_LEADS),
        ],
    )
    def test_the_backbones_of_all_candidates_decide(self, backbones: list[str | None], expected: LeadModels) -> None:
        assert lead_models_for(backbones) == expected

    def test_with_the_built_in_filters_alone_no_lead_is_large_enough(self) -> None:
        finalists = [finalist(4, 1.0), finalist(8, 1.0), finalist(0, 0.5)]
        decision = decide(finalists, 0, (8,), FILTER_LEADS)
        assert decision.default_kept
        assert "lists the ways to provide one" in " ".join(decision.why)
        assert "pretrained network" not in " ".join(decide(finalists, 0, (8,), NETWORK_LEADS).why)
        assert set(decision.tied) == {0, 4, 8}
        assert decide(finalists[:2][::-1], None, (), FILTER_LEADS).certainty == 0.5


class TestAverages:
    def test_the_one_of_which_most_is_expected_wins(self) -> None:
        decision = choose(finalist(4, 0.86), finalist(8, 0.84), finalist(7, 0.83), finalist(0, 0.7), averages=(7, 8))
        assert decision.winner == 8  # 0.06 against 0.012 for the single candidate that leads
        assert decision.why[0].startswith("Trial 8 is the safer choice: trial 4 leads")
        assert "by 14.0 points" in decision.why[1]
        assert "a gain of 6.0 points is expected" in decision.why[1]
        assert "an ensemble of the baseline" in decision.why[2]

    def test_a_single_candidate_far_ahead_wins_all_the_same(self) -> None:
        decision = choose(finalist(4, 0.95), finalist(8, 0.53), finalist(0, 0.5), averages=(8,))
        assert decision.winner == 4  # 0.07 against 0.005
        assert "an ensemble of the baseline" not in " ".join(decision.why)

    def test_one_that_is_not_surely_better_than_the_default_does_not_outdo_them(self) -> None:
        """Gains of 0.0018, give or take 0.02, and 0.012, give or take 0.04: more, but not with seven in ten."""
        finalists = finalist(4, 0.86), finalist(8, 0.7236), finalist(0, 0.7)
        assert choose(*finalists, averages=(8,)).winner == 8
        fast = finalist(4, 0.86, 1)
        assert choose(fast, *finalists[1:], averages=(8,)).winner == 8


class TestSpeed:
    def choose(self, value: float, latency: float) -> Decision:
        """The best, of 0.9 and 100 ms, beside another one."""
        return choose(finalist(3, 0.9, 100), finalist(5, value, latency), finalist(0, 0.2, 500))

    @pytest.mark.parametrize(("short", "winner"), [(0.0, 5), (0.9 * EQUAL, 5), (1.1 * EQUAL, 3), (0.05, 3)])
    def test_a_faster_one_wins_if_as_much_is_expected_of_it_for_all_that_matters(
        self, short: float, winner: int
    ) -> None:
        decision = self.choose(0.9 - short / PLAIN.single.share, 20)
        assert decision.winner == decision.tied[0] == winner

    @pytest.mark.parametrize(("latency", "winner"), [(20, 5), (50, 5), (51, 3), (99, 3)])
    def test_a_slightly_faster_one_is_timing_noise(self, latency: float, winner: int) -> None:
        assert self.choose(0.899, latency).winner == winner

    def test_the_fastest_of_several_wins(self) -> None:
        others = [finalist(number, 0.9, latency) for number, latency in ((5, 40), (6, 10), (7, 30))]
        decision = choose(finalist(3, 0.9, 100), *others, default=None)
        assert decision.winner == 6
        assert "needs 10 ms instead of 100 ms" in decision.why[0]

    def test_the_default_is_not_given_up_for_speed(self) -> None:
        decision = decide([finalist(8, 0.9, 1), finalist(0, 0.5, 100)], 0, (8,), FILTER_LEADS)  # nothing is expected
        assert decision.default_kept

    def test_nor_for_next_to_nothing(self) -> None:
        decision = choose(finalist(8, 0.721), finalist(0, 0.7), averages=(8,))  # a gain of 0.0005
        assert decision.default_kept

    def test_nobody_without_a_gain_of_its_own_wins_by_speed(self) -> None:
        average, single = finalist(8, 0.723, 150), finalist(4, 0.8025, 20)  # gains of 0.0015 and 0.0005
        decision = choose(average, single, finalist(0, 0.7, 100), averages=(8,))
        assert decision.winner == 8


class TestTied:
    """Who has a chance of a quarter to be truly better than the winner."""

    @pytest.mark.parametrize(("gap", "tied"), [(0.0, True), (0.67, True), (0.68, False), (2.0, False)])
    def test_by_hand(self, gap: float, tied: bool) -> None:
        """A quarter of the normal distribution lies beyond 0.6745 of the spread of the difference."""
        spread = float(np.hypot(0.04, 0.04))
        other = finalist(5, 0.8 - gap * spread / PLAIN.single.share)
        assert TIED == 0.25
        assert (5 in choose(finalist(3, 0.8), other, default=None).tied) == tied

    def test_the_likeliest_come_first_after_the_winner(self) -> None:
        decision = choose(finalist(1, 0.72), finalist(2, 0.9), finalist(3, 0.8), default=None)
        assert decision.tied == (2, 3, 1)
        assert "3 candidates are in the tied set" in decision.why[-1]

    def test_one_whose_truth_is_uncertain_is_tied_sooner_than_one_that_is_known(self) -> None:
        decision = choose(finalist(4, 0.7), finalist(8, 0.66), finalist(0, 0.7), averages=(8,))
        assert decision.tied == (0, 4)  # -0.02 give or take 0.04; and -0.03 give or take 0.02


class TestCertainty:
    """How likely the winner is truly as good as whom it is held against."""

    def test_who_unseats_the_default_is_held_against_it(self) -> None:
        average = finalist(8, 0.8, draws=(0.56, 0.6))  # gains of 0.02 and 0.04 over the default: one sigma and two
        decision = choose(average, finalist(4, 0.81), finalist(0, 0.5), averages=(8,))
        assert (decision.winner, decision.certainty) == (8, pytest.approx((SIGMA[1] + SIGMA[2]) / 2, abs=1e-5))

    def test_the_default_is_held_against_the_best_of_the_others(self) -> None:
        leader = finalist(4, 0.55, draws=(0.8, 0.4))  # gains of 0.04 and -0.04
        decision = choose(leader, finalist(5, 0.4), finalist(0, 0.5))
        assert (decision.winner, decision.certainty) == (0, pytest.approx((SIGMA[0] + SIGMA[1]) / 2, abs=1e-5))

    def test_the_rival_and_the_chances_of_all_others_are_told(self) -> None:
        decision = choose(finalist(4, 0.81), finalist(8, 0.8), finalist(5, 0.4), finalist(0, 0.5), averages=(8,))
        assert (decision.winner, decision.rival, list(decision.chances)) == (8, 0, [4, 5, 0])
        assert decision.chances[0] == pytest.approx(1 - decision.certainty)
        kept = choose(finalist(4, 0.55), finalist(0, 0.5))
        assert (kept.winner, kept.rival) == (0, 4)
        assert choose(finalist(0, 0.8)).rival is None

    def test_without_a_default_it_is_held_against_the_next_best(self) -> None:
        spread = float(np.hypot(0.04, 0.04)) / PLAIN.single.share
        decision = choose(finalist(3, 0.1), finalist(1, 0.9), finalist(2, 0.9 - spread), default=None)
        assert decision.certainty == pytest.approx(SIGMA[1], abs=1e-5)

    def test_without_a_rival_it_is_whole(self) -> None:
        assert choose(finalist(1, 0.8), default=None).certainty == 1
        assert choose(finalist(0, 0.8)).certainty == 1

    @given(st.lists(st.floats(0.3, 1.0), min_size=2, max_size=6), st.booleans(), st.booleans())
    def test_it_is_a_probability_and_the_winner_is_tied_with_itself(
        self, values: list[float], guarded: bool, averaged: bool
    ) -> None:
        decision = choose(
            *[finalist(number, value) for number, value in enumerate(values)],
            default=0 if guarded else None,
            averages=(1,) if guarded and averaged else (),
        )
        assert 0 <= decision.certainty <= 1
        assert decision.tied[0] == decision.winner
        assert len(set(decision.tied)) == len(decision.tied)


@pytest.mark.parametrize("families", [{"texture": 0.9}, {"texture": 0.9, "poisson": 0.7}])
def test_what_was_not_seen_is_said(families: dict[str, float]) -> None:
    assert all(family in limitations(families)[0] for family in families)


def test_families_that_some_of_the_best_learned_from_are_named() -> None:
    families = {"texture": 0.9, "poisson": 0.7, "sdas": 0.8}
    before = limitations(families)
    for home, words in (({"texture"}, "texture:"), ({"sdas", "texture", "magic"}, "texture and sdas:")):
        first, told, *rest = limitations(families, home)
        assert [first, *rest] == before
        assert f"learned from anomalies of {words}" in told
        assert "poisson" not in told


def test_scores_on_home_ground_alone_are_said_to_be_too_high() -> None:
    told = limitations({"texture": 0.9, "sdas": 0.8}, {"texture", "sdas"})[1]
    assert "no other families to compare them on" in told
    assert "did not count" not in told


def test_a_family_that_was_learned_from_but_not_drawn_is_no_gap() -> None:
    assert limitations({"poisson": 0.7}, {"texture"}) == limitations({"poisson": 0.7})
