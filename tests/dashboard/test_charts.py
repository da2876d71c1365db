from __future__ import annotations

import time
from typing import Any

import plotly.graph_objects as go
import pytest
from trial_rows import made_row

from automl_ad.methods.names import METHODS
from parts.chart import MANY, Chart, listed
from parts.importances import FEWEST, importances, varied
from parts.palette import method_colour, method_symbol
from parts.parameter_charts import importance_chart, parallel_coordinates
from parts.score_charts import IN_FAMILY, cell_heat, histogram
from parts.trial_charts import history, intervals, pareto, timeline


def traces(chart: Chart) -> dict[str, Any]:
    return {trace.name: trace for trace in chart.figure.data}


def test_every_method_has_a_colour_and_a_shape_of_its_own() -> None:
    assert len({method_colour(name) for name in METHODS}) == len(METHODS)
    assert len({method_symbol(name) for name in METHODS}) == len(METHODS)
    assert method_colour("something new") not in {method_colour(name) for name in METHODS}


def test_the_history_draws_each_method_and_the_best_so_far() -> None:
    rows = [made_row(2, 0.7), made_row(0, 0.8), made_row(1, 0.9, method="dfr"), made_row(3, None, state="failed")]
    drawn = traces(history(rows))
    assert list(drawn) == ["dfr", "padim", "best so far"]
    assert drawn["padim"].x == (0.0, 2.0)
    assert drawn["padim"].marker.color == method_colour("padim")
    assert (drawn["best so far"].x, drawn["best so far"].y) == ((0.0, 1.0, 2.0), (0.8, 0.9, 0.9))
    assert "trial 1, to 0.900" in history(rows).caption


def test_over_time_the_history_counts_minutes_from_the_first_start() -> None:
    drawn = traces(history([made_row(0, 0.8), made_row(4, 0.9)], "time"))
    assert drawn["padim"].x == pytest.approx((10 / 60, 70 / 60))


def test_marks_tell_their_trial_when_they_are_clicked() -> None:
    rows = [made_row(5, 0.8), made_row(7, 0.9)]
    for chart in (history(rows), pareto(rows, {5})):
        assert [list(mark) for mark in traces(chart)["padim"].customdata] == [[5], [7]]


def test_the_pareto_chart_rings_the_front_and_scales_marks_by_area() -> None:
    rows = [made_row(0, 0.8, size_mb=4.0), made_row(1, 0.9, latency_ms=20.0, size_mb=16.0), made_row(2, 0.7)]
    chart = pareto(rows, {0, 1})
    drawn = traces(chart)
    assert drawn["Pareto front"].x == (10.0, 20.0)
    small, large, _ = drawn["padim"].marker.size
    assert large == 26
    assert small == pytest.approx(7 + 19 / 2)  # a quarter of the size: half way from the smallest diameter
    assert "trials 0 and 1" in chart.caption
    assert "ms" in chart.figure.layout.xaxis.title.text
    assert "MB" in pareto(rows, {0}, "size_mb").figure.layout.xaxis.title.text


def test_intervals_mark_the_tied_set_and_always_show_the_default() -> None:
    rows = [made_row(number, 0.95 - number / 100, tied=number in (1, 2)) for number in (1, 2, 3, 4, 0)]
    chart = intervals(rows, most=3)
    drawn = traces(chart)
    assert drawn["tied set"].y == ("1: padim", "2: padim")
    assert drawn["not tied"].y == ("3: padim", "0: padim (default)")
    assert drawn["tied set"].error_x.array == pytest.approx((0.02, 0.02))
    assert "trials 1 and 2" in chart.caption


def test_the_timeline_has_a_line_a_worker_and_crosses_what_ended_early() -> None:
    rows = [made_row(0), made_row(1, worker="bench:2"), made_row(2, None, state="failed")]
    chart = timeline(rows)
    drawn = traces(chart)
    assert drawn["padim"].y == ("bench:1", "bench:1", None, "bench:2", "bench:2", None, "bench:1", "bench:1", None)
    assert drawn["ended early"].x == (rows[2].ended_at,)
    assert "3 trials on 2 workers, 0.5 minutes" in chart.caption


@pytest.mark.parametrize(
    "chart",
    [
        history([]),
        pareto([], set()),
        intervals([]),
        timeline([]),
        parallel_coordinates([], "padim"),
        cell_heat({}, "x"),
    ],
)
def test_without_numbers_there_is_a_sentence_instead_of_a_chart(chart: Chart) -> None:
    assert chart.empty
    assert chart.caption.endswith(".")


def test_thousands_of_trials_are_drawn_by_webgl_and_quickly() -> None:
    rows = [made_row(number, 0.5 + (number * 37 % 1000) / 2500) for number in range(5000)]
    start = time.perf_counter()
    charts = [history(rows), pareto(rows, {1, 2}), intervals(rows), timeline(rows)]
    assert time.perf_counter() - start < 5
    assert isinstance(traces(charts[0])["padim"], go.Scattergl)
    assert len(traces(charts[0])["best so far"].x) < 1001  # only where it rises
    assert isinstance(traces(history(rows[:MANY]))["padim"], go.Scatter)


def test_parallel_coordinates_show_what_varies_of_one_method() -> None:
    params = [{"side": 64, "levels": [1, 2], "ridge": 10.0**-place} for place in range(4)]
    params[3]["levels"] = [2, 3]
    rows = [made_row(place, 0.8 + place / 50, params=given) for place, given in enumerate(params)]
    rows.append(made_row(9, 0.9, method="dfr", params={"side": 128}))
    chart = parallel_coordinates(rows, "padim")
    levels, ridge, score = chart.figure.data[0].dimensions
    assert [levels.label, ridge.label, score.label] == ["levels", "ridge", "proxy score"]
    assert list(levels.ticktext) == ["[1, 2]", "[2, 3]"]
    assert list(levels.values) == [0, 0, 0, 1]
    assert list(ridge.values) == pytest.approx([0, -1, -2, -3])  # three orders of magnitude: on a log scale
    assert chart.caption.startswith("4 trials of padim")


def test_importances_find_the_parameter_that_decides() -> None:
    rows = [
        made_row(n, 0.6 + 0.3 * (n % 3 == 0), params={"good": n % 3 == 0, "idle": 1 + n * 7 % 11, "same": 5})
        for n in range(40)
    ]
    found = importances(rows)
    assert found is not None
    assert varied(rows) == ["good", "idle"]
    assert next(iter(found)) == "good"
    assert sum(found.values()) == pytest.approx(1)
    assert "good most" in importance_chart(found, "padim", 40).caption


def test_importances_need_trials_and_something_that_varies() -> None:
    few = [made_row(n, params={"a": n}) for n in range(FEWEST - 1)]
    assert importances(few) is None
    assert f"{FEWEST} are needed" in importance_chart(None, "padim", len(few)).caption
    assert importances([made_row(n, params={"a": 1}) for n in range(FEWEST)]) is None
    assert "no parameter varied" in importance_chart(None, "padim", FEWEST).caption


def test_the_histogram_says_where_the_threshold_lies() -> None:
    chart = histogram([0, 1, 2, 3], {"normal": [3, 2, 0], "anomaly": [0, 1, 4]}, 1.5)
    normal, anomaly = chart.figure.data
    assert (normal.x, normal.y, anomaly.y) == ((0.5, 1.5, 2.5), (3, 2, 0), (0, 1, 4))
    assert chart.figure.layout.shapes[0].x0 == 1.5
    assert "5 good parts and 5 synthetic anomalies" in chart.caption


def test_the_heat_table_marks_home_families_and_leaves_gaps() -> None:
    chart = cell_heat({"texture/0.7": 0.8, "texture/0.95": 1.0, "cutpaste/0.7": 0.9}, "Image AUROC", {"cutpaste"})
    heat = chart.figure.data[0]
    assert list(heat.y) == ["texture", f"cutpaste {IN_FAMILY}"]
    assert list(heat.x) == ["0.7", "0.95"]
    assert [list(row) for row in heat.z] == [[0.8, 1.0], [0.9, None]]
    assert "lowest 0.800 (texture at severity 0.7)" in chart.caption
    assert "cutpaste" in chart.caption


def test_lists_read_like_sentences() -> None:
    assert [listed([]), listed([1]), listed([1, 2]), listed([1, 2, 3])] == ["", "1", "1 and 2", "1, 2 and 3"]
