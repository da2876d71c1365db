from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

import pytest
from rich.console import Console

from automl_ad.reporting import tables
from automl_ad.reporting.progress_view import QUIET_S, LiveProgress, PlainProgress, progress_view
from automl_ad.results import (
    AssessmentResult,
    AuditResult,
    DemoResult,
    EvaluationResult,
    RerankResult,
    SearchResult,
    StudiesResult,
    SynthesisResult,
    TrialDetails,
    TrialResult,
    TrialsResult,
    WinnerResult,
)
from automl_ad.study.progress import Event


def text_of(parts: Iterable[tables.Part], width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    for part in parts:
        console.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))
    return console.file.getvalue()  # type: ignore[attr-defined]  # the file given above


def trial_facts(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "number": number,
        "state": "complete",
        "method": "padim",
        "backbone": "resnet18",
        "params": {"levels": [-3, -2], "ratio": 0.123456},
        "proxy_score": 0.91234,
        "interval": [0.88, 0.94],
        "families": {"texture": 0.95, "cutpaste": 0.8},
        "latency_ms": 12.34,
        "size_mb": 5.0,
        "peak_mb": 321.0,
        "fit_s": 4.2,
        "total_s": 75.0,
        "reason": None,
        "tied": False,
        "default": False,
        "picked": False,
    } | changes


def trial(number: int, **changes: Any) -> TrialResult:
    return TrialResult.model_validate(trial_facts(number, **changes))


def details(number: int, **changes: Any) -> TrialDetails:
    return TrialDetails.model_validate(trial_facts(number, **changes))


def winner(number: int, **changes: Any) -> WinnerResult:
    return WinnerResult.model_validate(trial_facts(number, **changes) | {"trial": number})


def answer_facts(**changes: Any) -> dict[str, Any]:
    return {
        "study": "bolts",
        "storage": "sqlite:///x.db",
        "images": 40,
        "trials": {"complete": 11, "pruned": 3, "failed": 1},
        "wall_s": 200.0,
        "proxy": {"suite": "abc", "families": ["texture", "cutpaste"]},
        "winner": winner(4),
        "tied": [4, 2, 7],
        "default_trial": 0,
        "default_kept": False,
        "warnings": ["few images"],
        "why": ["fastest of the tied set"],
        "unknown": ["how real defects look"],
        "next": ["automl-ad export bolts --output b.zip"],
        "ranking": [trial(4, winner=True), trial(2, tied=True), *(trial(number) for number in range(10, 20))],
    } | changes


def answer(**changes: Any) -> SearchResult:
    return SearchResult.model_validate(answer_facts(**changes))


def trials(*shown: TrialResult) -> TrialsResult:
    return TrialsResult(study="bolts", trials=shown)


def assessment(**facts: Any) -> AssessmentResult:
    return AssessmentResult.model_validate({"study": "bolts"} | facts)


METRICS = {"image_auroc": 0.98765, "image_ap": 0.9, "threshold": 2.0, "overkill": 0.1, "escapes": 0.0}


def evaluation(**facts: Any) -> EvaluationResult:
    return EvaluationResult.model_validate(METRICS | {"images": {"good": 10, "defect": 5}} | facts)


def row_of(text: str, first: str) -> str:
    rows = [line for line in text.splitlines() if line.strip().startswith(first)]
    assert len(rows) == 1
    return rows[0]


def test_the_end_of_a_search_says_everything_in_order() -> None:
    text = text_of(tables.search_report(answer()))
    expected = [
        "Study bolts: 11 trials finished, 3 pruned, 1 failed in 3 min 20 s.",
        "proxy score",
        "Winner: trial 4, padim on resnet18",
        "Proxy score 0.912 (90 % interval 0.880 to 0.940), 12.3 ms an image, 5.0 MB",
        "Tied set: trials 2, 7 may be better on real defects.",
        "fastest of the tied set",
        "how real defects look",
        "few images",
        "automl-ad export bolts --output b.zip",
    ]
    places = [text.index(words) for words in expected]
    assert places == sorted(places)
    assert "accuracy" not in text.lower()


def test_the_ranking_is_cut_after_ten_and_marked() -> None:
    text = text_of(tables.search_report(answer()))
    assert "winner" in row_of(text, "4 ")
    assert "tied" in row_of(text, "2  ")
    assert row_of(text, "17 ")
    assert not any(line.strip().startswith("18 ") for line in text.splitlines())
    assert "2 more are shown by: automl-ad trials bolts" in text


def test_a_winner_alone_has_no_tied_set_and_a_short_table_no_rest() -> None:
    text = text_of(tables.search_report(answer(tied=[4], ranking=[trial(4, size_mb=0.0432)])))
    assert "Tied set" not in text
    assert "more are shown" not in text
    assert "0.043" in row_of(text, "4 ")


def test_trials_that_did_not_finish_show_their_reason() -> None:
    failed = trial(3, state="failed", reason="out of memory", proxy_score=None, interval=None, latency_ms=math.nan)
    row = row_of(text_of(tables.trials_report(trials(failed))), "3 ")
    assert "failed: out of memory" in row
    assert row.split()[3:7] == [tables.NONE, tables.NONE, tables.NONE, "5.0"]


def test_numbers_are_not_broken_on_a_narrow_terminal() -> None:
    wide = trial(4, method="patchcore", backbone="wide_resnet50_2+filters", tied=True, default=True, winner=True)
    row = row_of(text_of(tables.trials_report(trials(wide)), width=80), "4 ")
    for words in ("patchcore", "0.912", "0.880 to 0.940", "12.3", "5.0"):
        assert words in row


def test_a_study_without_trials_and_a_workspace_without_studies() -> None:
    assert "no trials yet" in text_of(tables.trials_report(trials()))
    assert "automl-ad search" in text_of(tables.studies_report(StudiesResult(studies=())))


def test_studies_are_listed_with_their_counts() -> None:
    study = {"study": "bolts", "created_at": "2026-11-20T17:18:23+00:00", "images": "/data/bolts", "state": "finished"}
    counted = study | {"trials": {"complete": 5, "pruned": 0, "failed": 2}}
    text = text_of(tables.studies_report(StudiesResult.model_validate({"studies": [counted]})))
    assert "5 complete, 2 failed" in row_of(text, "bolts")
    assert "2026-11-20 17:18 " in text
    assert "pruned" not in text


def test_one_trial_is_shown_whole() -> None:
    more: dict[str, Any] = {"cells": {"texture/0.3": 0.75}, "located": {"texture/0.3": 0.5}}
    more |= {"timings": {"fit_s": 4.2, "total_s": 75.0}, "artifacts": ["a/maps.npz"]}
    more |= {"rule": "top-1%", "rules": {"max": 0.8}}
    text = text_of(tables.trial_report(details(4, **more)))
    for words in ("ratio   0.1235", "texture/0.3  0.750  0.500", "4.2 s", "a/maps.npz", "max  0.800", "321 MB"):
        assert words in text
    assert "1 min 15 s" in text
    assert "Score aggregation: top-1%" in text
    assert "Image AUROC by score aggregation" in text
    assert "are subtracted" not in text


def test_what_was_taken_off_a_proxy_score_is_said() -> None:
    text = text_of(tables.trial_report(details(4, advantage=0.09)))
    assert "9.0 points are subtracted from the proxy score" in text
    said = text_of(tables.search_report(answer(winner=winner(4, advantage=0.045))))
    assert "4.5 points are subtracted from the proxy score" in said
    assert "are subtracted" not in text_of(tables.search_report(answer()))


def test_metrics_without_masks_leave_gaps() -> None:
    report: dict[str, Any] = {"image_auroc": 0.98765, "image_ap": 0.9, "pixel_auroc": None}
    report |= {"image_auroc_interval": [0.9, 1.0], "errors": [{"path": "x.png", "error": "empty"}]}
    scratch = {"image_auroc": 0.5, "image_auroc_interval": [0.25, 0.75], "n": 3, "found": 2, "escapes": 1}
    report |= {"overkill": 0.1, "escapes": 0.0, "escapes_interval": [0.0, 0.4507], "by_defect": {"scratch": scratch}}
    text = text_of(tables.metrics_report(evaluation(**report)))
    assert "10 good and 5 defective images" in text
    assert row_of(text, "image AUROC ").split()[2:6] == ["0.9877", "0.900", "to", "1.000"]
    assert row_of(text, "pixel AUROC").split()[2:4] == [tables.NONE, tables.NONE]
    assert row_of(text, "overkill").split()[1:4] == ["10", "%", tables.NONE]
    assert "0 % to 45.1 %" in row_of(text, "escapes")
    assert row_of(text, "scratch").split() == ["scratch", "3", "2", "1", "0.500", "0.250", "to", "0.750"]
    assert "x.png: empty" in text
    for words in ("mask IoU", "marked", "review", "Report"):
        assert words not in text


def test_metrics_state_the_guarantees_and_where_the_report_lies() -> None:
    report: dict[str, Any] = {"promise_note": "1 of 10 [is] compatible."}
    counts = {"good": {"reject": 1, "review": 2, "pass": 7}, "defect": {"reject": 3, "review": 1, "pass": 1}}
    report |= {"review": {"threshold": 2.5, "promised": 0.35} | counts, "report": "out [1]/evaluation.html"}
    report |= {"mask_threshold": 0.5, "mask_iou": 0.51234, "mask_iou_interval": [0.4, 0.6]}
    report |= {"marked_good": 0.0125, "marked_promised": 0.01}
    text = text_of(tables.metrics_report(evaluation(**report)))
    assert row_of(text, "mask IoU").split()[2:6] == ["0.5123", "0.400", "to", "0.600"]
    assert "1.25 %" in row_of(text, "marked on good")
    expected = [
        "1 of 10 [is] compatible.",
        "2 good and 1 defective images score between the thresholds and go to review; 1 defective ones pass.",
        "30 % of the good images are rejected or reviewed; the guarantee is at most 35 %.",
        "1.25 % of the pixels are marked on average; the guarantee is at most 1 %.",
        "Report written: out [1]/evaluation.html",
    ]
    places = [text.index(words) for words in expected]
    assert places == sorted(places)


def test_the_demo_shows_the_search_and_what_real_defects_say() -> None:
    picture = {"path": "parts/a.png", "anomalous": True, "p_value": 0.024, "heatmap": "heatmaps/a_heatmap.png"}
    report = answer_facts(dataset="demo/parts", bundle="demo/bundle")
    report["evaluation"] = evaluation(images={"good": 12, "defect": 16}, image_auroc=0.77)
    report["prediction"] = {"bundle": "demo/bundle", "threshold": 2.0, "results": [picture]}
    text = text_of(tables.demo_report(DemoResult.model_validate(report)))
    for words in ("Winner: trial 4", "12 good and 16 defective", "0.7700", "demo/parts", "demo/bundle"):
        assert words in text
    assert "One defective image, parts/a.png: anomalous, p-value 0.024." in text
    assert "heatmaps/a_heatmap.png" in text


def test_an_assessment_marks_the_selected_and_the_best() -> None:
    assessed = [
        {"number": n, "method": "dfr", "params": {"k": n}, "proxy_score": 0.9, "image_auroc": 0.8 + n / 100}
        | {"image_auroc_interval": [0.7, 0.9]}
        for n in (1, 2)
    ]
    report: dict[str, Any] = {"trials": assessed, "selected": 1, "best_trial": 2, "spearman": 1.0, "kendall": math.nan}
    text = text_of(tables.assessment_report(assessment(**report, regret=1.0, labelled_floor=0.25)))
    assert "selected" in row_of(text, "1 ")
    assert "best" in row_of(text, "2 ")
    assert f"Spearman 1.00, Kendall {tables.NONE}." in text
    assert "of choosing with half of the labels  0.25" in text


DEFECTS_FACTS: dict[str, Any] = {
    "images": 3,
    "order": [4, 2],
    "leader": 4,
    "changed": True,
    "certainty": 0.8,
    "trials": [
        {"number": 4, "method": "dfr", "backbone": "embedded", "prior": 0.91, "mean_placement": 0.975}
        | {"posterior": 0.942, "sd": 0.021},
        {"number": 2, "method": "padim", "backbone": None, "prior": 0.93, "mean_placement": None}
        | {"posterior": 0.931, "sd": 0.04},
    ],
    "note": "Trial 4 leads with the real defects.",
    "next": ["automl-ad export bolts --trial 4 --output bolts_bundle"],
}
DEFECTS = RerankResult.model_validate(DEFECTS_FACTS)


def test_an_order_by_a_few_defects_stands_apart() -> None:
    text = text_of(tables.assessment_report(assessment(defects=DEFECTS)))
    assert "Re-ranked by 3 real defects, apart from the search" in text
    assert row_of(text, "4 ").split()[-4:] == ["0.910", "0.975", "0.942", "0.021"]
    assert tables.NONE in row_of(text, "2 ")
    assert DEFECTS_FACTS["note"] in text
    assert DEFECTS_FACTS["next"][0] in text
    assert "Spearman" not in text
    one = text_of(tables.assessment_report(assessment(defects=DEFECTS_FACTS | {"images": 1, "next": []})))
    assert "Re-ranked by 1 real defect," in one
    assert "To export" not in one


def test_a_search_shows_the_order_by_a_few_defects_last() -> None:
    text = text_of(tables.search_report(answer(defects=DEFECTS)))
    assert text.index("Winner: trial") < text.index("Re-ranked by 3 real defects")
    assert "Re-ranked" not in text_of(tables.search_report(answer()))


def test_the_leader_by_a_few_defects_is_judged_by_the_others() -> None:
    judged = {"leader": 4, "images": {"good": 8, "defect": 5}, "regret": 0.5, "selected_regret": None, "note": "Two."}
    text = text_of(tables.assessment_report(assessment(defects=DEFECTS, reranked=judged)))
    assert "Regret on the 8 good and 5 defective images that did not re-rank, in points" in text
    assert "of trial 4, which leads with the few defects  0.50" in text
    assert f"of the selected trial                         {tables.NONE}" in text
    assert "Two." in text


def test_a_synthesis_says_what_was_drawn_and_where_it_lies() -> None:
    files = {"image": "i.png", "mask": "m.png", "base": "b.png"}
    facts: dict[str, Any] = {"images": 24, "family": "texture", "strength": 0.25, "count": 2, "seed": 5}
    facts |= {"size": [64, 96], "output": "out [1]", "contact_sheet": "out [1]/contact_sheet.png", "sdas": None}
    facts |= {"warnings": ["few images"], "anomalies": [files | {"area": 0.051}, files | {"area": 0.002}]}
    text = text_of(tables.synthesis_report(SynthesisResult.model_validate(facts)))
    expected = [
        "2 anomalies of the family texture at strength 0.25",
        "24 good images at 96 x 64 pixels, seed 5",
        "0.2 % to 5.1 % of an image",
        "few images",
        "out [1]",
        "out [1]/contact_sheet.png",
    ]
    places = [text.index(words) for words in expected]
    assert places == sorted(places)


def test_an_audit_lists_what_is_odd() -> None:
    report: dict[str, Any] = {"images": 3, "sizes": {"64x64": 3}, "modes": {"RGB": 3}, "advice": ["buy more"]}
    report |= {"unreadable": [{"path": "x.png", "error": "empty"}], "duplicates": [["a.png", "b.png"]]}
    report["suspects"] = [{"path": "c.png", "score": 7.25}]
    group = {"name": "light-1f3c", "kind": "light", "images": 2, "share": 2 / 3, "members": ["a.png", "b.png"]}
    report["groups"] = [group | {"examples": ["a.png"], "sentence": "2 of 3 [dark]", "remedy": "light them"}]
    text = text_of(tables.audit_report(AuditResult.model_validate(report)))
    for words in (
        "3 readable",
        "64x64  3",
        "x.png: empty",
        "a.png, b.png",
        "c.png (7.2)",
        "light-1f3c",
        "67 %",
        "2 of 3 [dark]",
        "buy more",
    ):
        assert words in text


def test_an_audit_without_findings_says_what_next() -> None:
    text = text_of(tables.audit_report(AuditResult(images=3)))
    assert "automl-ad search" in text
    assert "Unreadable" not in text


def test_csv_rows_are_flat() -> None:
    row = tables.flat_row(trial(4, interval=[0.1, 0.2]).to_json())
    assert (row["interval_low"], row["interval_high"]) == (0.1, 0.2)
    assert row["families.texture"] == 0.95
    assert row["params"] == {"levels": [-3, -2], "ratio": 0.123456}
    assert tables.flat_row({"interval": None}) == {"interval_low": None, "interval_high": None}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def plain_lines(events: Iterable[tuple[float, Event]]) -> list[str]:
    console, clock = Console(file=io.StringIO(), width=40), Clock()
    with PlainProgress(console, clock) as view:
        for clock.now, event in events:
            view(event)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # the file given above


def step(done: int, total: int = 100, **more: Any) -> Event:
    return Event("search", "Trying candidates", done, total, **more)


def test_plain_progress_is_sparse_but_shows_every_stage_end_and_warning() -> None:
    seconds = [(0.0, Event("audit", "Reading [parts]")), *((float(n) / 2, step(n)) for n in range(1, 101))]
    lines = plain_lines([*seconds, (50.0, Event("warning", "hub [offline]"))])
    assert lines[0] == "Reading [parts]"
    assert lines[1] == "Trying candidates (1/100)"
    assert lines[-2] == "Trying candidates (100/100)"
    assert lines[-1] == "Warning: hub [offline]"
    assert len(lines) == 8  # audit, 1st, one each 10 s at 10.5, 20.5, 30.5 and 40.5 s, last, warning


def test_plain_progress_slows_down_in_long_searches() -> None:
    """With a step each 10 s, lines come each 10 s at first and each 50 s after 1000 s."""
    counts = [len(plain_lines((QUIET_S * n, step(n, 1000)) for n in range(1, last))) for last in (11, 101, 106)]
    assert counts[0] == 10
    assert counts[2] - counts[1] == 1


def test_a_line_names_time_left_and_leader() -> None:
    (line,) = plain_lines([(0, step(3, 20, elapsed_s=75, left_s=200, leader="padim on resnet18, 0.91"))])
    assert line == "1 min 15 s: Trying candidates (3/20, 3 min 20 s left, leader padim on resnet18, 0.91)"


class _GoneConsole(Console):
    def print(self, *arguments: Any, **options: Any) -> None:
        raise BrokenPipeError


def test_a_watcher_that_goes_away_does_not_end_the_search() -> None:
    with PlainProgress(_GoneConsole(file=io.StringIO())) as view:
        view(step(1))
        view(Event("warning", "still running"))


@pytest.mark.parametrize(("terminal", "kind"), [(True, LiveProgress), (False, PlainProgress)])
def test_the_view_suits_the_console(terminal: bool, kind: type) -> None:
    assert type(progress_view(Console(file=io.StringIO(), force_terminal=terminal))) is kind


def test_live_progress_shows_stage_counts_leader_and_keeps_warnings() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140, _environ={"TERM": "xterm"})
    with LiveProgress(console) as view:
        view(Event("warning", "hub offline"))
        view(step(3, 20, left_s=200, leader="padim [x]"))
        view._progress.refresh()
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # the file given above
    assert "Warning: hub offline" in shown
    assert "Trying candidates" in shown
    assert "3/20, 3 min 20 s left, leader padim [x]" in shown
