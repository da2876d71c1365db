"""Search spaces of a few backbones, and what detectors suggest in them."""

from __future__ import annotations

from typing import Any

import optuna

from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.study import proposals

RESNET = BackboneSpace("resnet18", (-5, -4, -3, -2, -1), (2, 4, 8, 16, 32))
EMBEDDED = BackboneSpace("embedded", (-4, -3, -2, -1), (4, 8, 16, 32), (14,) * 4)
VIT = BackboneSpace("vit_small", tuple(range(-12, 0)), (16,) * 12)
STEM = BackboneSpace("resnet18", (-5,), (2,))
EFFORTS: tuple[Effort, ...] = ("quick", "balanced", "thorough", "faithful")


def suggestions(cls: type[FeatureDetector], space: Space, count: int = 40) -> list[tuple[dict[str, Any], optuna.Trial]]:
    """Keyword arguments of settings that random draws give, each with its trial."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    return [(dict(cls.suggest(trial, space)), trial) for trial in trials]


def default_that_comes_back(cls: type[FeatureDetector], method: str, space: Space) -> dict[str, Any]:
    """The only default of a detector, once its parameters have suggested the same again."""
    (settings,) = cls.defaults(space)
    trial = optuna.trial.FixedTrial(proposals.parameters_of(method, settings, space))
    assert cls.suggest(trial, space) == settings
    return dict(settings)
