"""Studies that nobody searched: a database with records made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from automl_ad.store.database import default_url, open_engine
from automl_ad.store.records import CandidateRecord, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.store.tables import CandidateRow, StudyRow

FAMILIES = ("texture", "cutpaste", "poisson", "photometric")
SEVERITIES = ("0.7", "0.85", "0.95")
CELLS = tuple(f"{family}/{severity}" for family in FAMILIES for severity in SEVERITIES)


def candidate(number: int, values: Sequence[float] | None = None, **fields: Any) -> CandidateRecord:
    """A complete trial whose image AUROC in each cell is given, or drawn by its number."""
    drawn = np.random.default_rng(number).beta(6, 2, len(CELLS)) if values is None else values
    cells = dict(zip(CELLS, map(float, drawn), strict=True))
    known: dict[str, Any] = {
        "state": "complete",
        "method": "padim",
        "backbone": "embedded",
        "params": {"side": 64, "ridge": 0.01},
        "rule": "max",
        "proxy_score": float(np.mean(drawn)),
        "interval_low": float(np.mean(drawn)) - 0.05,
        "interval_high": float(np.mean(drawn)) + 0.05,
        "families": {family: float(np.mean(drawn)) for family in FAMILIES},
        "image_auroc": cells,
        "aggregations": {f"rule{place}": 0.5 for place in range(16)},
        "latency_ms": 10.0 + number % 7,
        "size_mb": 5.0 + number % 11,
        "fit_s": 1.0,
        "total_s": 2.0,
    }
    return CandidateRecord(number=number, **(known | fields))


def make_study(workspace: Path, name: str = "made", settings: Mapping[str, Any] | None = None) -> Repository:
    """A study without trials in the database of a workspace."""
    from automl_ad.study.settings import StudySettings  # slow, and a process that only adds trials needs none

    repository = Repository(open_engine(default_url(workspace)))
    chosen = StudySettings(images=workspace / "images", **(settings or {}))
    record = StudyRecord(
        name=name, settings=chosen.model_dump(mode="json"), meaning={}, images=str(chosen.images), fingerprint="0"
    )
    repository.create_study(record)
    return repository


def fill(repository: Repository, count: int, name: str = "made") -> None:
    """Adds many trials at once: one by one each would be its own transaction."""
    with Session(repository._engine) as session, session.begin():
        study = session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()
        session.add_all(CandidateRow(study_id=study, **asdict(candidate(number))) for number in range(count))
