"""What the store hands out and takes in: plain values that outlive the database session.

Numbers that are NaN or infinite come back as None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

State = Literal["running", "complete", "pruned", "failed"]


def utc_now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One study.

    Attributes:
        name: Unique in its database.
        settings: All settings of its newest run.
        meaning: The part of the settings that changes what a trial means; a resumed study must agree on it.
        images: Folder of the images.
        fingerprint: Digest of the image data.
        splits: Image indices by split name.
        suite_hash: Hash of the proxy suite, once it is drawn.
        warnings: Sentences for the user.
        answer: The outcome of the search, once there is one.
        created_at: Aware, UTC.
    """

    name: str
    settings: Mapping[str, Any]
    meaning: Mapping[str, Any]
    images: str
    fingerprint: str
    splits: Mapping[str, Any] = field(default_factory=dict)
    suite_hash: str | None = None
    warnings: Sequence[str] = field(default_factory=list)
    answer: Mapping[str, Any] | None = None
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """One trial of a study and what is known of it so far.

    Attributes:
        number: The trial's number, from 0.
        state: running, complete, pruned or failed.
        method: Name of the detector's kind.
        backbone: Name of the feature extractor, if the method has one.
        params: The method's parameters.
        rule: Name of the score aggregation that the proxy score uses.
        proxy_score: 0 to 1.
        interval_low: Lower end of the proxy score's interval.
        interval_high: Upper end.
        families: Score by anomaly family.
        image_auroc: Image AUROC by cell (family and severity).
        localisation_auroc: Localisation AUROC by cell; empty for trials of early versions.
        aggregations: Mean image AUROC under every score aggregation.
        learned_from: Families of synthetic anomalies that the candidate learned from (in-family bias).
        advantage: In-family bias that was subtracted from the proxy score, in AUROC.
        latency_ms: For one image, in milliseconds.
        size_mb: Of the detector, in megabytes.
        peak_mb: Highest memory in use, in megabytes.
        fit_s: Seconds to fit.
        total_s: Seconds for the whole trial.
        reason: Why the trial failed or was pruned.
        artifact: Path of its artifacts, relative to the study's folder.
        configuration_hash: Equal for trials of equal configuration.
        holdout_score: Proxy score in the hold-out check, on the proxy and hold-out suites together; None if it took no
            part.
        holdout_auroc: Image AUROC by cell of the hold-out suite; empty if it took no part.
        started_at: When the trial began, aware, UTC.
        ended_at: When its result was known, aware, UTC.
        worker: Who ran it, as ``host:pid``.
    """

    number: int
    state: State
    method: str
    backbone: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    rule: str | None = None
    proxy_score: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    families: Mapping[str, Any] = field(default_factory=dict)
    image_auroc: Mapping[str, Any] = field(default_factory=dict)
    localisation_auroc: Mapping[str, Any] = field(default_factory=dict)
    aggregations: Mapping[str, Any] = field(default_factory=dict)
    learned_from: frozenset[str] = frozenset()
    advantage: float = 0.0
    latency_ms: float | None = None
    size_mb: float | None = None
    peak_mb: float | None = None
    fit_s: float | None = None
    total_s: float | None = None
    reason: str | None = None
    artifact: str | None = None
    configuration_hash: str | None = None
    holdout_score: float | None = None
    holdout_auroc: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high) of the proxy score, if both ends are known."""
        if self.interval_low is None or self.interval_high is None:
            return None
        return self.interval_low, self.interval_high


@dataclass(frozen=True, kw_only=True)
class PickRecord:
    """A trial that a user chose, or that the earlier choice was taken back; the newest pick of a study counts.

    Attributes:
        number: The trial's number; None takes the earlier choice back.
        note: Why, in the user's words.
        who: Who chose.
        at: When, aware, UTC.
    """

    number: int | None
    note: str = ""
    who: str = ""
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True)
class Revision:
    """Tells a reader what is new in a study, without reading it.

    A reader that remembers the revision of its last look takes the trials above ``last`` when that has grown, and
    looks again at all that may change when ``changes`` has.

    Attributes:
        last: Highest trial number; None before the first trial.
        changes: Grows with every other change: of hold-out scores, the answer, picks, settings, warnings, or a trial
            that was not new.
    """

    last: int | None
    changes: int
