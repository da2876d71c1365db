"""Opens a page of the dashboard without a browser, and reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


def open_page(name: str, **parameters: str) -> AppTest:
    """A page as a link with these query parameters opens it; it must not raise."""
    app = AppTest.from_file(APP, default_timeout=60).run()
    app.switch_page(f"views/{name}.py")
    for key, value in parameters.items():
        app.query_params[key] = value
    return run(app)


def run(app: AppTest) -> AppTest:
    """Draws the page again; it must not raise."""
    app.run()
    assert not app.exception, app.exception
    return app


def text(app: AppTest) -> str:
    """All sentences of a page, without the backslashes and joiners that keep Markdown from reading them."""
    parts = [*app.markdown, *app.caption, *app.info, *app.error, *app.warning, *app.subheader]
    return "\n".join(str(part.value) for part in parts).replace("\\", "").replace("\u2060", "")


def press(app: AppTest, label: str) -> AppTest:
    """Clicks the first button of this label."""
    next(button for button in app.button if button.label == label).click()
    return run(app)


def charts(app: AppTest) -> list[Any]:
    """The plotly charts of a page."""
    return list(app.get("plotly_chart"))
