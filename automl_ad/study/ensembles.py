"""Ensembles of the baseline and the best candidates that differ from it: candidates built from finished trials."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from automl_ad.errors import StoreError
from automl_ad.evaluation.suite_scores import SuiteMaps, SuiteScores
from automl_ad.methods.ensemble import EnsembleDetector, EnsembleSettings, Member, mean_maps
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.names import ENSEMBLE
from automl_ad.selection.ensembles import select_members
from automl_ad.selection.ranking import ranked, usable
from automl_ad.store.artifacts import load_arrays
from automl_ad.store.records import CandidateRecord, utc_now
from automl_ad.store.repository import Repository
from automl_ad.study.clock import Clock, Steps
from automl_ad.study.configuration import Configuration, configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import STATE, trial_detector
from automl_ad.study.loop import recheck_s
from automl_ad.study.optuna_trials import is_ensemble
from automl_ad.study.progress import Listener
from automl_ad.study.settings import StudySettings
from automl_ad.study.trial import MAPS, SCORES, completed, describe_error, ended, save_holdout_scores

_LEAST_SPREAD = 1e-9
"""Range of scores, relative to their magnitude, below which a candidate scores all images alike."""


def add_ensembles(
    study: optuna.Study,
    context: StudyContext,
    settings: StudySettings,
    repository: Repository,
    baseline: int,
    listener: Listener,
    clock: Clock,
) -> tuple[list[int], int]:
    """Adds the ensembles of the baseline and the one or two best candidates that differ from it, unless they exist.

    The baseline is a member of each: it was clearly behind on no real set, unlike candidates that lead on synthetic
    anomalies.

    Args:
        study: Optuna's study, which gives them their numbers.
        context: The study's images, suites and backbones.
        settings: Of the study.
        repository: Where its trials are.
        baseline: Trial number of the training-free baseline; where it is not usable, the best takes its place.
        listener: Called with progress.
        clock: An ensemble that its members' durations would carry past the time budget is not built.

    Returns:
        Trial numbers of these ensembles, without those that an earlier run built from other trials, and how many were
        not built for want of time.

    Raises:
        StoreError: Files or the database cannot be read or written.
    """
    tried = [record for record in repository.candidates(study.study_name) if record.method != ENSEMBLE]
    ranking = [record for record, _ in ranked(usable(tried, settings))]
    ordered = sorted(ranking, key=lambda record: record.number != baseline)
    members = select_members(ordered, lambda record: member_of(context, record))
    builder, numbers, skipped = _EnsembleBuilder(context, members), [], 0
    steps = Steps(listener, "average", max(0, len(members) - 1))
    for count in range(2, len(members) + 1):
        configuration = ensemble_of(members[:count])
        record = repository.find_configuration(study.study_name, configuration.digest)
        # Its scores are checked on the hold-out images, and so will be those of the baseline and the leader.
        expected = _expected_s(members[:count]) + 2 * _expected_s(members[:1])
        if record is None and expected > clock.remaining:
            skipped += 1
            continue
        numbers.append(reserved_number(study, configuration.digest))
        if record is None:
            steps.begin("Building an ensemble of the best")
            record = builder.record(numbers[-1], configuration)
            repository.save_candidate(study.study_name, record)
        _tell(study, numbers[-1], record)
        steps.advance()
    return numbers, skipped


def _expected_s(members: Sequence[tuple[CandidateRecord, Member]]) -> float:
    return sum(recheck_s(record) for record, _ in members)


def member_of(context: StudyContext, record: CandidateRecord) -> Member | None:
    """A candidate as a member, with mean and standard deviation of its image scores on the validation normals.

    Returns:
        None for a candidate whose scores or maps are lost, whose trained state was not kept, or which scores all
        normals alike.
    """
    folder, configuration = context.folder.trial(record.number), configuration_of(record)
    needed = [MAPS, SCORES, *([STATE] if configuration.trains else [])]
    if not all((folder / name).is_file() for name in needed):
        return None
    scores = SuiteScores.load(folder / SCORES).normals[str(record.rule)]
    if not np.isfinite(scores).all() or np.ptp(scores) <= _LEAST_SPREAD * np.abs(scores).max():
        return None
    return Member(
        trial=record.number,
        method=record.method,
        settings=dict(configuration.settings),
        seed=context.fit_seed(configuration),
        centre=float(np.mean(scores)),
        spread=float(np.std(scores)),
    )


def ensemble_of(members: Sequence[tuple[CandidateRecord, Member]]) -> Configuration:
    """The configuration of an ensemble."""
    side = int(members[0][0].params["side"])
    return Configuration.of(ENSEMBLE, side, {"members": [member.model_dump() for _, member in members]})


def reserved_number(study: optuna.Study, digest: str) -> int:
    """The number of an ensemble among the trials of a study.

    It takes the place of a trial without parameters, so that no later trial gets its number; asked again for the same
    ensemble, the same number is found.

    Args:
        study: Optuna's study.
        digest: Of the ensemble's configuration.
    """
    if digest not in _reserved(study):
        study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={ENSEMBLE: digest}))
    return _reserved(study)[digest]


def _reserved(study: optuna.Study) -> dict[str, int]:
    """Numbers of ensembles by the digests of their configurations."""
    trials = study.get_trials(deepcopy=False)
    return {str(trial.user_attrs[ENSEMBLE]): trial.number for trial in trials if is_ensemble(trial)}


def _tell(study: optuna.Study, number: int, record: CandidateRecord) -> None:
    """Reports how an ensemble ended, unless that was done before."""
    trial = study.get_trials(deepcopy=False)[number]
    if trial.state != TrialState.RUNNING:
        return
    if record.state == "complete":
        study.tell(number, record.proxy_score)
        return
    optuna.Trial(study, trial._trial_id).set_user_attr("reason", record.reason)
    study.tell(number, state=TrialState.FAIL)


class _EnsembleBuilder:
    """Builds ensembles; those that share members share their detectors.

    Args:
        context: The study's images, suites and backbones.
        members: Of the largest ensemble.
    """

    def __init__(self, context: StudyContext, members: Sequence[tuple[CandidateRecord, Member]]) -> None:
        self._context = context
        self._records = [record for record, _ in members]
        self._detectors: list[FeatureDetector] = []

    def record(self, number: int, configuration: Configuration) -> CandidateRecord:
        """Scores an ensemble of the first few members; a fault in it is recorded with its reason.

        Raises:
            StoreError: Files cannot be read or written.
        """
        started_at, start = utc_now(), time.monotonic()
        try:
            record = self._built(number, configuration)
        except StoreError:
            raise
        except Exception as error:  # one ensemble's fault must not cost the study its answer
            record = ended(number, configuration, "failed", describe_error(error))
        worker = f"{socket.gethostname()}:{os.getpid()}"
        total_s = time.monotonic() - start
        return replace(record, started_at=started_at, ended_at=utc_now(), worker=worker, total_s=total_s)

    def _built(self, number: int, configuration: Configuration) -> CandidateRecord:
        settings, start = configuration.parameters, time.monotonic()
        assert isinstance(settings, EnsembleSettings)
        detector = EnsembleDetector(settings, self._fitted(len(settings.members)))
        fit_s = time.monotonic() - start
        record = completed(self._context, number, configuration, detector, self._maps(settings.members))
        save_holdout_scores(self._context, number, configuration.side, detector)  # while the detector is available
        return replace(record, fit_s=fit_s)

    def _fitted(self, count: int) -> list[FeatureDetector]:
        """The detectors of the first few members, as their trials had them."""
        for record in self._records[len(self._detectors) : count]:
            detector = trial_detector(self._context, record)
            assert isinstance(detector, FeatureDetector)
            self._detectors.append(detector)
        return self._detectors[:count]

    def _maps(self, members: Sequence[Member]) -> SuiteMaps:
        """Maps of the proxy suite, averaged from those that the members' trials kept."""
        kept = [load_arrays(self._context.folder.trial(member.trial) / MAPS) for member in members]
        return {kind: mean_maps([maps[kind] for maps in kept], members) for kind in ("normal", "anomaly")}
