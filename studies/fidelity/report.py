"""The judgement of selection rules for people: a Markdown page and two plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from automl_ad.store.plain_json import plain


def write_report(judged: Mapping[str, Any], command: str, folder: Path) -> Path:
    """Writes ``fidelity.json``, ``fidelity.md`` and the plots; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fidelity.json").write_text(json.dumps(plain(judged), indent=1))
    page = folder / "fidelity.md"
    page.write_text(markdown(judged, command))
    _plot_regrets(judged["rules"], folder / "regrets.png")
    return page


def markdown(judged: Mapping[str, Any], command: str) -> str:
    """The page."""
    parts = [
        "# How well the choice agrees with real defects",
        f"```\n{command}\n```",
        _PREFACE,
        _table(_RULE_HEADS, [_rule_cells(name, row) for name, row in judged["rules"].items()]),
        "## Studies",
        _table(_STUDY_HEADS, [_study_cells(row) for row in judged["studies"]]),
        _tied_words(judged["studies"]),
        "## Home advantage",
        _home_words(judged["home"]),
    ]
    return "\n\n".join(parts) + "\n"


_PREFACE = (
    "Regret: image AUROC of the best candidate of a study less that of the chosen one, in points. What a rule learns, "
    "it learns from the other sets. Means are over sets, seeds of a set first; intervals are 95 % bootstrap intervals "
    "over sets."
)
_RULE_HEADS = ["rule", "regret", "95 % interval", "worst set", "Spearman", "of the top third", "Kendall"]
_STUDY_HEADS = ["set", "seed", "candidates", "good", "defective", "best", "chosen"]
_STUDY_HEADS += ["default kept", "tied", "holds the best", "search, s"]


def _rule_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    low, high = row["regret"]["interval"]
    worst = row["worst"]
    rest = [_number(row.get(key, {}).get("mean"), 2) for key in ("spearman", "top_spearman", "kendall")]
    cells = [name, _number(row["regret"]["mean"], 1), f"{_number(low, 1)} to {_number(high, 1)}"]
    return [*cells, f"{_number(worst['regret'], 1)} ({worst['set']})", *rest]


def _study_cells(row: Mapping[str, Any]) -> list[str]:
    images = row["images"]
    cells = [row["set"], row["seed"], row["trials"], images["good"], images["defect"]]
    words = ["yes" if row[key] else "no" for key in ("default_kept", "tied_holds_best")]
    figures = [f"{row['best']:.3f}", f"{row['selected']:.3f}", words[0], row["tied"], words[1]]
    return [str(cell) for cell in [*cells, *figures, f"{row['seconds']['search']:.0f}"]]


def _tied_words(studies: Sequence[Mapping[str, Any]]) -> str:
    share = np.mean([row["tied_holds_best"] for row in studies])
    size = np.mean([row["tied"] for row in studies])
    held = f"The tied set holds a candidate within half a point of the best in {share:.0%} of the studies"
    return f"{held}; its mean size is {size:.1f}."


def _home_words(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "No candidate learned from synthetic anomalies."
    heads = ["method", "learned from", "points", "trials"]
    return _table(heads, [[r["method"], r["family"], f"{r['points']:+.1f}", str(r["trials"])] for r in rows])


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plot_regrets(rules: Mapping[str, Any], path: Path) -> None:
    """A row a rule, a dot a study, a bar the mean."""
    from PIL import Image, ImageDraw

    height, left, width = 22, 220, 900
    top = max(5.0, max(np.nanmax(row["regrets"]) for row in rules.values()))
    canvas = Image.new("RGB", (width, height * (len(rules) + 2)), "white")
    draw = ImageDraw.Draw(canvas)
    scale = (width - left - 20) / top
    for place, (name, row) in enumerate(rules.items()):
        y = height * place + height // 2
        draw.text((8, y - 6), name, "black")
        draw.line((left, y, width - 20, y), "#dddddd")
        for regret in row["regrets"]:
            if regret is not None and not math.isnan(regret):
                draw.ellipse((left + regret * scale - 3, y - 3, left + regret * scale + 3, y + 3), "#7fb2b8")
        mean = row["regret"]["mean"]
        if not math.isnan(mean):
            draw.line((left + mean * scale, y - 7, left + mean * scale, y + 7), "#1f6f78", 3)
    axis = height * len(rules) + 4
    for tick in range(0, int(top) + 1, 5):
        draw.text((left + tick * scale - 4, axis), str(tick), "black")
    draw.text((left, axis + 14), "regret of the choice, points", "black")
    canvas.save(path)
