"""Results of one candidate on the user's images, on the scale of its own trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.export import DEFAULT_OVERKILL
from automl_ad.bundle.runtime import Threshold, overkill_threshold, p_values
from automl_ad.reporting.trial_files import TrialFiles
from automl_ad.reporting.user_images import Label, UserImages

Floats = npt.NDArray[np.float64]

NOT_FINITE = "The anomaly map holds values that are not finite."


@dataclass(frozen=True)
class Scale:
    """The scale of a trial's scores and maps: those of the validation normals.

    Attributes:
        files: What the trial left on disk.
        threshold: The decision that a bundle would make by default, as far as these normals support it.
        map_range: Typical and high map values on them, for the colours of heatmaps.
    """

    files: TrialFiles
    threshold: Threshold
    map_range: tuple[float, float]

    @classmethod
    def of(cls, files: TrialFiles) -> Scale:
        """Reads it.

        Raises:
            StoreError: The trial's maps are missing or damaged.
        """
        return cls(files, overkill_threshold(files.normals, DEFAULT_OVERKILL), files.map_range)


@dataclass(frozen=True)
class UserImageResults:
    """Results of one candidate on the images.

    Attributes:
        scale: Of its trial.
        scores: float64, one for each image; NaN where there is none.
        error: Why it failed on all of them, if it did.
    """

    scale: Scale
    scores: Floats
    error: str | None = None

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.scale.files.record.number

    def summary(self) -> dict[str, Any]:
        """The candidate and what its decision guarantees."""
        record, threshold = self.scale.files.record, self.scale.threshold
        return {
            "number": record.number,
            "method": record.method,
            "backbone": record.backbone,
            "rule": record.rule,
            "proxy_normals": len(self.scale.files.normals),
            "threshold": threshold.value,
            "overkill": threshold.overkill,
            "promise": threshold.message,
            "error": self.error,
        }

    def verdict(self, row: int) -> dict[str, Any]:
        """Its result on the image at an index."""
        score = float(self.scores[row])
        if not np.isfinite(score):
            nothing = dict.fromkeys(("score", "p", "anomalous", "heat"))
            return {**nothing, "error": self.error or NOT_FINITE}
        return {
            "score": score,
            "p": float(p_values([score], self.scale.files.normals)[0]),
            "anomalous": score > self.scale.threshold.value,
            "heat": thumbnail_name(row, self.number),
            "error": None,
        }

    def of_label(self, user_images: UserImages, label: Label) -> Floats:
        """Its finite scores of all images with a label."""
        rows = [row for row in user_images.readable if user_images.pictures[row].label == label]
        scores = self.scores[rows]
        return scores[np.isfinite(scores)]


def thumbnail_name(row: int, number: int | None = None) -> str:
    """Path below the output folder of an image, or of its heatmap by a trial."""
    return f"thumbnails/{row:05d}.jpg" if number is None else f"thumbnails/{row:05d}_{number}.jpg"
