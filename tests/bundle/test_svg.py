from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from automl_ad.bundle.svg import Axis, across, curve, dot, drawing, histogram, segment, text, upright


def parsed(*parts: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing(100, 80, "Title", "Said", parts))


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+", text)]


def test_values_become_pixels_in_both_directions_and_stay_on_the_axis() -> None:
    right, up = Axis(10, 20, 50, 150, ""), Axis(0, 4, 80, 0, "")
    assert [right.at(value) for value in (10, 12, 20, 5, 99)] == [50, 70, 150, 50, 150]
    assert [up.at(value) for value in (0, 1, 4)] == [80, 60, 0]


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0, 100, 5, [0, 20, 40, 60, 80, 100]),
        (0, 0.3, 3, [0, 0.1, 0.2, 0.3]),
        (-7, 12, 4, [-5, 0, 5, 10]),
        (19.2, 21.1, 4, [19.5, 20, 20.5, 21]),
        (2e6, 9e6, 3, [5e6]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, about: int, expected: list[float]) -> None:
    assert Axis(low, high, 0, 1, "").ticks(about) == pytest.approx(expected)


@pytest.mark.parametrize("high", [1.0, 0.0, float("nan")])
def test_an_axis_without_extent_is_refused(high: float) -> None:
    with pytest.raises(ValueError, match="must span values"):
        Axis(1.0, high, 0, 1, "")


def test_a_drawing_is_announced_and_needs_no_address() -> None:
    text = drawing(100, 80, 'A "title"', "1 < 2", [])
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'A "title". 1 < 2'
    assert root.get("viewBox") == "0 0 100 80"
    assert "://" not in text


def test_axes_number_their_ticks_and_name_their_unit() -> None:
    root = parsed(across(Axis(0, 100, 10, 90, "share (%)"), 60), upright(Axis(0, 4, 60, 10, "images"), 10))
    texts = {each.text: (float(each.get("x", "")), float(each.get("y", ""))) for each in root.iter("text")}
    assert texts.keys() >= {"0", "20", "100", "share (%)", "1", "4", "images"}
    assert texts["20"][0] == 26
    assert texts["4"][1] == 14  # the middle of the digits is at the tick
    assert texts["share (%)"][0] == 50
    turned = next(each for each in root.iter("text") if each.text == "images")
    assert turned.get("transform", "").startswith("rotate(-90 ")


def test_a_curve_goes_through_its_points() -> None:
    line = next(parsed(curve(Axis(0, 1, 0, 100, ""), Axis(0, 1, 80, 0, ""), [(0, 0), (0.5, 1)])).iter("polyline"))
    assert numbers(line.get("points", "")) == [0, 80, 50, 0]
    assert line.get("fill") == "none"


def test_bars_are_as_high_as_their_counts_and_stand_on_the_axis() -> None:
    x, y = Axis(0, 4, 0, 80, ""), Axis(0, 10, 60, 10, "")
    bars = list(parsed(histogram(x, y, [0, 1, 2, 4], [10, 0, 4])).iter("rect"))
    places = [[float(bar.get(name, "")) for name in ("x", "y", "width", "height")] for bar in bars]
    assert places == [[0, 10, 19, 50], [40, 40, 39, 20]]
    assert bars[1].findtext("title") == "4 from 2 to 4"


def test_a_bar_too_narrow_for_a_gap_is_still_there() -> None:
    bar = next(parsed(histogram(Axis(0, 100, 0, 50, ""), Axis(0, 1, 10, 0, ""), [0, 1], [1])).iter("rect"))
    assert float(bar.get("width", "")) == 0.25


def test_markers_and_lines_lie_at_their_coordinates() -> None:
    root = parsed(dot(12.5, 7), segment((1, 2), (3.25, 4), dashes="5 4"))
    circle, line = next(root.iter("circle")), next(root.iter("line"))
    assert (circle.get("cx"), circle.get("cy")) == ("12.5", "7")
    assert [line.get(name) for name in ("x1", "y1", "x2", "y2")] == ["1", "2", "3.25", "4"]
    assert line.get("stroke-dasharray") == "5 4"


def test_text_is_never_markup() -> None:
    name = "<script>alert('&\")</script>"
    (element,) = parsed(text(1, 2, name, "end", full=name)).iter("text")
    assert element.findtext("title") == name
    assert "".join(element.itertext()) == 2 * name
    assert element.get("text-anchor") == "end"
