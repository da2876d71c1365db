from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.bundle.calibration import Calibration
from automl_ad.bundle.manifest import Decision, Speed, StudyFacts
from automl_ad.bundle.onnx_export import export_graph
from automl_ad.bundle.parity import Parity
from automl_ad.bundle.writing import BundleContents, write_bundle
from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.methods.dfr import Dfr, DfrSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.padim import Padim, PadimSettings
from automl_ad.methods.patchcore import PatchCore, PatchCoreSettings
from automl_ad.training import Budget

SIDE = 64
LEVELS = (-4, -3)
RULE = ScoreAggregation("top", fraction=0.02, sigma=4)
FACTS = StudyFacts(
    study="discs",
    trial=7,
    images=12,
    suite="abc",
    fingerprint="def",
    proxy_score=0.9,
    interval=(0.8, 0.95),
    families={"texture": 0.85, "poisson": 0.95},
    learned_from=("texture",),
    size_mb=1.5,
    seed=3,
)


def draw_parts(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 [count, 64, 64, 3]: discs on a noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = 32 + rng.normal(0, 1, (count, 2))
    disc = np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None]) < 20
    grey = 60 + 100 * disc[..., None] + rng.normal(0, 6, (count, SIDE, SIDE, 3))
    return grey.clip(0, 255).astype(np.uint8)


def as_set(images: npt.NDArray[np.uint8]) -> ImageSet:
    return ImageSet.of(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@pytest.fixture(scope="session")
def draw_images() -> Callable[[int, int], npt.NDArray[np.uint8]]:
    return draw_parts


@pytest.fixture(scope="session")
def detectors() -> dict[str, FeatureDetector]:
    common: dict[str, Any] = {"backbone": "embedded", "levels": LEVELS}
    extractor = FeatureExtractor(EmbeddedBackbone())
    made: dict[str, FeatureDetector] = {
        "padim": Padim(PadimSettings(**common, channels=20), extractor),
        "patchcore": PatchCore(PatchCoreSettings(**common, ratio=0.02, standardise=True), extractor),
        "patchcore-plain": PatchCore(PatchCoreSettings(**common, neighbours=0), extractor),
        "dfr-image_pca": Dfr(DfrSettings(**common, model="image_pca", stride=8), extractor),
        "dfr-pca": Dfr(DfrSettings(**common, model="pca", stride=8), extractor),
        "dfr-autoencoder": Dfr(DfrSettings(**common, stride=8, steps=20, batch=64, mode="nearest"), extractor),
    }
    for detector in made.values():
        detector.fit(as_set(draw_parts(12, 0)), None, Budget(), lambda share: None)
    return made


@pytest.fixture(scope="session")
def make_contents() -> Callable[..., BundleContents]:
    """Contents around a fitted detector, calibrated on 30 parts that it did not see.

    Writing a graph takes seconds: each detector has its graph written once.
    """
    graphs: dict[FeatureDetector, bytes] = {}

    def make(detector: FeatureDetector, **changes: Any) -> BundleContents:
        maps = detector.anomaly_maps(as_set(draw_parts(30, 1)))
        scores = score_maps(maps, RULE, (SIDE, SIDE))
        low, high = np.quantile(maps, [0.5, 0.999])
        contents: dict[str, Any] = {
            "detector": detector,
            "precision": "fp32",
            "preprocessing": Preprocessing(height=SIDE, width=SIDE),
            "aggregation": RULE,
            "calibration": Calibration.of(scores, maps, (SIDE, SIDE)),
            "decision": Decision(overkill=0.1, mask=0.05),
            "map_range": (float(low), float(high)),
            "facts": FACTS,
            "parity": Parity(8, 1e-6, 1.0, 1e-6, 0, 1e-6, 0, 0.9, 0.9),
            "speed": Speed(latency_ms=12.5, images_s=100.0, threads=2, size_mb=3.5),
            "samples": {"texture.png": b"drawn"},
        }
        if "graph" not in changes:
            contents["graph"] = graphs.get(detector) or export_graph(detector, RULE, (SIDE, SIDE))
            graphs[detector] = contents["graph"]
        return BundleContents(**contents | changes)

    return make


@pytest.fixture(scope="session")
def contents(detectors: dict[str, FeatureDetector], make_contents: Callable[..., BundleContents]) -> BundleContents:
    return make_contents(detectors["padim"])


@pytest.fixture
def bundle_path(contents: BundleContents, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "made", contents)


@pytest.fixture
def zip_path(contents: BundleContents, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "made.zip", contents)
