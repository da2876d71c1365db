from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from app_page import charts, open_page, press, run, text
from streamlit.testing.v1 import AppTest
from trial_rows import made_row

import automl_ad
from parts import trial_selection
from parts.filters import TrialFilter
from parts.trial_frame import ended_frame, marks, ranked_frame


@pytest.fixture
def page(searched: automl_ad.Study, in_workspace: Callable[[Path], None]) -> AppTest:
    in_workspace(searched.folder.workspace)
    return open_page("trials", study="parts")


def choose(page: AppTest, *rows: int) -> AppTest:
    """Selects rows as clicks do: by the callback of the table."""
    order = page.session_state["table_order"]
    page.session_state["selected_trials"] = [order[row] for row in rows]
    return run(page)


def test_the_table_is_ranked_as_the_library_ranks(page: AppTest, searched: automl_ad.Study) -> None:
    frame = page.dataframe[0].value
    assert frame["trial"].tolist() == [trial.number for trial in searched.trials()]
    assert frame["rank"].tolist() == list(range(1, len(frame) + 1))
    winner = searched.answer().winner.trial
    assert "winner" in frame.set_index("trial").loc[winner, "marks"]
    assert "8 trials of 8" in text(page)


def test_filters_leave_what_they_name(page: AppTest, searched: automl_ad.Study) -> None:
    page.multiselect(key="filter_methods").select("dfr")
    run(page)
    assert set(page.dataframe[0].value["method"]) == {"dfr"}
    page.number_input(key="filter_latency").set_value(0.0)
    run(page)
    assert "0 trials of 8" in text(page)
    assert not page.exception


def test_a_selected_trial_is_shown_in_detail(page: AppTest, searched: automl_ad.Study) -> None:
    choose(page, 1)
    number = searched.trials()[1].number
    shown = text(page)
    assert f"Trial {number}: " in shown
    assert "Mean of image and localisation AUROC by family and severity" in shown
    figures = page.table[0].value["value"]
    assert figures["proxy score"].replace("\\", "").startswith(f"{searched.trials()[1].proxy_score:.3f} (90 %")
    assert len(charts(page)) == 1


def test_an_average_names_the_trials_that_it_is_of(page: AppTest, searched: automl_ad.Study) -> None:
    order = [trial.method for trial in searched.trials()]
    choose(page, order.index("average"))
    ensemble = searched.trials()[order.index("average")]
    first = ensemble.params["members"][0]
    settings = page.table[1].value["value"]
    assert settings["members"].startswith(f"`trials {first['trial']} ({first['method']} on embedded)")
    assert not page.exception


def test_only_the_open_tab_is_computed(page: AppTest) -> None:
    assert not charts(page)
    for name in ("History", "Pareto front", "Tied set", "Parameters", "Workers"):
        page.session_state["trials_tab"] = name
        assert charts(run(page)), name
        assert not page.dataframe
    page.session_state["trials_tab"] = "Ended early"
    assert "No trial failed and none was pruned" in text(run(page))


def test_four_trials_can_be_compared_and_five_not(page: AppTest) -> None:
    choose(page, 0, 1, 2, 3, 4)
    assert next(button for button in page.button if button.label == "Compare these").disabled
    order = page.session_state["table_order"]
    choose(page, 0, 2)
    press(page, "Compare these")
    assert page.title[0].value == "Compare"
    assert page.query_params["trials"] == f"{order[0]},{order[2]}"


def _details() -> None:
    from trial_rows import made_row

    from parts.trial_details import trial_details

    cells = {"cells": {"texture/0.7": 0.9}, "located": {"texture/0.7": 0.8}}
    trial_details(made_row(3, **cells))
    trial_details(made_row(4, **cells, advantage=0.09))


def test_what_was_taken_off_a_proxy_score_is_said_once_and_where_it_was() -> None:
    page = run(AppTest.from_function(_details))
    assert not page.exception
    assert sum("9.0 points are subtracted" in caption.value for caption in page.caption) == 1


def test_clearing_takes_the_details_away(page: AppTest) -> None:
    press(choose(page, 0), "Clear")
    assert "Selected" not in text(page)
    assert page.session_state[trial_selection.TABLE]["selection"]["rows"] == []


def test_the_selection_stays_with_its_trials_when_the_order_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, object] = {}
    monkeypatch.setattr(trial_selection.st, "session_state", state)
    trial_selection.follow_order([5, 3, 8])
    state[trial_selection.TABLE] = {"selection": {"rows": [1, 2]}}
    trial_selection.take_rows()
    assert trial_selection.selected() == [3, 8]
    trial_selection.follow_order([9, 8, 5, 3])  # a new best trial came in
    assert state[trial_selection.TABLE] == {"selection": {"rows": [3, 1]}}
    trial_selection.follow_order([9, 5, 3])  # a filter hides one of them
    state[trial_selection.TABLE] = {"selection": {"rows": [0, 2]}}
    trial_selection.take_rows()
    assert trial_selection.selected() == [3, 8, 9]


def test_a_filter_with_a_limit_leaves_out_what_is_not_known() -> None:
    rows = [made_row(0), made_row(1, latency_ms=None), made_row(2, latency_ms=30.0), made_row(3, method="dfr")]
    assert [row.number for row in TrialFilter(latency_ms=20).of(rows)] == [0, 3]
    assert [row.number for row in TrialFilter(methods=["dfr"], states=["complete"]).of(rows)] == [3]
    assert TrialFilter().of(rows) == rows


def test_the_tables_hold_marks_reasons_and_numbers() -> None:
    rows = [made_row(0, tied=True, rank=1), made_row(2, None, state="failed", reason="Out of\nmemory.", total_s=1.5)]
    assert marks(rows[0]) == "baseline, tied"
    frame = ranked_frame(rows)
    assert frame["marks"].tolist() == ["baseline, tied", "failed"]
    assert frame["rank"].isna().tolist() == [False, True]
    ended = ended_frame(rows)
    assert ended[["trial", "after", "reason"]].to_numpy().tolist() == [[2, 1.5, "Out of memory."]]


def test_without_a_study_the_page_says_where_to_go(workspace: Path) -> None:
    assert "No study is open" in text(open_page("trials"))
