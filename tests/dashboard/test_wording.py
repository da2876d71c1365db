from __future__ import annotations

import math
from datetime import datetime, timezone

import pytest

from parts.wording import (
    as_code,
    as_html,
    counted,
    interval,
    megabytes,
    milliseconds,
    moment,
    one_line,
    percent,
    plain,
    score,
    score_with_interval,
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


def test_numbers_carry_their_units() -> None:
    assert percent(0.0321) == "3.2 %"
    assert milliseconds(12.34) == "12.3 ms"
    assert milliseconds(1234.5) == "1234 ms"
    assert [megabytes(size) for size in (0.123, 4.56, 45.2)] == ["0.12 MB", "4.6 MB", "45 MB"]
    assert score_with_interval(0.9123, (0.88, 0.9412)) == "0.912 (90 % interval 0.880 to 0.941)"


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_dash(missing: float | None) -> None:
    assert {percent(missing), milliseconds(missing), megabytes(missing), score(missing)} == {"–"}
    assert interval(None) == "–"
    assert moment(None) == "–"


def test_counts_agree_with_their_words() -> None:
    assert [counted(n, "trial") for n in (0, 1, 1200)] == ["0 trials", "1 trial", "1,200 trials"]
    assert counted(2, "copy") == "2 copies"


def test_a_time_without_a_zone_is_utc() -> None:
    aware = datetime(2026, 11, 2, 12, 0, tzinfo=timezone.utc)
    assert moment(aware) == moment(aware.replace(tzinfo=None))
