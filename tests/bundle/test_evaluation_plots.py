from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.bundle.evaluation_plots import BINS, roc_plot, roc_points, score_plot
from automl_ad.bundle.svg import BLUE, VERMILION
from automl_ad.evaluation.metrics import image_auroc

Floats = npt.NDArray[np.float64]


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter("text")]


def test_the_curve_by_hand() -> None:
    points = roc_points(np.array([1.0, 2.0, 2.0, 4.0]), np.array([2.0, 5.0]))
    assert points == [(0, 0), (0, 0.5), (0.25, 0.5), (0.75, 1), (1, 1)]


def test_the_area_below_the_curve_is_the_auroc() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.integers(0, 9, 30).astype(float), rng.integers(3, 12, 20).astype(float)
    x, y = np.array(roc_points(good, bad)).T
    area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
    assert area == pytest.approx(image_auroc(np.concatenate([good, bad]), np.repeat([0, 1], [30, 20])))


def test_the_operating_point_lies_on_the_curve() -> None:
    good, bad = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5, 5.0, 6.0])
    root = ElementTree.fromstring(roc_plot(good, bad, 3.5))
    point = next(root.iter("circle"))
    place = (float(point.get("cx", "")), float(point.get("cy", "")))
    assert place == pytest.approx((62 + 0.25 * 320, 340 - 2 / 3 * 320), abs=0.01)
    curve = next(root.iter("polyline")).get("points", "")
    assert f"{place[0]:g},{point.get('cy')}" in curve.split()
    assert "false positive rate is 25 %" in root.get("aria-label", "")


def rows(root: ElementTree.Element) -> dict[str, int]:
    """Images drawn in each colour."""
    found = {BLUE: 0, VERMILION: 0}
    for bar in root.iter("rect"):
        found[bar.get("fill", "")] += int((bar.findtext("title") or "").split()[0])
    return found


def test_every_image_is_in_one_bar_and_every_type_has_a_row() -> None:
    scores = {"good": np.linspace(0, 3, 9), "dent": np.array([2.0, 7.0]), "scratch": np.array([4.0])}
    root = ElementTree.fromstring(score_plot(scores, "good", {"threshold": 3.5, "review from": 2.25}))
    assert rows(root) == {BLUE: 9, VERMILION: 3}
    assert {"9 images", "2 images", "1 image", "threshold 3.5", "review from 2.25"} <= set(texts(root))
    assert "gooddent" not in "".join(texts(root))
    assert not any("last bar" in text for text in texts(root))


def test_a_threshold_is_drawn_where_its_value_is() -> None:
    scores = {"good": np.array([0.0]), "dent": np.array([10.0])}
    root = ElementTree.fromstring(score_plot(scores, "good", {"threshold": 5.0}))
    ticks = {text.text: float(text.get("x", "")) for text in root.iter("text") if re.fullmatch(r"\d+", text.text or "")}
    line = max(root.iter("line"), key=lambda each: float(each.get("y2", "")) - float(each.get("y1", "")))
    assert float(line.get("x1", "")) == pytest.approx((ticks["4"] + ticks["6"]) / 2, abs=0.02)


def test_no_bar_lies_on_both_sides_of_the_threshold() -> None:
    rng = np.random.default_rng(1)
    scores = {"good": rng.normal(10, 2, 200), "dent": rng.normal(16, 3, 200)}
    root = ElementTree.fromstring(score_plot(scores, "good", {"threshold": 13.7, "review from": 12.1}))
    ends = [[float(end) for end in re.findall(r"[\d.]+", bar.findtext("title") or "")][1:] for bar in root.iter("rect")]
    assert all(right <= 13.7001 or left >= 13.6999 for left, right in ends)
    counts = [int((bar.findtext("title") or "").split()[0]) for bar in root.iter("rect")]
    right_of_it = sum(count for count, (left, _) in zip(counts, ends, strict=True) if left > 13.6)
    assert right_of_it == sum((values > 13.7).sum() for values in scores.values())


def test_huge_scores_share_the_last_bar() -> None:
    scores = {"good": np.linspace(0, 1, 40), "dent": np.array([1e6, 2e9])}
    root = ElementTree.fromstring(score_plot(scores, "good", {"threshold": 1.0}))
    assert rows(root) == {BLUE: 40, VERMILION: 2}
    assert any("the last bar holds all higher ones" in text for text in texts(root))
    blue = [bar for bar in root.iter("rect") if bar.get("fill") == BLUE]
    assert len(blue) >= BINS // 6


@pytest.mark.parametrize("value", [0.0, -3.0, 1e7])
def test_equal_scores_can_be_drawn(value: float) -> None:
    scores = {"good": np.array([value]), "dent": np.array([value])}
    root = ElementTree.fromstring(score_plot(scores, "good", {"threshold": value}))
    assert rows(root) == {BLUE: 1, VERMILION: 1}


def test_long_names_are_shortened_and_kept_whole_for_hovering() -> None:
    name = "a <b>very</b> long name of a defect"
    root = ElementTree.fromstring(score_plot({"good": np.ones(1), name: np.ones(1)}, "good", {"threshold": 1.0}))
    (shown,) = [text for text in root.iter("text") if text.findtext("title") == name]
    assert "".join(shown.itertext()).removeprefix(name) == "a <b>very</b> long na…"


@pytest.mark.parametrize("marks", [(3.0, 2.9), (9.0, 8.9), (9.0, 1.0), (5.2, 4.8)])
def test_no_line_crosses_the_label_of_another(marks: tuple[float, float]) -> None:
    scores = {"good": np.array([0.0]), "dent": np.array([10.0])}
    root = ElementTree.fromstring(score_plot(scores, "good", {"threshold": marks[0], "review from": marks[1]}))
    lines = [each for each in root.iter("line") if each.get("x1") == each.get("x2") and float(each.get("y1", "")) < 40]
    labels = [text for text in root.iter("text") if (text.text or "").startswith(("threshold", "review"))]
    assert len(lines) == len(labels) == 2
    for label in labels:
        x, y, way = float(label.get("x", "")), float(label.get("y", "")), -1 if label.get("text-anchor") == "end" else 1
        start, end = sorted((x, x + way * 120))
        assert not any(start < float(line.get("x1", "")) < end and float(line.get("y1", "")) < y for line in lines)
