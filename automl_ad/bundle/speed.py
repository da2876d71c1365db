"""Measures latency, throughput and size of an exported graph on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import cpu_count

from automl_ad.bundle.manifest import Speed
from automl_ad.bundle.onnx_export import BATCH, session_of

_RUNS, _SECONDS = 15, 3.0
"""Maximum number of runs, and seconds after which no further run is started; bounds the time of an export."""


def measure_speed(model: bytes, image: npt.NDArray[np.uint8]) -> Speed:
    """Median times of ONNX Runtime on the CPU with all cores.

    Args:
        model: The graph.
        image: uint8 [height, width, 3] at the working size.
    """
    session = session_of(model)
    batches = [np.repeat(image[None], count, axis=0) for count in (1, BATCH)]
    one, many = (_median_seconds(partial(session.run, None, {"images": batch})) for batch in batches)
    threads, size = cpu_count(), len(model) / 1e6
    return Speed(latency_ms=1000 * one, images_s=BATCH / many, threads=threads, size_mb=size)


def _median_seconds(run: Callable[[], Any]) -> float:
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < _RUNS and (not times or time.perf_counter() - begun < _SECONDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)
