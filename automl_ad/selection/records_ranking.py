"""The ranked candidates of a study, as the table shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.cells import cell_family
from automl_ad.methods.registry import ENSEMBLE
from automl_ad.selection.ranking import rank_scores
from automl_ad.store.records import CandidateRecord
from automl_ad.study.proposals import BASELINE_TRIAL
from automl_ad.study.settings import StudySettings

LEVELS = ("cells", "located")
"""What a record keeps of every cell: image AUROC, and located AUROC unless it is of an early version."""


def describe_candidate(number: int, method: str, backbone: str | None, score: float | None) -> str:
    """The candidate that leads, as a list or a progress line names it."""
    return f"trial {number}: {method} on {backbone}, proxy score {score or 0:.3f}"


def limits_exceeded(record: CandidateRecord, settings: StudySettings) -> dict[str, float]:
    """By how much a candidate is over each of the user's limits; feasible when 0 or less."""
    limits = {
        "latency_ms": (record.latency_ms, settings.max_latency_ms),
        "size_mb": (record.size_mb, settings.max_size_mb),
    }
    return {key: value - limit for key, (value, limit) in limits.items() if value is not None and limit is not None}


def usable(records: Sequence[CandidateRecord], settings: StudySettings) -> list[CandidateRecord]:
    """Complete candidates within the user's limits; averages only if the user wants them."""
    complete = [r for r in records if r.state == "complete" and (settings.average or r.method != ENSEMBLE)]
    return [record for record in complete if all(over <= 0 for over in limits_exceeded(record, settings).values())]


def ranked(records: Sequence[CandidateRecord]) -> list[tuple[CandidateRecord, float]]:
    """Complete candidates and their rank scores, best first; equals in the order of their trials.

    In every cell they are ranked twice: by image AUROC and by located AUROC. A family that a candidate learned from
    does not rank it: it would play at home. Elsewhere its advantage is taken off.
    """
    if not records:
        return []
    cells = list(records[0].cells["cells"])
    levels = [level for level in LEVELS if all(level in record.cells for record in records)]
    table = np.array([[record.cells[level][cell] for level in levels for cell in cells] for record in records])
    advantages = np.array([record.advantage for record in records])
    scores = rank_scores(table, np.tile(in_family(records, cells), len(levels)), advantages)
    pairs = zip(records, (float(score) for score in scores), strict=True)
    return sorted(pairs, key=lambda pair: (-round(pair[1], 9), pair[0].number))


def in_family(records: Sequence[CandidateRecord], cells: Sequence[str]) -> npt.NDArray[np.bool_]:
    """True at [candidate, cell] where the candidate learned from the family of the cell."""
    families = [cell_family(cell) for cell in cells]
    # Thousands of candidates learn from very few sets of families.
    rows = {
        learned: [family in learned for family in families] for learned in {record.learned_from for record in records}
    }
    return np.array([rows[record.learned_from] for record in records])


def contains_baseline(record: CandidateRecord) -> bool:
    """Whether a candidate averages the default with others: without a usable default, the best has its seat."""
    return any(member["trial"] == BASELINE_TRIAL for member in record.params.get("members", ()))
