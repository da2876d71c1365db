from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from app_page import open_page, press, run, text
from PIL import Image
from streamlit.testing.v1 import AppTest
from trial_rows import made_row

import automl_ad
from automl_ad.reporting.comparison import Comparison
from parts.candidates import in_one_line, offered, proposal
from parts.pictures import colour_bar, verdict


@pytest.fixture
def page(searched: automl_ad.Study, in_workspace: Callable[[Path], None]) -> AppTest:
    in_workspace(searched.folder.workspace)
    return open_page("compare", study="parts", trials="0,1")


def test_each_picture_is_shown_with_every_candidate(page: AppTest, searched: automl_ad.Study) -> None:
    # A colour bar, then an image and two heatmaps an image, and what was drawn on each anomaly.
    rows = Comparison(searched, [0, 1]).ordered("disagreement")[:12]
    drawn = sum(row.kind == "anomaly" for row in rows)
    assert len(page.image) == 1 + 12 * 3 + drawn
    first = rows[0]
    assert f"score {first.scores[0]:.4g} · p {first.p[0]:.3f}" in text(page)


def test_pages_turn_and_begin_anew_when_the_order_changes(page: AppTest, searched: automl_ad.Study) -> None:
    total = len(Comparison(searched, [0, 1]).pictures)
    assert f"Images 1 to 12 of {total}" in text(page)
    assert f"Images 13 to 24 of {total}" in text(press(page, "Next"))
    page.selectbox(key="compare_order").select("worst miss")
    assert "Images 1 to 12 of " in text(run(page))
    page.session_state["compare_size"] = 24
    assert "Images 1 to 24 of " in text(run(page))


def test_a_family_and_a_severity_can_be_chosen(page: AppTest) -> None:
    page.selectbox(key="compare_family").select("texture")
    page.selectbox(key="compare_severity").select(0.7)
    shown = text(run(page))
    assert "texture" in shown
    assert "cutpaste" not in shown
    assert "severity 0.85" not in shown


def test_false_alarms_are_good_parts(page: AppTest) -> None:
    page.selectbox(key="compare_order").select("worst false alarm")
    assert "severity" not in text(run(page))
    assert "good part" in text(page)


def test_a_picture_is_enlarged_in_a_dialog(page: AppTest) -> None:
    before = len(page.image)
    press(page, "Enlarge")
    assert len(page.image) >= before + 3


def test_without_a_choice_candidates_are_proposed_and_kept_in_the_address(
    searched: automl_ad.Study, in_workspace: Callable[[Path], None]
) -> None:
    in_workspace(searched.folder.workspace)
    page = open_page("compare", study="parts")
    chosen = page.multiselect(key="chosen_candidates").value
    assert searched.answer().winner.trial in chosen
    assert page.query_params["trials"] == ",".join(map(str, chosen))


def test_one_candidate_is_shown_with_a_hint(searched: automl_ad.Study, in_workspace: Callable[[Path], None]) -> None:
    in_workspace(searched.folder.workspace)
    page = open_page("compare", study="parts", trials="1")
    assert "Only one candidate is chosen" in text(page)
    assert page.image


def test_maps_that_are_gone_are_told_of_where_they_would_be(
    searched: automl_ad.Study, in_workspace: Callable[[Path], None], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(searched.folder.workspace, copy)
    (copy / "studies" / "parts" / "trials" / "1" / "maps.npz").unlink()
    in_workspace(copy)
    page = open_page("compare", study="parts", trials="0,1")
    assert "maps.npz is missing" in text(page)
    assert page.image


def test_the_proposal_is_leader_default_and_another_method() -> None:
    rows = [
        made_row(4, winner=True, method="dfr"),
        made_row(5, method="dfr"),
        made_row(0),
        made_row(7, method="patchcore"),
        made_row(8, None, state="failed"),
    ]
    assert proposal(rows) == [4, 0, 7]
    assert proposal([made_row(3), made_row(0, winner=True), made_row(2)]) == [0, 3, 2]
    assert proposal([made_row(0)]) == [0]
    assert proposal([made_row(1, None, state="running")]) == []


def test_far_down_only_marked_or_asked_for_candidates_are_offered() -> None:
    rows = [made_row(number) for number in range(1, 300)] + [made_row(0)]
    assert {0, 250} < set(offered(rows, [250]))
    assert 260 not in offered(rows, [250])
    assert in_one_line(rows[-1]) == "0: padim on embedded, proxy score 0.900, 10.0 ms (baseline)"


def test_a_decision_has_a_word_for_each_kind_of_picture() -> None:
    assert {(kind, odd): verdict(kind, odd) for kind in ("normal", "anomaly") for odd in (True, False)} == {
        ("normal", True): "rejected: false alarm",
        ("normal", False): "passes",
        ("anomaly", True): "rejected",
        ("anomaly", False): "escapes",
    }


def test_the_colour_bar_goes_from_clear_to_hot() -> None:
    bar = np.asarray(Image.open(io.BytesIO(colour_bar()))).astype(int)
    assert bar[0, 0].tolist() == [190, 190, 190]
    assert np.abs(bar[0, -1] - bar[0, 0]).max() > 50
