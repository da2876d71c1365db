"""Which parameters of a method decide its proxy score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from automl_ad.study.machine import quiet_optuna

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

FEWEST = 20
"""Fewer complete trials of a method say nothing about its parameters."""
_MOST = 2000  # more would take seconds and change nothing that can be seen
_GOOD_ENOUGH = 5  # trials that PED-ANOVA wants above its quantile
_ORDERS = 50.0  # values that span more than this factor are searched on a log scale


def importances(rows: Sequence[TrialRow]) -> dict[str, float] | None:
    """Importance of each parameter by PED-ANOVA, highest first, 1 in all.

    Args:
        rows: Complete trials of one method.

    Returns:
        None when there are too few trials, or nothing varies.
    """
    scored = [row for row in rows if row.proxy_score is not None][-_MOST:]
    names = varied(scored)
    if len(scored) < FEWEST or not names:
        return None
    columns = {name: [as_number_or_text(row.params.get(name)) for row in scored] for name in names}
    distributions = {name: _distribution(values) for name, values in columns.items()}
    study = _silent_study()
    for place, row in enumerate(scored):
        params = {name: _fitting(distributions[name], columns[name][place]) for name in names}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=float(row.proxy_score or 0))
        )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, _GOOD_ENOUGH / len(scored))))
    found: Mapping[str, float] = get_param_importances(study, evaluator=evaluator)
    return dict(found)


def varied(rows: Sequence[TrialRow]) -> list[str]:
    """Parameters that take more than one value, in alphabetical order."""
    names = sorted({name for row in rows for name in row.params})
    return [name for name in names if len({as_number_or_text(row.params.get(name)) for row in rows}) > 1]


def as_number_or_text(value: Any) -> float | int | str:
    """A parameter as a number where it is one, else as text that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return "–" if value is None else json.dumps(value)
    return value


def spans_orders(values: Sequence[float]) -> bool:
    """Whether numbers are best read on a log scale."""
    return min(values) > 0 and max(values) / min(values) >= _ORDERS


def _distribution(values: Sequence[float | int | str]) -> BaseDistribution:
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    low, high, log = min(numbers), max(numbers), spans_orders(numbers)
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _fitting(distribution: BaseDistribution, value: float | int | str) -> float | int | str:
    return str(value) if isinstance(distribution, CategoricalDistribution) else value


def _silent_study() -> optuna.Study:
    """A study in memory, without the line that Optuna logs about it."""
    with quiet_optuna():
        return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
