"""What Optuna's study holds beside the candidates that were searched."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from automl_ad.methods.names import ENSEMBLE
from automl_ad.study.ensembles import reserved_number
from automl_ad.study.loop import next_trial
from automl_ad.study.optuna_trials import WITHDRAWN, propose, withdraw_unfinished

PROPOSALS = [{"method": "padim", "padim.k": 1}, {"method": "dfr", "dfr.model": "pca"}]


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(study_name="parts", direction="maximize")


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def run(study: optuna.Study, value: float | None = 0.5) -> dict[str, Any]:
    """Runs what comes next; its parameters."""
    trial = next_trial(study, 0)
    method = trial.suggest_categorical("method", ["padim", "dfr"])
    if method == "padim":
        trial.suggest_categorical("padim.k", [1, 2, 3, 4])
    else:
        trial.suggest_categorical("dfr.model", ["pca", "cae"])
    if value is not None:
        study.tell(trial, value)
    return trial.params


def test_proposals_are_enqueued_one_at_a_time_and_once(study: optuna.Study) -> None:
    left = list(PROPOSALS)
    tried = []
    for _ in PROPOSALS:
        propose(study, left)
        assert states(study).count("WAITING") == 1
        propose(study, left)  # nothing: one waits
        assert states(study).count("WAITING") == 1
        tried.append(run(study))
    assert tried == PROPOSALS
    propose(study, list(PROPOSALS))  # as in a search that is resumed
    assert states(study) == ["COMPLETE", "COMPLETE"]


def test_nothing_is_enqueued_while_an_interrupted_trial_is_to_be_taken_up(study: optuna.Study) -> None:
    propose(study, list(PROPOSALS))
    run(study, value=None)
    propose(study, list(PROPOSALS))
    assert states(study) == ["RUNNING"]


def test_nothing_waits_or_runs_after_the_end_and_it_is_proposed_again(study: optuna.Study) -> None:
    for proposal in PROPOSALS:
        study.enqueue_trial(proposal)
    run(study, value=None)
    reserved_number(study, "a")
    withdraw_unfinished(study)
    assert states(study) == ["PRUNED", "PRUNED", "PRUNED"]
    assert all(trial.user_attrs[WITHDRAWN] for trial in study.trials)
    left = list(PROPOSALS)
    propose(study, left)
    assert run(study) == PROPOSALS[0]
    propose(study, left)
    assert run(study) == PROPOSALS[1]


def test_an_ensemble_is_not_taken_up_as_an_interrupted_trial(study: optuna.Study) -> None:
    assert reserved_number(study, "a") == 0
    assert next_trial(study, 0).number == 1


def test_the_sampler_learns_nothing_from_ensembles_and_withdrawn_trials() -> None:
    """With and without them, the same seeds give the same configurations."""

    def proposed(between: bool) -> list[dict[str, Any]]:
        study = optuna.create_study(study_name="parts", direction="maximize")
        found = []
        for number in range(14):
            if between and number == 10:
                study.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={ENSEMBLE: "a"}))
                study.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={ENSEMBLE: "b"}))
            params = run(study, value=None)
            study.tell(len(study.trials) - 1, {"padim": 0.5, "dfr": 0.3}[params["method"]] + number / 100)
            found.append(params)
        return found

    assert proposed(True) == proposed(False)
