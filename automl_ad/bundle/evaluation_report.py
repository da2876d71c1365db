"""The page of an evaluation: one HTML file that needs nothing from outside, to pass on and to print."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
"""Most pictures in a gallery."""

# The policy is for the reader's safety: even a page that was tampered with fetches and runs nothing.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0 auto; max-width: 1120px; padding: 24px 32px 64px; color: #222; background: #fff;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
h1 {{ font-size: 26px; margin: 0 0 4px; }}
h2 {{ font-size: 19px; margin: 40px 0 8px; border-bottom: 1px solid #ccc; padding-bottom: 4px; }}
h3 {{ font-size: 15px; margin: 24px 0 8px; }}
p {{ max-width: 75ch; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: 4px 20px 4px 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }}
thead th {{ border-bottom: 2px solid #999; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.facts th {{ font-weight: normal; color: #555; }}
.kept, .broken {{ border-left: 5px solid #0072b2; padding: 2px 0 2px 14px; }}
.broken {{ border-color: #d55e00; }}
.wide {{ overflow-x: auto; }}
svg {{ display: block; max-width: 100%; height: auto; }}
.gallery {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 20px; }}
figure {{ margin: 0; break-inside: avoid; }}
figure div {{ display: flex; gap: 4px; }}
figure img {{ width: calc(50% - 2px); object-fit: contain; background: #eee; }}
figcaption {{ font-size: 13px; overflow-wrap: anywhere; }}
@media print {{ body {{ padding: 0; font-size: 11pt; }} h2, h3 {{ break-after: avoid; }}
  tr, svg {{ break-inside: avoid; }}
  .gallery {{ grid-template-columns: repeat(2, 1fr); }} * {{ print-color-adjust: exact; }} }}
</style>
</head>
<body>
"""


def prepare_folder(output: Path) -> None:
    """Creates the folder of a report; worth doing before the images are judged.

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
        answer: What `automl_ad.bundle.evaluating.evaluate` found; its ``report`` becomes the page.
        images: The images that could be judged, good and defective.
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
    title = f"Evaluation of {bundle.path.name}"
    lowest = sorted((each for each in images if each.image.anomalous), key=lambda each: each.score)
    highest = sorted((each for each in images if not each.image.anomalous), key=lambda each: -each.score)
    parts = [
        _HEAD.format(title=escape(title)) + f"<h1>{escape(title)}</h1>",
        _facts(bundle, answer),
        _decisions(answer),
        _section("Figures", _figures(answer)),
        _section("By kind of defect", _by_defect(answer)),
        _section("Scores", _plots(answer, images)),
        _gallery("Defects with the lowest scores", bundle, answer, lowest[:SHOWN]),
        _gallery("Good images with the highest scores", bundle, answer, highest[:SHOWN]),
        _left_out(answer),
        "</body>\n</html>\n",
    ]
    return "\n".join(filter(None, parts))


def _facts(bundle: Bundle, answer: EvaluationResult) -> str:
    manifest = bundle.manifest
    facts, counts, (height, width) = manifest["facts"], answer.images, bundle.size
    shown = {
        "Bundle": bundle.path,
        "Study": f"{facts.get('study', NONE)}, trial {facts.get('trial', NONE)}",
        "Method": f"{manifest['method']}, scores by the rule {manifest['rule']}",
        "Backbone": manifest["backbone"]["name"],
        "Images": f"{counts.good} good and {counts.defect} defective, judged at {width} x {height} pixels",
        "Calibrated on": f"{len(bundle.calibration)} good images that the fit did not see",
        "Threshold": f"{answer.threshold:.4g}, raw units of the detector",
    }
    rows = [f'<tr><th scope="row">{key}</th><td>{escape(str(value))}</td></tr>' for key, value in shown.items()]
    return '<table class="facts">\n' + "\n".join(rows) + "\n</table>"


def _decisions(answer: EvaluationResult) -> str:
    kind = "kept" if answer.promise_kept else "broken"
    sentences = [escapes_sentence(answer), review_sentence(answer), marked_sentence(answer)]
    more = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in sentences if sentence)
    return _section("Decisions", f'<p class="{kind}">{escape(answer.promise_note or "")}</p>\n{more}')


def _figures(answer: EvaluationResult) -> str:
    rows = [(each.name, each.value, each.interval, each.unit, each.meaning) for each in figures(answer)]
    return _table(("figure", "value", "90 % interval", "unit", "meaning"), rows, numbers={1, 2})


def _by_defect(answer: EvaluationResult) -> str:
    columns = ("kind", "images", "found", "missed", "image AUROC", "90 % interval")
    rows = [
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
    return _table(columns, rows, numbers={1, 2, 3, 4, 5})


def _plots(answer: EvaluationResult, images: Sequence[Scored]) -> str:
    thresholds = {"threshold": answer.threshold}
    if answer.review is not None:
        thresholds["review from"] = answer.review.threshold
    by_type = _by_type(images)
    bad = np.array([each.score for each in images if each.image.anomalous], np.float64)
    good = np.array([each.score for each in images if not each.image.anomalous], np.float64)
    return (
        "<p>Images to the right of the threshold are called anomalous.</p>\n"
        f'<div class="wide">{score_plot(by_type, GOOD, thresholds)}</div>\n'
        "<h3>What other thresholds would do</h3>\n" + roc_plot(good, bad, answer.threshold)
    )


def _by_type(images: Sequence[Scored]) -> dict[str, npt.NDArray[np.float64]]:
    types = [GOOD if not each.image.anomalous else each.image.defect for each in images]
    order = [GOOD, *sorted(set(types) - {GOOD})]
    scores = np.array([each.score for each in images], np.float64)
    return {name: scores[[kind == name for kind in types]] for name in order}


def _gallery(title: str, bundle: Bundle, answer: EvaluationResult, chosen: Sequence[Scored]) -> str:
    cards = "\n".join(_card(bundle, answer, exhibit) for exhibit in exhibits(bundle, chosen))
    note = "Left the picture, with the defect outlined where a mask tells it; right the same picture under its heatmap."
    return _section(title, f'<p>{note}</p>\n<div class="gallery">\n{cards}\n</div>')


def _card(bundle: Bundle, answer: EvaluationResult, exhibit: Exhibit) -> str:
    image, value = exhibit.scored.image, exhibit.scored.score
    name, path, kind = escape(image.path.name), escape(str(image.path)), escape(image.defect)
    p_value = float(p_values([value], bundle.calibration)[0])
    return (
        f'<figure><div><img src="{exhibit.picture}" alt="{name}"><img src="{exhibit.heatmap}" alt="Heatmap of {name}">'
        f'</div><figcaption><strong title="{path}">{name}</strong> ({kind}): {_verdict(answer, exhibit.scored)}<br>'
        f"score {value:.4g}, p-value {p_value:.3g}</figcaption></figure>"
    )


def _verdict(answer: EvaluationResult, scored: Scored) -> str:
    if scored.score > answer.threshold:
        return "found" if scored.image.anomalous else "false alarm"
    if answer.review is not None and scored.score > answer.review.threshold:
        return "to review"
    return "missed" if scored.image.anomalous else "rightly passed"


def _left_out(answer: EvaluationResult) -> str:
    lines = "".join(f"<li>{escape(item.path)}: {escape(item.error)}</li>\n" for item in answer.errors)
    return _section("Left out", f"<ul>\n{lines}</ul>") if lines else ""


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: set[int]) -> str:
    def cells(kind: str, values: Sequence[object]) -> str:
        marks = [' class="number"' if index in numbers else "" for index in range(len(values))]
        return "".join(f"<{kind}{m}>{escape(str(value))}</{kind}>" for m, value in zip(marks, values, strict=True))

    head = f"<thead><tr>{cells('th', columns)}</tr></thead>"
    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table></div>'


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
