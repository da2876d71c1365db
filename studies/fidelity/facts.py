"""What one study is remembered by: everything that a selection rule may look at, and what real defects say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.errors import StoreError
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.methods.names import ENSEMBLE

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_CELLS = ("image_cells", "localisation_cells", "home", "proxy", "good")
_REAL = ("scores", "labels", "placements", "shown")
_ARRAYS = (*_CELLS, *_REAL, "finalists", "values", "draws")


@dataclass(frozen=True)
class Facts:
    """One finished study and its judgement.

    Attributes:
        set: Name of the image set.
        seed: Of the study.
        trials: Complete and usable ones, ensembles among them: number, method, backbone, params, rule,
            advantage and latency_ms.
        cells: Names of the cells of the proxy suite, family/severity.
        default: Place, among the trials, of the training-free default; None where it failed.
        seconds: From the start to the end of the last trial (search), and to the start of the first (suite).
        appearance: Image AUROC of statistics of whole pictures, by name.
        image_cells: float64 [T, C], image AUROC of every cell under the trial's rule.
        localisation_cells: float64 [T, C], localisation AUROC of every cell.
        home: bool [T, C], whether the trial learned from the family of the cell.
        proxy: float64 [T], the proxy score as the table shows it.
        good: float64 [T, n], scores of the good images of the proxy suite under the trial's own rule.
        scores: float64 [T, N], of the labelled images under the trial's own rule; a search never sees them.
        labels: bool [N], defective.
        placements: float64 [T, k], share of good images, unseen by the trial, that score lower than each of a few real
            defects; NaN where the trial's training was not kept.
        shown: int64 [k], which of the labelled images these defects are.
        finalists: int64 [F], places of those that were checked again, in the order of the ranking.
        values: float64 [F], theirs in the hold-out check.
        draws: float64 [F, B], the same in samples of images and families.
    """

    set: str
    seed: int
    trials: list[dict[str, Any]]
    cells: list[str]
    default: int | None
    seconds: Mapping[str, float]
    appearance: Mapping[str, float]
    image_cells: Floats
    localisation_cells: Floats
    home: Flags
    proxy: Floats
    good: Floats
    scores: Floats
    labels: Flags
    placements: Floats
    shown: npt.NDArray[np.int64]
    finalists: npt.NDArray[np.int64]
    values: Floats
    draws: Floats

    @cached_property
    def real_aurocs(self) -> Floats:
        """What is not known to a search: image AUROC of every trial on real defects, float64 [T]."""
        return np.array([image_auroc(row, self.labels) for row in self.scores])

    @property
    def ensembles(self) -> Flags:
        """Which trials are ensembles of others, bool [T]."""
        return np.array([trial["method"] == ENSEMBLE for trial in self.trials])

    @property
    def advantages(self) -> Floats:
        """What is taken off the proxy score of every trial, float64 [T]."""
        return np.array([trial["advantage"] for trial in self.trials], dtype=np.float64)

    @property
    def families(self) -> list[str]:
        """Families of the suite, each once."""
        return list(dict.fromkeys(cell.partition("/")[0] for cell in self.cells))

    def of_family(self, family: str) -> Flags:
        """Which cells belong to a family, bool [C]."""
        return np.array([cell.partition("/")[0] == family for cell in self.cells])

    def save(self, folder: Path) -> None:
        """Writes ``SET_SEED.json`` and its arrays; the former last, for it says that all is there."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(self.path(folder, self.set, self.seed).with_suffix(".npz"), **_arrays_of(self))
        plain = {key: value for key, value in asdict(self).items() if key not in _ARRAYS}
        self.path(folder, self.set, self.seed).write_text(json.dumps(plain, indent=1))

    def others(self, all_facts: Sequence[Facts]) -> list[Facts]:
        """The studies of other sets: all that a rule may learn from before it is judged here."""
        return [each for each in all_facts if each.set != self.set]

    @classmethod
    def load(cls, path: Path) -> Facts:
        """Reads what ``save`` wrote.

        Raises:
            StoreError: It was written by another version.
        """
        with np.load(path.with_suffix(".npz")) as arrays:
            try:
                return cls(**json.loads(path.read_text()), **{name: arrays[name] for name in _ARRAYS})
            except (KeyError, TypeError) as error:
                raise StoreError(f"{path} is of another version; delete it and run the command again.") from error

    @staticmethod
    def path(folder: Path, name: str, seed: int) -> Path:
        """Where the facts of a set and seed lie."""
        return folder / f"{name}_{seed}.json"


def _arrays_of(facts: Facts) -> dict[str, npt.NDArray[Any]]:
    return {field.name: getattr(facts, field.name) for field in fields(facts) if field.name in _ARRAYS}
