from __future__ import annotations

from datetime import datetime, timezone

import pytest

from parts.wording import (
    as_code,
    as_html,
    counted,
    moment,
    one_line,
    plain,
)


@pytest.mark.parametrize(
    "text",
    ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "$x$", ":red[x]", "**b**", "`a`", "# h", "1. a"],
)
def test_every_sign_that_means_something_is_taken_literally(text: str) -> None:
    escaped = plain(text)
    signs = [(before, sign) for before, sign in zip(" " + escaped, escaped, strict=False) if sign in "<>[]()$:*`#."]
    assert signs
    assert all(before == "\\" for before, _ in signs)


@pytest.mark.parametrize(
    "text", [":material/home:", ":smile:", "https://evil.example", "www.evil.example", "a -> b", "a@b.c"]
)
def test_what_streamlit_replaces_after_markdown_is_broken_up(text: str) -> None:
    unescaped = plain(text).replace("\\", "")
    assert unescaped != text
    assert unescaped.replace("\u2060", "") == text


def test_ordinary_names_read_as_they_are() -> None:
    assert plain("flange 3 ok") == "flange 3 ok"
    assert plain("Teil_ä.png") == r"Teil\_ä\.png"


def test_names_stay_on_one_line_and_in_one_direction() -> None:
    assert one_line(" a\n\n# b\t\u202ec\x00 ") == "a # b c"


def test_a_code_span_holds_back_ticks() -> None:
    assert as_code("a.png") == "`a.png`"
    assert as_code("a``b") == "``` a``b ```"


def test_html_is_escaped() -> None:
    assert as_html("<b title='x'>&") == "&lt;b title=&#x27;x&#x27;&gt;&amp;"


def test_an_unknown_time_is_a_dash() -> None:
    assert moment(None) == "–"


def test_counts_agree_with_their_words() -> None:
    assert [counted(n, "trial") for n in (0, 1, 1200)] == ["0 trials", "1 trial", "1,200 trials"]
    assert counted(2, "copy") == "2 copies"


def test_a_time_without_a_zone_is_utc() -> None:
    aware = datetime(2026, 11, 2, 12, 0, tzinfo=timezone.utc)
    assert moment(aware) == moment(aware.replace(tzinfo=None))
