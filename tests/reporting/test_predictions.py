from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest
from rich.console import Console

from automl_ad.reporting.predictions import CsvTable, JsonLines, Rows, StatusLine, Tally, show_predictions, status
from automl_ad.results import PredictedImage, PredictionResult

HEAD = PredictionResult(bundle="b", images=3, threshold=3.0, promise="at most 5 %")
GOOD = PredictedImage(path="a.png", score=1.5, p_value=0.4, anomalous=False, decision="pass")
BAD = PredictedImage(path="b.png", score=9.0, p_value=0.01, anomalous=True, decision="reject")
BROKEN = PredictedImage(path="c.png", error="cut short")


def shown(images: list[PredictedImage], head: PredictionResult = HEAD, width: int = 200) -> str:
    stream = io.StringIO()
    show_predictions(images, Rows(Console(file=stream, width=width), head))
    return stream.getvalue()


def test_rows_counts_and_the_guarantee() -> None:
    lines = shown([GOOD, BAD, BROKEN]).splitlines()
    assert lines == [
        "decision        score  p-value  image",
        "good           1.5000    0.400  a.png",
        "anomalous      9.0000    0.010  b.png",
        "error               –        –  error: c.png: cut short",
        "1 of 2 images anomalous at threshold 3.0000, 1 could not be read.",
        "at most 5 %",
    ]


def test_images_to_review_are_counted_where_there_is_a_review() -> None:
    held = GOOD.model_copy(update={"decision": "review"})
    text = shown([GOOD, held], HEAD.model_copy(update={"review": 2.0}))
    assert "review         1.5000" in text
    assert "0 of 2 images anomalous at threshold 3.0000, 1 to review." in text


def test_paths_are_never_markup_and_never_cut() -> None:
    path = "/data/[bold]red[/]/" + "x" * 200 + ".png"
    text = shown([GOOD.model_copy(update={"path": path, "heatmap": path})], width=60)
    assert text.count("[bold]") == 2
    assert "x" * 200 in text
    assert "…" not in text


def test_nothing_is_kept_but_counts() -> None:
    """Ten times as many images take no more memory."""

    def peak(count: int) -> int:
        def results() -> Iterator[PredictedImage]:
            for number in range(count):
                yield GOOD.model_copy(update={"path": f"{number:06d}.png"})

        class Nowhere(io.StringIO):
            def write(self, text: str) -> int:
                return len(text)

        tracemalloc.start()
        for view in (JsonLines(Nowhere()), CsvTable(Nowhere()), Rows(Console(file=Nowhere()), HEAD)):
            assert show_predictions(results(), view).images == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)  # what is loaded and cached once
    assert peak(1000) < peak(100) + 50_000


@pytest.mark.parametrize(
    ("done", "seconds", "words"),
    [
        (0, 0.0, "Judged 0 of 120 images"),
        (30, 15.0, "Judged 30 of 120 images (2.0 a second, 45 s left)"),
        (120, 60.0, "Judged 120 of 120 images (2.0 a second, 0.0 s left)"),
    ],
)
def test_rate_and_time_left(done: int, seconds: float, words: str) -> None:
    assert status(done, 120, seconds) == words


def test_the_status_line_gives_way_to_rows_and_is_gone_at_the_end() -> None:
    now = [0.0]
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)

    def results() -> Iterator[PredictedImage]:
        for image in (GOOD, BAD):
            now[0] += 1.0
            yield image

    show_predictions(results(), Rows(console, HEAD), StatusLine(console, 2, clock=lambda: now[0]))
    erase = "\r\x1b[2K"
    text = stream.getvalue()
    assert f"Judged 1 of 2 images (1.0 a second, 1.0 s left){erase}anomalous" in text
    assert f"{erase}1 of 2 images anomalous" in text
    assert text.count("Judged") == text.count(erase) == 3


def test_what_was_judged_is_shown_after_an_interrupt() -> None:
    def results() -> Iterator[PredictedImage]:
        yield BAD
        raise KeyboardInterrupt

    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        show_predictions(results(), Rows(Console(file=stream, width=200), HEAD))
    assert "b.png" in stream.getvalue()
    assert "1 of 1 images anomalous" in stream.getvalue()


def test_the_first_error_is_remembered() -> None:
    tally = Tally()
    for image in (GOOD, BROKEN, BROKEN.model_copy(update={"error": "empty"})):
        tally.add(image)
    assert (tally.images, tally.broken, tally.first_error) == (3, 2, "cut short")
