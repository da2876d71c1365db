"""What a search changes in its process is restored when it ends."""

from __future__ import annotations

import warnings

import optuna
import pytest
import torch

from automl_ad.study.process_state import flushed_denormals, quiet_optuna


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
