from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from automl_ad.jobs import JobBoard
from automl_ad.study.settings import SEARCH_OPTIONS
from parts import blocks

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Searches that were asked for; none is run."""
    asked: list[dict[str, Any]] = []

    def start(self: JobBoard, study: str, settings: Any) -> str:
        asked.append({"study": study, "settings": settings})
        return "20260101-000000-abcdef"

    monkeypatch.setattr(JobBoard, "_start_search", start)
    return asked


def _app(**parameters: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    return app.run()


def _press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def _text(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption])


def _study(app: AppTest) -> str:
    given = app.query_params["study"]
    return given if isinstance(given, str) else given[0]


def test_an_empty_workspace_says_what_to_do(workspace: Path) -> None:
    app = _app()
    assert [head.value for head in app.subheader] == ["Choose a detector for your line"]
    assert {button.label for button in app.button} == {"Start a search", "Draw demo parts and try it"}
    assert not workspace.exists()


def test_the_demo_draws_parts_and_fills_the_form_in(workspace: Path, started: list[dict[str, Any]]) -> None:
    app = _press(_app(), "Draw demo parts and try it")
    assert not app.exception
    assert app.text_input(key="new_folder").value == str(workspace / "demo_parts")
    assert app.text_input(key="new_name").value == "demo"
    assert (workspace / "demo_parts" / "train" / "good").is_dir()
    assert "2 minutes and 12 trials at most, whatever the preset says" in _text(app)
    _press(app, "Start the search")
    assert started[0]["study"] == "demo"
    assert started[0]["settings"].backbones == ("tf_efficientnet_lite0", "embedded")
    assert (started[0]["settings"].trials, started[0]["settings"].time_budget) == (12, 120)


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("new_folder", "", "The folder of good images is missing"),
        ("new_folder", "/no/such/place", "The folder of good images /no/such/place is not there"),
        ("new_time_budget", "soon", "Time budget 'soon' is not a usable duration"),
        ("new_name", "a/b", "holds a character that folders cannot have"),
        ("new_backbones", ",", None),
    ],
)
def test_errors_are_one_sentence_beside_the_form(
    workspace: Path, parts: Path, started: list[dict[str, Any]], field: str, typed: str, said: str | None
) -> None:
    app = _press(_app(), "Start a search")
    app.text_input(key="new_folder").set_value(str(parts))
    app.text_input(key=field).set_value(typed)
    app = _press(app, "Start the search")
    assert not app.exception
    if said is None:
        assert started
        return
    assert not started
    assert len(app.error) == 1
    assert said in app.error[0].value.replace("\\", "").replace("\u2060", "")
    assert app.text_input(key="new_folder").value == (typed if field == "new_folder" else str(parts))


def test_the_form_shows_the_options_as_the_settings_model_describes_them(workspace: Path) -> None:
    app = _press(_app(), "Start a search")
    kinds = ("text_input", "number_input", "selectbox", "multiselect")
    widgets = {widget.key: widget for kind in kinds for widget in getattr(app, kind)}
    shown = {name: widgets[f"new_{name}"] for name in SEARCH_OPTIONS if f"new_{name}" in widgets}
    assert set(shown) == {
        *("name", "preset", "time_budget", "device", "methods", "trials", "max_latency_ms"),
        *("backbones", "seed", "max_size_mb", "weights_dir"),
    }
    for name, widget in shown.items():
        assert (widget.label, widget.help) == (SEARCH_OPTIONS[name].label, SEARCH_OPTIONS[name].help)
    assert (shown["trials"].min, shown["seed"].min, shown["seed"].value) == (1, 0, 0)
    assert shown["max_size_mb"].min == pytest.approx(0.1)


def test_a_started_search_opens_its_study(
    workspace: Path, parts: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _press(_app(), "Start a search")
    app.text_input(key="new_folder").set_value(str(parts))
    app.selectbox(key="new_preset").set_value("balanced")
    app.multiselect(key="new_methods").set_value(["padim"])
    app.number_input(key="new_max_latency_ms").set_value(40.0)
    app = _press(app, "Start the search")
    settings = started[0]["settings"]
    assert (settings.preset, settings.methods, settings.max_latency_ms) == ("balanced", ("padim",), 40.0)
    assert started[0]["study"] == parts.name
    assert _study(app) == parts.name


def test_studies_are_listed_and_open(finished: Path) -> None:
    app = _app()
    assert not app.exception
    assert "6 trials" in _text(app)
    assert "Winner: trial" in _text(app)
    opened = _press(app, "Open")
    assert _study(opened) == "parts"


def test_a_finished_study_can_be_searched_on(finished: Path, started: list[dict[str, Any]]) -> None:
    app = _app()
    app.text_input(key="budget_parts").set_value("3m")
    app.number_input(key="trials_parts").set_value(9)
    app = _press(app, "Search on now")
    assert not app.exception
    assert started[0]["study"] == "parts"
    assert (started[0]["settings"].time_budget, started[0]["settings"].trials) == (180, 9)


def test_a_page_begins_anew_after_one_that_drew_itself_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(blocks, "time", SimpleNamespace(sleep=slept.append))
    app = _app(study="parts")
    app.switch_page("views/trials.py").run()
    assert not slept  # nothing ran there
    app.session_state["page_polls"] = True
    app.switch_page("views/data.py").run()
    assert not app.exception
    assert len(slept) == 1
    assert app.title[0].value == "Data"


def test_an_unknown_study_is_one_sentence(finished: Path) -> None:
    app = _app(study="nobody")
    app.switch_page("views/data.py").run()
    assert not app.exception
    assert "there is no study called" in app.error[0].value.lower()


def test_names_from_outside_are_not_read_as_markup(workspace: Path) -> None:
    app = _app(study=":red[x] $y$ <img src=x onerror=alert(1)>")
    assert "`:red[x] $y$ <img src=x onerror=alert(1)>`" in app.sidebar.caption[0].value
