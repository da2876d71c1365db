from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


def _app(**parameters: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    return app.run()


def _parameter(app: AppTest, name: str) -> str | None:
    given = app.query_params.get(name)
    return given[0] if isinstance(given, list) else given


def test_the_menu_takes_the_study_and_the_trials_along(workspace: Path) -> None:
    app = _app(study="a", trials="3,1")
    app.query_params.clear()  # as Streamlit does when somebody uses the menu
    app.run()
    assert (_parameter(app, "study"), _parameter(app, "trials")) == ("a", "3,1")


def test_trials_of_another_study_are_forgotten(workspace: Path) -> None:
    app = _app(study="a", trials="3,1")
    app.query_params.clear()
    app.query_params["study"] = "b"
    app.run()
    assert (_parameter(app, "study"), _parameter(app, "trials")) == ("b", None)


def _say_chosen() -> None:
    import streamlit as st

    from parts.address import chosen_trials

    st.text(str(chosen_trials()))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [("3,1", [3, 1]), ("3,3,1", [3, 1]), ("1,2,3,4,5", [1, 2, 3, 4]), ("x,-1,1e3,²,7", [7]), ("9" * 30, []), ("", [])],
)
def test_only_numbers_are_taken_from_the_address(given: str, chosen: list[int]) -> None:
    app = AppTest.from_function(_say_chosen)
    app.query_params["trials"] = given
    assert app.run().text[0].value == str(chosen)


def _poll() -> None:
    import streamlit as st

    from automl_ad.errors import StoreError
    from parts.blocks import poll

    def draw() -> None:
        st.text("drawn")
        raise StoreError("the database is gone; bring it back")

    poll(1.0, lambda: False)(draw)()


def test_what_goes_wrong_between_two_looks_is_one_sentence() -> None:
    app = AppTest.from_function(_poll).run()
    assert not app.exception
    assert [error.value.replace("\\", "") for error in app.error] == ["The database is gone; bring it back."]
