"""Scoring rules once all trials are known: each method gets one, and no detector runs for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.evaluation.aggregation import AGGREGATIONS
from automl_ad.evaluation.suite import Suite
from automl_ad.evaluation.suite_scores import SuiteScores, plan_for, proxy_score
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import open_engine
from automl_ad.store.records import CandidateRecord, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.rescore import rescore_trials
from automl_ad.study.trial import SCORES, score_fields

CELLS = ("texture/0.7",) * 4 + ("poisson/0.7",) * 4
NORMALS = np.array([1.0, 2.0, 3.0, 4.0])
FOUND, HALF, MISSED = [9.0] * 4, [2.5] * 4, [0.0] * 4
"""Anomalies of one cell above all normals, above two of four, and below all."""
LOCATED = np.array([*FOUND, 9.0, 9.0, 9.0, 2.5])
"""1 and 0.875 in the cells."""


@pytest.fixture
def context(tmp_path: Path) -> Any:
    """As much of a bench as judging scores needs: it can build and fit nothing."""
    images = ImageSet.of(np.zeros((8, 3, 32, 32), np.uint8))
    suite = Suite(images, np.ones((8, 32, 32), np.bool_), CELLS, (0, 1, 2, 3) * 2, "by hand")
    data = SimpleNamespace(at=lambda side: SimpleNamespace(proxy=suite))
    return SimpleNamespace(
        data=data, plan=plan_for(suite, 4, 5, "proxy"), folder=StudyFolder(tmp_path, "parts"), suite=suite
    )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(open_engine(f"sqlite:///{tmp_path / 'automl_ad.db'}"))
    made.create_study(StudyRecord(name="parts", settings={}, meaning={}, images="", fingerprint=""))
    return made


def scores(texture: dict[str, list[float]], poisson: dict[str, list[float]]) -> SuiteScores:
    """By rule; what is not named misses all."""
    names = [rule.name for rule in AGGREGATIONS]
    found = {rule: np.array([*texture.get(rule, MISSED), *poisson.get(rule, MISSED)]) for rule in names}
    return SuiteScores(dict.fromkeys(names, NORMALS), found, LOCATED)


SHARP = scores({"max": FOUND, "top1%": HALF}, {"max": FOUND, "top1%": FOUND})
"""Rule max gives 1, rule top1% 0.75."""
BROAD = scores({"max": HALF, "top1%": FOUND}, {"max": MISSED, "top1%": HALF})
"""Rule max gives 0.25, rule top1% 0.75."""
PARAMS = {"levels": [-1], "backbone": "embedded"}
_MEMBER = {"method": "padim", "settings": PARAMS, "seed": 0, "centre": 0.0, "spread": 1.0}
AVERAGED = {"members": [{"trial": number, **_MEMBER} for number in (0, 1)]}


def tried(
    context: Any,
    repository: Repository,
    number: int,
    made: SuiteScores,
    method: str = "padim",
    home: Sequence[str] = (),
    advantage: float = 0.0,
    **fields: Any,
) -> CandidateRecord:
    """A trial of which nobody else is known, judged and kept."""
    made.save(context.folder.trial(number) / SCORES)
    params = {"side": 32, **(AVERAGED if method == "average" else PARAMS)}
    record = CandidateRecord(
        number=number,
        state="complete",
        method=method,
        params=params,
        latency_ms=7.0,
        configuration_hash=f"{number}",
        **score_fields(proxy_score(made, context.suite, context.plan, home, advantage=advantage)),
        **fields,
    )
    repository.save_candidate("parts", record)
    return record


def settled(context: Any, repository: Repository) -> list[CandidateRecord]:
    rescore_trials(context, "parts", repository)
    return repository.candidates("parts")


def test_trials_of_a_method_are_judged_by_the_rule_that_serves_it_best(context: Any, repository: Repository) -> None:
    before = tried(context, repository, 0, SHARP)
    tried(context, repository, 1, BROAD)
    assert (before.rule, before.proxy_score) == ("max", pytest.approx((1 + 1 + 1 + 0.875) / 4))
    first, second = settled(context, repository)
    # On average max gives 0.625 and top1% 0.75.
    assert (first.rule, second.rule) == ("top1%", "top1%")
    assert first.proxy_score == pytest.approx((0.5 + 1 + 1 + 0.875) / 4)
    assert first.families == pytest.approx({"texture": 0.75, "poisson": 0.9375})
    assert first.image_auroc == pytest.approx({"texture/0.7": 0.5, "poisson/0.7": 1.0})
    assert first.localisation_auroc == before.localisation_auroc
    assert first.aggregations == pytest.approx(before.aggregations)
    assert first.interval != before.interval
    assert first.interval is not None
    assert first.interval[0] < first.proxy_score < first.interval[1]


def test_all_else_that_is_known_of_a_trial_stays(context: Any, repository: Repository) -> None:
    before = tried(context, repository, 0, SHARP, total_s=3.0, worker="here:1", artifact="trials/0")
    other = tried(context, repository, 1, BROAD)
    after, same = settled(context, repository)
    assert same == other  # had that rule already
    changed = {"rule", "proxy_score", "interval_low", "interval_high", "families", "image_auroc"}
    for name, value in vars(before).items():
        assert (getattr(after, name) == value) == (name not in changed), name


def test_settling_again_changes_nothing(context: Any, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, made in enumerate([SHARP, BROAD, BROAD]):
        tried(context, repository, number, made)
    once = settled(context, repository)
    written: list[int] = []
    monkeypatch.setattr(Repository, "save_candidate", lambda *given: written.append(given[2].number))
    assert settled(context, repository) == once
    assert written == []


def test_the_order_in_which_trials_ended_does_not_matter(context: Any, repository: Repository) -> None:
    """Each was judged with those before it in mind; in the end all know of all."""
    tried(context, repository, 0, BROAD)
    precedents = [repository.candidates("parts")[0].aggregations]
    SHARP.save(context.folder.trial(1) / SCORES)
    later = proxy_score(SHARP, context.suite, context.plan, (), precedents)
    assert later.aggregation == "top1%"  # as after settling
    tried(context, repository, 1, SHARP)
    assert settled(context, repository)[1].proxy_score == pytest.approx(later.value)


def test_methods_have_rules_of_their_own(context: Any, repository: Repository) -> None:
    tried(context, repository, 0, SHARP, "padim")
    tried(context, repository, 1, BROAD, "patchcore")
    assert [record.rule for record in settled(context, repository)] == ["max", "top1%"]


def test_averages_share_a_rule_like_the_trials_of_a_method(context: Any, repository: Repository) -> None:
    for number, (made, method) in enumerate([(SHARP, "average"), (BROAD, "average"), (SHARP, "padim")]):
        tried(context, repository, number, made, method)
    assert [record.rule for record in settled(context, repository)] == ["top1%", "top1%", "max"]


def test_what_did_not_finish_neither_counts_nor_changes(context: Any, repository: Repository) -> None:
    tried(context, repository, 0, SHARP)
    failed = CandidateRecord(number=1, state="failed", method="padim", reason="Out of memory.")
    repository.save_candidate("parts", failed)
    found = settled(context, repository)
    assert found[0].rule == "max"
    assert found[1].reason == "Out of memory."


def test_families_learned_from_choose_no_rule_and_do_not_count(context: Any, repository: Repository) -> None:
    """Both learned from textures: in poisson alone, top1% gives 1 and 0.5, max 1 and 0."""
    for number, made in enumerate([SHARP, BROAD]):
        tried(context, repository, number, made, "realnet", ["texture"])
    first, second = settled(context, repository)
    assert (first.rule, second.rule) == ("top1%", "top1%")
    assert (first.proxy_score, second.proxy_score) == pytest.approx(((1 + 0.875) / 2, (0.5 + 0.875) / 2))
    assert first.learned_from == second.learned_from == {"texture"}


def test_what_was_taken_off_is_taken_off_under_another_rule_as_well(context: Any, repository: Repository) -> None:
    for number, made in enumerate([SHARP, BROAD]):
        tried(context, repository, number, made, advantage=0.1)
    first, second = settled(context, repository)
    assert (first.rule, first.advantage, second.advantage) == ("top1%", 0.1, 0.1)
    assert first.proxy_score == pytest.approx((0.5 + 1 + 1 + 0.875) / 4 - 0.1)


def test_a_trial_whose_scores_are_lost_stays_as_it_is(context: Any, repository: Repository) -> None:
    lost, *_ = (tried(context, repository, number, made) for number, made in enumerate([SHARP, BROAD, SHARP, BROAD]))
    (context.folder.trial(0) / SCORES).unlink()
    found = settled(context, repository)
    assert found[0] == lost
    assert [record.rule for record in found] == ["max", "top1%", "top1%", "top1%"]


def test_damaged_scores_are_reported(context: Any, repository: Repository) -> None:
    tried(context, repository, 0, SHARP)
    tried(context, repository, 1, BROAD)
    (context.folder.trial(0) / SCORES).write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"scores\.npz"):
        rescore_trials(context, "parts", repository)


def test_a_study_without_trials_has_nothing_to_settle(context: Any, repository: Repository) -> None:
    assert settled(context, repository) == []
