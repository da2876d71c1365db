"""What the sampler is told of a configuration that comes again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from automl_ad.store.database import open_engine
from automl_ad.store.records import CandidateRecord, State, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study import loop
from automl_ad.study.clock import Clock
from automl_ad.study.configuration import Configuration
from automl_ad.study.settings import requested_settings
from automl_ad.training import Budget

CONFIGURATION = Configuration.of("padim", 32, {"backbone": "embedded", "levels": [-1]})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(open_engine(f"sqlite:///{tmp_path / 'automl_ad.db'}"))
    made.create_study(StudyRecord(name="parts", settings={}, meaning={}, images="", fingerprint=""))
    return made


@pytest.fixture
def study() -> optuna.Study:
    """Two trials: the sampler was told 0.7 of the first, and that the second failed."""
    made = optuna.create_study(study_name="parts", direction="maximize")
    made.tell(made.ask(), 0.7)
    made.tell(made.ask(), state=TrialState.FAIL)
    return made


def known(number: int, state: State, score: float | None) -> CandidateRecord:
    digest = CONFIGURATION.digest
    return CandidateRecord(number=number, state=state, method="padim", proxy_score=score, configuration_hash=digest)


def step(
    study: optuna.Study, repository: Repository, parts: Path, monkeypatch: pytest.MonkeyPatch, ran: Sequence[Any] = ()
) -> bool:
    """One step of a search that proposes the configuration again; it cannot run a trial."""
    monkeypatch.setattr(loop, "suggest", lambda *_: CONFIGURATION)
    settings, context = requested_settings(parts), SimpleNamespace()
    return loop._step(study, context, settings, {}, repository, Budget(None), list(ran))  # type: ignore[arg-type]


def test_a_repeat_is_worth_what_the_sampler_was_told_before_scores_were_settled(
    study: optuna.Study, repository: Repository, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.save_candidate("parts", known(0, "complete", 0.6))
    assert not step(study, repository, parts, monkeypatch)
    repeat = study.trials[2]
    assert (repeat.value, repeat.user_attrs["repeats"]) == (0.7, 0)
    assert [record.proxy_score for record in repository.candidates("parts")] == [0.6]


def test_a_trial_whose_end_the_sampler_missed_is_told_what_was_recorded(
    study: optuna.Study, repository: Repository, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = study.ask().number
    repository.save_candidate("parts", known(number, "complete", 0.8))
    assert step(study, repository, parts, monkeypatch)
    assert [trial.value for trial in study.trials] == [0.7, None, 0.8]


def test_a_trial_hears_of_the_rules_of_its_own_method(
    study: optuna.Study, repository: Repository, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []

    def run(context: Any, number: int, configuration: Any, budget: Any, trial: Any, precedents: Any) -> CandidateRecord:
        heard.extend(precedents)
        return known(number, "failed", None)

    monkeypatch.setattr(loop, "run_trial", run)
    rules = {"padim": {"max": 0.9}, "dfr": {"max": 0.1}}
    ran = [
        CandidateRecord(number=number, state="complete", method=method, aggregations=rules[method])
        for number, method in enumerate(["padim", "dfr", "padim"])
    ]
    assert step(study, repository, parts, monkeypatch, ran)
    assert heard == [rules["padim"], rules["padim"]]


@pytest.mark.parametrize(("ensemble", "seconds"), [(True, 4 + 3 + 2), (False, 4)])
def test_time_is_set_aside_for_averages_only_where_they_are_wanted(ensemble: bool, seconds: float) -> None:
    settings = requested_settings(Path("images"), holdout_candidates=1, ensemble=ensemble, backbones=["embedded"])
    params = {"backbone": "embedded", "levels": [-1], "side": 64}
    finished = [
        CandidateRecord(number=n, state="complete", method="padim", params=params, proxy_score=n / 10, total_s=float(n))
        for n in range(1, 5)
    ]
    assert loop.closing_time(finished, settings) == seconds


def finished_in(number: int, method: str, backbone: str, seconds: float) -> CandidateRecord:
    params = {"backbone": backbone, "levels": [-1], "side": 64}
    return CandidateRecord(
        number=number, state="complete", method=method, backbone=backbone, params=params, total_s=seconds
    )


@pytest.mark.parametrize(
    ("proposal", "seconds"),
    [
        ({"method": "padim", "padim.backbone": "resnet18"}, 30.0),
        ({"method": "padim", "padim.backbone": "vgg19"}, 20.0),
        ({"method": "dfr", "dfr.backbone": "resnet18"}, 20.0),
        (None, 20.0),
    ],
)
def test_the_next_trial_takes_as_long_as_those_like_it(proposal: dict[str, Any] | None, seconds: float) -> None:
    finished = [
        finished_in(0, "padim", "embedded", 10.0),
        finished_in(1, "padim", "resnet18", 30.0),
        finished_in(2, "patchcore", "resnet18", 20.0),
    ]
    assert loop.expected_s(finished, proposal) == seconds


def test_what_is_tried_next_is_known_while_proposals_wait(study: optuna.Study) -> None:
    assert loop.next_proposal(study) is None
    study.enqueue_trial({"method": "padim", "padim.backbone": "resnet18"})
    study.enqueue_trial({"method": "dfr"})
    assert loop.next_proposal(study) == {"method": "padim", "padim.backbone": "resnet18"}


def test_a_trial_that_would_not_end_in_time_does_not_start() -> None:
    settings = requested_settings(Path("images"), holdout_candidates=1, ensemble=False, backbones=["embedded"])
    finished = [finished_in(0, "padim", "embedded", 10.0)]
    for remaining, done in ((25.0, False), (19.0, True)):
        clock = Clock(remaining)
        assert loop._done(finished, finished, settings, clock, None) is done
    assert not loop._done([], [], settings, Clock(-1.0), None)  # the baseline always runs
