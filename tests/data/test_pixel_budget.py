from __future__ import annotations

import threading
import time

import pytest

from automl_ad.bundle import runtime
from automl_ad.data import pixel_budget
from automl_ad.data.pixel_budget import in_threads

BUDGETS = (pixel_budget.PixelBudget, runtime.PixelBudget)
Budget = pixel_budget.PixelBudget | runtime.PixelBudget


class Reader:
    """Holds pixels for a moment and remembers the most that were held together."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.now, self.most, self.alone = budget, 0, 0, True
        self._lock = threading.Lock()

    def __call__(self, pixels: int) -> int:
        with self.budget.hold(pixels):
            with self._lock:
                self.alone = self.alone and not (self.now and pixels > self.budget.limit)
                self.now += pixels
                self.most = max(self.most, self.now)
            time.sleep(0.002)
            with self._lock:
                self.now -= pixels
        return pixels


@pytest.mark.parametrize("kind", BUDGETS)
def test_threads_never_hold_more_than_the_limit(kind: type[Budget]) -> None:
    reader = Reader(kind(100))
    sizes = [40, 30, 30, 70, 10, 60, 50, 20] * 5
    assert in_threads(reader, sizes, threads=16) == sizes
    assert 60 < reader.most <= 100
    assert reader.now == 0


@pytest.mark.parametrize("kind", BUDGETS)
def test_a_larger_image_is_let_through_alone(kind: type[Budget]) -> None:
    reader = Reader(kind(100))
    in_threads(reader, [50, 300, 50, 400, 10], threads=5)
    assert reader.most == 400
    assert reader.alone


@pytest.mark.parametrize("kind", BUDGETS)
def test_small_images_do_not_overtake_a_large_one_that_waits(kind: type[Budget]) -> None:
    budget, order = kind(100), []

    def hold(pixels: int) -> None:
        with budget.hold(pixels):
            order.append(pixels)

    with budget.hold(60):
        threads = [threading.Thread(target=hold, args=(pixels,)) for pixels in (90, 10, 11)]
        for thread in threads:
            thread.start()
            time.sleep(0.02)
        assert order == []
    for thread in threads:
        thread.join(timeout=5)
    assert order[0] == 90


@pytest.mark.parametrize("kind", BUDGETS)
def test_an_error_gives_the_pixels_back(kind: type[Budget]) -> None:
    budget = kind(100)
    with pytest.raises(ValueError, match="damaged"), budget.hold(100):
        raise ValueError("damaged")
    with budget.hold(100):
        pass
