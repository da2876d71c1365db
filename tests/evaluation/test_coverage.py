"""Which families a suite holds, and what becomes of those that do not suit a product."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.errors import StoreError
from automl_ad.evaluation.coverage import Cell, Coverage
from automl_ad.evaluation.severity import STRENGTHS, DetectabilityCurve

ASKED = (0.7, 0.85, 0.95)
ALL = DetectabilityCurve(STRENGTHS, (0.5, 0.6, 0.7, 0.8, 0.9, 1.0))
NOTHING = DetectabilityCurve((), ())


def curve(low: float, high: float) -> DetectabilityCurve:
    """A straight way from one image AUROC to another."""
    return DetectabilityCurve(STRENGTHS, tuple(low + (high - low) * step / 5 for step in range(6)))


def cells_of(found: DetectabilityCurve, asked: tuple[float, ...] = ASKED) -> dict[float, Cell]:
    return dict(Coverage.of({"texture": ALL, "odd": found}, asked).cells["odd"])


def test_within_reach_every_severity_has_its_cell() -> None:
    coverage = Coverage.of({"texture": ALL}, ASKED)
    assert list(coverage.cells["texture"]) == list(ASKED)
    for severity, cell in coverage.cells["texture"].items():
        assert cell == Cell(ALL.strength(severity), severity)
    assert coverage.strengths["texture"][0.7] == STRENGTHS[2]
    assert (coverage.left_out, coverage.out_of_reach, coverage.warnings) == ({}, {"texture": []}, [])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 0.93, {0.7: 0.7, 0.85: 0.85, 0.95: 0.93}),
        (0.5, 0.88, {0.7: 0.7, 0.85: 0.85}),
        (0.5, 0.8, {0.7: 0.7, 0.85: 0.8}),
        (0.5, 0.72, {0.7: 0.7}),
        (0.5, 0.65, {0.7: 0.65}),
        (0.8, 1.0, {0.85: 0.85, 0.95: 0.95}),
        (0.88, 1.0, {0.85: 0.88, 0.95: 0.95}),
        (0.88, 0.92, {0.85: 0.88, 0.95: 0.92}),
        (0.82, 0.84, {0.85: 0.84}),
        (0.96, 1.0, {0.95: 0.96}),
    ],
)
def test_a_severity_out_of_reach_falls_to_the_nearest_that_is_not(
    low: float, high: float, expected: dict[float, float]
) -> None:
    cells = cells_of(curve(low, high))
    assert {severity: cell.auroc for severity, cell in cells.items()} == pytest.approx(expected)


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_no_two_cells_are_one_and_the_same(low: float, high: float) -> None:
    cells = Coverage.of({"odd": curve(min(low, high), max(low, high))}, ASKED).cells["odd"]
    assert cells
    assert len({cell.strength for cell in cells.values()}) == len(cells)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (NOTHING, "most attempts to draw it on these images fail."),
        (
            curve(0.98, 1.0),
            "even at its lowest strength it is too easy .*0.98; 0.7 to 0.95 were requested",
        ),
    ],
)
def test_a_family_that_does_not_suit_the_product_is_left_out_and_says_why(
    found: DetectabilityCurve, words: str
) -> None:
    coverage = Coverage.of({"odd": found, "texture": ALL}, ASKED)
    assert list(coverage.cells) == ["texture"]
    (warning,) = coverage.warnings
    assert warning.startswith("The family odd was left out: ")
    assert re.search(words, warning)
    assert coverage.left_out == {"odd": warning}


def test_a_family_that_the_panel_can_hardly_tell_at_its_strongest_stays() -> None:
    """Candidates may see more than the panel does."""
    coverage = Coverage.of({"odd": curve(0.4, 0.55), "texture": ALL}, ASKED)
    assert coverage.cells["odd"] == {0.7: Cell(STRENGTHS[-1], pytest.approx(0.55))}
    assert list(coverage.out_of_reach["odd"]) == list(ASKED)
    assert (coverage.left_out, coverage.warnings) == ({}, [])


def test_a_trivial_family_is_left_out_though_the_others_are_faint_and_the_user_is_told_of_both() -> None:
    coverage = Coverage.of({"one": curve(0.4, 0.55), "two": curve(0.99, 1.0), "none": NOTHING}, ASKED)
    assert {name: list(cells) for name, cells in coverage.cells.items()} == {"one": [0.7]}
    assert list(coverage.left_out) == ["two", "none"]
    assert coverage.warnings[:-1] == list(coverage.left_out.values())
    assert coverage.warnings[-1].startswith("No family reaches the requested severities")


def test_where_all_that_can_be_drawn_is_trivial_it_stays_and_the_user_is_told() -> None:
    coverage = Coverage.of({"one": curve(0.98, 1.0), "two": curve(0.99, 1.0), "none": NOTHING}, ASKED)
    assert {name: list(cells) for name, cells in coverage.cells.items()} == {"one": [0.95], "two": [0.95]}
    assert coverage.cells["two"][0.95].strength == STRENGTHS[0]
    assert list(coverage.left_out) == ["none"]
    assert coverage.warnings[-1].startswith("No family reaches the requested severities")


def test_a_single_severity_is_drawn_as_near_as_can_be() -> None:
    assert cells_of(curve(0.4, 0.55), (0.8,)) == {0.8: Cell(1.0, pytest.approx(0.55))}


def test_when_nothing_can_be_drawn_there_is_no_cell() -> None:
    assert Coverage.of({"one": NOTHING}, ASKED).cells == {}


def test_another_family_can_be_missing_for_a_reason_of_its_own() -> None:
    coverage = Coverage.of({"texture": ALL}, ASKED).without("sdas", "The family sdas was left out: late.")
    assert coverage.warnings == ["The family sdas was left out: late."]
    assert coverage.facts["families"] == ["texture", "sdas"]


class TestRecord:
    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        coverage = Coverage.of({"texture": curve(0.5, 0.9), "cutpaste": ALL, "warp": NOTHING}, ASKED)
        coverage.save(tmp_path, "abc")
        assert Coverage.load(tmp_path, "abc") == coverage

    def test_there_is_none_or_it_is_of_other_images(self, tmp_path: Path) -> None:
        assert Coverage.load(tmp_path, "abc") is None
        Coverage.of({"texture": ALL}, ASKED).save(tmp_path, "abc")
        assert Coverage.load(tmp_path, "abd") is None

    def test_other_programs_can_read_it(self, tmp_path: Path) -> None:
        Coverage.of({"texture": curve(0.5, 0.72), "warp": NOTHING}, ASKED).save(tmp_path, "abc")
        content = json.loads((tmp_path / Coverage.file).read_text())
        assert content["families"] == ["texture", "warp"]
        assert content["drawn"]["texture"]["0.7"] == {"strength": pytest.approx(0.793, abs=0.001), "auroc": 0.7}
        assert content["out_of_reach"] == {"texture": [0.85, 0.95]}
        assert content["left_out"].keys() == {"warp"}

    @pytest.mark.parametrize("content", ["[]", "null", "{}", '{"source": "abc", "drawn": 3}'])
    def test_a_damaged_one_is_reported(self, tmp_path: Path, content: str) -> None:
        (tmp_path / Coverage.file).write_text(content)
        with pytest.raises(StoreError, match=r"coverage\.json is damaged; start the study under another --name\."):
            Coverage.load(tmp_path, "abc")
