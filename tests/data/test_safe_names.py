from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.data.safe_names import quoted, safe_part, safe_path, unique
from automl_ad.errors import InputError


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.png", "a.png"),
        ("train/good/000.png", "train/good/000.png"),
        ("train\\good\\000.png", "train/good/000.png"),
        ("./a//b.png", "a/b.png"),
        ('o<d>d:?"*|.png', "o_d_d_____.png"),
        ("line\nbreak\x00\u202e.png", "line_break__.png"),
        (".hidden/..png", "hidden/png"),
        ("ends. /b.png ", "ends/b.png"),
        ("con/NUL.png", "_con/_NUL.png"),
        ("teile übung/ß.png", "teile übung/ß.png"),
        ("u\u0308.png", "ü.png"),
        ("\udcff.png", "_.png"),
    ],
)
def test_names_are_made_fit_for_any_system(name: str, safe: str) -> None:
    assert safe_path(name) == PurePosixPath(safe)


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "a/../../b.png",
        "..\\a.png",
        "/etc/a.png",
        "\\\\host\\share\\a.png",
        "C:\\a.png",
        "c:a.png",
        "",
        "a/..",
    ],
)
def test_names_that_point_outside_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="points outside of its folder"):
        safe_path(name)


def test_names_without_end_are_refused() -> None:
    with pytest.raises(InputError, match="folders deep"):
        safe_path("a/" * 13 + "b.png")


def test_long_names_are_cut_and_keep_their_ending() -> None:
    assert safe_part("x" * 300 + ".png") == "x" * 116 + ".png"
    assert len(safe_part("ü" * 300 + ".png").encode()) <= 120
    assert len(safe_part("x." + "y" * 300).encode()) <= 120


def test_no_space_comes_to_light_at_the_front() -> None:
    assert safe_part(".. part") == "part"


@pytest.mark.parametrize("end", [" ", ".", ". ."])
def test_a_name_that_is_cut_does_not_end_in_what_some_system_drops(end: str) -> None:
    kept = "x" * (120 - len(end))
    assert safe_part(kept + end + "y" * 50) == kept


@given(st.text(max_size=300))
def test_a_part_is_always_one_part(text: str) -> None:
    part = safe_part(text)
    assert 0 < len(part.encode()) <= 130
    assert PurePosixPath(part).parts == (part,)
    assert part not in (".", "..")
    assert not part.startswith(".")
    assert part.isprintable()
    assert safe_part(part) == part


def test_names_that_a_system_might_mix_up_are_told_apart() -> None:
    given = [PurePosixPath(name) for name in ("a.png", "A.png", "a.png", "a_2.png", "b/a.png", "c.png/x.png", "c.png")]
    found = [str(path) for path in unique(given, taken=["B"])]
    assert found == ["a.png", "A_2.png", "a_3.png", "a_2_2.png", "b/a.png", "c.png/x.png", "c_2.png"]
    assert [str(path) for path in unique([PurePosixPath("x.png")], taken=["X.PNG", "x_2.png"])] == ["x_3.png"]


def test_names_in_sentences_stay_on_one_line_and_short() -> None:
    assert quoted("a\nb\u202e.png") == r"'a\nb\u202e.png'"
    assert len(quoted("x" * 500)) == 102
