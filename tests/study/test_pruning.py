"""Pruning within a method: who is compared with whom."""

from __future__ import annotations

import optuna
import pytest

from automl_ad.study.pruning import STARTUP_TRIALS, WARMUP_PERCENT, MethodPruner

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize", pruner=MethodPruner())


def trial_of(study: optuna.Study, method: str) -> optuna.Trial:
    study.enqueue_trial({"method": method})
    trial = study.ask()
    trial.suggest_categorical("method", ["dfr", "realnet"])
    return trial


def finished(study: optuna.Study, method: str, values: dict[int, float]) -> None:
    trial = trial_of(study, method)
    for step, value in values.items():
        trial.report(value, step)
    study.tell(trial, max(values.values()))


def pruned(study: optuna.Study, method: str, value: float, step: int = 50) -> bool:
    trial = trial_of(study, method)
    trial.report(value, step)
    return trial.should_prune()


def test_a_trial_below_the_median_of_its_method_is_ended(study: optuna.Study) -> None:
    for value in (0.6, 0.7, 0.8):
        finished(study, "realnet", {50: value})
    assert pruned(study, "realnet", 0.69)
    assert not pruned(study, "realnet", 0.71)


def test_trials_of_other_methods_do_not_count(study: optuna.Study) -> None:
    for value in (0.9, 0.9, 0.9):
        finished(study, "dfr", {50: value})
    finished(study, "realnet", {50: 0.5})
    assert not pruned(study, "realnet", 0.4)
    assert pruned(study, "dfr", 0.8)


def test_the_first_trials_of_a_method_run_to_their_end(study: optuna.Study) -> None:
    for _ in range(STARTUP_TRIALS):
        assert not pruned(study, "realnet", 0.1)
        finished(study, "realnet", {50: 0.9})
    assert pruned(study, "realnet", 0.1)


def test_the_beginning_of_a_training_is_forgiven(study: optuna.Study) -> None:
    for _ in range(STARTUP_TRIALS):
        finished(study, "dfr", {WARMUP_PERCENT - 1: 0.9, WARMUP_PERCENT: 0.9})
    assert not pruned(study, "dfr", 0.1, WARMUP_PERCENT - 1)
    assert pruned(study, "dfr", 0.1, WARMUP_PERCENT)
