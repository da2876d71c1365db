from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import torch

from automl_ad import training
from automl_ad.methods.features import FeatureDetector
from automl_ad.training import sound_convolutions


@pytest.fixture(params=["single", "half"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Detectors train in this precision, as they do on a CPU and on a GPU; the test must train one."""
    if request.param == "half" and not training._multiplies_half(torch.device("cpu")):
        pytest.skip("no training on this processor is in half precision: it would be many times slower")
    used: list[torch.device] = []
    real = training.half_precision

    def noted(device: torch.device) -> AbstractContextManager[object]:
        used.append(device)
        return real(device)

    monkeypatch.setattr(training, "half_precision", noted)
    if request.param == "half":
        monkeypatch.setattr(FeatureDetector, "_half_precision", True)
    yield request.param
    assert bool(used) == (request.param == "half")


@pytest.fixture
def gradients_as_in_trainings() -> Iterator[None]:
    """For tests that compute gradients by themselves: they do so with the convolutions that trainings use."""
    with sound_convolutions():
        yield
