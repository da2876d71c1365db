"""Settings shared by RealNet and DeSTSeg, which train on synthetic anomalies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from automl_ad.methods.base import MethodSettings
from automl_ad.synthesis.sources import Recipe

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FAMILIES = {"texture": ("texture",), "sdas": ("sdas",), "both": ("texture", "sdas"), "cutpaste": ("cutpaste",)}
"""Families of anomalies for each value of the ``families`` setting."""

PUBLISHED_STRENGTH = (0.5, 1.0)
"""Of ``sdas``; for the published diffusion model an added variance of 0.1 to 0.2 (see ``StrengthScale``)."""
_STRENGTHS = {"published": PUBLISHED_STRENGTH, "wide": (0.2, 1.0)}


class SyntheticTrainingSettings(MethodSettings):
    """Which synthetic anomalies a method trains on.

    Attributes:
        families: A key of ``FAMILIES``; each method allows some of them.
        opacity: Lowest opacity.
        strength: Lowest and highest strength of ``sdas``.
    """

    families: str = "texture"
    opacity: float = Field(default=0.2, ge=0, le=1)
    strength: tuple[float, float] = PUBLISHED_STRENGTH

    @property
    def trains(self) -> bool:
        """See ``MethodSettings.trains``."""
        return True

    @property
    def recipe(self) -> Recipe:
        """See ``MethodSettings.recipe``."""
        return Recipe(FAMILIES[self.families], (self.opacity, 1.0), self.strength)


def suggest_strength(trial: BaseTrial, method: str) -> tuple[float, float]:
    """Suggests the range of strengths of ``sdas``."""
    return _STRENGTHS[str(trial.suggest_categorical(f"{method}.strength", list(_STRENGTHS)))]


def encode_strength(strength: tuple[float, float]) -> str:
    """The choice that suggests a range of strengths, or a description of one that none suggests.

    >>> encode_strength((0.2, 1.0))
    'wide'
    """
    return next((name for name, choice in _STRENGTHS.items() if choice == strength), str(strength))
