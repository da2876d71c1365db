from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from app_page import open_page, press, run, text
from streamlit.testing.v1 import AppTest

import automl_ad
from automl_ad.errors import InputError
from automl_ad.jobs import JobState
from automl_ad.reporting.user_image_trials import try_images
from automl_ad.store.records import utc_now
from parts import state, user_images
from parts.user_images import Shelf, folder_name, in_words
from parts.user_images_view import in_order

JOB = "0123456789abcdef"


def picture(value: int = 90) -> bytes:
    return bytes(cv2.imencode(".png", np.full((64, 64, 3), value, np.uint8))[1].tobytes())


def files(parts: Path, *below: str) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(parts.joinpath(*below).glob("*.png"))]


class Board:
    """Jobs that are done at once."""

    def __init__(self, study: automl_ad.Study, result: dict[str, Any] | None) -> None:
        self.study, self.result = study, result
        self.started: list[tuple[str, Sequence[int], Path]] = []

    def start_try(self, study: str, trials: Sequence[int], pictures: Path) -> str:
        self.started.append((study, list(trials), pictures))
        return JOB

    def jobs(self, study: str | None = None, kind: str | None = None) -> list[JobState]:
        return [self.state(JOB)] if self.result else []

    def state(self, job: str) -> JobState:
        begun = utc_now() - timedelta(seconds=9)
        return JobState(job, "try", "parts", "done", None, None, self.result, begun, utc_now(), "")


@pytest.fixture
def shelf(study: automl_ad.Study) -> Shelf:
    return Shelf.of(study.folder.workspace, "parts")


def tried(study: automl_ad.Study, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, numbers: Sequence[int]) -> Board:
    folder = study.folder.workspace / "jobs" / JOB
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    board = Board(study, try_images(study, numbers, shelf.folder, folder))
    monkeypatch.setattr(state, "board", lambda: board)
    return board


def test_an_empty_shelf_says_what_to_do(study: automl_ad.Study) -> None:
    page = open_page("try_images", study="parts")
    assert "No image yet" in text(page)
    assert next(button for button in page.button if button.label == "Try them").disabled


def test_pictures_are_added_counted_and_removed(study: automl_ad.Study, shelf: Shelf) -> None:
    page = open_page("try_images", study="parts")
    page.file_uploader[0].set_value([("a.png", picture(), "image/png"), ("b.png", picture(40), "image/png")])
    page.session_state["try_label"] = "defect"
    page.text_input[0].set_value("../deep scratch")
    press(page, "Add")
    assert shelf.counts() == {"defect/deep_scratch": 2}
    assert "2 images: defect (deep_scratch) 2" in text(page)
    press(page, "Remove all")
    assert not shelf.folder.exists()


def test_what_is_no_picture_is_refused_in_one_sentence(study: automl_ad.Study, shelf: Shelf) -> None:
    page = open_page("try_images", study="parts")
    page.file_uploader[0].set_value([("evil.png", b"<script>", "image/png")])
    press(page, "Add")
    assert page.error
    assert not shelf.counts()


def test_the_job_is_started_with_the_chosen_candidates(
    study: automl_ad.Study, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add([("a.png", picture())], "unlabelled")
    board = Board(study, None)
    monkeypatch.setattr(state, "board", lambda: board)
    press(open_page("try_images", study="parts", trials="1,0"), "Try them")
    assert board.started == [("parts", [1, 0], shelf.folder)]


def test_defects_re_rank_the_candidates_apart_from_the_search(
    study: automl_ad.Study, shelf: Shelf, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add(files(parts, "test", "bar")[:3], "defect", "bar")
    shelf.add(files(parts, "test", "good")[:2], "good")
    board = tried(study, shelf, monkeypatch, [0, 1])
    page = open_page("try_images", study="parts")
    shown = text(page)
    assert "Re-ranked by 3 real defects: apart from the search" in shown
    assert board.result is not None
    assert board.result["real"]["note"] in shown
    table = page.dataframe[0].value
    assert table["trial"].tolist() == board.result["real"]["order"]
    assert sorted(table["by the search"].tolist()) == [1, 2]
    assert len(page.image) == 1 + 5 * 3  # a colour bar; each image with two heatmaps
    page.selectbox(key="try_shown").select("good")
    run(page)
    assert len(page.image) == 1 + 2 * 3


def test_without_defects_nothing_is_re_ranked(
    study: automl_ad.Study, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add([("a.png", picture())], "unlabelled")
    board = tried(study, shelf, monkeypatch, [0])
    page = open_page("try_images", study="parts")
    assert "nothing is re-ranked" in text(page)
    shutil.rmtree(study.folder.workspace / "jobs" / JOB / "thumbnails")
    assert "This image is gone" in text(run(page))
    assert board.result is not None
    board.result["pictures"][0]["image"] = "../../automl_ad.db"
    page = run(open_page("try_images", study="parts"))
    assert "This image is gone" in text(page)


def test_the_shelf_has_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(user_images, "LIMITS", user_images.UploadLimits(files=2, file_bytes=1 << 20))
    shelf = Shelf.of(tmp_path, "parts")
    shelf.add([("a.png", picture()), ("a.png", picture(3))], "good")
    with pytest.raises(InputError, match="room for 0"):
        shelf.add([("c.png", picture())], "defect")
    assert shelf.counts() == {"good": 2}
    with pytest.raises(InputError, match="but not"):
        shelf.add([], "../elsewhere")


def test_types_of_defects_lead_to_folders_of_the_shelf_alone() -> None:
    assert folder_name("  deep scratch ") == "deep_scratch"
    assert folder_name("../../etc") == "etc"
    assert folder_name("..") == folder_name("") == ""
    assert folder_name("Kratzer-ß") == "Kratzer_ß"
    assert len(folder_name("x" * 200)) == 40


def test_the_shelf_in_words(tmp_path: Path) -> None:
    shelf = Shelf.of(tmp_path, "parts")
    shelf.add([("a.png", picture())], "defect", "dent")
    shelf.add([("a.png", picture())], "defect")
    shelf.add([("a.png", picture())], "good")
    assert in_words(shelf.counts()) == "3 images: defect 1, defect (dent) 1, good 1"


def test_pictures_are_ordered_by_how_odd_they_are() -> None:
    odds = [[0.5, 0.2], [None], [0.1], [0.9]]
    pictures = [{"trials": {str(n): {"p": p} for n, p in enumerate(values)}} for values in odds]
    assert in_order(pictures, "as given") == pictures
    assert [pictures.index(one) for one in in_order(pictures, "most anomalous first")] == [2, 0, 3, 1]
    assert [pictures.index(one) for one in in_order(pictures, "least anomalous first")] == [3, 0, 2, 1]


def test_no_page_without_candidates(study: automl_ad.Study) -> None:
    for record in study.repository.candidates("parts"):
        study.repository.save_candidate(
            "parts", type(record)(number=record.number, state="failed", method=record.method, reason="made so")
        )
    for name in ("try_images", "compare", "decide"):
        page: AppTest = open_page(name, study="parts")
        assert "Go on with the search" in text(page)
        assert not page.slider
