from __future__ import annotations

import time

import pytest

from automl_ad.study.clock import Clock, Steps, timed
from automl_ad.study.progress import Event


def test_what_remains_of_the_budget_falls_below_zero() -> None:
    clock = Clock(10.0, started=time.monotonic() - 12)
    assert clock.elapsed == pytest.approx(12, abs=1)
    assert clock.remaining == pytest.approx(-2, abs=1)


def test_events_say_when_they_happened() -> None:
    heard: list[Event] = []
    timed(heard.append, Clock(10.0, started=time.monotonic() - 3))(Event("suite", "Drawing", 1, 2))
    assert heard[0].elapsed_s == pytest.approx(3, abs=1)
    assert (heard[0].stage, heard[0].message, heard[0].done, heard[0].total) == ("suite", "Drawing", 1, 2)


def test_time_left_follows_the_pace() -> None:
    heard: list[Event] = []
    readings = iter([0.0, 0.0, 6.0, 10.0, 10.0])
    steps = Steps(heard.append, "suite", 4, clock=lambda: next(readings))
    steps.begin("Calibrating")
    steps.advance(2)
    steps.begin("Drawing")
    steps.advance(5)
    assert [(event.message, event.done, event.total, event.left_s) for event in heard] == [
        ("Calibrating", 0, 4, None),
        ("Calibrating", 2, 4, 0.0),
        ("Drawing", 2, 4, 6.0),
        ("Drawing", 4, 4, 0.0),
    ]
