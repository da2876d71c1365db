"""What RealNet and DeSTSeg share: settings of methods that learn from textures, SDAS or pieces of the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from automl_ad.methods.base import MethodSettings
from automl_ad.synthesis.sources import Recipe

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FAMILIES = {"texture": ("texture",), "sdas": ("sdas",), "both": ("texture", "sdas"), "cutpaste": ("cutpaste",)}
"""Families of anomalies by the name of a choice."""

_STRENGTHS = {"published": (0.1, 0.2), "wide": (0.1, 0.5)}


class LearnerSettings(MethodSettings):
    """Parameters that say what is learned from.

    Attributes:
        families: What anomalies, a key of ``FAMILIES``; each method names those that it takes.
        opacity: Lowest opacity of these.
        strength: Lowest and highest strength of those of ``sdas``.
    """

    families: str = "texture"
    opacity: float = Field(default=0.2, ge=0, le=1)
    strength: tuple[float, float] = (0.1, 0.2)

    @property
    def trains(self) -> bool:
        """See ``MethodSettings.trains``."""
        return True

    @property
    def recipe(self) -> Recipe:
        """See ``MethodSettings.recipe``."""
        return Recipe(FAMILIES[self.families], (self.opacity, 1.0), self.strength)


def suggest_strength(trial: BaseTrial, method: str) -> tuple[float, float]:
    """Draws the range of strengths of ``sdas``."""
    return _STRENGTHS[str(trial.suggest_categorical(f"{method}.strength", list(_STRENGTHS)))]
