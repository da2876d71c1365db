"""What tests of searches share: a diffusion model that takes no time, and lists of what was done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from automl_ad.study import suites
from automl_ad.synthesis.sdas import gate
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.synthesis.sdas.scale import StrengthScale
from automl_ad.synthesis.sdas.settings import NetworkSettings, SdasSettings
from automl_ad.synthesis.sdas.synthesiser import Sampler

TINY = SdasSettings(
    network=NetworkSettings(patch=2, widths=(16, 16), attention=(False, False)),
    crop=32,
    batch=4,
    steps=4,
    rate=1e-3,
    sampling_steps=4,
    start_step=500,
)


@pytest.fixture
def judge_sdas(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Replaces the gate by one verdict on every model: the fault, or None for none."""

    def replace_gate(fault: str | None) -> None:
        def verdict(normals: Any, draw: Callable[[float], Any], *_: Any) -> gate.GateResult:
            return gate.GateResult(1.0, StrengthScale(), {}, {1.0: draw(1.0)}, fault)

        monkeypatch.setattr(gate, "run_gate", verdict)

    return replace_gate


@pytest.fixture
def tiny_sdas(monkeypatch: pytest.MonkeyPatch, judge_sdas: Callable[[str | None], None]) -> list[SdasJob]:
    """A model that takes no time and passes its gate; lists the commissions that were trained."""
    trained: list[SdasJob] = []
    teach = SdasJob.train

    def watched(self: SdasJob, *arguments: Any, **options: Any) -> Any:
        trained.append(self)
        return teach(self, *arguments, **options)

    monkeypatch.setattr(SdasJob, "train", watched)
    monkeypatch.setattr(suites, "settings_for", lambda size: TINY)
    judge_sdas(None)
    return trained


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all pictures that were made with a diffusion model, measuring and judging included."""
    seeds: list[int] = []
    make = Sampler.__call__

    def watched(self: Sampler, bases: Any, strengths: Sequence[float], wanted: Sequence[int]) -> Any:
        seeds.extend(wanted)
        return make(self, bases, strengths, wanted)

    monkeypatch.setattr(Sampler, "__call__", watched)
    return seeds
