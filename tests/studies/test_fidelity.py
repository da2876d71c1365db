from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from appearance import STATISTICS
from certainty import certainties
from choices import decided, decision, ensemble_of, guarded, leader
from facts import Facts
from in_family_bias import in_family_bias, overrated
from judging import judge
from leads import lead_models
from report import markdown, write_report
from rules import borda, family, mean, prior, ranks, worst_families
from shared_members import KINDS, regrets, shared

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.backbones.names import EMBEDDED
from automl_ad.errors import StoreError

DRAWS = 200
CELLS = ["texture/0.7", "texture/0.95", "speck/0.7"]


def facts(
    real: list[float],
    values: list[float],
    *,
    name: str = "bolts",
    seed: int = 0,
    methods: list[str] | None = None,
    noise: float = 0.0,
    learned: dict[int, str] | None = None,
) -> Facts:
    """A study whose trials have these image AUROCs on real defects, and these in every cell and the hold-out check.

    Ten good images and ten defects: an AUROC is given in steps of a tenth, of which a defect is one.
    """
    count = len(real)
    methods = methods or ["patchcore", *["padim"] * (count - 1)]
    numbers = range(count)
    trials = [
        {
            "number": n,
            "method": method,
            "backbone": "resnet18",
            "rule": "max",
            "latency_ms": 1.0,
            "params": {},
            "advantage": 0.0,
        }
        for n, method in zip(numbers, methods, strict=True)
    ]
    for trial in trials:
        if trial["method"] == "average":
            trial["params"] = {"members": [{"trial": 0}, {"trial": 1}]}
    table = np.repeat(np.array(values)[:, None], len(CELLS), axis=1)
    home = np.zeros(table.shape, bool)
    for row, which in (learned or {}).items():
        home[row] = [cell.startswith(which) for cell in CELLS]
    scores = np.array(
        [np.r_[np.full(10, 0.5), np.where(np.arange(10) < round(10 * auroc), 1.0, 0.0)] for auroc in real]
    )
    placed = np.repeat(np.array(real)[:, None], 4, axis=1)
    draws = np.array(values)[:, None] + noise * np.random.default_rng(0).normal(size=(count, DRAWS))
    return Facts(
        set=name,
        seed=seed,
        trials=trials,
        cells=CELLS,
        default=0,
        seconds={"search": 100.0, "suite": 10.0},
        appearance=dict.fromkeys(STATISTICS, 0.5),
        image_cells=table,
        localisation_cells=table.copy(),
        home=home,
        proxy=np.array(values),
        good=np.repeat([[0.4, 0.6]], count, axis=0),
        scores=scores,
        labels=np.repeat([False, True], 10),
        placements=placed,
        shown=np.arange(10, 14),
        finalists=np.arange(count),
        values=np.array(values),
        draws=draws,
    )


def test_real_aurocs_are_those_of_the_hidden_labels() -> None:
    assert facts([0.6, 0.9, 1.0], [0.5, 0.6, 0.7]).real_aurocs.tolist() == [0.6, 0.9, 1.0]


def test_facts_come_back_as_they_were_kept(tmp_path: Path) -> None:
    kept = facts([0.6, 0.9], [0.5, 0.7])
    kept.save(tmp_path)
    found = Facts.load(Facts.path(tmp_path, "bolts", 0))
    for name in ("trials", "cells", "seconds", "default", "appearance"):
        assert getattr(found, name) == getattr(kept, name)
    for name in ("image_cells", "home", "scores", "labels", "values", "draws", "shown"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))


def test_facts_of_another_version_are_refused(tmp_path: Path) -> None:
    facts([0.6, 0.9], [0.5, 0.7]).save(tmp_path)
    path = Facts.path(tmp_path, "bolts", 0)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wide": []}))
    with pytest.raises(StoreError, match=r"bolts_0\.json is of another version; delete it"):
        Facts.load(path)


def test_regret_is_what_the_chosen_trial_lacks_of_the_best_in_points() -> None:
    judged = judge([facts([0.6, 0.9, 1.0], [0.5, 0.8, 0.7])], 0)
    assert judged["rules"]["final choice"]["regret"]["mean"] == pytest.approx(10)
    assert judged["rules"]["patchcore, default settings"]["regret"]["mean"] == pytest.approx(40)
    assert judged["rules"]["padim, default settings"]["regret"]["mean"] == pytest.approx(10)  # the first of its trials
    assert judged["rules"]["random choice"]["regret"]["mean"] == pytest.approx(100 * (1 - 2.5 / 3))
    assert judged["saved"]["patchcore, default settings"]["mean"] == pytest.approx(30)


def test_a_perfect_proxy_has_no_regret_and_orders_as_the_defects_do() -> None:
    row = judge([facts([0.6, 0.8, 0.9, 1.0], [0.5, 0.6, 0.7, 0.8])], 0)["rules"][
        "ranks of image and localisation AUROC"
    ]
    assert row["regret"]["mean"] == 0
    assert row["spearman"]["mean"] == row["kendall"]["mean"] == row["top_spearman"]["mean"] == pytest.approx(1)


def test_a_reversed_proxy_orders_the_other_way_round() -> None:
    row = judge([facts([0.9, 0.8, 0.7, 0.6], [0.5, 0.6, 0.7, 0.8])], 0)["rules"][
        "ranks of image and localisation AUROC"
    ]
    assert row["regret"]["mean"] == pytest.approx(30)
    assert row["spearman"]["mean"] == pytest.approx(-1)


def test_sets_weigh_alike_however_many_seeds_they_have() -> None:
    good, bad = [0.6, 1.0], [1.0, 0.6]  # the proxy is right in the first set and wrong in the second
    values = [0.5, 0.8]
    studies = [facts(good, values, name="a", seed=seed) for seed in range(3)] + [facts(bad, values, name="b")]
    row = judge(studies, 0)["rules"]["final choice"]
    assert row["regret"]["mean"] == pytest.approx(20)
    assert row["worst"] == {"set": "b", "regret": pytest.approx(40)}
    low, high = row["regret"]["interval"]
    assert 0 <= low < 20 < high <= 40


def test_the_tied_set_holds_the_best_within_half_a_point() -> None:
    near = facts([0.6, 1.0], [0.5, 0.8])
    assert judge([near], 0)["studies"][0]["tied_holds_best"]
    far = facts([1.0, 0.9], [0.5, 0.8])
    assert not judge([far], 0)["studies"][0]["tied_holds_best"]


def test_what_has_learned_from_a_family_is_not_ranked_by_it() -> None:
    in_family = facts([0.6, 0.8, 0.7], [0.6, 0.6, 0.7], learned={1: "texture"})
    in_family.image_cells[1, :2] = in_family.localisation_cells[1, :2] = 1.0
    assert mean(in_family, ())[1] == pytest.approx(0.6)
    assert np.argmax(ranks(in_family, ())) == 2
    assert np.argmax(borda(in_family, ())) == 1  # a rule that does not know of it is taken in


def test_in_family_bias_is_the_gain_over_others_on_the_family_learned_from() -> None:
    study = facts([0.6, 0.8, 0.7], [0.6, 0.6, 0.7], learned={1: "texture"}, methods=["patchcore", "destseg", "padim"])
    study.image_cells[1, :2] = 0.9  # 30 points above its 0.6 elsewhere; the others are the same everywhere
    assert in_family_bias([study]) == [
        {"method": "destseg", "family": "texture", "points": pytest.approx(30), "trials": 1}
    ]


def test_what_is_left_of_the_advantage_is_measured_against_real_defects() -> None:
    study = facts([0.6, 0.5, 0.7], [0.6, 0.8, 0.7], learned={1: "texture"}, methods=["patchcore", "destseg", "padim"])
    # The others score as they really are; this one 30 points higher.
    (found,) = overrated([study], np.random.default_rng(0))
    assert (found["method"], found["on"], found["trials"]) == ("destseg", "networks", 1)
    assert (found["before"]["mean"], found["after"]["mean"]) == pytest.approx((30, 30))
    study.trials[1]["advantage"] = 0.2
    (found,) = overrated([study], np.random.default_rng(0))
    assert (found["before"]["mean"], found["after"]["mean"]) == pytest.approx((30, 10))


def test_filters_networks_and_neither_are_different_grounds() -> None:
    learned = dict.fromkeys((1, 2, 3), "texture")
    methods = ["patchcore", "destseg", "destseg", "anoseg"]
    study = facts([0.6, 0.5, 0.4, 0.6], [0.6, 0.8, 0.3, 0.6], learned=learned, methods=methods)
    study.trials[2]["backbone"], study.trials[3]["backbone"] = EMBEDDED, NO_BACKBONE
    rows = {(row["method"], row["on"]): row["after"]["mean"] for row in overrated([study], np.random.default_rng(0))}
    assert rows == pytest.approx(
        {("anoseg", "no backbone"): 0, ("destseg", "built-in filters"): -10, ("destseg", "networks"): 30}
    )


def test_what_is_taken_off_ranks_a_trial_lower() -> None:
    study = facts([0.6, 0.8, 0.7], [0.6, 0.8, 0.7], methods=["patchcore", "destseg", "padim"])
    study.trials[1]["advantage"] = 0.15
    assert np.argsort(-ranks(study, ())).tolist() == [2, 1, 0]
    assert mean(study, ()) == pytest.approx([0.6, 0.65, 0.7])


def test_the_weaker_families_decide_in_the_rule_of_that_name() -> None:
    study = facts([0.6, 0.8], [0.6, 0.7])
    study.image_cells[1, 2] = study.localisation_cells[1, 2] = 0.5
    assert np.argmax(worst_families(study, ())) == 0
    assert np.argmax(family("texture")(study, ())) == 1


def test_a_prior_learns_from_other_sets_alone() -> None:
    methods = ["patchcore", "padim", "dfr"]
    others = [facts([0.6, 0.8, 1.0], [0.5] * 3, name=name, methods=methods) for name in "ab"]
    here = facts([1.0, 0.8, 0.6], [0.5] * 3, methods=methods)  # the other way round: nobody may look
    assert np.argsort(prior(here, others)).tolist() == [0, 1, 2]


def test_choices_replay_the_final_check() -> None:
    noisy = facts([0.6, 0.9, 0.8], [0.6, 0.62, 0.61], noise=0.1)
    assert leader(True)(noisy) == 1
    assert decided(True)(noisy) == 0  # a lead of two points is worth nothing
    assert guarded(0.05)(noisy) == 0  # nor is it beyond noise
    clear = facts([0.6, 0.9, 0.8], [0.6, 0.8, 0.61])
    assert decided(True)(clear) == guarded(0.05)(clear) == 1


def test_how_sure_the_search_was_is_held_against_how_often_it_was_right() -> None:
    """Alone, a set is judged by the product's lines; a lead of 0.1 is not enough for a single candidate."""
    study = facts([0.8, 0.6, 0.9], [0.6, 0.7, 0.6])
    found = decision(study)
    assert (found.winner, found.rival) == (0, 1)
    rows = certainties([study])
    (rival,) = rows["rival"]
    assert (rival["said"], rival["right"], rival["count"]) == (pytest.approx(found.certainty), 1, 1)
    assert sum(row["count"] for row in rows["finalists"]) == 2
    said = {1 - found.chances[1]: 1.0, 1 - found.chances[2]: 0.0}
    for row in rows["finalists"]:
        inside = [right for probability, right in said.items() if row["from"] <= probability < row["to"]]
        assert row["right"] == pytest.approx(np.mean(inside))


def test_certainties_are_those_of_lines_learned_from_other_sets() -> None:
    values = [0.6, 0.7, 0.8]
    studies = [facts([0.6, 0.7, 0.8], values, name=name) for name in ("a", "b")]
    (row,) = certainties(studies)["rival"]
    assert (row["right"], row["count"]) == (1, 2)
    assert row["said"] > 0.99  # on the other set every lead was found again
    (alone,) = certainties(studies[:1])["rival"]
    assert alone["said"] < 0.99


def test_what_a_lead_was_worth_is_a_line_through_all_finalists() -> None:
    study = facts([0.5, 0.6, 0.7, 0.8], [0.6, 0.5, 0.7, 0.9])
    found = lead_models([study]).single
    # Leads of -0.1, 0.1 and 0.3 over the default, gains of 0.1, 0.2 and 0.3.
    assert (found.start, found.share) == (pytest.approx(0.15), pytest.approx(0.5))
    assert found.spread == pytest.approx(0, abs=1e-6)


def test_sets_weigh_alike_in_it() -> None:
    many = facts([0.5, *[0.7] * 9], [0.6, *[0.7] * 9], name="many")
    few = facts([0.5, 0.9, 0.9], [0.6, 0.7, 0.8], name="few")
    assert lead_models([many, few]).single.gain(np.float64(0.1)) == pytest.approx(0.4 * 1 / 3 + 0.2 * 2 / 3)


def test_where_nothing_is_known_of_leads_the_default_stays() -> None:
    found = lead_models([facts([0.5, 0.9], [0.6, 0.9])])
    assert decision(facts([0.5, 0.9], [0.6, 0.9]), lead_models=found).winner == 0
    assert found.ensemble.break_even == np.inf


def test_a_study_on_the_built_in_filters_keeps_its_default() -> None:
    study = facts([0.6, 0.9], [0.5, 0.9])
    for trial in study.trials:
        trial["backbone"] = "embedded"
    assert decision(study).winner == 0


def test_ensembles_can_be_left_out() -> None:
    study = facts([0.6, 0.7, 0.9], [0.6, 0.59, 0.8], methods=["patchcore", "padim", "average"])
    assert decision(study).winner == ensemble_of(2)(study) == leader(True)(study) == 2
    assert decision(study, ensembles=False).winner == leader(False)(study) == 0


def test_ensembles_are_told_apart_by_what_their_members_share() -> None:
    study = facts([0.8, 0.6, 0.9, 0.7, 0.9], [0.5] * 5, methods=["patchcore", "patchcore", "padim", "padim", "average"])
    for trial, backbone in zip(study.trials, ["a", "b", "a", "b", "a & b"], strict=True):
        trial["backbone"] = backbone
    assert [shared(study, members) for members in ((0, 3), (0, 1), (0, 2), (0, 1, 2))] == list(KINDS)
    found = regrets(study)
    # A defect that one of two members sees stands level with the good images: half of it counts.
    assert found[2, "nothing"] == pytest.approx(100 * (0.9 - (0.8 + 0.7) / 2))
    assert found[2, "a method"] == pytest.approx(100 * (0.9 - (0.8 + 0.6) / 2))
    assert found[2, "a backbone"] == pytest.approx(100 * (0.9 - (0.8 + 0.9) / 2))
    assert set(found) == {(2, kind) for kind in KINDS[:3]} | {(3, "both")}


def test_without_a_default_there_is_nothing_to_average() -> None:
    assert regrets(replace(facts([0.6, 0.9], [0.5, 0.8]), default=None)) == {}


def test_real_defects_that_contradict_the_search_change_the_choice() -> None:
    study = facts([0.3, 1.0, 0.3], [0.8, 0.75, 0.4])
    judged = judge([replace(study, placements=np.array([[0.3] * 8, [1.0] * 8, [0.3] * 8]), shown=np.arange(10, 18))], 0)
    assert judged["defects"]["3"]["before"] > judged["defects"]["3"]["after"]


def test_a_set_with_one_defect_is_judged_by_all_that_it_allows() -> None:
    one = replace(facts([0.6, 0.9], [0.5, 0.8]), labels=np.arange(20) == 10, shown=np.array([10]))
    judged = judge([replace(one, placements=one.placements[:, :1])], 0)
    assert judged["defects"]["1"]["sets"] == judged["defects"]["3"]["sets"] == 0  # none would be left to judge by
    assert np.isnan(judged["defects"]["1"]["after"])
    assert judged["studies"][0]["images"] == {"good": 19, "defect": 1}
    assert "| 3 | 0 | – | – |" in markdown(judged, "")


def test_the_report_says_what_was_judged(tmp_path: Path) -> None:
    judged = judge([facts([0.6, 0.9, 1.0], [0.5, 0.9, 0.7]), facts([0.6, 1.0], [0.5, 0.8], name="nuts")], 0)
    page = write_report(judged, "fidelity DATA", tmp_path).read_text()
    assert page == markdown(judged, "fidelity DATA")
    assert "| final choice | 5.0 |" in page
    assert "| nuts | 0 |" in page
    assert "half a point of the best in 50% of the studies" in page
    assert json.loads((tmp_path / "fidelity.json").read_text())["studies"][1]["set"] == "nuts"
    assert "https://" not in (tmp_path / "fidelity.html").read_text().partition("<script")[0]
