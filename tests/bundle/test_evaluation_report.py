from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluated import FullBundle, HandBundle, labelled, plane

from automl_ad.bundle.evaluating import evaluate
from automl_ad.bundle.evaluation_report import PAGE, SHOWN, TABLE
from automl_ad.data.labelled import GOOD, LabelledImage
from automl_ad.errors import InputError

EMPTY = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Reads a page as a browser does, and refuses elements that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, Any]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, Any]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(bundle: HandBundle, images: list[LabelledImage], output: Path) -> Reader:
    answer = evaluate(bundle, images, output).to_json()
    assert answer["report"] == str(output / PAGE)
    return Reader((output / PAGE).read_text())


def captions(reader: Reader) -> list[str]:
    return re.findall(r"(\S+\.png) \((\w+)\): ([a-z ]+?)score", reader.text.replace("\n", " "))


def test_the_page_says_what_was_evaluated_and_found(tmp_path: Path) -> None:
    page = page_of(FullBundle(), labelled(tmp_path), tmp_path / "a" / "report")
    expected = [
        "Evaluation of bundle.zip",
        "bolts & nuts, trial 7",
        "padim, score aggregation max",
        "embedded",
        "4 good and 3 defective, scored at 32 x 32 pixels",
        "1 of 4 good images were rejected: overkill (false positive rate) 25 %, 90 % interval 1.27 % to 75.1 %",
        "guarantee of at most 10 %",
        "1 of 3 defective images were not rejected: escapes (false negative rate) 33.3 %, ",
        "1 good and 0 defective images score between the thresholds and go to review; 1 defective ones pass.",
        "50 % of the good images are rejected or reviewed; the guarantee is at most 30 %",
        "On good images 0 % of the pixels are marked on average; the guarantee is at most 1 %.",
        "image AUROC",
        "0.8333",
        "of defective images",
        "By kind of defect",
        "Defects with the lowest scores",
        "Good images with the highest scores",
    ]
    places = [page.text.index(words) for words in expected]
    assert places == sorted(places)
    assert "Left out" not in page.text


def test_pictures_are_worst_first_with_verdict_score_and_p_value(tmp_path: Path) -> None:
    page = page_of(FullBundle(), labelled(tmp_path), tmp_path / "report")
    assert captions(page) == [
        ("s2.5.png", "scratch", "missed"),
        ("s5.png", "scratch", "found"),
        ("d6.png", "dent", "found"),
        ("g4.png", "good", "false alarm"),
        ("g3.png", "good", "to review"),
        ("g2.png", "good", "rightly passed"),
        ("g1.png", "good", "rightly passed"),
    ]
    # Calibration scores are 0, 0.5 ... 4: four of nine are at least 2.5, none is 5.
    assert "score 2.5, p-value 0.5" in page.text
    assert "score 5, p-value 0.1" in page.text
    assert len(page.named("img")) == 2 * 7


def test_a_gallery_shows_no_more_than_the_worst(tmp_path: Path) -> None:
    images = [LabelledImage(tmp_path / f"g{n}.png", False, GOOD) for n in range(30)]
    page = page_of(HandBundle(), images + labelled(tmp_path)[4:], tmp_path / "report")
    good = [name for name, kind, _ in captions(page) if kind == GOOD]
    assert good == [f"g{n}.png" for n in range(29, 29 - SHOWN, -1)]


def test_nothing_comes_from_outside(tmp_path: Path) -> None:
    images = labelled(tmp_path, masks=True)
    page_of(FullBundle(maps={"s5": plane(left=1.0)}, errors={"g1": "cut short"}), images, tmp_path / "report")
    text = (tmp_path / "report" / PAGE).read_text()
    page = Reader(text)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "use", "image"}
        assert not {"href", "xlink:href", "srcset", "data", "action", "poster", "background"} & attributes.keys()
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    for words in ("://", "@import", "url("):
        assert words not in text
    (policy,) = [each["content"] for each in page.named("meta") if "content" in each and "src" in each["content"]]
    assert policy.startswith("default-src 'none'")
    assert "cut short" in page.text


def test_pictures_and_plots_can_be_read_aloud(tmp_path: Path) -> None:
    page = page_of(HandBundle(), labelled(tmp_path), tmp_path / "report")
    assert page.named("html") == [{"lang": "en"}]
    assert all(picture["alt"] for picture in page.named("img"))
    plots = page.named("svg")
    assert [(plot["role"], plot["aria-label"].split(".")[0]) for plot in plots] == [
        ("img", "Scores by type"),
        ("img", "ROC curve"),
    ]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>.png", "\"><img src=x onerror='alert(1)'>.png", "&lt;b&gt;{title}.png"]
)
def test_names_are_never_markup(tmp_path: Path, name: str) -> None:
    images = labelled(tmp_path)
    kind = name.removesuffix(".png")
    odd = LabelledImage(tmp_path / name, True, kind)
    broken = LabelledImage(tmp_path / f"{name}.png", True, kind)
    scores = {odd.path.stem: 0.25}
    bundle = HandBundle(scores=scores, errors={broken.path.stem: f"{name} is empty"}, path=tmp_path / f"{name}.zip")
    page = page_of(bundle, [*images, odd, broken], tmp_path / "report")
    plain = page_of(HandBundle(scores={"s0": 0.25}), [*images, replace(odd, path=tmp_path / "s0.png")], tmp_path / "b")
    assert {tag for tag, _ in page.tags} - {tag for tag, _ in plain.tags} <= {"ul", "li"}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert len(page.named("img")) == len(plain.named("img"))
    assert odd.path.name in {picture["alt"] for picture in page.named("img")}
    assert f"{name} is empty" in page.text


def test_names_that_are_no_text_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    odd = LabelledImage(tmp_path / "s\udcff.png", True, "\udcff")
    page = page_of(HandBundle(scores={odd.path.stem: 9.0}), [*labelled(tmp_path), odd], tmp_path / "report")
    assert "s?.png" in page.text
    assert "\udcff" in json.loads((tmp_path / "report" / TABLE).read_text())["by_defect"]


def test_the_figures_lie_beside_the_page_as_json(tmp_path: Path) -> None:
    answer = evaluate(FullBundle(), labelled(tmp_path, masks=True), tmp_path / "report").to_json()
    assert json.loads((tmp_path / "report" / TABLE).read_text()) == answer
    assert {path.name for path in (tmp_path / "report").iterdir()} == {PAGE, TABLE}


def test_equal_evaluations_give_equal_pages(tmp_path: Path) -> None:
    pages = []
    for _ in range(2):
        evaluate(HandBundle(), labelled(tmp_path), tmp_path / "report")
        pages.append((tmp_path / "report" / PAGE).read_bytes())
    assert pages[0] == pages[1]


def test_an_exceeded_guarantee_stands_out(tmp_path: Path) -> None:
    kept = page_of(HandBundle(guaranteed=0.2), labelled(tmp_path), tmp_path / "kept")
    broken = page_of(HandBundle(cut=0.5, guaranteed=0.1, calibration=np.zeros(99)), labelled(tmp_path), tmp_path / "no")
    classes = [[each.get("class") for each in page.named("p")] for page in (kept, broken)]
    assert ("kept" in classes[0], "broken" in classes[0]) == (True, False)
    assert ("kept" in classes[1], "broken" in classes[1]) == (False, True)
    assert "This indicates a distribution shift between these good images and those of the search" in broken.text


class Unasked(HandBundle):
    def raw_predictions(self, *given: Any, **options: Any) -> Any:
        raise AssertionError("no image may be read for a report that cannot be written")


def test_an_output_that_cannot_be_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"--output .*file.* cannot be written"):
            evaluate(Unasked(), labelled(tmp_path), output)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_page_that_cannot_be_written_leaves_nothing_half_done(tmp_path: Path) -> None:
    (tmp_path / "report" / PAGE / "inside").mkdir(parents=True)
    with pytest.raises(InputError, match=r"--output .*report cannot be written"):
        evaluate(HandBundle(), labelled(tmp_path), tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {PAGE, TABLE}
