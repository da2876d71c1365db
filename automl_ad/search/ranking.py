"""The ranked candidates of a study, as the table shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automl_ad.search.loop import limits_exceeded
from automl_ad.search.selection import rank_scores
from automl_ad.search.settings import StudySettings
from automl_ad.store.records import CandidateRecord


def usable(records: Sequence[CandidateRecord], settings: StudySettings) -> list[CandidateRecord]:
    """Complete candidates within the user's limits."""
    complete = [record for record in records if record.state == "complete"]
    return [record for record in complete if all(over <= 0 for over in limits_exceeded(record, settings).values())]


def ranked(records: Sequence[CandidateRecord]) -> list[tuple[CandidateRecord, float]]:
    """Complete candidates and their rank scores, best first; equals in the order of their trials."""
    if not records:
        return []
    cells = list(records[0].cells["cells"])
    table = np.array([[record.cells["cells"][cell] for cell in cells] for record in records])
    pairs = zip(records, (float(score) for score in rank_scores(table)), strict=True)
    return sorted(pairs, key=lambda pair: (-round(pair[1], 9), pair[0].number))
