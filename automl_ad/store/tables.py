"""Our own tables, beside Optuna's in the same database; every name starts with ``automl_ad_``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import JSON, CheckConstraint, DateTime, Dialect, Float, ForeignKey, ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from automl_ad.store.plain_json import plain

SCHEMA_VERSION = 3
"""Raised by every change of these tables; `migrations` upgrades databases of earlier schemas."""
OLDEST_SCHEMA = 2
"""The oldest that can be upgraded."""


class PlainJson(TypeDecorator[Any]):
    """JSON without NaN or infinity, which become null; None is an SQL NULL."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Makes a value plain before it is written."""
        return plain(value)


class NameSet(TypeDecorator[frozenset[str]]):
    """A set of names, kept as a sorted JSON list."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> list[str]:
        """Sorts the names before they are written."""
        return sorted(value or ())

    def process_result_value(self, value: Any, dialect: Dialect) -> frozenset[str]:
        """Makes a set of the list."""
        return frozenset(value or ())


class FiniteFloat(TypeDecorator[float]):
    """A float column in which NaN and infinity are NULL."""

    impl = Float
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """Makes a number plain before it is written."""
        return None if value is None else plain(float(value))


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times, kept as UTC; SQLite would drop the zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts an aware time to UTC without a zone."""
        return None if value is None else value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Gives the zone back."""
        return None if value is None else value.replace(tzinfo=timezone.utc)


class Base(DeclarativeBase):
    """Base of our tables."""


class SchemaRow(Base):
    """One row: the version of these tables, in a table that no version changes."""

    __tablename__ = "automl_ad_schema"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]


class StudyRow(Base):
    """One study; the columns are described by `records.StudyRecord`, ``changes`` by `records.Revision`."""

    __tablename__ = "automl_ad_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settings: Mapped[dict[str, Any]] = mapped_column(PlainJson)
    meaning: Mapped[dict[str, Any]] = mapped_column(PlainJson)
    images: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    suite_hash: Mapped[str | None] = mapped_column(Text)
    splits: Mapped[dict[str, Any]] = mapped_column(PlainJson)
    warnings: Mapped[list[str]] = mapped_column(PlainJson)
    answer: Mapped[dict[str, Any] | None] = mapped_column(PlainJson)
    changes: Mapped[int] = mapped_column(default=0)


class CandidateRow(Base):
    """One trial of a study; the columns are described by `records.CandidateRecord`."""

    __tablename__ = "automl_ad_candidates"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'complete', 'pruned', 'failed')"),
        Index("automl_ad_candidates_by_state", "study_id", "state"),  # counts are asked for again and again
    )

    study_id: Mapped[int] = mapped_column(ForeignKey("automl_ad_studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    backbone: Mapped[str | None] = mapped_column(Text)
    params: Mapped[dict[str, Any]] = mapped_column(PlainJson)
    rule: Mapped[str | None] = mapped_column(Text)
    proxy_score: Mapped[float | None] = mapped_column(FiniteFloat)
    interval_low: Mapped[float | None] = mapped_column(FiniteFloat)
    interval_high: Mapped[float | None] = mapped_column(FiniteFloat)
    families: Mapped[dict[str, Any]] = mapped_column(PlainJson)
    image_auroc: Mapped[dict[str, Any]] = mapped_column(PlainJson, server_default="{}")
    localisation_auroc: Mapped[dict[str, Any]] = mapped_column(PlainJson, server_default="{}")
    aggregations: Mapped[dict[str, Any]] = mapped_column(PlainJson, server_default="{}")
    learned_from: Mapped[frozenset[str]] = mapped_column(NameSet, server_default="[]")
    advantage: Mapped[float] = mapped_column(FiniteFloat, server_default="0")
    latency_ms: Mapped[float | None] = mapped_column(FiniteFloat)
    size_mb: Mapped[float | None] = mapped_column(FiniteFloat)
    peak_mb: Mapped[float | None] = mapped_column(FiniteFloat)
    fit_s: Mapped[float | None] = mapped_column(FiniteFloat)
    total_s: Mapped[float | None] = mapped_column(FiniteFloat)
    reason: Mapped[str | None] = mapped_column(Text)
    artifact: Mapped[str | None] = mapped_column(Text)
    configuration_hash: Mapped[str | None] = mapped_column(Text, index=True)
    holdout_score: Mapped[float | None] = mapped_column(FiniteFloat)
    holdout_auroc: Mapped[dict[str, Any]] = mapped_column(PlainJson, server_default="{}")
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    worker: Mapped[str | None] = mapped_column(Text)


class PickRow(Base):
    """One choice by a user, or its withdrawal; rows are only ever added."""

    __tablename__ = "automl_ad_picks"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "number"], ["automl_ad_candidates.study_id", "automl_ad_candidates.number"]),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("automl_ad_studies.id"))
    number: Mapped[int | None]
    note: Mapped[str] = mapped_column(Text)
    who: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
