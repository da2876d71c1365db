"""The proxy suite as images: a block for each family, a column for each severity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import streamlit as st

from automl_ad.evaluation.coverage import Cell, Coverage
from automl_ad.formatting import percent
from automl_ad.reporting.comparison import Comparison, Layer, PictureRow
from automl_ad.reporting.messages import merged_severities_messages
from automl_ad.results import CoverageResult
from parts.wording import counted, plain

_FEW, _THUMBNAIL = 2, 140
_MET = 0.005
"""Image AUROC by which a severity may be missed without a word."""
_KINDS = {
    "texture": "foreign texture laid over a blob",
    "cutpaste": "a piece of the part, moved to where it does not belong",
    "poisson": "a piece of another part, blended in without an edge",
    "photometric": "a region brighter, darker, blurred or discoloured",
    "scratch": "fine lines or a crack",
    "speck": "tiny specks or pinholes",
    "missing": "a chip that the background fills, or a patch worn smooth",
    "warp": "a spot bent, swollen or twisted",
    "sdas": "drawn by a diffusion model that learned from the good images",
}


def show_suite(comparison: Comparison) -> None:
    """Draws the suite with what the reader asks to see of it."""
    families = comparison.suite.families
    anomalies = len(comparison.suite.cells)
    st.markdown(
        f"Every trial is scored on these {counted(anomalies, 'synthetic anomaly')} and "
        f"{counted(comparison.suite.normals, 'normal')} that no candidate learned from. Severity says how well a small "
        "panel of reference detectors tells them from normals: 0.7 is hard to see, 0.95 easy."
    )
    _not_covered(comparison.suite.coverage)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = st.selectbox("Family", ("all", *families), key="suite_family", width=260) or "all"
        outlined = st.toggle("Outline what was drawn", value=True, key="suite_outlined")
    layer: Layer = "mask" if outlined else "image"
    for family in families if shown == "all" else (shown,):
        _family(comparison, family, layer, _FEW if shown == "all" else None)
    if shown == "all":
        st.subheader("Normal images", anchor=False)
        normals = [row for row in comparison.pictures if row.kind == "normal"][: 3 * _FEW]
        _pictures(comparison, normals, "image")


def _not_covered(coverage: Coverage | None) -> None:
    """Families that were asked for and are not below, each with its reason, and severities that stand for others."""
    if coverage is None:
        return
    sentences = [
        *coverage.left_out.values(),
        *merged_severities_messages(CoverageResult.model_validate(coverage.facts)),
    ]
    if sentences:
        st.info("\n".join(f"- {plain(sentence)}" for sentence in sentences))


def _family(comparison: Comparison, family: str, layer: Layer, most: int | None) -> None:
    st.subheader(plain(family), anchor=False)
    if family in _KINDS:
        st.caption(_KINDS[family])
    cells: dict[float, list[PictureRow]] = defaultdict(list)
    for row in comparison.ordered("suite", family=family):
        if row.severity is not None:
            cells[row.severity].append(row)
    coverage = comparison.suite.coverage
    drawn = coverage.cells.get(family, {}) if coverage else {}
    for column, severity in zip(st.columns(max(len(cells), 1)), sorted(cells), strict=True):
        with column:
            st.markdown(f"Severity {severity:g} · {counted(len(cells[severity]), 'image')}{_reached(drawn, severity)}")
            _pictures(comparison, cells[severity][:most], layer)


def _reached(drawn: Mapping[float, Cell], severity: float) -> str:
    """What the panel makes of a severity that could not be met."""
    cell = drawn.get(severity)
    return "" if cell is None or abs(cell.auroc - severity) < _MET else f" · panel's AUROC {cell.auroc:.2f}"


def _pictures(comparison: Comparison, rows: list[PictureRow], layer: Layer) -> None:
    contents = [comparison.thumbnail(row, layer) for row in rows]
    st.image(contents, caption=[_caption(row) for row in rows], alt=[_alt(row) for row in rows], width=_THUMBNAIL)


def _caption(row: PictureRow) -> str:
    return f"{percent(row.mask_share)} of the area" if row.kind == "anomaly" else f"normal {row.index}"


def _alt(row: PictureRow) -> str:
    if row.kind == "normal":
        return f"Normal {row.index} of the proxy suite"
    return f"Synthetic anomaly {row.index}, family {row.family}, severity {row.severity:g}"
