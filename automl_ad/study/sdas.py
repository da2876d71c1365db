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

SHARE_OF_BUDGET = 0.2
"""Of a study's time budget, for training, gate and images together."""
SHEET = "sdas.png"
SMALLEST_STOCK = 48
"""Images of ``sdas`` for methods to learn from that are made with the suites."""
_LARGEST_STOCK: Mapping[Effort, int] = {"quick": 48, "balanced": 96, "thorough": 960, "faithful": 4800}
"""Published: 10 000 of a product."""
_SHARE_FOR_STOCK = 0.1
"""Of a study's time budget, for the images beyond the smallest stock, which the first fit that wants them makes."""


@dataclass(frozen=True)
class Decision(SourcedRecord):
    """Whether the suites of a study hold the family.

    Attributes:
        used: Whether they do.
        warnings: Why not, and what else the user should know, in sentences.
        facts: What training and gate measured.
        stock: Images for methods to learn from; fixed here, so that a resumed study has as many.
    """

    file: ClassVar[str] = "sdas.json"

    used: bool
    warnings: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    stock: int = SMALLEST_STOCK

    @classmethod
    def of(cls, outcome: Outcome, stock: int = SMALLEST_STOCK) -> Decision:
        """What follows from an attempt to prepare the model."""
        reasons = [] if outcome.reason is None else [f"The family sdas was left out: {outcome.reason}."]
        return cls(outcome.sdas is not None, [*reasons, *outcome.warnings], outcome.facts, stock)

    def _content(self) -> Mapping[str, Any]:
        return {"used": self.used, "warnings": list(self.warnings), "facts": dict(self.facts), "stock": self.stock}

    @classmethod
    def _of_content(cls, content: Mapping[str, Any]) -> Decision:
        stock = int(content.get("stock", SMALLEST_STOCK))  # not recorded by earlier versions
        return cls(bool(content["used"]), list(content["warnings"]), dict(content["facts"]), stock)


def model_size(effort: Effort, device: torch.device) -> Size:
    """The model that suits an effort and a device; a CPU would take hours for one step of the published one."""
    if device.type != "cuda":
        return "small"
    return "published" if effort == "faithful" else "medium"


def stock_size(effort: Effort, time_budget: float, facts: Mapping[str, Any]) -> int:
    """How many images methods learn from: as many as suit the effort and are made in a tenth of the time budget.

    Args:
        effort: Of the study.
        time_budget: Of the study, in seconds.
        facts: What the gate measured, with ``seconds_a_picture``.
    """
    affordable = _SHARE_FOR_STOCK * time_budget / max(float(facts.get("seconds_a_picture", 0.0)), 1e-3)
    return max(SMALLEST_STOCK, min(_LARGEST_STOCK[effort], int(affordable)))


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
