"""Runs one trial: from a configuration to its record."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
import torch

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import NotEnoughMemoryError, StoreError
from automl_ad.evaluation.suite import Suite, thinned
from automl_ad.evaluation.suite_scores import ProxyScore, SuiteMaps, proxy_score, quick_score, score_suite
from automl_ad.memory import ran_out_of_memory
from automl_ad.methods.ensemble import SharedPass
from automl_ad.selection.ranking import BASELINE_TRIAL
from automl_ad.store.artifacts import save_arrays
from automl_ad.store.records import CandidateRecord, utc_now
from automl_ad.study.configuration import Configuration
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import save_state
from automl_ad.study.log import save_traceback
from automl_ad.study.machine import PeakMemory
from automl_ad.training import Budget, Report

if TYPE_CHECKING:
    from automl_ad.methods.base import Detector

_log = logging.getLogger(__name__)

MAPS, SCORES = "maps.npz", "scores.npz"
PRUNING_NORMALS, PRUNING_SHARE = 16, 4
"""A half-trained detector is judged on 16 normals and every fourth anomaly: pruning must cost less than it saves."""
_LATENCY_RUNS = 5
Precedents = Sequence[Mapping[str, float]]
REPORT_STEPS = 100
"""Optuna counts steps in whole numbers: progress is reported in percent."""


def run_trial(
    context: StudyContext,
    number: int,
    configuration: Configuration,
    budget: Budget,
    trial: optuna.Trial,
    precedents: Precedents = (),
) -> CandidateRecord:
    """Fits and scores one candidate.

    A fault in it is recorded with its reason and never stops the study; an interrupt passes through.

    Args:
        context: What trials of the study share.
        number: Trial number.
        configuration: What to try.
        budget: Time limit of the fit.
        trial: Optuna's trial, which gets intermediate values during training.
        precedents: What every score aggregation gave earlier trials of the method.

    Returns:
        A record in state complete, pruned or failed.
    """
    started_at = utc_now()
    _log.info(
        "Trial %d starts: %s at side %d, %s", number, configuration.method, configuration.side, configuration.settings
    )
    record = _outcome(context, number, configuration, budget, trial, precedents)
    _log_end(record)
    return replace(record, started_at=started_at, ended_at=utc_now(), worker=f"{socket.gethostname()}:{os.getpid()}")


def _log_end(record: CandidateRecord) -> None:
    if record.state == "complete":
        outcome = f"proxy score {record.proxy_score:.4f}, {record.latency_ms:.1f} ms an image, fit {record.fit_s:.1f} s"
    else:
        outcome = str(record.reason)
    level = logging.WARNING if record.state == "failed" else logging.INFO
    _log.log(level, "Trial %d ends %s after %.1f s: %s", record.number, record.state, record.total_s or 0, outcome)


def _outcome(
    context: StudyContext,
    number: int,
    configuration: Configuration,
    budget: Budget,
    trial: optuna.Trial,
    precedents: Precedents,
) -> CandidateRecord:
    start = time.monotonic()
    try:
        return _measure(context, number, configuration, budget, trial, precedents, start)
    except optuna.TrialPruned as pruned:
        return ended(number, configuration, "pruned", str(pruned), start)
    except (StoreError, optuna.exceptions.StorageInternalError):
        raise  # a full disk or a lost database is no candidate's fault
    except Exception as error:  # a candidate's fault is data, not the end of the study
        save_traceback(context.folder, number, error)
        return ended(number, configuration, "failed", describe_error(error), start)


def _measure(
    context: StudyContext,
    number: int,
    configuration: Configuration,
    budget: Budget,
    trial: optuna.Trial,
    precedents: Precedents,
    start: float,
) -> CandidateRecord:
    views = context.data.at(configuration.side)
    splits = context.data.normals.splits
    detector = context.build(configuration)
    peak = PeakMemory(detector.device)
    normals = views.normals.take(splits.validation)
    context.fit(detector, views.normals.take(splits.train), budget, _pruning(detector, context, configuration, trial))
    fitted = time.monotonic()
    if detector.settings.trains and budget.spent:  # a half-trained score must not stand for the configuration
        return ended(number, configuration, "pruned", "The time budget ended its training.", start)
    maps = suite_maps(detector, normals, views.proxy)
    record = completed(context, number, configuration, detector, maps, precedents)
    save_state(detector, context.folder, number)
    record = replace(record, peak_mb=peak.megabytes(), fit_s=fitted - start, total_s=time.monotonic() - start)
    if number == BASELINE_TRIAL:  # always a finalist: scored now, it need not be fitted again
        save_holdout_scores(context, number, configuration.side, detector)
    return record


def completed(
    context: StudyContext,
    number: int,
    configuration: Configuration,
    detector: Detector,
    maps: SuiteMaps,
    precedents: Precedents = (),
) -> CandidateRecord:
    """Scores a candidate's maps of the proxy suite and keeps maps and scores.

    Args:
        context: The study's images and suites.
        number: Its trial number.
        configuration: Of the candidate.
        detector: Fitted.
        maps: Its maps of the proxy suite.
        precedents: What every score aggregation gave other candidates of the method.

    Returns:
        The record, which lacks times and memory.

    Raises:
        FloatingPointError: A map holds values that are not finite.
        StoreError: The files cannot be written.
    """
    views, settings = context.data.at(configuration.side), detector.settings
    scores = score_suite(maps, views.proxy)
    result = proxy_score(
        scores, views.proxy, context.plan, settings.learns_from, precedents, advantage=settings.advantage
    )
    folder = context.folder.trial(number)
    save_arrays(folder / MAPS, **maps)
    scores.save(folder / SCORES)
    return CandidateRecord(
        number=number,
        state="complete",
        method=configuration.method,
        backbone=configuration.backbone,
        params=_params(configuration),
        **score_fields(result),
        latency_ms=latency_ms(detector, views.normals.size),
        size_mb=size_mb(detector),
        artifact=str(folder.relative_to(context.folder.root)),
        configuration_hash=configuration.digest,
    )


def score_fields(result: ProxyScore) -> dict[str, Any]:
    """What a record keeps of a proxy score."""
    return {
        "rule": result.aggregation,
        "proxy_score": result.value,
        "interval_low": result.interval[0],
        "interval_high": result.interval[1],
        "families": result.families,
        "image_auroc": result.cells,
        "localisation_auroc": result.localisation,
        "aggregations": result.aggregations,
        "learned_from": result.learned,
        "advantage": result.advantage,
    }


def _pruning(detector: Detector, context: StudyContext, configuration: Configuration, trial: optuna.Trial) -> Report:
    """A callback that scores a half-trained detector and asks Optuna whether it is worth going on."""

    def report(done: float) -> None:
        if done >= 1:
            return
        views = context.data.at(configuration.side)
        normals = views.normals.take(context.data.normals.splits.validation[:PRUNING_NORMALS])
        suite = thinned(views.proxy, PRUNING_SHARE)
        scores = score_suite(suite_maps(detector, normals, suite), suite)
        score = quick_score(scores, suite, detector.settings.learns_from, detector.settings.advantage)
        trial.report(score, round(REPORT_STEPS * done))
        if trial.should_prune():
            raise optuna.TrialPruned(f"Below the median of earlier trials after {done:.0%} of its training.")

    return report


def _params(configuration: Configuration) -> Mapping[str, object]:
    return {"side": configuration.side, **configuration.settings}


def ended(
    number: int,
    configuration: Configuration,
    state: Literal["pruned", "failed"],
    reason: str,
    start: float | None = None,
) -> CandidateRecord:
    """The record of a trial that gave no score, with the reason."""
    return CandidateRecord(
        number=number,
        state=state,
        method=configuration.method,
        backbone=configuration.backbone,
        params=_params(configuration),
        reason=reason,
        total_s=None if start is None else time.monotonic() - start,
        configuration_hash=configuration.digest,
    )


def describe_error(error: BaseException) -> str:
    """One line for a record or a warning."""
    if isinstance(error, NotEnoughMemoryError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "Out of GPU memory; end other programs on the GPU, or give a smaller --image-size."
    if ran_out_of_memory(error):
        return "Out of memory."
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def suite_maps(detector: Detector, normals: ImageSet, suite: Suite) -> SuiteMaps:
    """Runs a fitted detector over a suite."""
    return {"normal": detector.anomaly_maps(normals), "anomaly": detector.anomaly_maps(suite.anomalies)}


def latency_ms(detector: Detector, size: tuple[int, int]) -> float:
    """Median milliseconds for one image of ``size``, backbone included."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    detector.anomaly_map(image)
    times = []
    for _ in range(_LATENCY_RUNS):
        start = time.perf_counter()
        detector.anomaly_map(image).cpu()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def size_mb(detector: Detector) -> float:
    """Megabytes of the fitted state and of the backbone tensors that it needs, each network counted once."""
    shared = SharedPass(detector.feature_specs).feature_specs
    frozen = [tensor for read in shared for tensor in read.backbone.tensors(read.levels).values()]
    tensors = [*detector.state.values(), *frozen]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6


def save_holdout_scores(context: StudyContext, number: int, side: int, detector: Detector) -> None:
    """Scores a trial's detector on the hold-out suite and keeps the scores with the trial."""
    views = context.data.at(side)
    normals = views.normals.take(context.data.normals.splits.holdout)
    scores = score_suite(suite_maps(detector, normals, views.holdout), views.holdout)
    scores.save(holdout_path(context, number, side))


def holdout_path(context: StudyContext, number: int, side: int) -> Path:
    """Where a trial keeps its scores on the hold-out suite."""
    return context.folder.trial(number) / f"certify_{context.data.at(side).holdout.digest[:16]}.npz"
