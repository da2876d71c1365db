from __future__ import annotations

import pytest
from app_page import charts, open_page, press, run, text
from streamlit.testing.v1 import AppTest

import automl_ad
from automl_ad.reporting.operating_points import OperatingPoints, Share
from parts.guarantees import on_grid, rounded_up, share_in_words, wishes


@pytest.fixture
def page(study: automl_ad.Study) -> AppTest:
    return open_page("decide", study="parts", trial="1")


def test_the_slider_speaks_of_overkill_and_escapes(page: AppTest, study: automl_ad.Study) -> None:
    points = OperatingPoints(study, 1)
    low, high = points.range
    page.slider[0].set_value(low)
    n, m = len(points.normals), int((points.anomalies <= low).sum())
    shown = text(run(page))
    k = int((points.normals > low).sum())
    assert f"{k} of {n} good parts would be rejected: overkill {100 * k / n:.1f} %" in shown
    assert f"{m} of {len(points.anomalies)} synthetic anomalies would escape" in shown
    page.slider[0].set_value(high)
    assert f"At this threshold 0 of {n} good parts would be rejected" in text(run(page))
    assert len(charts(page)) == 2


def test_a_promise_moves_the_threshold_and_those_out_of_reach_say_so(page: AppTest, study: automl_ad.Study) -> None:
    points = OperatingPoints(study, 1)
    buttons = {button.label: button for button in page.button}
    assert buttons["at most 1 %"].disabled  # far fewer than 99 good parts
    assert "Good parts of the proxy suite that a guarantee takes: 99 for at most 1 %, " in text(page)
    page.slider[0].set_value(points.range[1])
    run(page)
    smallest = next(label for label in buttons if label.endswith("(smallest)"))
    press(page, smallest)
    assert page.slider[0].value >= points.threshold_for(points.smallest_overkill).value
    assert page.slider[0].value < points.range[1]


def test_the_evidence_is_told_in_the_librarys_words(page: AppTest, study: automl_ad.Study) -> None:
    answer, shown = study.answer(), text(page)
    for sentence in [*answer.why, *answer.unknown]:
        assert sentence in shown
    tied = page.dataframe[0].value["trial"].tolist()
    assert sorted(tied) == sorted(answer.tied)


def test_a_pick_is_kept_with_its_note_and_can_be_undone(page: AppTest, study: automl_ad.Study) -> None:
    assert "No candidate is picked" in text(page)
    page.text_input[0].set_value("marks *exactly* the <b>scratch</b>")
    press(page, "Pick trial 1")
    assert study.picks()[-1].number == 1
    assert "Trial **1** is picked" in text(page)
    assert any(button.label == "Export trial 1" for button in page.button)
    assert "marks *exactly* the <b>scratch</b>" in text(page)
    assert "\\*exactly\\*" in "\n".join(part.value for part in page.markdown)  # shown as it is, not as Markdown
    press(page, "Undo the pick")
    assert study.picks()[-1].number is None
    assert "No candidate is picked" in text(page)
    history = page.table[-1].value
    assert history["choice"].tolist() == ["taken back", "trial 1"]


def test_while_the_search_has_no_answer_the_page_says_so(study: automl_ad.Study) -> None:
    study.repository.set_answer("parts", None)
    page = open_page("decide", study="parts")
    assert "The search has not ended" in text(page)
    assert "Tied set" not in text(page)
    assert page.slider


def test_files_that_are_gone_leave_the_rest_of_the_page(study: automl_ad.Study) -> None:
    (study.folder.trial(1) / "scores.npz").unlink()
    page = open_page("decide", study="parts", trial="1")
    assert "scores.npz is missing" in text(page)
    assert "Your choice" in text(page)


def test_an_address_that_names_no_trial_falls_back_to_the_proposal(study: automl_ad.Study) -> None:
    winner = study.answer().winner.trial
    for asked in ("99", "../../x", "-1", "²"):
        assert open_page("decide", study="parts", trial=asked).selectbox[0].value == winner


def test_promises_depend_on_the_number_of_good_parts() -> None:
    many = wishes(1 / 100)  # 99 good parts
    assert [(wish.label, wish.supported) for wish in many] == [
        ("at most 1 %", True),
        ("at most 2 %", True),
        ("at most 5 %", True),
    ]
    few = wishes(1 / 41)  # 40 good parts: 2.44 %
    assert [(wish.label, wish.supported) for wish in few] == [
        ("at most 1 %", False),
        ("at most 2 %", False),
        ("at most 2.5 % (smallest)", True),
        ("at most 5 %", True),
    ]
    assert few[1].why == "It takes 49 good parts of the proxy suite to guarantee this; there are 40."


def test_the_grid_of_the_slider_never_lowers_a_threshold() -> None:
    assert on_grid(0.301, 0.0, 1.0, 0.1) == pytest.approx(0.4)
    assert on_grid(0.5, 0.0, 1.0, 0.1) >= 0.5
    assert on_grid(2.0, 0.0, 1.0, 0.1) == 1.0
    assert rounded_up(1 / 61) == 0.017
    assert rounded_up(0.05) == 0.05


def test_shares_are_told_with_their_interval() -> None:
    assert share_in_words(Share(3, 60, (0.0138, 0.1248))) == "5.0 % (90 % interval 1.4 to 12.5 %)"
