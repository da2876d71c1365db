"""The search loop: ask, run, tell, until the budget, the number of trials or the space is used up."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import TrialState

from automl_ad.methods.names import ENSEMBLE
from automl_ad.methods.space import Space
from automl_ad.seeds import derived_seed
from automl_ad.selection.ranking import describe_candidate, limits_exceeded
from automl_ad.store.records import CandidateRecord
from automl_ad.store.repository import Repository
from automl_ad.study.clock import Clock
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import remove_states
from automl_ad.study.optuna_trials import SearchSampler, first_untried, is_ensemble, propose, unfinished
from automl_ad.study.progress import Event, Listener
from automl_ad.study.proposals import first_proposals, suggest
from automl_ad.study.pruning import MethodPruner
from automl_ad.study.settings import StudySettings
from automl_ad.study.trial import ended, run_trial
from automl_ad.training import Budget

STARTUP_TRIALS = 8
"""Trials before the sampler's model takes over. Default configurations count among them."""
ATTEMPTS_ALLOWED = 3
"""How often a trial may be taken up again after the process died in it: the system kills what takes too much memory."""
ENSEMBLES = 2
"""Ensembles in the hold-out check; each costs about as much as its members, which are fitted once."""
REPEATS_ALLOWED = 40
"""Repeated configurations in a row after which the space counts as used up."""


def time_left(clock: Clock, finished: Sequence[CandidateRecord], settings: StudySettings) -> float:
    """Seconds left for trials, after deducting what the end of the study will need."""
    return clock.remaining - closing_time(finished, settings)


def closing_time(finished: Sequence[CandidateRecord], settings: StudySettings) -> float:
    """Seconds expected for the hold-out check and the ensembles, from the trials so far."""
    finalists = settings.holdout_candidates + (ENSEMBLES if settings.ensemble else 0)
    return sum(recheck_s(record) for record in best_by_proxy(finished, finalists))


def best_by_proxy(finished: Sequence[CandidateRecord], count: int) -> list[CandidateRecord]:
    """The candidates with the highest proxy scores, the best first."""
    return sorted(finished, key=lambda record: -(record.proxy_score or 0))[:count]


def recheck_s(record: CandidateRecord) -> float:
    """Seconds that fitting and scoring a candidate once more will take.

    As long as the trial took without its training, the state of which is kept.
    """
    trained = (record.fit_s or 0) if configuration_of(record).trains else 0
    return (record.total_s or 0) - trained


def open_optuna(name: str, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """Creates the Optuna study or opens the one that is resumed."""
    return optuna.create_study(
        study_name=name, storage=storage, direction="maximize", pruner=MethodPruner(), load_if_exists=True
    )


def search_loop(
    study: optuna.Study,
    context: StudyContext,
    settings: StudySettings,
    repository: Repository,
    clock: Clock,
    listener: Listener,
) -> None:
    """Runs trials until nothing more fits.

    Trial numbers, proposals and seeds depend on what has finished and not on when: a search that was killed and
    resumed tries what an uninterrupted one would have tried, as long as neither runs out of time.
    """
    spaces = context.spaces(settings)
    proposals = first_proposals(settings.methods, spaces)
    repeats = 0
    while repeats < REPEATS_ALLOWED:
        records = [record for record in repository.candidates(study.study_name) if record.method != ENSEMBLE]
        finished = [record for record in records if record.state == "complete"]
        remove_states(
            context.folder, {record.number for record in best_by_proxy(finished, settings.holdout_candidates)}
        )
        _announce(listener, records, finished, settings, clock)
        if _done(records, finished, settings, clock, next_proposal(study) or first_untried(study, proposals)):
            return
        propose(study, proposals)
        seconds = time_left(clock, finished, settings) if finished else None
        fresh = _step(study, context, settings, spaces, repository, Budget(seconds), finished)
        repeats = 0 if fresh else repeats + 1


def _done(
    records: Sequence[CandidateRecord],
    finished: Sequence[CandidateRecord],
    settings: StudySettings,
    clock: Clock,
    waiting: Mapping[str, Any] | None,
) -> bool:
    if len(records) >= settings.trials:
        return True
    if not finished:  # the baseline must run, however short the budget; but failures must not go on for ever
        return bool(records) and clock.elapsed >= clock.budget_s
    return time_left(clock, finished, settings) < expected_s(finished, waiting)


def next_proposal(study: optuna.Study) -> Mapping[str, Any] | None:
    """The trial parameters that are tried next; None where the sampler has yet to propose them."""
    for trial in (*unfinished(study, TrialState.RUNNING), *unfinished(study, TrialState.WAITING)):
        return dict(trial.system_attrs.get("fixed_params", {})) or trial.params
    return None


def expected_s(finished: Sequence[CandidateRecord], proposal: Mapping[str, Any] | None) -> float:
    """Seconds that the next trial will take: as long as the others of its method and backbone took, else of all.

    Args:
        finished: Complete trials, at least one.
        proposal: Its parameters, if they are known.
    """
    method = (proposal or {}).get("method")
    same = [record for record in finished if record.method == method]
    on_backbone = [record for record in same if record.backbone == (proposal or {}).get(f"{method}.backbone")]
    return statistics.median(record.total_s or 0 for record in on_backbone or same or finished)


def _step(
    study: optuna.Study,
    context: StudyContext,
    settings: StudySettings,
    spaces: Mapping[int, Space],
    repository: Repository,
    budget: Budget,
    finished: Sequence[CandidateRecord],
) -> bool:
    """Runs one trial; False when its configuration had been tried before."""
    trial = next_trial(study, settings.seed)
    configuration = suggest(trial, settings.methods, spaces)
    earlier = repository.find_configuration(study.study_name, configuration.digest)
    if earlier is not None:  # a repeat, or a trial whose end the killed run had not yet reported to Optuna
        if earlier.number != trial.number:
            trial.set_user_attr("repeats", earlier.number)
            # The trial may have been rescored since: the sampler gets the value that it got for the first one.
            earlier = replace(earlier, proxy_score=study.get_trials(deepcopy=False)[earlier.number].value)
        _tell(study, trial, earlier, settings)
        return earlier.number == trial.number
    attempts = int(trial.user_attrs.get("attempts", 0)) + 1
    trial.set_user_attr("attempts", attempts)
    if attempts > ATTEMPTS_ALLOWED:
        record = ended(
            trial.number, configuration, "failed", f"Ended the process {ATTEMPTS_ALLOWED} times; out of memory?"
        )
    else:
        precedents = [each.aggregations for each in finished if each.method == configuration.method]
        record = run_trial(context, trial.number, configuration, budget, trial, precedents)
    repository.save_candidate(study.study_name, record)
    _tell(study, trial, record, settings)
    return True


def next_trial(study: optuna.Study, seed: int) -> optuna.Trial:
    """Asks for a trial, or takes up the one that a killed run left unfinished.

    The sampler is made anew for each trial with a seed of its own, so that its random numbers do not depend on how
    often the search was interrupted.
    """
    trials = study.get_trials(deepcopy=False)
    running, waiting = unfinished(study, TrialState.RUNNING), unfinished(study, TrialState.WAITING)
    number = running[0].number if running else waiting[0].number if waiting else len(trials)
    searched = number - sum(is_ensemble(trial) for trial in trials[:number])
    study.sampler = SearchSampler(
        seed=derived_seed(seed, f"sampler/{searched}"),
        multivariate=True,
        group=True,  # methods have parameters of their own: each group is modelled jointly
        n_startup_trials=STARTUP_TRIALS,
        constant_liar=False,
    )
    if running:
        return optuna.Trial(study, running[0]._trial_id)
    return study.ask()


def _tell(study: optuna.Study, trial: optuna.Trial, record: CandidateRecord, settings: StudySettings) -> None:
    if record.state == "complete":
        for key, value in limits_exceeded(record, settings).items():
            trial.set_constraint(key, value)
        study.tell(trial, record.proxy_score)
    elif record.state == "pruned":
        study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.set_user_attr("reason", record.reason)
        study.tell(trial, state=TrialState.FAIL)


def _announce(
    listener: Listener,
    records: Sequence[CandidateRecord],
    finished: Sequence[CandidateRecord],
    settings: StudySettings,
    clock: Clock,
) -> None:
    leader = next(iter(best_by_proxy(finished, 1)), None)
    words = None
    if leader is not None:
        words = describe_candidate(leader.number, leader.method, leader.backbone, leader.proxy_score)
    left = _time_left(len(records), finished, settings, clock)
    listener(Event("search", "Trying candidates", len(records), settings.trials, clock.elapsed, left, words))


def _time_left(tried: int, finished: Sequence[CandidateRecord], settings: StudySettings, clock: Clock) -> float:
    remaining = max(0.0, clock.budget_s - clock.elapsed)
    if not finished:
        return remaining
    pace = statistics.mean(record.total_s or 0 for record in finished)
    return min(remaining, (settings.trials - tried) * pace + closing_time(finished, settings))
