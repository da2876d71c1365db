from __future__ import annotations

import math

import numpy as np
import pytest

from automl_ad.errors import InputError
from automl_ad.formatting import (
    NONE,
    first_few,
    format_duration,
    interval,
    megabytes,
    milliseconds,
    number,
    parse_duration,
    percent,
    rate,
    rate_interval,
    score,
    score_with_interval,
)


def test_numbers_carry_their_units() -> None:
    assert percent(0.0321) == "3.2 %"
    assert percent(1, 0) == "100 %"
    assert milliseconds(12.34) == "12.3 ms"
    assert milliseconds(1234.5) == "1234 ms"
    assert [megabytes(size) for size in (0.123, 4.56, 45.2)] == ["0.12 MB", "4.6 MB", "45 MB"]
    assert megabytes(4.56, unit="") == "4.6"


def test_scores_have_three_decimals() -> None:
    assert score(0.9123) == score(np.float32(0.9123)) == "0.912"
    assert interval((0.88, 0.9412)) == "0.880 to 0.941"
    assert interval([1.04, 2], 1) == "1.0 to 2.0"
    assert score_with_interval(0.9123, (0.88, 0.9412)) == "0.912 (90 % interval 0.880 to 0.941)"


def test_error_rates_keep_three_significant_digits() -> None:
    assert [rate(share) for share in (0.005, 0.04878, 0.5, 1.0)] == ["0.5 %", "4.88 %", "50 %", "100 %"]
    assert rate_interval((0.0051, 0.12345)) == "0.51 % to 12.3 %"


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, True])
def test_a_missing_value_is_a_dash(missing: float | None) -> None:
    written = {percent(missing), rate(missing), milliseconds(missing), megabytes(missing), score(missing)}
    assert written | {number(missing, 2), format_duration(missing), score_with_interval(missing, (0, 1))} == {NONE}


@pytest.mark.parametrize("bounds", [None, (), (math.nan, math.nan)])
def test_a_missing_interval_is_a_dash(bounds: tuple[float, ...] | None) -> None:
    assert interval(bounds) == NONE
    assert score_with_interval(0.5, None) == "0.500"
    assert rate_interval(None) == NONE


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 5m 2.5s", 3902.5),
        (" 2M ", 120),
        ("0.5", 0.5),
        (45, 45),
        (1.5, 1.5),
    ],
)
def test_durations_are_read(given: str | float, seconds: float) -> None:
    assert parse_duration(given) == seconds


NO_DURATIONS = ["", "0", "0s", "0h0m", "-5", "-5s", "ten", "10x", "1h30", "30s10m", "1e3", "nan", "inf", "1,5h", "٣"]


@pytest.mark.parametrize("given", [*NO_DURATIONS, "9" * 400, 0, -1.0, float("nan"), float("inf")])
def test_other_durations_are_refused_in_one_sentence(given: str | float) -> None:
    with pytest.raises(InputError, match=r"^time_budget .* not a usable duration") as caught:
        parse_duration(given)
    assert "\n" not in str(caught.value)


def test_the_option_of_a_bad_duration_is_named() -> None:
    with pytest.raises(InputError, match=r"^wait '0'"):
        parse_duration("0", "wait")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_long_lists_are_cut() -> None:
    assert first_few([]) == ""
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert first_few(["a", "b", "c"], 1, "; ") == "a and 2 more"
