"""Trials of the Optuna study that are no candidates of the search, and how the sampler passes over them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from automl_ad.methods.names import ENSEMBLE

WITHDRAWN = "withdrawn"
"""Marks a trial that was asked for but not run before the search ended."""


def is_ensemble(trial: FrozenTrial) -> bool:
    """Whether the trial stands for an ensemble, which was built from others and not searched."""
    return ENSEMBLE in trial.user_attrs


def unfinished(study: Study, state: TrialState) -> list[FrozenTrial]:
    """The trials in this state that the search has yet to run, in the order of their numbers."""
    trials = study.get_trials(deepcopy=False, states=(state,))
    return [trial for trial in trials if not is_ensemble(trial)]


def propose(study: Study, proposals: list[dict[str, Any]]) -> None:
    """Enqueues the first proposal that was not tried, unless a trial waits or runs already.

    One at a time: what is still enqueued when the search ends would wait for ever.

    Args:
        study: Optuna's study.
        proposals: Parameters of trials; those that are done with are taken out.
    """
    if not proposals or unfinished(study, TrialState.RUNNING) or unfinished(study, TrialState.WAITING):
        return
    if (proposal := first_untried(study, proposals)) is not None:
        study.enqueue_trial(proposal)


def first_untried(study: Study, proposals: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first proposal that was not tried; those before it are taken out."""
    trials = study.get_trials(deepcopy=False)
    tried = [_parameters(trial) for trial in trials if WITHDRAWN not in trial.user_attrs]
    while proposals and proposals[0] in tried:
        proposals.pop(0)
    return proposals[0] if proposals else None


def withdraw_unfinished(study: Study) -> None:
    """Ends the trials that wait or run at the end of a search; a later search proposes theirs again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        _withdraw(study, optuna.Trial(study, trial._trial_id))
    for _ in unfinished(study, TrialState.WAITING):
        _withdraw(study, study.ask())


class SearchSampler(TPESampler):
    """Optuna's TPE sampler, which learns from what was searched and from nothing else."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As of the base class."""
        return super().infer_relative_search_space(_searched(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As of the base class."""
        return super().sample_relative(_searched(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As of the base class."""
        return super().sample_independent(_searched(study), trial, param_name, param_distribution)


class _Searched:
    """A study without the trials that are no candidates of the search."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if not is_ensemble(trial) and WITHDRAWN not in trial.user_attrs]


def _searched(study: Study) -> Study:
    return cast(Study, _Searched(study))


def _parameters(trial: FrozenTrial) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], trial.system_attrs.get("fixed_params", trial.params))


def _withdraw(study: Study, trial: optuna.Trial) -> None:
    trial.set_user_attr(WITHDRAWN, True)
    study.tell(trial, state=TrialState.PRUNED)
