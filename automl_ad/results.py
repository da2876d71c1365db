"""The typed answers of the library: the one place where a study, a trial, an assessment are spelled.

``--json`` prints their `Result.to_json`, whose keys other tools rely on. ``python -m automl_ad.results FOLDER`` writes
their JSON Schema. This module imports nothing heavy, so that every layer can return its models.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Interval = tuple[float, float]
"""Lower and upper end of a 90 % interval."""
TrialState = Literal["running", "complete", "pruned", "failed"]


class Result(BaseModel):
    """Base of all answers.

    Keys that an earlier version did not write take their defaults, and keys that this version does not know are
    ignored, so that answers kept in a database can be read by other versions.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    omitted_when_none: ClassVar[frozenset[str]] = frozenset()
    """Keys that are left out of the JSON where there is nothing to say; all other keys are always there."""

    @model_serializer(mode="wrap")
    def _serialise(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if value is not None or key not in self.omitted_when_none}

    def to_json(self) -> dict[str, Any]:
        """The answer as values that every JSON reader understands: NaN and infinity become None.

        Example:
            >>> TrialCounts(complete=3).to_json()
            {'complete': 3, 'pruned': 0, 'failed': 0}
        """
        # Not pydantic's own JSON mode: it cannot write file names that are no text in any encoding.
        content: dict[str, Any] = _plain(self.model_dump(by_alias=True))
        return content


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class TrialCounts(Result):
    """How many trials ended how, ensembles left out."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0


class ImageCounts(Result):
    """How many labelled images there are."""

    good: int
    defect: int


class LeftAside(Result):
    """Files of a folder that were not read, for one reason.

    Attributes:
        reason: ``ending``, ``hidden``, ``link``, ``page``, ``mask``, ``two-valued``, ``defective``, ``other part``,
            ``no label`` or ``elsewhere``.
        count: Number of files (of further pages for ``page``).
        examples: The first of them by name, relative to the folder.
    """

    reason: str
    count: int
    examples: tuple[str, ...] = ()


class LayoutResult(Result):
    """What a folder was taken for.

    Attributes:
        name: Name of the layout, such as ``MVTec AD``, or ``plain folder``.
        good: Good images to learn from.
        test_good: Good images to be judged.
        test_defective: Number of defective images to be judged, by type.
        masks: Files of masks.
        sentence: The same in words, with the folders.
    """

    name: str
    good: int = 0
    test_good: int = 0
    test_defective: Mapping[str, int] = Field(default_factory=dict)
    masks: int = 0
    sentence: str = ""


class DrawnCell(Result):
    """Synthetic anomalies of one family and severity.

    Attributes:
        strength: Of the family, 0 to 1.
        auroc: Image AUROC that the reference panel reaches on them.
    """

    strength: float
    auroc: float


class CoverageResult(Result):
    """The families and severities of a proxy suite.

    Attributes:
        families: Those asked for.
        severities: Those asked for: image AUROC of the reference panel.
        drawn: By family and severity, what was drawn.
        out_of_reach: By family, the severities that cannot be drawn on these images.
        left_out: By family, why nothing of it was drawn.
    """

    families: tuple[str, ...] = ()
    severities: tuple[float, ...] = ()
    drawn: Mapping[str, Mapping[str, DrawnCell]] = Field(default_factory=dict)
    out_of_reach: Mapping[str, tuple[float, ...]] = Field(default_factory=dict)
    left_out: Mapping[str, str] = Field(default_factory=dict)


class ReducedSuite(Result):
    """A proxy suite that holds less than was asked for, since the time budget was short.

    Attributes:
        per_cell: Anomalies of one family and severity.
        severities: That were drawn.
        families: That were drawn, unless coverage leaves one out.
        calibration_anomalies: Anomalies of each family that calibrated its severities.
        calibration_side: Working size at which they did.
        requested_per_cell: Anomalies of one family and severity that were asked for.
        training_images: That candidates were fitted to; a bundle is fitted to all images.
    """

    per_cell: int
    severities: tuple[float, ...]
    families: tuple[str, ...]
    calibration_anomalies: int
    calibration_side: int
    requested_per_cell: int
    training_images: int


class ProxyResult(Result):
    """What ranked the trials.

    Attributes:
        suite: Hash of the proxy suite.
        families: Families of synthetic anomalies that it holds.
        coverage: What was drawn of them; None for studies of early versions.
        reduced: What a short time budget left of the suite; left out where all was drawn that was asked for.
    """

    omitted_when_none = frozenset({"reduced"})

    suite: str
    families: tuple[str, ...]
    coverage: CoverageResult | None = None
    reduced: ReducedSuite | None = None


class WinnerResult(Result):
    """The trial that a search chose.

    Attributes:
        trial: Its number.
        method: Kind of detector.
        backbone: Feature extractor, if the method has one.
        params: Hyperparameters, the working size as ``side`` among them.
        rule: Score aggregation.
        proxy_score: 0 to 1.
        advantage: In-family bias that was subtracted from it, in AUROC.
        interval: Of the proxy score.
        latency_ms: Milliseconds for one image on the device of the search.
        size_mb: Megabytes of the fitted detector.
    """

    trial: int
    method: str
    backbone: str | None = None
    params: Mapping[str, Any] = Field(default_factory=dict)
    rule: str | None = None
    proxy_score: float | None = None
    advantage: float = 0.0
    interval: Interval | None = None
    latency_ms: float | None = None
    size_mb: float | None = None


class TrialResult(Result):
    """One trial of a study.

    Attributes:
        number: Its number; 0 is the training-free baseline.
        state: ``running``, ``complete``, ``pruned`` or ``failed``.
        method: Kind of detector; ``average`` for an ensemble.
        backbone: Feature extractor, if the method has one.
        params: Hyperparameters, the working size as ``side`` among them.
        rule: Score aggregation that the proxy score uses.
        proxy_score: Mean of image and localisation AUROC over families that it did not learn from, less ``advantage``.
        interval: Of the proxy score.
        families: Mean of image and localisation AUROC by family.
        advantage: In-family bias that was subtracted from the proxy score, in AUROC.
        certify_score: Proxy score in the hold-out check; None if it took no part.
        latency_ms: Milliseconds for one image.
        size_mb: Megabytes of the fitted detector.
        peak_mb: Highest memory in use, in megabytes.
        fit_s: Seconds to fit.
        total_s: Seconds for the whole trial.
        reason: Why it failed or was pruned.
        winner: Whether the search chose it.
        default: Whether it is the training-free baseline.
        tied: Whether it belongs to the tied set.
        picked: Whether a user's choice of it counts.
    """

    number: int
    state: TrialState
    method: str
    backbone: str | None = None
    params: Mapping[str, Any] = Field(default_factory=dict)
    rule: str | None = None
    proxy_score: float | None = None
    interval: Interval | None = None
    families: Mapping[str, float | None] = Field(default_factory=dict)
    advantage: float = 0.0
    certify_score: float | None = None
    latency_ms: float | None = None
    size_mb: float | None = None
    peak_mb: float | None = None
    fit_s: float | None = None
    total_s: float | None = None
    reason: str | None = None
    winner: bool = False
    default: bool = False
    tied: bool = False
    picked: bool = False


class HoldoutResult(Result):
    """The outcome of the hold-out check for one trial.

    Attributes:
        value: Proxy score on the proxy and hold-out suites together.
        cells: Image AUROC by family and severity of the hold-out suite.
    """

    value: float
    cells: Mapping[str, float | None] = Field(default_factory=dict)


class Timings(Result):
    """Seconds of a trial."""

    fit_s: float | None = None
    total_s: float | None = None


class TrialDetails(TrialResult):
    """Everything known of one trial.

    Attributes:
        cells: Image AUROC by family and severity.
        located: Localisation AUROC by family and severity; empty for trials of early versions.
        rules: Mean image AUROC by score aggregation.
        certify: The outcome of the hold-out check; None if it took no part.
        timings: Seconds.
        artifacts: Files in the trial's folder.
        traceback: File with the traceback of a failed trial, one of ``artifacts``; None if there is none.
    """

    cells: Mapping[str, float | None] = Field(default_factory=dict)
    located: Mapping[str, float | None] = Field(default_factory=dict)
    rules: Mapping[str, float | None] = Field(default_factory=dict)
    certify: HoldoutResult | None = None
    timings: Timings = Timings()
    artifacts: tuple[str, ...] = ()
    traceback: str | None = None


class RerankedTrial(Result):
    """One trial in the order that a few real defects give.

    Attributes:
        number: Trial number.
        method: Kind of detector.
        backbone: Feature extractor, if the method has one.
        prior: Expected image AUROC before the defects, on a common scale.
        mean_placement: Mean share of unseen good images that score below the defects; None without scores.
        posterior: Expected image AUROC after them; only differences between trials mean something.
        sd: Standard deviation of the truth about ``posterior``.
    """

    number: int
    method: str
    backbone: str | None
    prior: float
    mean_placement: float | None
    posterior: float
    sd: float


class RerankResult(Result):
    """The trials of a study re-ranked by a few real defects, apart from the search.

    Attributes:
        images: How many defects.
        order: Trial numbers, the best first.
        leader: The first of them whose probability of improvement over the choice is high enough, else the choice.
        changed: Whether that is another trial than the choice.
        certainty: Probability of improvement of the leader over the choice, 0 to 1; None if they are one.
        trials: In the order of ``order``.
        note: What to make of it, in sentences.
        next: The command that exports another leader; empty if there is none.
    """

    images: int
    order: tuple[int, ...]
    leader: int
    changed: bool
    certainty: float | None
    trials: tuple[RerankedTrial, ...]
    note: str
    next: tuple[str, ...] = ()


class SearchOutcome(Result):
    """The outcome of a search as the database keeps it, without the ranked table.

    Attributes:
        study: Name of the study.
        storage: URL of its database, without a password.
        images: How many good images were used.
        trials: How many trials ended how.
        averages: How many ensembles were built.
        wall_s: Seconds that the newest run took.
        proxy: What ranked the trials.
        winner: The chosen trial.
        tied: Trial numbers of the tied set, the winner first.
        certified: Trial numbers that took part in the hold-out check.
        default_trial: Number of the training-free baseline; None where no training-free method was searched.
        default_kept: Whether the baseline is the winner.
        certainty: Probability, 0 to 1, that the winner is at least as good as the baseline (where the baseline wins, as
            the best other finalist) on real defects; None for studies of early versions.
        why: Why this trial won, in sentences.
        unknown: What the search could not know, in sentences.
        warnings: In sentences.
        layout: What the folder was taken for.
        left_aside: What was not read of it.
        next: Commands to go on with.
        defects: The trials re-ranked by a few real defects, if the search was given some.
    """

    omitted_when_none = frozenset({"defects"})

    study: str
    storage: str
    images: int
    trials: TrialCounts
    averages: int = 0
    wall_s: float | None = None
    proxy: ProxyResult
    winner: WinnerResult
    tied: tuple[int, ...] = ()
    certified: tuple[int, ...] = ()
    default_trial: int | None = None
    default_kept: bool = False
    certainty: float | None = None
    why: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    layout: LayoutResult | None = None
    left_aside: tuple[LeftAside, ...] = ()
    next: tuple[str, ...] = ()
    defects: RerankResult | None = None


class SearchResult(SearchOutcome):
    """The answer of ``search``.

    Attributes:
        ranking: All trials, the usable ones ranked first.
    """

    ranking: tuple[TrialResult, ...] = ()


class TrialsResult(Result):
    """The answer of ``trials NAME``.

    Attributes:
        study: Name of the study.
        trials: All of them, the usable ones ranked first.
    """

    study: str
    trials: tuple[TrialResult, ...]


class StudySummary(Result):
    """One study of a workspace.

    Attributes:
        study: Its name.
        created_at: ISO 8601, UTC.
        images: Folder of its images.
        state: ``finished`` once there is an answer, else ``unfinished``.
        trials: How many trials ended how.
    """

    study: str
    created_at: str
    images: str
    state: Literal["finished", "unfinished"]
    trials: TrialCounts


class StudiesResult(Result):
    """The answer of ``trials`` without a name: the studies of a workspace, oldest first."""

    studies: tuple[StudySummary, ...]


class PickResult(Result):
    """The answer of ``pick``.

    Attributes:
        study: Name of the study.
        trial: Number of the picked trial; None where a pick was taken back.
        note: Why.
        who: User name; empty if unknown.
        at: ISO 8601, UTC.
        next: The command that exports the pick; empty where a pick was taken back.
    """

    study: str
    trial: int | None
    note: str = ""
    who: str = ""
    at: str = ""
    next: tuple[str, ...] = ()


class AssessedTrial(Result):
    """One trial on labelled images.

    Attributes:
        number: Trial number.
        method: Kind of detector.
        backbone: Feature extractor, if the method has one.
        params: Hyperparameters.
        rule: Score aggregation.
        proxy_score: What the search gave it.
        image_auroc: On the labelled images, fitted on all good images of the study.
        image_auroc_interval: Of ``image_auroc``.
    """

    number: int
    method: str
    backbone: str | None = None
    params: Mapping[str, Any] = Field(default_factory=dict)
    rule: str | None = None
    proxy_score: float | None = None
    image_auroc: float
    image_auroc_interval: Interval


class LeaderJudgement(Result):
    """The leader of a re-ranking, judged on labelled images that had no part in it.

    Attributes:
        leader: Its trial number.
        images: How many images judge.
        regret: Of the leader, in points; None if nothing is left to judge by.
        selected_regret: Of the search's choice, on the same images.
        note: In sentences; empty if there is nothing to say.
    """

    leader: int
    images: ImageCounts
    regret: float | None
    selected_regret: float | None
    note: str


class AssessmentResult(Result):
    """The answer of ``assess``.

    With labelled images, the figures from ``images`` to ``labelled_floor``; with a few defects, ``defects``; with both,
    ``reranked`` as well. Regret is the best image AUROC among the finished trials less that of a trial, in points.

    Attributes:
        study: Name of the study.
        defects: The trials re-ranked by a few real defects.
        images: How many labelled images there are.
        trials: The finished trials, the best first.
        selected: Number of the search's choice.
        selected_auroc: Its image AUROC; None if it was not assessed.
        best_trial: Number of the best trial.
        best_auroc: Its image AUROC.
        spearman: Rank correlation of proxy score and image AUROC; None for too few trials.
        kendall: Kendall's tau-b of the same.
        regret: Of the choice.
        default_regret: Of the training-free baseline; None where there is none.
        random_regret: Of a trial picked at random, on average.
        labelled_floor: Of choosing with the labels of a random half and being judged on the other half, on average.
        reranked: The leader of ``defects``, judged on the labelled images.
        layout: What the folder of labelled images was taken for.
        left_aside: What was not read of it.
        warnings: Sentences on what weakens the figures.
    """

    omitted_when_none = frozenset({"defects", "images", "trials", "reranked"})

    study: str
    defects: RerankResult | None = None
    images: ImageCounts | None = None
    trials: tuple[AssessedTrial, ...] | None = None
    selected: int | None = None
    selected_auroc: float | None = None
    best_trial: int | None = None
    best_auroc: float | None = None
    spearman: float | None = None
    kendall: float | None = None
    regret: float | None = None
    default_regret: float | None = None
    random_regret: float | None = None
    labelled_floor: float | None = None
    reranked: LeaderJudgement | None = None
    layout: LayoutResult | None = None
    left_aside: tuple[LeftAside, ...] | None = None
    warnings: tuple[str, ...] | None = None

    _LABELLED: ClassVar[tuple[str, ...]] = (
        "selected",
        "selected_auroc",
        "best_trial",
        "best_auroc",
        "spearman",
        "kendall",
        "regret",
        "default_regret",
        "random_regret",
        "labelled_floor",
        "layout",
        "left_aside",
        "warnings",
    )

    @model_serializer(mode="wrap")
    def _serialise(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        omitted = self.omitted_when_none | (frozenset(self._LABELLED) if self.trials is None else frozenset())
        return {key: value for key, value in content.items() if value is not None or key not in omitted}


class DecisionCounts(Result):
    """How many images got which decision."""

    model_config = ConfigDict(populate_by_name=True)

    reject: int
    review: int
    passed: int = Field(alias="pass")


class ReviewResult(Result):
    """What a review threshold does to labelled images.

    Attributes:
        threshold: Score above which images are reviewed.
        promised: Guaranteed share of good images that are reviewed or rejected.
        good: Decisions on good images.
        defect: Decisions on defective images.
    """

    threshold: float
    promised: float
    good: DecisionCounts
    defect: DecisionCounts


class DefectResult(Result):
    """One type of defect.

    Attributes:
        image_auroc: Against all good images.
        image_auroc_interval: Of ``image_auroc``.
        n: How many images.
        found: How many are called anomalous.
        escapes: How many are not.
    """

    image_auroc: float
    image_auroc_interval: Interval | None = None
    n: int
    found: int = 0
    escapes: int = 0


class FileError(Result):
    """A file that could not be used, and why."""

    path: str
    error: str


class EvaluationResult(Result):
    """The answer of ``evaluate``: metrics of a bundle on labelled images.

    All intervals are 90 % intervals. Pixel metrics are None without masks, and the figures of a mask or review
    threshold are absent where the bundle has none.

    Attributes:
        images: How many images were scored.
        image_auroc: Probability that a defective image scores above a good one.
        image_ap: Average precision of the image scores.
        pixel_auroc: AUROC over pixels.
        pixel_ap: Average precision over pixels.
        aupro: Area under the per-region overlap curve.
        iap: Instance average precision.
        iap90: Pixel precision when 90 % of the defects are found.
        threshold: Of the score.
        overkill: False positive rate at the threshold.
        promised: Guaranteed overkill; None for a threshold without a guarantee.
        promise_kept: Whether a one-sided binomial test at 5 % does not reject the guarantee.
        promise_note: The same in sentences.
        escapes: False negative rate at the threshold.
        review: What the review threshold does.
        mask_threshold: Of map values.
        mask_iou: Mean intersection over union of marked and defective pixels.
        marked_good: Mean marked share of good images.
        marked_promised: Guaranteed upper bound of that share.
        by_defect: By type of defect.
        errors: Images that could not be scored.
        layout: What the folder of labelled images was taken for.
        left_aside: What was not read.
        warnings: Sentences on what weakens the figures, images unlike the good ones among it.
        report: Path of the HTML report, if one was written.
    """

    omitted_when_none = frozenset({"review"})

    images: ImageCounts
    image_auroc: float
    image_auroc_interval: Interval | None = None
    image_ap: float
    image_ap_interval: Interval | None = None
    pixel_auroc: float | None = None
    pixel_ap: float | None = None
    aupro: float | None = None
    iap: float | None = None
    iap90: float | None = None
    pixel_auroc_interval: Interval | None = None
    pixel_ap_interval: Interval | None = None
    aupro_interval: Interval | None = None
    threshold: float
    overkill: float
    overkill_interval: Interval | None = None
    promised: float | None = None
    promise_kept: bool | None = None
    promise_note: str | None = None
    escapes: float
    escapes_interval: Interval | None = None
    review: ReviewResult | None = None
    mask_threshold: float | None = None
    mask_iou: float | None = None
    mask_iou_interval: Interval | None = None
    marked_good: float | None = None
    marked_good_interval: Interval | None = None
    marked_promised: float | None = None
    by_defect: Mapping[str, DefectResult] = Field(default_factory=dict)
    errors: tuple[FileError, ...] = ()
    layout: LayoutResult | None = None
    left_aside: tuple[LeftAside, ...] = ()
    warnings: tuple[str, ...] = ()
    report: str | None = None


class PredictedImage(Result):
    """One image judged by a bundle; all but ``path`` and ``error`` is None where it could not be read.

    Attributes:
        path: The file; None for an array.
        score: Higher = more anomalous.
        p_value: Conformal p-value among the calibration images.
        anomalous: Whether it is rejected.
        decision: ``pass``, ``review`` or ``reject``.
        marked: Share of the pixels above the mask threshold.
        heatmap: File of the heatmap, if one was written.
        mask: File of the mask, if one was written.
        error: Why it could not be read, or was refused.
        warnings: In what it is unlike the good images that the bundle learned from, in sentences.
    """

    path: str | None
    score: float | None = None
    p_value: float | None = None
    anomalous: bool | None = None
    decision: str | None = None
    marked: float | None = None
    heatmap: str | None = None
    mask: str | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()


class PredictionResult(Result):
    """The answer of ``predict``.

    Attributes:
        bundle: Path of the bundle.
        images: How many images there are to judge; None for answers of early versions.
        interrupted: Whether the run ended before all of them were judged.
        threshold: Score above which images are rejected.
        overkill: Guaranteed overkill (false positive rate on good parts); None without a guarantee.
        promise: The guarantee as a sentence.
        review: Score above which images are reviewed; None for no review.
        mask_threshold: Map value above which pixels are marked.
        left_aside: Files of the folder that were not read.
        results: One an image, in their order; fewer than ``images`` where it was interrupted.
    """

    bundle: str
    images: int | None = None
    interrupted: bool = False
    threshold: float
    overkill: float | None = None
    promise: str | None = None
    review: float | None = None
    mask_threshold: float | None = None
    left_aside: tuple[LeftAside, ...] = ()
    results: tuple[PredictedImage, ...] = ()


class ParityResult(Result):
    """How far an exported graph agrees with its PyTorch detector.

    Attributes:
        images: How many images were compared.
        largest: Largest difference of a score.
        spread: Range of the scores.
        relative: ``largest`` over ``spread``.
        beyond: How many images differ by more than the limit.
        map_largest: Largest difference of a map value.
        decisions_changed: How many decisions at the threshold differ.
        auroc_torch: Image AUROC of the detector on these images.
        auroc_onnx: That of the graph.
    """

    images: int
    largest: float | None = None
    spread: float | None = None
    relative: float
    beyond: int = 0
    map_largest: float | None = None
    decisions_changed: int
    auroc_torch: float | None = None
    auroc_onnx: float | None = None


class SpeedResult(Result):
    """How fast an exported graph is here.

    Attributes:
        latency_ms: Median milliseconds of one image.
        images_s: Images a second in batches.
        threads: Of ONNX Runtime.
        size_mb: Megabytes of the graph.
    """

    latency_ms: float
    images_s: float | None = None
    threads: int | None = None
    size_mb: float


class BundleResult(Result):
    """The answer of `automl_ad.describe`: what a bundle is and guarantees.

    Attributes:
        method: Kind of detector.
        backbone: Feature extractor.
        precision: ``fp32``, ``fp16`` or ``int8``.
        threshold: Of the score.
        overkill: Guaranteed overkill (false positive rate on good parts).
        promise: The guarantee as a sentence.
        parity: Agreement of the graph with PyTorch.
        speed: Of the graph.
        size_mb: Megabytes of the graph.
    """

    method: str
    backbone: str | None
    precision: str
    threshold: float
    overkill: float | None
    promise: str
    parity: ParityResult
    speed: SpeedResult
    size_mb: float


class ExportResult(BundleResult):
    """The answer of ``export``.

    Attributes:
        study: Name of the study.
        trial: ``best``, ``picked`` or a trial number, as asked for.
        bundle: Path of the bundle.
    """

    study: str
    trial: str | int
    bundle: str

    @model_serializer(mode="wrap")
    def _serialise(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: content[key] for key in ("study", "trial", "bundle")} | content


class SuspectFile(Result):
    """A file that may show a defect or another product; the higher the score, the odder."""

    path: str
    score: float


class ImageGroup(Result):
    """Images among the good ones that share what others do not.

    Groups of different kinds may overlap: a drift over time or turned parts are looked for in each product.

    Attributes:
        name: Made of the kind and of the content of its files, so that the order and the names of files do not matter.
        kind: What makes it a group: another ``product`` or view, another ``light`` or ``camera`` than that of the other
            images, parts turned by another ``angle`` or by varying angles, or another part of the ``time``.
        images: Number of its images.
        share: Their share of all readable images, above 0 and at most 1.
        examples: A few of them that show it best.
        members: All of them.
        sentence: What it is.
        remedy: What to do about it.
    """

    name: str
    kind: Literal["product", "light", "camera", "angle", "time"]
    images: int
    share: float
    examples: tuple[str, ...]
    members: tuple[str, ...]
    sentence: str
    remedy: str


class AuditResult(Result):
    """The answer of ``audit``.

    Attributes:
        images: Number of readable images.
        unreadable: The files that are not.
        sizes: Number of images of each ``HxW``, most frequent first.
        modes: Number of images of each pixel format, most frequent first.
        duplicates: Groups of two or more paths that show the same image.
        suspects: Images that look unlike the others, worst first.
        layout: What the folder was taken for.
        left_aside: What was not read.
        grey_levels: Number of the 256 grey levels that the images use at the working size; None without images.
        black_level: Value that becomes black in files deeper than 8 bits; None without such files.
        white_level: Value that becomes white in them.
        transparent: Number of images with transparent pixels.
        background: Grey level, 0 to 255, that transparent pixels are composed on; None without any.
        groups: Groups of images that differ in product, light, camera, angle or time, largest first; empty if the
            images are of one kind.
        advice: Sentences; empty if nothing is odd.
    """

    images: int
    unreadable: tuple[FileError, ...] = ()
    sizes: Mapping[str, int] = Field(default_factory=dict)
    modes: Mapping[str, int] = Field(default_factory=dict)
    duplicates: tuple[tuple[str, ...], ...] = ()
    suspects: tuple[SuspectFile, ...] = ()
    layout: LayoutResult | None = None
    left_aside: tuple[LeftAside, ...] = ()
    grey_levels: int | None = None
    black_level: int | None = None
    white_level: int | None = None
    transparent: int = 0
    background: int | None = None
    groups: tuple[ImageGroup, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def all_identical(self) -> bool:
        """Whether every readable image shows the same, which leaves nothing to learn."""
        return self.images > 1 and [len(group) for group in self.duplicates] == [self.images]

    @property
    def distinct(self) -> int:
        """Number of images when near-duplicates count once."""
        return self.images - sum(len(group) - 1 for group in self.duplicates)


class SyntheticAnomaly(Result):
    """One synthetic anomaly.

    Attributes:
        image: File of the image.
        mask: File of its mask, 255 = anomalous.
        base: Good image that it was drawn on.
        area: Share of the pixels that it covers, 0 to 1.
    """

    image: str
    mask: str
    base: str
    area: float


class SynthesisResult(Result):
    """The answer of ``synthesize``.

    Attributes:
        images: How many good images were read.
        family: Of the anomalies.
        strength: How visible they are, 1 = easy to see.
        count: How many anomalies.
        seed: Equal seeds give equal files.
        size: (height, width) in pixels.
        sdas: What training and quality gate of the diffusion model measured, and as ``added_variance`` the s that the
            strength means for it; None for other families.
        warnings: In sentences.
        layout: What the folder was taken for.
        left_aside: What was not read of it.
        output: The folder.
        contact_sheet: File that shows the first of them.
        anomalies: One each.
    """

    images: int
    family: str
    strength: float
    count: int
    seed: int
    size: tuple[int, int]
    sdas: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    layout: LayoutResult | None = None
    left_aside: tuple[LeftAside, ...] = ()
    output: str
    contact_sheet: str
    anomalies: tuple[SyntheticAnomaly, ...]


class DeviceInfo(Result):
    """A device that detectors can run on.

    Attributes:
        device: ``cpu`` or ``cuda:N``.
        name: Its model.
        cores: Of a CPU.
        memory_mb: Megabytes of memory, if known.
    """

    device: str
    name: str
    cores: int | None = None
    memory_mb: float | None = None


class BackboneInfo(Result):
    """A backbone and where its weights come from; ``source`` is None where there are none."""

    name: str
    source: str | None = None


class PlaceInfo(Result):
    """A folder that the program writes to."""

    what: str
    path: str
    writable: bool
    free_mb: float | None = None


class DoctorResult(Result):
    """The answer of ``doctor``.

    Attributes:
        version: Of this package.
        python: Of the interpreter.
        platform: Of the system.
        packages: Version by package; None if it is not installed.
        devices: At least the CPU.
        backbones: Those that are looked for.
        hub_reachable: Whether the model hub answers; None if it was not asked.
        places: Folders that are written to.
        problems: What stops a search, in sentences.
        advice: What would be slow and why, in sentences.
    """

    version: str
    python: str
    platform: str
    packages: Mapping[str, str | None]
    devices: tuple[DeviceInfo, ...]
    backbones: tuple[BackboneInfo, ...]
    hub_reachable: bool | None
    places: tuple[PlaceInfo, ...]
    problems: tuple[str, ...]
    advice: tuple[str, ...]


class DemoResult(SearchResult):
    """The answer of ``demo``: that of the search, and what its bundle does on drawn defects.

    Attributes:
        dataset: Folder of the drawn images.
        bundle: Path of the bundle.
        prediction: On one defective image.
        evaluation: On the labelled images.
    """

    dataset: str
    bundle: str
    prediction: PredictionResult
    evaluation: EvaluationResult


ANSWERS: Mapping[str, type[Result]] = {
    "search": SearchResult,
    "trials": TrialsResult,
    "studies": StudiesResult,
    "show": TrialDetails,
    "pick": PickResult,
    "export": ExportResult,
    "predict": PredictionResult,
    "evaluate": EvaluationResult,
    "assess": AssessmentResult,
    "synthesize": SynthesisResult,
    "audit": AuditResult,
    "doctor": DoctorResult,
    "demo": DemoResult,
}
"""The model that each command prints with ``--json``."""


def write_schemas(folder: Path) -> list[Path]:
    """Writes the JSON Schema of every answer as ``<command>.json``.

    Args:
        folder: Created if absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, model in ANSWERS.items():
        path = folder / f"{name}.json"
        path.write_text(schema_of(model), encoding="utf-8")
        written.append(path)
    return written


def schema_of(model: type[Result]) -> str:
    """The JSON Schema of an answer as text."""
    return json.dumps(model.model_json_schema(mode="validation"), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Writes the schemas into the named folder, ``docs/schema`` by default."""
    for path in write_schemas(Path(arguments[0] if arguments else "docs/schema")):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
