"""Ends trials that fall behind, each judged by trials of its own method alone."""

from __future__ import annotations

from collections.abc import Container
from typing import cast

from optuna.pruners import BasePruner, MedianPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

STARTUP_TRIALS = 2
"""Trials of a method that always run to their end."""
WARMUP_PERCENT = 20
"""Share of the training during which nothing is ended."""


class MethodPruner(BasePruner):
    """Optuna's median pruner, applied within each method.

    Methods learn at different paces: a student that cannot segment yet says nothing against an autoencoder at the same
    share of its training, nor the other way round.
    """

    def __init__(self) -> None:
        self._median = MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_PERCENT)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial falls behind the median of earlier trials of its method at the same share of training."""
        return self._median.prune(cast(Study, _Trials(study, str(trial.params.get("method")))), trial)


class _Trials:
    """The part of a study that a pruner asks, cut down to one method."""

    def __init__(self, study: Study, method: str) -> None:
        self._study = study
        self._method = method

    @property
    def direction(self) -> StudyDirection:
        return self._study.direction

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=deepcopy, states=states)
        return [trial for trial in trials if trial.params.get("method") == self._method]
