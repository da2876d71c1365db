"""Images side by side: what is seen, what was drawn, and what each candidate marks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import streamlit as st
from PIL import Image

from automl_ad.bundle.runtime import overlay
from automl_ad.errors import AutomlAdError
from automl_ad.formatting import percent
from parts.wording import plain

if TYPE_CHECKING:
    from automl_ad.reporting.comparison import Comparison, PictureRow

Layer = Literal["image", "mask"] | int


@dataclass(frozen=True)
class Shown:
    """A candidate whose heatmaps are shown.

    Attributes:
        number: Of its trial.
        title: What stands above its column.
        threshold: Scores above it are rejected, at the guarantee chosen.
    """

    number: int
    title: str
    threshold: float


@cache
def colour_bar() -> bytes:
    """The colours of heatmaps from cold to hot, as PNG."""
    level = np.repeat(np.arange(256, dtype=np.uint8)[None, :], 14, axis=0)
    grey = np.full((14, 256, 3), 190, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(overlay(grey, level)).resize((512, 14)).save(buffer, "PNG")
    return buffer.getvalue()


def colour_legend() -> None:
    """Says what the colours of heatmaps mean."""
    bar, words = st.columns([1, 3], vertical_alignment="center")
    bar.image(colour_bar(), width="stretch", alt="Colours from clear, by way of the middle, to the hottest")
    words.caption(
        "Clear: usual for this candidate's good parts (the middle of their map values). Half way: the highest they "
        "reach (99.9 %). End: as far again above that. So a colour means the same for every candidate."
    )


def verdict(kind: str, rejected: bool) -> str:
    """What a decision means for a good part or an anomaly."""
    if kind == "normal":
        return "rejected: false alarm" if rejected else "passes"
    return "rejected" if rejected else "escapes"


def picture_rows(comparison: Comparison, rows: Sequence[PictureRow], candidates: Sequence[Shown]) -> None:
    """One line an image: the image, the mask, and each candidate's heatmap with score, p and verdict."""
    widths = [1.6, *[2] * (2 + len(candidates))]
    for place, title in zip(
        st.columns(widths), ["", "Image", "What was drawn", *(c.title for c in candidates)], strict=True
    ):
        place.markdown(f"**{plain(title)}**" if title else "")
    for row in rows:
        places = st.columns(widths)
        with places[0]:
            _about(comparison, row, candidates)
        with places[1]:
            layer(comparison, row, "image")
        with places[2]:
            layer(comparison, row, "mask")
        for place, candidate in zip(places[3:], candidates, strict=True):
            with place:
                layer(comparison, row, candidate.number)
                st.caption(judgement(row, candidate))


def judgement(row: PictureRow, candidate: Shown) -> str:
    """Score, p and verdict of one candidate on one image, as Markdown."""
    score = row.scores[candidate.number]
    words = verdict(row.kind, score > candidate.threshold)
    strong = f"**{words}**" if words in ("escapes", "rejected: false alarm") else words
    return f"{candidate.number}: {strong}  \nscore {score:.4g} · p {row.p[candidate.number]:.3f}"


def described(row: PictureRow) -> str:
    """An image as text."""
    if row.kind == "normal":
        return f"good part {row.index}"
    return f"anomaly {row.index}: {row.family}, severity {row.severity:g}"


def layer(comparison: Comparison, row: PictureRow, what: Layer, side: int | None = 224) -> None:
    """One image, or why it cannot be shown."""
    if what == "mask" and row.kind == "normal":
        st.caption("nothing: a good part")
        return
    try:
        content = comparison.thumbnail(row, what, side)
    except AutomlAdError as error:
        st.caption(plain(error))
        return
    name = what if isinstance(what, str) else f"heatmap of trial {what}"
    st.image(content, width="stretch", alt=f"{name} of {described(row)}")


def _about(comparison: Comparison, row: PictureRow, candidates: Sequence[Shown]) -> None:
    if row.kind == "normal":
        st.markdown(f"good part {row.index}")
    else:
        st.markdown(f"{plain(row.family)}  \nseverity {row.severity:g}")
        st.caption(f"{percent(row.mask_share)} of the pixels, on good part {row.base}")
    if st.button("Enlarge", key=f"enlarge_{row.kind}_{row.index}", icon=":material/zoom_in:", type="tertiary"):
        enlarged(comparison, row, candidates)


@st.dialog("Image", width="large")
def enlarged(comparison: Comparison, row: PictureRow, candidates: Sequence[Shown]) -> None:
    """An image at its working size, with everything beside it."""
    st.markdown(f"**{plain(described(row))}**")
    places: dict[Layer, str] = {"image": "Image", "mask": "What was drawn"}
    places.update({candidate.number: candidate.title for candidate in candidates})
    columns = st.columns(2)
    for place, (what, title) in enumerate(places.items()):
        with columns[place % 2]:
            st.markdown(plain(title))
            layer(comparison, row, what, None)
            chosen = next((c for c in candidates if c.number == what), None)
            if chosen is not None:
                st.caption(judgement(row, chosen))
