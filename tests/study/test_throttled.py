from __future__ import annotations

import time

import pytest

from automl_ad.study.events import Event
from automl_ad.study.throttled import Throttled


class Heard:
    """A throttled listener under a clock that is set by hand."""

    def __init__(self, quiet_s: float = 60.0) -> None:
        self.events: list[Event] = []
        self.now = 100.0
        self.throttled = Throttled(self.events.append, quiet_s, lambda: self.now)

    def tell(self, done: int, stage: str = "search") -> list[int]:
        self.throttled(Event(stage, "Trying", done))
        return [event.done for event in self.events]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_one_event_a_while_and_every_change_of_stage(heard: Heard) -> None:
    assert heard.tell(1) == [1]
    heard.now += 59
    assert heard.tell(2) == [1]
    assert heard.tell(3, "certify") == [1, 3]
    heard.now += 60
    assert heard.tell(4, "certify") == [1, 3, 4]
    heard.throttled.close()


def test_warnings_are_not_passed_on_and_delay_nothing(heard: Heard) -> None:
    assert heard.tell(1, "warning") == []
    assert heard.tell(2) == [2]
    assert heard.throttled.close() == heard.events[-1]


def test_the_newest_of_those_that_came_too_early_follows() -> None:
    heard = Heard(quiet_s=0.1)
    for done in range(5):
        heard.tell(done)
    deadline = time.monotonic() + 20
    while len(heard.events) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [event.done for event in heard.events] == [0, 4]
    heard.throttled.close()


def test_after_the_end_nothing_follows_and_the_newest_is_known() -> None:
    heard = Heard(quiet_s=0.05)
    heard.tell(1)
    heard.tell(2)
    newest = heard.throttled.close()
    time.sleep(0.15)
    assert newest is not None
    assert newest.done == 2
    assert heard.tell(3) == [1]


def test_without_events_there_is_no_newest(heard: Heard) -> None:
    assert heard.throttled.close() is None
