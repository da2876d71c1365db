"""Shows predictions while they are made: one row an image as it comes, and how far the run is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Protocol

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from automl_ad.bundle.runtime import CsvRows, located_error
from automl_ad.data.left_aside import left_aside_sentence
from automl_ad.formatting import NONE, format_duration, number
from automl_ad.results import PredictedImage, PredictionResult

if TYPE_CHECKING:
    from rich.console import Console

STATUS_S = 0.2
"""Least time between two changes of the line that says how far the run is, in seconds."""


class PredictionView(Protocol):
    """Shows the results of one run."""

    def row(self, image: PredictedImage) -> None:
        """Shows one result; whoever reads has it at once."""
        ...

    def end(self, tally: Tally, interrupted: bool) -> None:
        """Shows what is said once, after the last result or an interrupt."""
        ...


class Tally:
    """Counts results, so that they need not be kept.

    Attributes:
        images: How many there are.
        anomalous: How many of them are rejected.
        review: How many are to be reviewed.
        broken: How many could not be judged.
        first_error: What was wrong with the first of these; None where there is none.
    """

    def __init__(self) -> None:
        self.images = self.anomalous = self.review = self.broken = 0
        self.first_error: str | None = None

    def add(self, image: PredictedImage) -> None:
        """Counts one result."""
        self.images += 1
        self.anomalous += bool(image.anomalous)
        self.review += image.decision == "review"
        if image.error is not None:
            self.broken += 1
            self.first_error = self.first_error or image.error

    def sentence(self, head: PredictionResult) -> str:
        """The counts in words."""
        ending = f", {self.review} to review" if head.review is not None else ""
        ending += f", {self.broken} could not be read" if self.broken else ""
        judged = self.images - self.broken
        return f"{self.anomalous} of {judged} images anomalous at threshold {number(head.threshold, 4)}{ending}."


class Rows:
    """A table for people, whose rows come one by one: the columns of numbers have fixed widths, paths come last."""

    def __init__(self, console: Console, head: PredictionResult) -> None:
        self._console, self._head = console, head
        self._say(f"{'decision':<9}  {'score':>10}  {'p-value':>7}  image", "bold")

    def row(self, image: PredictedImage) -> None:
        """Prints one row."""
        path = image.path or NONE
        last = path if image.error is None else f"error: {located_error(image.path, image.error)}"
        last += f"  heatmap {image.heatmap}" if image.heatmap else ""
        numbers = f"{number(image.score, 4):>10}  {number(image.p_value, 3):>7}"
        self._say(f"{_decision(image):<9}  {numbers}  {last}", "red" if image.anomalous or image.error else "")
        for sentence in image.warnings:
            self._say(f"{'':<9}  warning: {sentence}", "yellow")

    def end(self, tally: Tally, interrupted: bool) -> None:
        """Prints the counts and the guarantee."""
        self._say(tally.sentence(self._head))
        if self._head.promise:
            self._say(self._head.promise)
        if self._head.left_aside:
            self._say(left_aside_sentence(self._head.left_aside))

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style=style), soft_wrap=True)


class JsonLines:
    """One JSON object a line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def row(self, image: PredictedImage) -> None:
        """Prints one line."""
        print(json.dumps(image.to_json(), allow_nan=False), file=self._stream, flush=True)

    def end(self, tally: Tally, interrupted: bool) -> None:
        """Adds nothing."""


class CsvTable:
    """Comma-separated values."""

    def __init__(self, stream: IO[str]) -> None:
        self._rows = CsvRows(stream, list(PredictedImage.model_fields))

    def row(self, image: PredictedImage) -> None:
        """Prints one row."""
        self._rows(image.to_json())

    def end(self, tally: Tally, interrupted: bool) -> None:
        """Adds nothing."""


class JsonDocument:
    """One JSON document at the end, for which the results are kept."""

    def __init__(self, stream: IO[str], head: PredictionResult) -> None:
        self._stream, self._head = stream, head
        self._results: list[PredictedImage] = []

    def row(self, image: PredictedImage) -> None:
        """Keeps the result."""
        self._results.append(image)

    def end(self, tally: Tally, interrupted: bool) -> None:
        """Prints the document with the results so far."""
        answer = self._head.model_copy(update={"results": tuple(self._results), "interrupted": interrupted})
        print(json.dumps(answer.to_json(), indent=2, allow_nan=False), file=self._stream, flush=True)


class StatusLine:
    """The last line of a terminal, which says how far the run is and gives way to what is printed above it.

    Args:
        console: The terminal.
        total: How many images there are.
        clock: Seconds from any origin.
    """

    def __init__(self, console: Console, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._total, self._clock = console, total, clock
        self._start = clock()
        self._due = self._start
        self._shown = False

    def clear(self) -> None:
        """Removes the line."""
        if self._shown:
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        self._shown = False

    def show(self, done: int) -> None:
        """Draws the line, if it was not drawn just now."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + STATUS_S
        self.clear()
        line = Text(status(done, self._total, self._clock() - self._start))
        line.truncate(self._console.width - 1, overflow="ellipsis")
        self._console.print(line, end="", soft_wrap=True)
        self._shown = True


def status(done: int, total: int, seconds: float) -> str:
    """How far a run is, its rate and the time left.

    Example:
        >>> status(30, 120, 15.0)
        'Judged 30 of 120 images (2.0 a second, 45 s left)'
    """
    if not (done and seconds):
        return f"Judged {done} of {total} images"
    rate = done / seconds
    return f"Judged {done} of {total} images ({rate:.1f} a second, {format_duration((total - done) / rate)} left)"


def show_predictions(
    results: Iterable[PredictedImage], view: PredictionView, line: StatusLine | _NoLine | None = None
) -> Tally:
    """Shows results as they come; none is kept here.

    After an interrupt, too, everything that was judged is shown.

    Args:
        results: In the order of the images.
        view: Shows them.
        line: Says how far the run is; None for nothing.

    Returns:
        Their counts.

    Raises:
        KeyboardInterrupt: The run was interrupted; what was judged is shown.
    """
    tally, line = Tally(), line or _NoLine()
    try:
        line.show(0)
        for image in results:
            line.clear()
            view.row(image)
            tally.add(image)
            line.show(tally.images)
    except KeyboardInterrupt:
        line.clear()
        view.end(tally, True)
        raise
    line.clear()
    view.end(tally, False)
    return tally


class _NoLine:
    """Stands for a status line where nobody looks."""

    def clear(self) -> None:
        """Does nothing."""

    def show(self, done: int) -> None:
        """Does nothing."""


def _decision(image: PredictedImage) -> str:
    if image.error is not None:
        return "error"
    if image.decision == "review":
        return "review"
    return "anomalous" if image.anomalous else "good"
