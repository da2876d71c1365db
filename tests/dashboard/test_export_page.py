from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import automl_ad
from automl_ad.errors import InputError
from automl_ad.jobs import JobBoard, JobState
from automl_ad.results import BundleResult
from automl_ad.study.progress import Event
from parts import bundle_view
from parts.bundle_view import bundle_name, reader

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[JobState]:
    """The exports that the board tells of; exports that are asked for join them as running."""
    known: list[JobState] = []

    def start(self: JobBoard, study: str, trial: int, precision: str) -> str:
        known.insert(0, _job(f"job-{trial}-{precision}", study))
        return known[0].id

    monkeypatch.setattr(JobBoard, "jobs", lambda self, study=None, kind=None: list(known) if kind == "export" else [])
    monkeypatch.setattr(JobBoard, "state", lambda self, job: next(state for state in known if state.id == job))
    monkeypatch.setattr(JobBoard, "start_export", start)
    return known


def _job(job: str, study: str = "parts", **changes: Any) -> JobState:
    now = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
    given: dict[str, Any] = {"kind": "export", "study": study, "state": "running", "event": None, "error": None}
    given |= {"result": None, "started_at": now, "ended_at": None, "log_tail": ""} | changes
    return JobState(id=job, **given)


def _app(**parameters: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    app.switch_page("views/export.py").run()
    assert not app.exception
    return app


def _text(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.error, *app.info])


def test_where_the_images_were_moved_is_asked_for_and_passed_on(
    study: automl_ad.Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []

    def start(self: JobBoard, study: str, trial: int, precision: str, **options: Any) -> str:
        asked.append(options)
        raise InputError("That is enough.")

    monkeypatch.setattr(JobBoard, "start_export", start)
    settings = study.settings.model_copy(update={"images": tmp_path / "gone"})
    study.repository.set_settings("parts", settings.model_dump(mode="json"))
    app = _app(study="parts")
    assert "gone" in app.warning[0].value
    field = next(item for item in app.text_input if item.label == "Folder of the good images")
    field.input(str(tmp_path / "nowhere")).run()
    _press(app, "Build the bundle")
    assert "nowhere is not there" in _text(app)
    (tmp_path / "new").mkdir()
    next(item for item in app.text_input if item.label == field.label).input(str(tmp_path / "new")).run()
    _press(app, "Build the bundle")
    assert asked == [{"images": tmp_path / "new"}]
    assert "That is enough" in _text(app)


def test_images_in_their_place_are_not_asked_for(study: automl_ad.Study) -> None:
    assert [item.label for item in _app(study="parts").text_input] == []


def _press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception


def test_without_a_study_the_page_says_where_to_go(workspace: Path) -> None:
    app = _app()
    assert [head.value for head in app.subheader] == ["No study is open"]


def test_a_bundle_is_built_of_the_trial_and_precision_chosen(finished: Path, jobs: list[JobState]) -> None:
    app = _app(study="parts")
    numbers = app.selectbox[0].options
    assert "winner" in numbers[app.selectbox[0].index]
    app.selectbox[0].select_index(len(numbers) - 1)
    app.radio[0].set_value("int8")
    app.button[0].click().run()
    assert jobs[0].id == f"job-{app.selectbox[0].value}-int8"
    assert any(button.label == "Stop the export" for button in app.button)


def test_the_picked_trial_comes_first_and_the_one_in_the_address_before_it(
    finished: Path, searched: automl_ad.Study, jobs: list[JobState]
) -> None:
    complete = [trial.number for trial in searched.trials() if trial.state == "complete"]
    automl_ad.Study.open("parts", finished).pick(complete[-1])
    assert _app(study="parts").selectbox[0].value == complete[-1]
    assert _app(study="parts", trial=str(complete[1])).selectbox[0].value == complete[1]
    assert _app(study="parts", trial="../../x").selectbox[0].value == complete[-1]


def test_progress_has_its_stage_and_its_time_left(finished: Path, jobs: list[JobState]) -> None:
    jobs.append(_job("one", event=Event("finish", "Fitting trial 2", 3, 6, elapsed_s=30, left_s=90)))
    app = _app(study="parts")
    assert app.get("progress")[0].proto.text.replace("\\", "") == "Fitting trial 2 · 3 of 6 · about 1 min 30 s left"
    assert app.get("progress")[0].proto.value == 50


def test_a_failed_export_says_why_in_one_sentence(finished: Path, jobs: list[JobState]) -> None:
    jobs.append(_job("one", state="failed", error="the images changed; search again", log_tail="Traceback"))
    app = _app(study="parts")
    assert [error.value.replace("\\", "") for error in app.error] == ["The images changed; search again."]


def test_a_stopped_export_is_no_error(finished: Path, jobs: list[JobState]) -> None:
    jobs.append(_job("one", state="stopped"))
    app = _app(study="parts")
    assert not app.error
    assert "Stopped" in app.info[0].value


def test_a_bundle_that_was_removed_is_told(finished: Path, jobs: list[JobState]) -> None:
    jobs.append(_job("one", state="done", result={"bundle": str(finished / "gone.zip"), "manifest": {}}))
    assert "was removed" in _text(_app(study="parts"))


def test_what_a_bundle_promises_is_shown_and_its_file_is_not_read_to_draw_the_page(
    finished: Path, jobs: list[JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = finished / "bundle.zip"
    file.write_bytes(b"x" * 2_000_000)
    facts = {
        "method": "padim",
        "backbone": "embedded",
        "precision": "fp16",
        "threshold": 17.8512,
        "overkill": 0.05,
        "promise": "At most 5 % of good parts are rejected.",
        "parity": {"images": 96, "relative": 2e-6, "decisions_changed": 0},
        "speed": {"latency_ms": 4.21, "size_mb": 1.5},
        "size_mb": 1.5,
    }
    monkeypatch.setattr(bundle_view, "describe", lambda path: BundleResult.model_validate(facts))
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or read_bytes(self))
    manifest = {"facts": {"trial": 3}, "precision": "fp16"}
    jobs.append(_job("one", state="done", result={"bundle": str(file), "manifest": manifest}))
    app = _app(study="parts")
    assert [metric.value for metric in app.metric] == [
        "padim on embedded",
        "4.2 ms",
        "1.5 MB",
        "2.0 MB",
        "at most 5.0 %",
    ]
    assert file not in read
    assert "no decision changed" in _text(app)
    assert any("python parts_trial3_fp16/predict.py PICTURES --json" in code.value for code in app.code)


def test_the_file_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"content")
    assert reader(tmp_path / "a.zip")() == b"content"


@pytest.mark.parametrize(
    ("study", "name"),
    [("flange", "flange_trial3_fp32"), ("Teil ä; rm -rf ~", "Teil_rm_-rf_trial3_fp32"), ("日本", "bundle_trial3_fp32")],
)
def test_names_of_bundles_suit_every_shell(study: str, name: str) -> None:
    assert bundle_name(study, 3, "fp32") == name
