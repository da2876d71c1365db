"""The judgement of selection rules for people: a Markdown page, and plots on an HTML page that opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from appearance import STATISTICS
from plots import write_plots

from automl_ad.formatting import interval, number
from automl_ad.store.plain_json import plain


def write_report(judged: Mapping[str, Any], command: str, folder: Path) -> Path:
    """Writes ``fidelity.json``, ``fidelity.md`` and, with the plots, ``fidelity.html``; returns the Markdown page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fidelity.json").write_text(json.dumps(plain(judged), indent=1))
    page = folder / "fidelity.md"
    page.write_text(markdown(judged, command))
    write_plots(judged, folder / "fidelity.html")
    return page


def markdown(judged: Mapping[str, Any], command: str) -> str:
    """The page."""
    parts = [
        "# How well the choice agrees with real defects",
        f"```\n{command}\n```",
        _PREFACE,
        _table(_RULE_HEADS, [_rule_cells(name, row) for name, row in judged["rules"].items()]),
        _table(["against", "regret saved", "95 % interval"], [_saved_cells(*pair) for pair in judged["saved"].items()]),
        "## Studies",
        _table(_STUDY_HEADS, [_study_cells(row) for row in judged["studies"]]),
        _tied_words(judged["studies"]),
        _cost_words(judged["studies"]),
        "## Probability of improvement",
        _CERTAINTY,
        _table(_CERTAINTY_HEADS, _certainty_rows(judged["certainties"])),
        "## Statistics of whole images",
        _APPEARANCE,
        _table(["set", *STATISTICS], _appearance_rows(judged["studies"])),
        "## What a lead in the hold-out check is worth",
        _LEADS,
        _table(_LEAD_HEADS, [_lead_cells(*pair) for pair in judged["leads"].items()]),
        "## Ensembles by shared members",
        _SHARED,
        _table(
            ["members", "share", "regret", "95 % interval"], [_shared_cells(row) for row in judged["shared_members"]]
        ),
        "## A few real defects",
        _table(["real defects", "sets", "regret before", "regret after"], _defect_rows(judged["defects"])),
        "## In-family bias",
        _bias_words(judged["in_family_bias"]),
        _AFTER,
        _table(_OVERRATED_HEADS, [_overrated_cells(row) for row in judged["after"]]),
    ]
    return "\n\n".join(parts) + "\n"


_PREFACE = (
    "Regret: image AUROC of the best candidate of a study less that of the chosen one, in points. What a rule learns, "
    "it learns from the other sets. Means are over sets, seeds of a set first; intervals are 95 % bootstrap intervals "
    "over sets."
)
_AFTER = (
    "Over the families that a trial did not learn from: how far above its real image AUROC its proxy score lies than "
    "those of trials that learned from none, in points, before and after the bias correction."
)
_OVERRATED_HEADS = ["method", "on", "before", "95 % interval", "after", "trials"]
_CERTAINTY = (
    "The probability that the winner is at least as good as another candidate on real defects, by lead models of the "
    "other sets, and how often it was."
)
_CERTAINTY_HEADS = ["the winner and", "probabilities", "mean probability", "at least as good", "pairs"]
_APPEARANCE = (
    "Image AUROC of the distance of a whole-image statistic from that of the good training images. Where it is "
    "high, defective parts look or were photographed otherwise as a whole, which no synthetic anomaly shows."
)
_LEADS = (
    "Of finalists, in points of image AUROC: gain over the baseline on real defects = `start` + `share` x lead in "
    "the hold-out check, with standard deviation `spread`. A lead above `break-even` has a positive expected gain; the "
    "last column is its range when one set is left out."
)
_LEAD_HEADS = ["kind", "start", "share", "spread", "break-even", "without one set"]
_SHARED = (
    "Image scores of the baseline and of the default settings of other methods or backbones, standardised and "
    "averaged; all combinations, none selected."
)
_RULE_HEADS = ["way to choose", "regret", "95 % interval", "worst set", "Spearman", "of the top third", "Kendall"]
_STUDY_HEADS = ["set", "seed", "candidates", "good", "defective", "best", "chosen", "method"]
_STUDY_HEADS += ["baseline kept", "probability of improvement", "tied", "holds the best", "search, s"]


def _rule_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    worst = row["worst"]
    rest = [number(row.get(key, {}).get("mean"), 2) for key in ("spearman", "top_spearman", "kendall")]
    cells = [name, number(row["regret"]["mean"], 1), interval(row["regret"]["interval"], 1)]
    return [*cells, f"{number(worst['regret'], 1)} ({worst['set']})", *rest]


def _saved_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    return [name, number(row["mean"], 1), interval(row["interval"], 1)]


def _lead_cells(kind: str, row: Mapping[str, float]) -> list[str]:
    points = [number(100 * row[key], 1) for key in ("start", "spread", "break_even")]
    apart = " to ".join(number(100 * value, 1) for value in row["without_one"])
    return [kind, points[0], number(row["share"], 2), *points[1:], apart]


def _shared_cells(row: Mapping[str, Any]) -> list[str]:
    return [str(row["size"]), row["members"], number(row["mean"], 1), interval(row["interval"], 1)]


def _study_cells(row: Mapping[str, Any]) -> list[str]:
    images = row["images"]
    cells = [row["set"], row["seed"], row["trials"], images["good"], images["defect"]]
    words = ["yes" if row[key] else "no" for key in ("default_kept", "tied_holds_best")]
    figures = [f"{row['best']:.3f}", f"{row['selected']:.3f}", row["method"], words[0], f"{row['certainty']:.2f}"]
    figures += [row["tied"], words[1]]
    return [str(cell) for cell in [*cells, *figures, f"{row['seconds']['search']:.0f}"]]


def _certainty_rows(found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[list[str]]:
    rows = [["its rival: the baseline or the next best", "", row] for row in found["rival"]]
    rows += [["every other finalist", f"{row['from']:.0%} to {row['to']:.0%}", row] for row in found["finalists"]]
    return [[name, edges, f"{row['said']:.0%}", f"{row['right']:.0%}", str(row["count"])] for name, edges, row in rows]


def _appearance_rows(studies: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One row a set: seeds see the same pictures."""
    of_set = {row["set"]: row["appearance"] for row in studies}
    return [[name, *(number(found[statistic], 2) for statistic in STATISTICS)] for name, found in of_set.items()]


def _tied_words(studies: Sequence[Mapping[str, Any]]) -> str:
    share = np.mean([row["tied_holds_best"] for row in studies])
    size = np.mean([row["tied"] for row in studies])
    held = f"The tied set holds a candidate within half a point of the best in {share:.0%} of the studies"
    finalists, labels = (np.mean([row[key] for row in studies]) for key in ("finalists_hold_best", "labels_hold_best"))
    return (
        f"{held}; its mean size is {size:.1f}. All finalists hold one in {finalists:.0%}; the five best by the labels "
        f"of half of the test images, judged on the other half, in {labels:.0%}."
    )


def _cost_words(studies: Sequence[Mapping[str, Any]]) -> str:
    shares = [row["suite_share"] for row in studies]
    return f"Drawing the suites takes {np.mean(shares):.0%} of the search on average, {max(shares):.0%} at most."


def _defect_rows(rows: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [[count, str(row["sets"]), number(row["before"], 2), number(row["after"], 2)] for count, row in rows.items()]


def _bias_words(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "No candidate learned from synthetic anomalies."
    heads = ["method", "learned from", "points", "trials"]
    return _table(heads, [[r["method"], r["family"], f"{r['points']:+.1f}", str(r["trials"])] for r in rows])


def _overrated_cells(row: Mapping[str, Any]) -> list[str]:
    points = [f"{row[when]['mean']:+.1f}" for when in ("before", "after")]
    return [row["method"], row["on"], points[0], interval(row["before"]["interval"], 1), points[1], str(row["trials"])]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
