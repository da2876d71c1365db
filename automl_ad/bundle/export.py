"""From a refitted candidate to the contents of a bundle: its graph, how far that can be trusted, how fast it is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from automl_ad.bundle.calibration import CalibratedDetector, Calibration
from automl_ad.bundle.manifest import Decision, StudyFacts
from automl_ad.bundle.onnx_export import BATCH, export_graph, run_graph
from automl_ad.bundle.parity import Parity, compare, require
from automl_ad.bundle.precision import Precision, converted
from automl_ad.bundle.runtime import heat, mask_threshold, overkill_threshold, overlay
from automl_ad.bundle.speed import measure_speed
from automl_ad.bundle.writing import BundleContents
from automl_ad.data.image_facts import ImageFacts
from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.evaluation.aggregation import score_maps
from automl_ad.evaluation.cells import cell_family
from automl_ad.evaluation.suite import Suite
from automl_ad.store.plain_json import plain
from automl_ad.store.records import CandidateRecord

DEFAULT_OVERKILL = 0.05
"""Share of good parts that may be rejected, unless the user asks for another."""
DEFAULT_MASK = 0.01
"""Share of a good part's pixels that may be marked."""
GOOD_CHECKED, ANOMALIES_CHECKED = 32, 64
"""Images on which graph and detector are compared."""
_QUANTISED_ON = _MAPS_COMPARED = 64
_SAMPLES = 6

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ExportImages:
    """Images that an export needs.

    Attributes:
        preprocessing: How files become these arrays.
        normals: All good images of the study.
        suite: The proxy suite.
        facts: What the files of the good images have in common; None if nobody looked.
    """

    preprocessing: Preprocessing
    normals: ImageSet
    suite: Suite
    facts: ImageFacts | None = None


def bundle_contents(
    record: CandidateRecord,
    winner: CalibratedDetector,
    images: ExportImages,
    precision: Precision,
    facts: Mapping[str, Any],
) -> BundleContents:
    """Exports the graph of a detector, compares it with the detector and collects what a bundle holds.

    Args:
        record: The candidate.
        winner: The same refitted and calibrated.
        images: What the graph is checked, quantised and shown on.
        precision: Numbers that the graph computes with.
        facts: Of the study, for ``StudyFacts``.

    Raises:
        BundleError: The graph cannot be made, or disagrees with the detector.
    """
    exact = export_graph(winner.detector, winner.rule, images.normals.size)
    graph = converted(exact, precision, _spread(images.normals, _QUANTISED_ON).hwc)
    calibration = winner.calibration
    if precision != "fp32":
        calibration = _moved(calibration, exact, graph, images.normals.take(winner.rows))
    overkill = overkill_threshold(calibration.scores, DEFAULT_OVERKILL)
    marking = mask_threshold(calibration.pixel_shares, calibration.pixel_values, len(calibration.scores), DEFAULT_MASK)
    checked = Checked.of(images.normals, images.suite.anomalies)
    parity = _parity(winner, graph, checked, overkill.value)
    require(parity, precision, winner.detector.selects_channels)
    return BundleContents(
        detector=winner.detector,
        graph=graph,
        precision=precision,
        preprocessing=images.preprocessing,
        images=images.facts,
        aggregation=winner.rule,
        calibration=calibration,
        decision=Decision(overkill=overkill.overkill, mask=marking.overkill),
        map_range=winner.map_range,
        facts=_facts(record, facts),
        parity=parity,
        speed=measure_speed(graph, checked.images.hwc[0]),
        samples=_samples(graph, images.suite, winner.map_range),
        notes=tuple(found.message for found in (overkill, marking) if not found.supported),
    )


@dataclass(frozen=True)
class Checked:
    """The fixed images on which graph and detector are compared.

    Attributes:
        images: Good ones first.
        anomalous: bool [N].
    """

    images: ImageSet
    anomalous: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, normals: ImageSet, anomalies: ImageSet) -> Checked:
        """Good images and synthetic anomalies, spread evenly."""
        good, bad = _spread(normals, GOOD_CHECKED), _spread(anomalies, ANOMALIES_CHECKED)
        labels = np.r_[np.zeros(len(good), np.bool_), np.ones(len(bad), np.bool_)]
        return cls(ImageSet.of(np.concatenate([good.pixels, bad.pixels])), labels)


def _spread(images: ImageSet, count: int) -> ImageSet:
    """At most so many of the images, at even distances."""
    return images.take(_evenly(len(images), count))


def _evenly(length: int, count: int) -> npt.NDArray[np.int64]:
    """At most ``count`` of ``length`` places, at even distances."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))


def _moved(calibration: Calibration, exact: bytes, graph: bytes, normals: ImageSet) -> Calibration:
    """The calibration of a graph in another precision.

    Out-of-fold scores are those of detectors in full precision; with what the graph adds to the score of each image
    they stand for detectors in its precision, without exporting one a fold.
    """
    (before, low), (after, high) = (run_graph(model, normals.hwc) for model in (exact, graph))
    few = _evenly(len(normals), _MAPS_COMPARED)
    return calibration.moved(high.astype(np.float64) - low, before[few], after[few])


def _parity(winner: CalibratedDetector, graph: bytes, checked: Checked, threshold: float) -> Parity:
    # Not `anomaly_maps`: that goes through the cache, which keeps features in half precision.
    batches = (torch.from_numpy(batch) for batch in checked.images.batches(BATCH))
    raw = np.concatenate([winner.detector.anomaly_map(batch).cpu().numpy() for batch in batches])
    maps, scores = run_graph(graph, checked.images.hwc)
    own = score_maps(raw, winner.rule, checked.images.size)
    exact = overkill_threshold(winner.calibration.scores, DEFAULT_OVERKILL).value
    return compare(own, raw, scores, maps, exact, checked.anomalous, threshold)


def _facts(record: CandidateRecord, facts: Mapping[str, Any]) -> StudyFacts:
    return StudyFacts.model_validate(
        plain(
            {
                "trial": record.number,
                "proxy_score": record.proxy_score,
                "interval": record.interval,
                "families": record.families,
                "learned_from": sorted(record.learned_from),
                "advantage": record.advantage,
                "latency_ms": record.latency_ms,
                "size_mb": record.size_mb,
                "peak_mb": record.peak_mb,
                **facts,
            }
        )
    )


def _samples(graph: bytes, suite: Suite, map_range: tuple[float, float]) -> dict[str, bytes]:
    """Heatmaps of one synthetic anomaly of each family, the strongest."""
    chosen = {cell_family(cell): int(suite.members(cell)[0]) for cell in suite.cell_names}
    rows = list(chosen.values())[:_SAMPLES]
    pictures = suite.anomalies.take(rows).hwc
    maps, _ = run_graph(graph, pictures)
    painted = (overlay(picture, heat(values, map_range)) for picture, values in zip(pictures, maps, strict=True))
    return {f"{family}.png": _png(picture) for family, picture in zip(chosen, painted, strict=False)}


def _png(picture: Pictures) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
