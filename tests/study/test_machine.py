"""Devices, and state of the process that is restored after use."""

from __future__ import annotations

import subprocess
import sys
import warnings

import optuna
import pytest
import torch

from automl_ad.methods.fit_memory import DEVICE_SHARE
from automl_ad.study.machine import (
    device_names,
    flushed_denormals,
    quiet_optuna,
    resolve_device,
    study_arithmetic,
)


@pytest.mark.parametrize(("gpus", "names"), [(0, ["auto", "cpu"]), (2, ["auto", "cpu", "cuda:0", "cuda:1"])])
def test_every_visible_gpu_is_named(monkeypatch: pytest.MonkeyPatch, gpus: int, names: list[str]) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert device_names() == names


def test_every_name_can_be_resolved() -> None:
    assert {resolve_device(name).type for name in device_names()} <= {"cpu", "cuda"}


def test_a_share_of_a_gpu_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: limits.append((share, device))
    )
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    with study_arithmetic():
        assert [resolve_device(name) for name in ("auto", "cuda", "cuda:1")] == [first, first, second]
        resolve_device("cpu")
        assert limits == [(DEVICE_SHARE, first), (DEVICE_SHARE, first), (DEVICE_SHARE, second)]
    assert set(limits[3:]) == {(1.0, first), (1.0, second)}


def denormal() -> float:
    return float(torch.tensor([1e-300], dtype=torch.float64) * 1e-20)


def test_denormals_are_zero_inside_and_themselves_again_afterwards() -> None:
    assert denormal() > 0
    with flushed_denormals():
        assert denormal() == 0
        with flushed_denormals():
            assert denormal() == 0
        assert denormal() == 0  # the outer one still holds
    assert denormal() > 0


def test_they_are_restored_after_a_fault() -> None:
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert denormal() > 0


def tf32() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("products", [False, True])
def test_float32_is_no_tf32_inside_and_as_it_was_afterwards(products: bool) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = products
    try:
        with study_arithmetic():
            assert tf32() == (False, False)
            assert denormal() == 0
        assert tf32() == (True, products)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


NEWER_NAMES = """
import torch
from automl_ad.study.machine import full_float32
conv = torch.backends.cudnn.conv
conv.fp32_precision = "tf32"
torch.backends.cudnn.rnn.fp32_precision = "ieee"
with full_float32():
    assert conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"
assert conv.fp32_precision == "tf32"
"""


def test_programs_that_set_the_precision_by_its_newer_names_are_understood() -> None:
    subprocess.run([sys.executable, "-c", NEWER_NAMES], check=True, timeout=120)


def test_optuna_reports_errors_alone_and_as_before_afterwards() -> None:
    before = optuna.logging.get_verbosity()
    with quiet_optuna():
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("new", optuna.exceptions.ExperimentalWarning, stacklevel=1)
        assert not caught
    assert optuna.logging.get_verbosity() == before
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        warnings.warn("new", optuna.exceptions.ExperimentalWarning, stacklevel=1)
