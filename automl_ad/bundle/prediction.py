"""A loaded bundle: scores, decisions and heatmaps for new images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.heatmaps import HeatmapFolder
from automl_ad.bundle.manifest import Manifest
from automl_ad.bundle.pictures import Pictures, Source, list_sources, read_source
from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.errors import InputError
from automl_ad.evaluation.scoring import ScoringRule, score_maps
from automl_ad.evaluation.thresholds import Threshold, overkill_threshold, p_values, smallest_overkill
from automl_ad.methods.features import FeatureDetector

BATCH = 8
_THREADS = 4
_NOT_FINITE = "the detector's scores are not finite numbers: check the image and the bundle."

_Loaded = tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.uint8] | str]
"""The picture if it is kept, and its pixels at the working size or the reason why there are none."""


@dataclass(frozen=True)
class Judgement:
    """What a bundle says of one image.

    Attributes:
        source: The file or array.
        picture: uint8 [H, W, 3] as read, where pictures were asked for; else None.
        anomaly_map: float32 [h, w], raw, or None when there is an error.
        score: Raw score, higher = more anomalous; NaN when there is an error.
        error: Why there is no score.
    """

    source: Source
    picture: npt.NDArray[np.uint8] | None
    anomaly_map: npt.NDArray[np.float32] | None
    score: float
    error: str | None


@dataclass(frozen=True)
class Bundle:
    """A detector with all it takes to judge images.

    Attributes:
        path: Where it was loaded from.
        manifest: What it is and where it came from.
        detector: Fitted and ready.
        rule: Turns maps into scores.
        calibration: float64 [n], scores of normals by detectors that did not see them.
    """

    path: Path
    manifest: Manifest
    detector: FeatureDetector = field(repr=False)
    rule: ScoringRule
    calibration: npt.NDArray[np.float64] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """The working size, (height, width) in pixels."""
        return self.manifest.preprocessing.height, self.manifest.preprocessing.width

    def threshold(self, overkill: float | None = None) -> Threshold:
        """The decision for at most the share ``overkill`` of false alarms, or the bundle's own when None.

        Raises:
            InputError: The share is out of range, or smaller than the calibration images can support.
        """
        if overkill is None:
            return self.manifest.threshold
        if not 0 < overkill < 1:
            raise InputError(f"--overkill {overkill:g} is not between 0 and 1; give a share such as 0.01 for 1 %.")
        found = overkill_threshold(self.calibration, overkill)
        if not found.supported:
            smallest = np.ceil(smallest_overkill(found.n) * 1e6) / 1e6
            raise InputError(
                f"--overkill {overkill:g} is more than {found.n} calibration images can promise; give at least "
                f"{smallest:g} or search again with more images."
            )
        return found

    def maps(self, images: Pictures) -> npt.NDArray[np.float32]:
        """Anomaly maps, float32 [N, h, w], at the detector's own resolution: raw, higher = more anomalous.

        Args:
            images: As for `predict`.

        Raises:
            InputError: A file cannot be read, or there are no images.
        """
        found = []
        for judgement in self.judge(list_sources(images)):
            if judgement.anomaly_map is None:
                raise InputError(str(judgement.error))
            found.append(judgement.anomaly_map)
        return np.stack(found)

    def predict(self, images: Pictures, output: Path | None = None, overkill: float | None = None) -> dict[str, Any]:
        """Judges images.

        Args:
            images: A file, a folder (searched recursively), a list of files or arrays, or one uint8 [H, W, 3] or
                [N, H, W, 3] array in RGB.
            output: Folder for one heatmap an image, as PNG at the image's own size; None for no heatmaps.
            overkill: Share of false alarms to promise, 0 to 1; the bundle's own threshold when None.

        Returns:
            The ``predict`` answer: ``bundle``, ``threshold`` (of the score), ``overkill`` (what it promises),
            ``promise`` (the same as a sentence) and ``results`` in the order of the images, each with ``path`` (None
            for arrays), ``score``, ``p_value``, ``anomalous``, ``heatmap`` (a path) and ``error``. An image that
            cannot be read is a result with ``error`` and None for the rest.

        Raises:
            InputError: No images, an ``overkill`` that cannot be promised, or an ``output`` that cannot be written.
        """
        threshold = self.threshold(overkill)
        sources = list_sources(images)
        heatmaps = HeatmapFolder(Path(output), images, sources, self.manifest.map_range) if output else None
        judgements = self.judge(sources, pictures=heatmaps is not None)
        return {
            "bundle": str(self.path),
            "threshold": threshold.value,
            "overkill": threshold.overkill,
            "promise": threshold.message,
            "results": [self._result(judgement, threshold, heatmaps) for judgement in judgements],
        }

    def judge(self, sources: Sequence[Source], pictures: bool = False) -> Iterator[Judgement]:
        """Maps and scores, in order, read and computed a few images at a time.

        Args:
            sources: Files and arrays; see `list_sources`.
            pictures: Whether to hand out the pictures too, which may be large.
        """
        load = partial(_load, preprocessing=self.manifest.preprocessing, keep=pictures)
        with closing(ThreadPool(_THREADS)) as pool:
            for start in range(0, len(sources), BATCH):
                batch = sources[start : start + BATCH]
                yield from self._judge_batch(batch, pool.map(load, batch, chunksize=1))

    def _judge_batch(self, sources: Sequence[Source], loaded: Sequence[_Loaded]) -> Iterator[Judgement]:
        readable = [pixels for _, pixels in loaded if not isinstance(pixels, str)]
        judged = iter(self._map_and_score(np.stack(readable)) if readable else ())
        for source, (picture, pixels) in zip(sources, loaded, strict=True):
            if isinstance(pixels, str):
                yield Judgement(source, None, None, np.nan, pixels)
                continue
            anomaly_map, score = next(judged)
            if np.isfinite(anomaly_map).all() and np.isfinite(score):
                yield Judgement(source, picture, anomaly_map, score, None)
            else:
                yield Judgement(source, picture, None, np.nan, _NOT_FINITE)

    def _map_and_score(self, pixels: npt.NDArray[np.uint8]) -> list[tuple[npt.NDArray[np.float32], float]]:
        maps = self.detector.anomaly_maps(ImageSet.of(pixels))
        return list(zip(maps, score_maps(maps, self.rule, self.size).tolist(), strict=True))

    def _result(self, judgement: Judgement, threshold: Threshold, heatmaps: HeatmapFolder | None) -> dict[str, Any]:
        path = str(judgement.source) if isinstance(judgement.source, Path) else None
        if judgement.error is not None:
            nothing = dict.fromkeys(("score", "p_value", "anomalous", "heatmap"))
            return {"path": path, **nothing, "error": judgement.error}
        heatmap = None
        if heatmaps and judgement.picture is not None and judgement.anomaly_map is not None:
            heatmap = str(heatmaps.write(judgement.source, judgement.picture, judgement.anomaly_map))
        return {
            "path": path,
            "score": judgement.score,
            "p_value": float(p_values([judgement.score], self.calibration)[0]),
            "anomalous": judgement.score > threshold.value,
            "heatmap": heatmap,
            "error": None,
        }


def _load(source: Source, preprocessing: Preprocessing, keep: bool) -> _Loaded:
    try:
        picture = read_source(source, preprocessing.white_level)
    except InputError as fault:
        return None, str(fault)
    return picture if keep else None, preprocessing.apply(picture)
