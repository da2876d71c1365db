"""A bundle whose scores and maps are set by hand, and labelled images for it, for tests of evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from automl_ad.bundle.runtime import Threshold
from automl_ad.data.labelled import GOOD, LabelledImage

SIDE = 32
MASK = (slice(8, 16), slice(8, 16))
"""Where defects with a mask are: 64 of 1024 pixels."""

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HandPrediction:
    source: Path
    image: npt.NDArray[np.uint8] | None
    anomaly_map: Map | None
    score: float
    error: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class HandBundle:
    """Knows its images by the stem of their names: ``g2.png`` scores 2 unless ``scores`` says otherwise."""

    cut: float = 3.5
    guaranteed: float = 0.1
    scores: Mapping[str, float] = field(default_factory=dict)
    maps: Mapping[str, Map] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    calibration: npt.NDArray[np.float64] = field(default_factory=lambda: np.arange(9) / 2)
    path: Path = Path("made/bundle.zip")
    size: tuple[int, int] = (SIDE, SIDE)

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "method": "padim",
            "rule": "max",
            "backbone": {"name": "embedded"},
            "preprocessing": {"height": SIDE, "width": SIDE, "white_level": 65535, "via": None},
            "map_range": [0.0, 1.0],
            "facts": {"study": "bolts & nuts", "trial": 7, "seed": 3},
        }

    def threshold(self) -> Threshold:
        return Threshold(self.cut, self.guaranteed, self.guaranteed, True, len(self.calibration), "a guarantee")

    def review_threshold(self) -> Threshold | None:
        return None

    def mask_threshold(self) -> Threshold:
        return Threshold(0.5, 0.01, 0.01, True, 9, "a guarantee on pixels")

    def raw_predictions(self, sources: Sequence[Path], keep_images: bool = False) -> Iterator[HandPrediction]:
        for source in sources:
            name = source.stem
            if name in self.errors:
                yield HandPrediction(source, None, None, float("nan"), self.errors[name])
                continue
            image = np.full((400, 640, 3), 90, np.uint8) if keep_images else None
            score = self.scores[name] if name in self.scores else float(name.lstrip("gsd"))
            yield HandPrediction(source, image, self.maps.get(name, np.zeros((SIDE, SIDE), np.float32)), score, None)


@dataclass(frozen=True)
class FullBundle(HandBundle):
    """One that also has images reviewed."""

    review: float | None = 2.5

    def review_threshold(self) -> Threshold | None:
        return None if self.review is None else Threshold(self.review, 0.3, 0.3, True, 9, "another guarantee")


def labelled(folder: Path, masks: bool = False) -> list[LabelledImage]:
    """Good images that score 1 to 4; scratches that score 2.5 and 5, a dent that scores 6.

    With ``masks`` the scratches have one each.
    """
    mask = folder / "mask.png"
    if masks:
        marks = np.zeros((SIDE, SIDE), np.uint8)
        marks[MASK] = 255
        Image.fromarray(marks).save(mask)
    good = [LabelledImage(folder / f"g{score}.png", False, GOOD) for score in (1, 2, 3, 4)]
    given = (mask,) if masks else ()
    scratched = [LabelledImage(folder / f"s{score}.png", True, "scratch", given) for score in ("2.5", "5")]
    for image in scratched:
        Image.new("L", (SIDE, SIDE), 90).save(image.path)
    return [*good, *scratched, LabelledImage(folder / "d6.png", True, "dent")]


def plane(**squares: float) -> Map:
    """Zeros, but for values at ``left`` and ``right``, the halves of the masked square, or at ``corner``, 4 x 4."""
    places = {"left": np.s_[8:16, 8:12], "right": np.s_[8:16, 12:16], "corner": np.s_[:4, :4]}
    found = np.zeros((SIDE, SIDE), np.float32)
    for name, value in squares.items():
        found[places[name]] = value
    return found
