"""One candidate: fit a detector, run it over a suite, score every rule."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.intervals import BootstrapPlan, interval
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.evaluation.scoring import SCORING_RULES, score_all
from automl_ad.evaluation.suite import Suite, cell_family
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.registry import detector_class
from automl_ad.store.artifacts import load_arrays, save_arrays

Scores = npt.NDArray[np.float64]
_LATENCY_RUNS = 5


@dataclass(frozen=True)
class Configuration:
    """What a trial tries.

    Attributes:
        method: Method name.
        side: Working size.
        settings: The method's parameters, as JSON-able values, defaults included.
    """

    method: str
    side: int
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, method: str, side: int, suggested: Mapping[str, Any]) -> Configuration:
        """Completes suggested parameters with the method's defaults."""
        settings = detector_class(method).settings_type(**suggested)
        return cls(method, side, settings.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """Equal for equal configurations."""
        content = json.dumps([self.method, self.side, dict(self.settings)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def trains(self) -> bool:
        """Whether its fit is iterative."""
        return detector_class(self.method).settings_type(**self.settings).trains

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return str(self.settings["backbone"])

    def build(self, extractor: FeatureExtractor, seed: int) -> FeatureDetector:
        """An unfitted detector."""
        cls = detector_class(self.method)
        return cls(cls.settings_type(**self.settings), extractor, seed)


@dataclass(frozen=True)
class SuiteScores:
    """Image scores of one candidate on one suite, by every rule.

    Attributes:
        normals: By rule name, float64 [n].
        anomalies: By rule name, float64 [M], in the order of the suite.
    """

    normals: Mapping[str, Scores]
    anomalies: Mapping[str, Scores]

    def cells(self, suite: Suite, rule: str) -> dict[str, float]:
        """Image AUROC of every cell."""
        normal, anomaly = self.normals[rule], self.anomalies[rule]
        result = {}
        for cell in suite.cell_names:
            members = anomaly[suite.members(cell)]
            labels = np.r_[np.zeros(len(normal)), np.ones(len(members))]
            result[cell] = image_auroc(np.r_[normal, members], labels)
        return result

    def draws(self, suite: Suite, rule: str, plan: BootstrapPlan, cells: Sequence[str] | None = None) -> Scores:
        """Bootstrap draws of the mean over cells (None for all), float64 [B]; paired between candidates of one plan."""
        normal, anomaly = self.normals[rule], self.anomalies[rule]
        names = suite.cell_names if cells is None else cells
        means: Scores = np.mean([plan.cell(cell, normal, anomaly[suite.members(cell)]) for cell in names], axis=0)
        return means

    def save(self, path: Path) -> None:
        """Writes the scores, so that a rule can be judged later without a refit."""
        arrays = {f"normal/{k}": v for k, v in self.normals.items()} | {
            f"anomaly/{k}": v for k, v in self.anomalies.items()
        }
        save_arrays(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> SuiteScores:
        """Reads what ``save`` wrote."""
        arrays = load_arrays(path)
        by_kind = {
            kind: {k.removeprefix(kind): v for k, v in arrays.items() if k.startswith(kind)}
            for kind in ("normal/", "anomaly/")
        }
        return cls(by_kind["normal/"], by_kind["anomaly/"])


@dataclass(frozen=True)
class ProxyScore:
    """What a suite says of a candidate.

    Attributes:
        rule: The scoring rule that serves it best.
        value: Mean image AUROC under that rule, 0 to 1, over the cells of families that it did not learn from.
        interval: 90 % bootstrap interval of ``value``.
        cells: Image AUROC of every cell.
        families: Mean of every family.
        rules: ``value`` under every rule.
    """

    rule: str
    value: float
    interval: tuple[float, float]
    cells: Mapping[str, float]
    families: Mapping[str, float]
    rules: Mapping[str, float]


def score_suite(detector: FeatureDetector, normals: ImageSet, suite: Suite) -> tuple[SuiteScores, Mapping[str, Any]]:
    """Runs a fitted detector over a suite.

    Returns:
        The scores by every rule, and the raw maps as float32 arrays ``normal`` and ``anomaly`` for the trial's folder.

    Raises:
        FloatingPointError: A map holds values that are not finite.
    """
    maps = {"normal": detector.anomaly_maps(normals), "anomaly": detector.anomaly_maps(suite.anomalies)}
    if not all(np.isfinite(values).all() for values in maps.values()):
        raise FloatingPointError("the anomaly maps hold values that are not finite")
    scores = {kind: score_all(values, SCORING_RULES, normals.size) for kind, values in maps.items()}
    return SuiteScores(scores["normal"], scores["anomaly"]), maps


def away_cells(cells: Sequence[str], home: Collection[str]) -> list[str]:
    """The cells of families that were not learned from; all if there is none."""
    return [cell for cell in cells if cell_family(cell) not in home] or list(cells)


def proxy_score(scores: SuiteScores, suite: Suite, plan: BootstrapPlan, home: Collection[str] = ()) -> ProxyScore:
    """Chooses the rule with the best mean over cells and puts an interval around it.

    Args:
        scores: Of the candidate.
        suite: What it was scored on.
        plan: Resampling weights.
        home: Families that it learned from, which do not count.
    """
    means = rule_means(scores, suite, home)
    best = _best(means)
    cells = scores.cells(suite, best)
    families: dict[str, list[float]] = {}
    for cell, value in cells.items():
        families.setdefault(cell_family(cell), []).append(value)
    by_family = {family: float(np.mean(values)) for family, values in families.items()}
    draws = scores.draws(suite, best, plan, away_cells(suite.cell_names, home))
    return ProxyScore(best, means[best], interval(draws), cells, by_family, means)


def rule_means(scores: SuiteScores, suite: Suite, home: Collection[str] = ()) -> dict[str, float]:
    """Mean image AUROC under every rule, over the cells of families other than ``home``."""
    away = away_cells(suite.cell_names, home)
    by_rule = {rule.name: scores.cells(suite, rule.name) for rule in SCORING_RULES}
    return {rule: float(np.mean([cells[cell] for cell in away])) for rule, cells in by_rule.items()}


def best_rule(scores: SuiteScores, suite: Suite, home: Collection[str] = ()) -> tuple[str, float]:
    """The rule with the best mean over the cells of families other than ``home``, and that mean."""
    means = rule_means(scores, suite, home)
    best = _best(means)
    return best, means[best]


def _best(means: Mapping[str, float]) -> str:
    return max(means, key=lambda name: round(means[name], 6))  # the first of equals: dust must not decide


def latency_ms(detector: FeatureDetector, size: tuple[int, int]) -> float:
    """Median milliseconds for one image of ``size``, backbone included."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    detector.anomaly_map(image)
    times = []
    for _ in range(_LATENCY_RUNS):
        start = time.perf_counter()
        detector.anomaly_map(image).cpu()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def size_mb(detector: FeatureDetector) -> float:
    """Megabytes of the fitted state and of the backbone tensors that it needs."""
    backbone = detector.extractor.backbone.tensors(detector.settings.levels)
    tensors = [*detector.state.values(), *backbone.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
