from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest
from streamlit.testing.v1 import AppTest

import automl_ad
from automl_ad.jobs import JobBoard
from parts.address import PAGES

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
ODD = "<img src=x onerror=alert(1)>.png"


@pytest.fixture
def odd(workspace: Path, parts: Path, tmp_path: Path) -> Path:
    """The dashboard's workspace with the unfinished study ``odd``: one suspect and one image that is there twice."""
    folder = tmp_path / "odd"
    shutil.copytree(parts / "train" / "good", folder)
    shutil.copy(folder / "000.png", folder / ODD)
    picture = cv2.imread(str(folder / "005.png"))
    picture[10:50, 10:50] = (0, 0, 255)
    cv2.imwrite(str(folder / "005.png"), picture)
    settings = tmp_path / "study.yaml"
    settings.write_text("methods: [padim]\nfamilies: [texture]\nper_cell: 4\ncertified: 1\nfolds: 2\n")
    automl_ad.search(
        folder, name="odd", workspace=workspace, study_file=settings, backbones=["embedded"], image_size=64, trials=1
    )
    return folder


def _app(study: str, tab: str | None = None) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["study"] = study
    app.run()
    app.switch_page("views/data.py")
    if tab is not None:
        app.session_state["data_tab"] = tab
    app.run()
    assert not app.exception
    return app


def _text(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.warning])


def test_no_page_can_be_reached_past_the_frame() -> None:
    # Streamlit would run files of a folder with this name by themselves, without app.py and its check of the token.
    assert not (APP.parent / "pages").exists()
    assert {path.stem for path in (APP.parent / "views").glob("*.py")} == set(PAGES)


def test_suspects_and_duplicates_are_shown_with_a_mark_each(odd: Path) -> None:
    app = _app("odd")
    assert {box.key for box in app.checkbox} == {"leave_005.png", "leave_000.png", f"leave_{ODD}"}
    assert [metric.value for metric in app.metric] == ["25", "24", "0", "1"]


def test_names_from_files_are_escaped(odd: Path) -> None:
    assert "<img" not in _text(_app("odd")).replace(r"\<img", "")


def test_marked_pictures_are_left_out_of_the_next_search(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(JobBoard, "_start_search", lambda self, study, settings: asked.update({study: settings}) or "x")
    app = _app("odd")
    button = next(button for button in app.button if button.label == "Start a new search without these")
    assert button.disabled
    app.checkbox(key="leave_005.png").check().run()
    next(button for button in app.button if button.label == "Start a new search without these").click().run()
    assert app.text_input(key="new_name").value == "odd-2"
    assert app.text_input(key="new_folder").value == str(odd)
    assert "1 image left out: `005.png`" in _text(app)
    app.switch_page("views/studies.py")  # the simulated browser would go back to where it was sent last
    next(button for button in app.button if button.label == "Start the search").click().run()
    assert not app.error, app.error[0].value
    assert asked["odd-2"].exclude == ("005.png",)
    assert asked["odd-2"].backbones == ("embedded",)


def test_a_group_is_shown_and_left_out_as_a_whole(odd: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(12):
        picture = cv2.imread(str(odd / f"{index + 10:03}.png"))
        picture[20:44] = (40, 160, 220)
        cv2.imwrite(str(odd / f"bar {index}.png"), picture)
    app = _app("odd")
    boxes = [box for box in app.checkbox if str(box.key).startswith("leave_group_product-")]
    assert "another product or view" in _text(app)
    numbers = {int(str(box.label).split()[-2]): box for box in boxes}
    assert sum(numbers) == 37
    numbers[min(numbers)].check().run()
    assert f"{min(numbers)} images marked to be left out." in _text(app)


def test_splits_say_how_many_and_what_for(finished: Path) -> None:
    app = _app("parts", "Splits")
    assert "24 readable images" in _text(app)
    table = app.table[0].value
    assert list(table["Split"]) == ["train", "validation", "hold-out"]
    assert sum(table["Images"]) == 24


def test_the_proxy_suite_is_shown_by_family_and_severity(finished: Path) -> None:
    app = _app("parts", "Proxy suite")
    families = [head.value for head in app.subheader]
    assert families == ["texture", "cutpaste", "poisson", "photometric", "Normal images"]
    assert sum("Severity 0.7 " in part.value for part in app.markdown) == 4
    chosen = app.selectbox(key="suite_family").set_value("texture").run()
    assert [head.value for head in chosen.subheader] == ["texture"]


def test_a_study_without_its_suite_says_why(finished: Path) -> None:
    shutil.rmtree(finished / "studies" / "parts" / "suite")
    assert [head.value for head in _app("parts", "Proxy suite").subheader] == ["The proxy suite is not drawn yet"]


@pytest.mark.parametrize(
    ("name", "taken", "free"), [("a", {"a"}, "a-2"), ("a-2", {"a", "a-2"}, "a-3"), ("a", {"a", "a-2", "a-3"}, "a-4")]
)
def test_the_next_name_is_free(name: str, taken: set[str], free: str) -> None:
    from parts.search_form import next_name

    assert next_name(name, taken) == free
