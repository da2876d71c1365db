"""Judges a finished search by real defects, which the search itself never saw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from automl_ad.data.image_set import ImageSet
from automl_ad.data.labelled import LabelledImage
from automl_ad.errors import AutomlAdError, InputError
from automl_ad.evaluation.aggregation import AGGREGATIONS, score_all
from automl_ad.evaluation.intervals import auroc_interval, kendall, spearman
from automl_ad.evaluation.metrics import Ranked, image_auroc
from automl_ad.results import AssessedTrial, AssessmentResult, ImageCounts
from automl_ad.seeds import derived_rng
from automl_ad.store.artifacts import keep_arrays, load_arrays
from automl_ad.store.records import CandidateRecord
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.progress import Event, Listener, ignore_events

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
FLOOR_DRAWS = 200


def labelled_scores(
    context: StudyContext,
    records: Sequence[CandidateRecord],
    images: Sequence[LabelledImage],
    listener: Listener = ignore_events,
) -> tuple[Floats, Labels]:
    """Scores finished trials on labelled images, fitted on all good images as an export would fit them.

    Scores are kept with each trial, so that a second assessment on the same images takes seconds.

    Returns:
        float64 [candidates, images], each candidate's under its own rule, higher = more anomalous; bool [images], True
        for defective ones.

    Raises:
        InputError: An image cannot be read.
    """
    labelled = _LabelledSets(context, images)
    scores = []
    for done, record in enumerate(records):
        listener(Event("assess", f"Assessing trial {record.number}", done, len(records)))
        scores.append(_scores(context, record, labelled))
    return np.array(scores), labelled.labels


def summarise(
    study: str,
    records: Sequence[CandidateRecord],
    scores: Floats,
    labels: Labels,
    selected: int,
    baseline: int | None,
    seed: int,
) -> AssessmentResult:
    """The figures of an assessment.

    Args:
        study: Name of the study.
        records: The candidates.
        scores: float64 [candidates, images], higher = more anomalous.
        labels: bool [images].
        selected: Trial number of the choice.
        baseline: Trial number of the baseline; None where every candidate trains.
        seed: Seed of the study.
    """
    real = np.array([image_auroc(row, labels) for row in scores])
    proxy = np.array([record.proxy_score for record in records], dtype=np.float64)
    numbers = [record.number for record in records]
    best = float(real.max())
    auroc_of = dict(zip(numbers, real.tolist(), strict=True))
    rng = derived_rng(seed, "assess")
    trials = [
        AssessedTrial(
            number=record.number,
            method=record.method,
            backbone=record.backbone,
            params=dict(record.params),
            rule=record.rule,
            proxy_score=record.proxy_score,
            image_auroc=value,
            image_auroc_interval=auroc_interval(row, labels, rng, 200),
        )
        for record, value, row in zip(records, real.tolist(), scores, strict=True)
    ]
    return AssessmentResult(
        study=study,
        images=ImageCounts(good=int((~labels).sum()), defect=int(labels.sum())),
        trials=tuple(sorted(trials, key=lambda trial: -trial.image_auroc)),
        selected=selected,
        selected_auroc=auroc_of.get(selected),
        best_trial=numbers[int(real.argmax())],
        best_auroc=best,
        spearman=spearman(proxy, real),
        kendall=kendall(proxy, real),
        regret=_points(best - auroc_of[selected]) if selected in auroc_of else None,
        default_regret=_points(best - auroc_of[baseline]) if baseline is not None and baseline in auroc_of else None,
        random_regret=_points(best - float(real.mean())),
        labelled_floor=labelled_floor(scores, labels, derived_rng(seed, "floor")),
    )


def labelled_floor(scores: Floats, labels: Labels, rng: np.random.Generator) -> float:
    """Mean regret, in points, of choosing with the labels of a random half and being judged on the other half."""
    regrets = [float(judged.max() - judged[seen.argmax()]) for seen, judged in labelled_halves(scores, labels, rng)]
    return _points(float(np.mean(regrets)))


def labelled_halves(scores: Floats, labels: Labels, rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
    """Image AUROC of every candidate on a random half of the images, and on the other half; many times.

    Args:
        scores: float64 [candidates, images], higher = more anomalous.
        labels: bool [images].
        rng: Draws the halves.

    Yields:
        float64 [candidates] each.
    """
    for _ in range(FLOOR_DRAWS):
        half = _random_half(labels, rng)
        yield _aurocs(scores[:, half], labels[half]), _aurocs(scores[:, ~half], labels[~half])


def _random_half(labels: Labels, rng: np.random.Generator) -> Labels:
    """Marks half of the good and half of the defective images, at least one of each on both sides where possible."""
    half = np.zeros(len(labels), bool)
    for kind in (True, False):
        members = rng.permutation(np.flatnonzero(labels == kind))
        half[members[: len(members) // 2]] = True
    return half


def _aurocs(scores: Floats, labels: Labels) -> Floats:
    """Image AUROC of every row, ties counting one half; 0.5 where a class is missing."""
    if labels.all() or not labels.any():
        return np.full(len(scores), 0.5)
    pairs = zip(scores[:, ~labels], scores[:, labels], strict=True)
    return np.array([Ranked.of(normal, anomalous).auroc for normal, anomalous in pairs])


def _points(share: float) -> float:
    return round(100 * share, 4)


class _LabelledSets:
    """The labelled images at each working size, read once."""

    def __init__(self, context: StudyContext, images: Sequence[LabelledImage]) -> None:
        self._context = context
        self._sets: dict[int, ImageSet] = {}
        self._images = images
        self.labels: Labels = np.array([image.anomalous for image in images])

    def at(self, side: int) -> ImageSet:
        """The images at one of the study's sides."""
        if side not in self._sets:
            how = self._context.data.at(side).preprocessing
            try:
                self._sets[side] = ImageSet.of(np.stack([how.load(image.path) for image in self._images]))
            except AutomlAdError as error:
                raise InputError(f"A labelled image cannot be read, so nothing was assessed: {error}") from error
        return self._sets[side]


def _scores(context: StudyContext, record: CandidateRecord, labelled: _LabelledSets) -> Floats:
    configuration = configuration_of(record)
    images = labelled.at(configuration.side)
    key = hashlib.sha256(f"{images.key}{record.configuration_hash}".encode()).hexdigest()[:16]
    path = context.folder.trial(record.number) / f"assessed_{key}.npz"
    if path.is_file():
        return load_arrays(path)[str(record.rule)]
    views = context.data.at(configuration.side)
    detector = context.build(configuration)
    context.fit(detector, views.normals)
    scores = score_all(detector.anomaly_maps(images), AGGREGATIONS, images.size)
    keep_arrays(path, **scores)
    return np.asarray(scores[str(record.rule)])
