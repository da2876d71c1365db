from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from automl_ad.errors import InputError
from parts import access
from parts.access import checked_folder

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
TOKEN = "s3cret-token"


@pytest.fixture
def for_others(workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A dashboard that others can reach, started in ``tmp_path / "started"``."""
    started = tmp_path / "started"
    started.mkdir()
    monkeypatch.setenv("AUTOML_AD_DASHBOARD_TOKEN", TOKEN)
    monkeypatch.setattr(access, "_STARTED_IN", started)
    return started


def _app(**parameters: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    return app.run()


def _headings(app: AppTest) -> list[str]:
    return [title.value for title in app.title]


def test_without_a_token_everybody_at_this_machine_gets_in(workspace: Path) -> None:
    assert _headings(_app()) == ["Studies"]


@pytest.mark.parametrize("given", [None, "", "wrong", "s3cret-tokem", "s3cret-token-and-more", "tökén"])
def test_nothing_is_shown_without_the_token(for_others: Path, given: str | None) -> None:
    app = _app() if given is None else _app(token=given)
    assert _headings(app) == ["automl-ad"]
    assert not app.exception
    assert [box.label for box in app.text_input] == ["Access token"]


def test_the_token_opens_the_session_and_leaves_the_address(for_others: Path) -> None:
    app = _app(token=TOKEN)
    assert _headings(app) == ["Studies"]
    assert "token" not in app.query_params
    assert _headings(app.run()) == ["Studies"]


def test_the_token_can_be_typed(for_others: Path) -> None:
    app = _app()
    app.text_input[0].set_value("wrong")
    app.button[0].click().run()
    assert app.error[0].value.startswith("This is not the token")
    app.text_input[0].set_value(f" {TOKEN} ")
    assert _headings(app.button[0].click().run()) == ["Studies"]


def test_at_this_machine_any_folder_may_be_named(workspace: Path, tmp_path: Path) -> None:
    assert checked_folder(f"  {tmp_path} ") == tmp_path.resolve()


@pytest.mark.parametrize("typed", ["", "  ", "\0", "/no/such/folder", "~nobody-has-this-name/x"])
def test_what_is_no_folder_is_refused_in_one_sentence(workspace: Path, typed: str) -> None:
    with pytest.raises(InputError, match=r"^The folder .*[.]$"):
        checked_folder(typed)


def test_others_may_only_name_folders_inside(for_others: Path, workspace: Path, tmp_path: Path) -> None:
    inside, outside = for_others / "good", tmp_path / "outside"
    for folder in (inside, outside, workspace / "uploads"):
        folder.mkdir(parents=True)
    (for_others / "way_out").symlink_to(outside)
    assert checked_folder("good") == inside.resolve()
    assert checked_folder(str(workspace / "uploads")) == (workspace / "uploads").resolve()
    for typed in (str(outside), "../outside", "good/../../outside", "way_out", "/", str(tmp_path / "no such folder")):
        with pytest.raises(InputError, match="must lie below"):
            checked_folder(typed)
