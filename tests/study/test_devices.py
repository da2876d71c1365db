from __future__ import annotations

import pytest
import torch

from automl_ad.study.devices import device_names, resolve_device


@pytest.mark.parametrize(("gpus", "names"), [(0, ["auto", "cpu"]), (2, ["auto", "cpu", "cuda:0", "cuda:1"])])
def test_every_visible_gpu_is_named(monkeypatch: pytest.MonkeyPatch, gpus: int, names: list[str]) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert device_names() == names


def test_every_name_can_be_resolved() -> None:
    assert {resolve_device(name).type for name in device_names()} <= {"cpu", "cuda"}
