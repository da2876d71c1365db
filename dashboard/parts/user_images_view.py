"""What candidates made of the user's own images: maps side by side, and the order that real defects give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from automl_ad.formatting import NONE, interval, percent
from parts.chart import listed
from parts.pictures import colour_legend, verdict
from parts.wording import candidate, plain

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

ORDERS = ("as given", "most anomalous first", "least anomalous first")


def in_order(pictures: Sequence[Mapping[str, Any]], order: str) -> list[Mapping[str, Any]]:
    """Images by how anomalous the candidates find them; those without a score come last."""
    if order == ORDERS[0]:
        return list(pictures)
    known = [picture for picture in pictures if _odds(picture)]
    by_odds = sorted(known, key=lambda picture: min(_odds(picture)), reverse=order == ORDERS[2])
    return by_odds + [picture for picture in pictures if not _odds(picture)]


def show_tried(folder: Path, result: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> None:
    """One line an image: the image itself, then each candidate's heatmap with score, p and verdict.

    Args:
        folder: Of the job, which the files lie below.
        result: Of `automl_ad.reporting.user_image_trials.try_images`.
        pictures: Those of the result that are shown.
    """
    trials = result["trials"]
    colour_legend()
    for words, numbers in _said(trials).items():
        st.caption(f"Trial {listed(numbers)}: {plain(words)}")
    widths = [1.6, *[2] * (1 + len(trials))]
    titles = ["", "Image", *(f"{trial['number']}: {_name(trial)}" for trial in trials)]
    for place, title in zip(st.columns(widths), titles, strict=True):
        place.markdown(f"**{plain(title)}**" if title else "")
    for picture in pictures:
        _line(folder, picture, trials, widths)


def reranked(result: Mapping[str, Any], rows: Sequence[TrialRow]) -> pd.DataFrame:
    """The order by real defects beside the search's.

    Args:
        result: Of the job, with defects among its images.
        rows: Of the study, ranked.
    """
    known, figures = {row.number: row for row in rows}, result["real"]["trials"]
    places = {row.number: place for place, row in enumerate(sorted_by_search(rows, figures), 1)}
    return pd.DataFrame(
        {
            "trial": [row["number"] for row in figures],
            "candidate": [_named(known, row["number"]) for row in figures],
            "expected": [f"{row['posterior']:.3f} ± {row['sd']:.3f}" for row in figures],
            "image AUROC": [row["auroc"] for row in figures],
            "90 % interval": [interval(row["interval"]) for row in figures],
            "escapes": [_of(row["escapes"]) for row in figures],
            "overkill": [_of(row["overkill"]) for row in figures],
            "by the search": [places.get(row["number"]) for row in figures],
        },
        index=pd.RangeIndex(1, len(figures) + 1, name="by real defects"),
    )


def sorted_by_search(rows: Sequence[TrialRow], figures: Sequence[Mapping[str, Any]]) -> list[TrialRow]:
    """The re-ranked trials in the search's order."""
    numbers = {row["number"] for row in figures}
    return [row for row in rows if row.number in numbers]


def _said(trials: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """What each trial guarantees, or why it could not be tried, and of which trials that is true."""
    said: dict[str, list[int]] = {}
    for trial in trials:
        words = trial["promise"] if trial["error"] is None else f"could not be tried: {trial['error']}"
        said.setdefault(words, []).append(trial["number"])
    return said


def _line(
    folder: Path, picture: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], widths: Sequence[float]
) -> None:
    places = st.columns(widths)
    with places[0]:
        st.markdown(plain(Path(picture["name"]).name))
        st.caption(plain(" ".join(filter(None, (picture["label"], picture["defect"])))))
    if picture["error"]:
        places[1].caption(plain(picture["error"]))
        return
    with places[1]:
        _picture(folder, picture["image"], f"your image {picture['name']}")
    for place, trial in zip(places[2:], trials, strict=True):
        heard = picture["trials"].get(str(trial["number"]))
        with place:
            _heat(folder, picture, heard, trial["number"])


def _heat(folder: Path, picture: Mapping[str, Any], heard: Mapping[str, Any] | None, number: int) -> None:
    if heard is None or heard["error"]:
        st.caption(plain(heard["error"]) if heard else NONE)
        return
    _picture(folder, heard["heat"], f"heatmap of trial {number} on {picture['name']}")
    kind = {"good": "normal", "defect": "anomaly"}.get(picture["label"])
    words = verdict(kind, heard["anomalous"]) if kind else ("rejected" if heard["anomalous"] else "passes")
    st.caption(f"{number}: {words}  \nscore {heard['score']:.4g} · p {heard['p']:.3f}")


def _picture(folder: Path, name: str, alt: str) -> None:
    """A file of the job; never one that lies elsewhere, and no fault of the page when it is gone."""
    path = (folder / name).resolve()
    try:
        content = path.read_bytes() if path.is_relative_to(folder.resolve()) else None
    except OSError:
        content = None
    if content is None:
        st.caption("This image is gone: try again.")
    else:
        st.image(content, width="stretch", alt=alt)


def _odds(picture: Mapping[str, Any]) -> list[float]:
    return [heard["p"] for heard in picture["trials"].values() if heard["p"] is not None]


def _name(trial: Mapping[str, Any]) -> str:
    return candidate(trial["method"], trial["backbone"])


def _named(known: Mapping[int, TrialRow], number: int) -> str:
    row = known.get(number)
    return candidate(row.method, row.backbone) if row else NONE


def _of(share: Mapping[str, Any] | None) -> str:
    if share is None:
        return NONE
    low, high = share["interval"]
    return f"{share['count']} of {share['of']} ({100 * low:.0f} to {percent(high, 0)})"
