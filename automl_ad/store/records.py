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
        rule: Name of the scoring rule that the proxy score uses.
        proxy_score: 0 to 1.
        interval_low: Lower end of the proxy score's interval.
        interval_high: Upper end.
        families: Score by anomaly family.
        cells: What is known of each cell (family and severity), of each rule, of the families learned from,
            and of what was taken off the proxy score.
        latency_ms: For one image, in milliseconds.
        size_mb: Of the detector, in megabytes.
        peak_mb: Highest memory in use, in megabytes.
        fit_s: Seconds to fit.
        total_s: Seconds for the whole trial.
        reason: Why the trial failed or was pruned.
        artifact: Path of its artifacts, relative to the study's folder.
        configuration_hash: Equal for trials of equal configuration.
        certify: The outcome of the final check, if it took part.
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
    cells: Mapping[str, Any] = field(default_factory=dict)
    latency_ms: float | None = None
    size_mb: float | None = None
    peak_mb: float | None = None
    fit_s: float | None = None
    total_s: float | None = None
    reason: str | None = None
    artifact: str | None = None
    configuration_hash: str | None = None
    certify: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None

    @property
    def learned_from(self) -> frozenset[str]:
        """Families of synthetic anomalies that the candidate learned from: on these it plays at home."""
        return frozenset(self.cells.get("home", ()))

    @property
    def advantage(self) -> float:
        """What was taken off its proxy score, in AUROC: how much better its kind looks on synthetic anomalies."""
        return float(self.cells.get("advantage", 0.0))

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
        changes: Grows with every other change: of certify values, the answer, picks, settings, warnings, or a trial
            that was not new.
    """

    last: int | None
    changes: int
