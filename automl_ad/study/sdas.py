"""What a study makes of the family ``sdas``: decided once, kept beside its suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from automl_ad.methods.space import Effort
from automl_ad.store.artifacts import SourcedRecord, write_atomically
from automl_ad.study.progress import Event, Listener
from automl_ad.synthesis.sdas.job import ProgressCallback
from automl_ad.synthesis.sdas.preparing import Outcome
from automl_ad.synthesis.sdas.settings import Size

SHARE_OF_BUDGET = 0.15
"""Of a study's time budget, for training, gate and images together."""
SHEET = "sdas.png"


@dataclass(frozen=True)
class Decision(SourcedRecord):
    """Whether the suites of a study hold the family.

    Attributes:
        used: Whether they do.
        warnings: Why not, and what else the user should know, in sentences.
        facts: What training and gate measured.
    """

    file: ClassVar[str] = "sdas.json"

    used: bool
    warnings: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, outcome: Outcome) -> Decision:
        """What follows from an attempt to prepare the model."""
        reasons = [] if outcome.reason is None else [f"The family sdas was left out: {outcome.reason}."]
        return cls(outcome.sdas is not None, [*reasons, *outcome.warnings], outcome.facts)

    def _content(self) -> Mapping[str, Any]:
        return {"used": self.used, "warnings": list(self.warnings), "facts": dict(self.facts)}

    @classmethod
    def _of_content(cls, content: Mapping[str, Any]) -> Decision:
        return cls(bool(content["used"]), list(content["warnings"]), dict(content["facts"]))


def model_size(effort: Effort, device: torch.device) -> Size:
    """The model that suits an effort and a device; a CPU would take hours for one step of the published one."""
    if device.type != "cuda":
        return "small"
    return "published" if effort == "faithful" else "medium"


def sdas_progress(listener: Listener) -> ProgressCallback:
    """Passes what a preparation tells on to those who watch a search."""

    def tell(message: str, done: int, total: int, left_s: float | None) -> None:
        listener(Event("sdas", message, done, total, left_s=left_s))

    return tell


def keep_sheet(sheet: Path | None, folder: Path) -> None:
    """Copies the gate's contact sheet beside the suites, if there is one."""
    if sheet is not None and sheet.is_file():
        with write_atomically(folder / SHEET) as temporary:
            temporary.write_bytes(sheet.read_bytes())
