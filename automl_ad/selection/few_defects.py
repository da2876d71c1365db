"""What a few real defects say of finished trials: they re-rank them, apart from the search, and fit nothing anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.data.study_images import StudyImages
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.selection.decision import SURE
from automl_ad.selection.lead_model import Ranking, expected_gains_of
from automl_ad.selection.shrinkage import Floats, Posterior, posterior
from automl_ad.store.records import CandidateRecord
from automl_ad.study.context import StudyContext
from automl_ad.study.defect_evidence import Evidence, gather_evidence
from automl_ad.study.defect_images import DefectImages, find_defects
from automl_ad.study.progress import Listener, ignore_events


@dataclass(frozen=True)
class Choice:
    """The trial that defects are to confirm or to replace.

    Attributes:
        number: Its trial number.
        final: Whether the search chose it. Before it has, the default stands for its choice, or else the first of the
            ranking.
    """

    number: int
    final: bool = True

    @property
    def in_words(self) -> str:
        """It and what it is."""
        what = "the winner of the search" if self.final else "which stands for the choice until the search has ended"
        return f"trial {self.number}, {what}"


def rerank(
    context: StudyContext, ranking: Ranking, choice: Choice, pictures: DefectImages, listener: Listener = ignore_events
) -> dict[str, Any]:
    """Re-ranks finished trials by a few real defects: what the search expects, shrunk towards what they say.

    Args:
        context: The study's images and backbones.
        ranking: Finished, usable trials in the order of the search, at least one.
        choice: What the search chose, or what stands for it.
        pictures: The defects.
        listener: Told the progress.

    Returns:
        ``images`` (how many), ``order`` (trial numbers, the best first), ``leader`` (the first of them that is truly
        better than the choice with a probability of `decision.SURE`, else the choice; the first of all where the choice
        is not among them), ``changed`` (whether that is another than the choice), ``certainty`` (probability, 0 to 1,
        that the leader is truly the better of the two; None if they are one), ``note`` and, in that order, ``trials``:
        ``number``, ``method``, ``backbone``, ``prior`` and ``posterior`` (expected image AUROC before and after),
        ``mean_placement`` (None without evidence) and ``sd`` (of the truth about ``posterior``).

    Raises:
        StoreError: The scores cannot be written, or are damaged.
    """
    records = [record for record, _ in ranking]
    found = gather_evidence(context, records, pictures.images, listener)
    after = posterior(*expected_gains_of(ranking), found.placements)
    numbers = [record.number for record in records]
    order = after.order()
    chosen = numbers.index(choice.number) if choice.number in numbers else None
    leader = order[0] if chosen is None else after.leader(chosen, SURE)
    certainty = None if chosen in (None, leader) else after.certainty(leader, chosen)
    counted = len(pictures.images)
    return {
        "images": counted,
        "order": [numbers[place] for place in order],
        "leader": numbers[leader],
        "changed": numbers[leader] != choice.number,
        "certainty": certainty,
        "trials": [_row(records[place], place, found, after) for place in order],
        "note": " ".join(
            [
                _verdict(numbers[leader], numbers[order[0]], choice, certainty),
                reranking_message(counted),
                *_gaps(found, len(records)),
                *pictures.notes,
            ]
        ),
    }


def reranking_message(defects: int) -> str:
    """What an order by a few real defects is, and what it is not."""
    counted = "1 real defect" if defects == 1 else f"{defects} real defects"
    return (
        f"This order weighs {counted} against what the search expected; the fewer, the more the search counts. It "
        "stands apart from the search, whose winner, ranking and tied set it does not change."
    )


def among_defects(paths: Sequence[Path], defects: Path, normals: StudyImages) -> npt.NDArray[np.bool_]:
    """Which images show, pixel by pixel, what a picture in a folder of real defects shows, whatever their files hold.

    Args:
        paths: The images.
        defects: Folder of real defects; a picture that cannot be read counts as none, as in `DefectImages`.
        normals: The good images of the study.

    Returns:
        bool, in the order of ``paths``.

    Raises:
        InputError: One of the images cannot be read.
    """
    known = {pixel_hash(image) for image in normals.reading.load_all(find_defects(defects))[0]}
    return np.array([pixel_hash(normals.reading.load(path)) in known for path in paths])


def judge_leader(
    numbers: Sequence[int],
    scores: Floats,
    labels: npt.NDArray[np.bool_],
    shown: npt.NDArray[np.bool_],
    leader: int,
    selected: int,
) -> dict[str, Any]:
    """Judges the leader of a re-ranking by labelled images that had no part in it.

    Args:
        numbers: Trial numbers.
        scores: float64 [trials, images], higher = more anomalous.
        labels: bool [images], defective.
        shown: bool [images], among the defects that re-ranked.
        leader: Its trial number.
        selected: That of the search's choice.

    Returns:
        ``leader``, ``images`` (``good`` and ``defect``, how many judge), ``regret`` and ``selected_regret`` (in points,
        on these images alone; None if no defect is left to judge by, or the trial is not among them) and ``note``.
    """
    kept = labels[~shown]
    good, defects = int((~kept).sum()), int(kept.sum())
    answer: dict[str, Any] = {"leader": leader, "images": {"good": good, "defect": defects}}
    counted = int(shown.sum())
    note = f"{counted} labelled images are among the defects that re-ranked and do not judge." if counted else ""
    if not (good and defects):
        return answer | {"regret": None, "selected_regret": None, "note": f"{note} Nothing is left to judge by."}
    real = np.array([image_auroc(row[~shown], kept) for row in scores])
    of = dict(zip(numbers, (100 * (real.max() - real)).round(4).tolist(), strict=True))
    return answer | {"regret": of.get(leader), "selected_regret": of.get(selected), "note": note}


def _row(record: CandidateRecord, place: int, found: Evidence, after: Posterior) -> dict[str, Any]:
    seen = found.placements[place]
    return {
        "number": record.number,
        "method": record.method,
        "backbone": record.backbone,
        "prior": float(after.prior[place]),
        "mean_placement": None if np.isnan(seen).any() else float(seen.mean()),
        "posterior": float(after.means[place]),
        "sd": float(after.deviations[place]),
    }


def _verdict(leader: int, first: int, choice: Choice, certainty: float | None) -> str:
    known = f"{choice.in_words.capitalize()},"
    if leader == choice.number == first:
        return f"{known} leads with the real defects as well."
    if leader == choice.number:
        return (
            f"{known} stays: trial {first} comes first with the real defects, but no other trial is truly better with "
            f"a probability of {100 * SURE:.0f} % or more."
        )
    odds = (
        "" if certainty is None else f"; that it is truly the better one has a probability of {100 * certainty:.0f} %"
    )
    behind = "" if leader == first else f" (that trial {first} is better, which comes first, is less sure)"
    return f"Trial {leader} leads with the real defects, not {choice.in_words}{odds}{behind}."


def _gaps(found: Evidence, trials: int) -> list[str]:
    """Which trials the defects say nothing of, in sentences."""
    if not found.faults:
        return []
    by_reason: dict[str, list[int]] = {}
    for number, reason in found.faults.items():
        by_reason.setdefault(reason, []).append(number)
    listed = "; ".join(f"{', '.join(map(str, numbers))} ({reason})" for reason, numbers in by_reason.items())
    return [
        f"{len(found.faults)} of {trials} trials could not be shown the defects, and what was expected of them stands: "
        f"{listed}."
    ]
