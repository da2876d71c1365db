"""The page of an evaluation: one HTML file that needs nothing from outside, to pass on and to print."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from automl_ad.bundle.evaluation_gallery import Exhibit, Scored, exhibits
from automl_ad.bundle.evaluation_plots import roc_plot, score_plot
from automl_ad.bundle.figures import escapes_sentence, figures, marked_sentence, review_sentence
from automl_ad.bundle.runtime import Bundle, p_values
from automl_ad.data.labelled import GOOD
from automl_ad.errors import InputError, StoreError
from automl_ad.formatting import NONE, interval, score
from automl_ad.results import EvaluationResult
from automl_ad.store.artifacts import write_atomically

__all__ = ["PAGE", "SHOWN", "TABLE", "Scored", "prepare_folder", "write_report"]

PAGE, TABLE = "evaluation.html", "evaluation.json"
SHOWN = 12
"""Most images in a gallery."""

_TEMPLATES = Environment(
    loader=PackageLoader("automl_ad.bundle"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class _Card:
    """One image of a gallery and what became of it."""

    exhibit: Exhibit
    verdict: str
    p_value: float


def prepare_folder(output: Path) -> None:
    """Creates the folder of a report; worth doing before the images are scored.

    Raises:
        InputError: It cannot be created or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(output, error) from error
    if not os.access(output, os.W_OK):
        raise _unwritable(output, PermissionError("it is read-only"))


def write_report(bundle: Bundle, answer: EvaluationResult, images: Sequence[Scored], output: Path) -> Path:
    """Writes ``evaluation.html`` and ``evaluation.json``, each complete or not at all.

    Args:
        bundle: The bundle that was evaluated.
        answer: The metrics; their ``report`` becomes the page.
        images: The images that could be scored, good and defective.
        output: Folder; created if needed.

    Returns:
        The path of the page.

    Raises:
        InputError: A file cannot be written.
    """
    page = output / PAGE
    content = answer.model_copy(update={"report": str(page)}).to_json()
    table = json.dumps(content, indent=2, allow_nan=False) + "\n"
    _write(output, TABLE, table)
    _write(output, PAGE, evaluation_page(bundle, answer, images))
    return page


def evaluation_page(bundle: Bundle, answer: EvaluationResult, images: Sequence[Scored]) -> str:
    """The page as text; arguments as for `write_report`."""
    lowest = sorted((each for each in images if each.image.anomalous), key=lambda each: each.score)
    highest = sorted((each for each in images if not each.image.anomalous), key=lambda each: -each.score)
    scores, roc = _plots(answer, images)
    return _TEMPLATES.get_template(PAGE).render(
        title=f"Evaluation of {bundle.path.name}",
        answer=answer,
        facts=_facts(bundle, answer),
        sentences=(escapes_sentence(answer), review_sentence(answer), marked_sentence(answer)),
        figures=[(each.name, each.value, each.interval, each.unit, each.meaning) for each in figures(answer)],
        by_defect=_by_defect(answer),
        score_plot=scores,
        roc_plot=roc,
        lowest=_cards(bundle, answer, lowest[:SHOWN]),
        highest=_cards(bundle, answer, highest[:SHOWN]),
    )


def _facts(bundle: Bundle, answer: EvaluationResult) -> dict[str, str]:
    manifest = bundle.manifest
    facts, counts, (height, width) = manifest["facts"], answer.images, bundle.size
    return {
        "Bundle": str(bundle.path),
        "Study": f"{facts.get('study', NONE)}, trial {facts.get('trial', NONE)}",
        "Method": f"{manifest['method']}, score aggregation {manifest['rule']}",
        "Backbone": manifest["backbone"]["name"],
        "Images": f"{counts.good} good and {counts.defect} defective, scored at {width} x {height} pixels",
        "Calibrated on": f"{len(bundle.calibration)} good images that the detector was not fitted to",
        "Threshold": f"{answer.threshold:.4g}, raw units of the detector",
    }


def _by_defect(answer: EvaluationResult) -> list[tuple[object, ...]]:
    return [
        (
            name,
            kind.n,
            kind.found,
            kind.escapes,
            score(kind.image_auroc),
            interval(kind.image_auroc_interval),
        )
        for name, kind in answer.by_defect.items()
    ]


def _plots(answer: EvaluationResult, images: Sequence[Scored]) -> tuple[str, str]:
    """The scores by type and the ROC curve, as SVG."""
    thresholds = {"threshold": answer.threshold}
    if answer.review is not None:
        thresholds["review from"] = answer.review.threshold
    bad = np.array([each.score for each in images if each.image.anomalous], np.float64)
    good = np.array([each.score for each in images if not each.image.anomalous], np.float64)
    return score_plot(_by_type(images), GOOD, thresholds), roc_plot(good, bad, answer.threshold)


def _by_type(images: Sequence[Scored]) -> dict[str, npt.NDArray[np.float64]]:
    types = [GOOD if not each.image.anomalous else each.image.defect for each in images]
    order = [GOOD, *sorted(set(types) - {GOOD})]
    scores = np.array([each.score for each in images], np.float64)
    return {name: scores[[kind == name for kind in types]] for name in order}


def _cards(bundle: Bundle, answer: EvaluationResult, chosen: Sequence[Scored]) -> list[_Card]:
    return [
        _Card(
            exhibit,
            _verdict(answer, exhibit.scored),
            float(p_values([exhibit.scored.score], bundle.calibration)[0]),
        )
        for exhibit in exhibits(bundle, chosen)
    ]


def _verdict(answer: EvaluationResult, scored: Scored) -> str:
    if scored.score > answer.threshold:
        return "found" if scored.image.anomalous else "false alarm"
    if answer.review is not None and scored.score > answer.review.threshold:
        return "to review"
    return "missed" if scored.image.anomalous else "rightly passed"


def _write(output: Path, name: str, text: str) -> None:
    try:
        with write_atomically(output / name) as temporary:
            # Names of files need not be text in any encoding; what is not becomes a question mark.
            temporary.write_bytes(text.encode("utf-8", "replace"))
    except StoreError as error:
        raise _unwritable(output, error.__cause__ or error) from error


def _unwritable(output: Path, error: BaseException) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"--output {output} cannot be written ({reason}); choose a writable folder with enough room.")
