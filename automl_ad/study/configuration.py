"""What a trial tries: a method, a working size and the method's hyperparameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automl_ad.methods.base import Detector, DetectorSettings, Extractors
from automl_ad.methods.registry import candidate_class
from automl_ad.store.records import CandidateRecord


@dataclass(frozen=True)
class Configuration:
    """What a trial tries.

    Attributes:
        method: Method name, or that of an ensemble.
        side: Working size.
        settings: The method's parameters, as JSON-able values, defaults included.
    """

    method: str
    side: int
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, method: str, side: int, suggested: Mapping[str, Any]) -> Configuration:
        """Completes suggested parameters with the method's defaults."""
        settings = candidate_class(method).settings_type(**suggested)
        return cls(method, side, settings.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """Equal for equal configurations."""
        content = json.dumps([self.method, self.side, dict(self.settings)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def parameters(self) -> DetectorSettings:
        """The settings with their type."""
        return candidate_class(self.method).settings_type(**self.settings)

    @property
    def trains(self) -> bool:
        """Whether its fit is iterative."""
        return self.parameters.trains

    @property
    def backbone(self) -> str:
        """Name of the backbone, or of several."""
        return str(self.settings["backbone"])

    def build(self, extractors: Extractors, seed: int) -> Detector:
        """An unfitted detector."""
        return candidate_class(self.method).build(self.parameters, extractors, seed)


def configuration_of(record: CandidateRecord) -> Configuration:
    """The configuration that a record was made with."""
    settings = {key: value for key, value in record.params.items() if key != "side"}
    return Configuration.of(record.method, int(record.params["side"]), settings)
