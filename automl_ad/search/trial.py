"""Runs one trial: everything between a configuration and its record."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import optuna
import torch

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.evaluation.intervals import BootstrapPlan
from automl_ad.evaluation.suite import Suite, thinned
from automl_ad.methods.space import Space
from automl_ad.search.anomalies import TrainingAnomalies
from automl_ad.search.backbones import BackboneRack
from automl_ad.search.candidate import (
    Configuration,
    best_rule,
    latency_ms,
    proxy_score,
    score_suite,
    size_mb,
)
from automl_ad.search.material import Material
from automl_ad.search.memory import PeakMemory
from automl_ad.search.seeds import derived_rng, derived_seed
from automl_ad.search.settings import StudySettings
from automl_ad.search.trained_states import keep_state
from automl_ad.store.artifacts import StudyFolder, save_arrays
from automl_ad.store.records import CandidateRecord, utc_now
from automl_ad.training import Budget, Report, ignore_progress

if TYPE_CHECKING:
    from automl_ad.methods.features import FeatureDetector

BOOTSTRAP_DRAWS = 400
PRUNING_NORMALS, PRUNING_SHARE = 16, 4
"""A half-trained detector is judged on 16 normals and every fourth anomaly: pruning must cost less than it saves."""
REPORT_STEPS = 100
"""Optuna counts steps in whole numbers: progress is reported in percent."""


@dataclass(frozen=True)
class Bench:
    """What trials of one study share.

    Attributes:
        material: Images and suites.
        rack: Backbones.
        anomalies: What methods learn from.
        folder: The study's folder.
        seed: The study's seed.
        plan: Resampling weights of the proxy suite, shared by all candidates so that they can be paired.
    """

    material: Material
    rack: BackboneRack
    anomalies: TrainingAnomalies
    folder: StudyFolder
    seed: int
    plan: BootstrapPlan

    @classmethod
    def of(cls, material: Material, rack: BackboneRack, folder: StudyFolder, settings: StudySettings) -> Bench:
        """Draws the resampling weights."""
        plan = plan_for(material.proxy, len(material.normals.splits.proxy), settings.seed, "proxy")
        anomalies = TrainingAnomalies(settings.seed, settings.texture_dir, material.stock)
        return cls(material, rack, anomalies, folder, settings.seed, plan)

    def spaces(self, settings: StudySettings) -> dict[int, Space]:
        """The search space at each working size."""
        return {side: Space(self.rack.spaces, settings.effort, side, self.material.sources) for side in settings.sides}

    def build(self, configuration: Configuration) -> FeatureDetector:
        """An unfitted detector; its seed depends on the configuration alone."""
        extractor = self.rack.extractor(configuration.backbone)
        return configuration.build(extractor, derived_seed(self.seed, f"fit/{configuration.digest}"))

    def fit(
        self,
        detector: FeatureDetector,
        normals: ImageSet,
        budget: Budget | None = None,
        report: Report = ignore_progress,
    ) -> None:
        """Fits a detector to good images, and to anomalies drawn on them where its method learns from such."""
        detector.fit(normals, self.anomalies.of(detector.settings.recipe, normals), budget or Budget(), report)


def plan_for(suite: Suite, normals: int, seed: int, purpose: str) -> BootstrapPlan:
    """Resampling weights for a suite, the same at every working size."""
    bases = {cell: [suite.bases[row] for row in suite.members(cell)] for cell in suite.cell_names}
    rng = derived_rng(seed, f"bootstrap/{purpose}")
    return BootstrapPlan.draw_by_base(normals, bases, BOOTSTRAP_DRAWS, rng=rng)


def run_trial(
    bench: Bench, number: int, configuration: Configuration, budget: Budget, trial: optuna.Trial
) -> CandidateRecord:
    """Fits and scores one candidate.

    A fault in it is recorded with its reason and never stops the study; an interrupt passes through.

    Returns:
        A record in state complete, pruned or failed.
    """
    started_at = utc_now()
    record = _outcome(bench, number, configuration, budget, trial)
    return replace(record, started_at=started_at, ended_at=utc_now(), worker=f"{socket.gethostname()}:{os.getpid()}")


def _outcome(
    bench: Bench, number: int, configuration: Configuration, budget: Budget, trial: optuna.Trial
) -> CandidateRecord:
    start = time.monotonic()
    try:
        return _measure(bench, number, configuration, budget, trial, start)
    except optuna.TrialPruned as pruned:
        return ended(number, configuration, "pruned", str(pruned), start)
    except (StoreError, optuna.exceptions.StorageInternalError):
        raise  # a full disk or a lost database is no candidate's fault
    except Exception as error:  # a candidate's fault is data, not the end of the study
        return ended(number, configuration, "failed", fault_in_words(error), start)


def _measure(
    bench: Bench, number: int, configuration: Configuration, budget: Budget, trial: optuna.Trial, start: float
) -> CandidateRecord:
    views = bench.material.at(configuration.side)
    splits = bench.material.normals.splits
    detector = bench.build(configuration)
    peak = PeakMemory(detector.extractor.device)
    normals = views.normals.take(splits.proxy)
    bench.fit(detector, views.normals.take(splits.fit), budget, _pruning(detector, bench, configuration, trial))
    fitted = time.monotonic()
    if detector.settings.trains and budget.spent:  # a half-trained score must not stand for the configuration
        return ended(number, configuration, "pruned", "The time budget ended its training.", start)
    scores, maps = score_suite(detector, normals, views.proxy)
    home = detector.settings.learns_from
    result = proxy_score(scores, views.proxy, bench.plan, home)
    folder = bench.folder.trial(number)
    save_arrays(folder / "maps.npz", **maps)
    scores.save(folder / "scores.npz")
    keep_state(detector, bench.folder, number)
    return CandidateRecord(
        number=number,
        state="complete",
        method=configuration.method,
        backbone=configuration.backbone,
        params=_params(configuration),
        rule=result.rule,
        proxy_score=result.value,
        interval_low=result.interval[0],
        interval_high=result.interval[1],
        families=result.families,
        cells={"cells": result.cells, "rules": result.rules, "home": sorted(home)},
        latency_ms=latency_ms(detector, views.normals.size),
        size_mb=size_mb(detector),
        peak_mb=peak.megabytes(),
        fit_s=fitted - start,
        total_s=time.monotonic() - start,
        artifact=str(folder.relative_to(bench.folder.root)),
        configuration_hash=configuration.digest,
    )


def _pruning(detector: FeatureDetector, bench: Bench, configuration: Configuration, trial: optuna.Trial) -> Report:
    """A callback that scores a half-trained detector and asks Optuna whether it is worth going on."""

    def report(done: float) -> None:
        if done >= 1:
            return
        views = bench.material.at(configuration.side)
        normals = views.normals.take(bench.material.normals.splits.proxy[:PRUNING_NORMALS])
        suite = thinned(views.proxy, PRUNING_SHARE)
        scores, _ = score_suite(detector, normals, suite)
        trial.report(best_rule(scores, suite, detector.settings.learns_from)[1], round(REPORT_STEPS * done))
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


def fault_in_words(error: BaseException) -> str:
    """One line for a record or a warning."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return "Out of memory."
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
