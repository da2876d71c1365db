"""An average as a graph and as a bundle: members on two backbones, one of them read by two."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from exportable import NETWORK, RULE, SIZE, VARIANTS, draw_parts, fitted, pictures

from automl_ad.bundle import loading
from automl_ad.bundle.loading import load_bundle, load_detector
from automl_ad.bundle.onnx_export import export_graph, run_graph
from automl_ad.bundle.writing import BundleContents, write_bundle
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import score_maps
from automl_ad.evaluation.metrics import resize_maps
from automl_ad.methods.ensemble import EnsembleDetector, EnsembleSettings, Member

NAMES = ("padim", "patchcore-network", "dfr-image_pca")


@lru_cache
def average(*names: str) -> EnsembleDetector:
    """Of fitted detectors, each in units of its scores of other good parts."""
    good, members = ImageSet.from_hwc(list(draw_parts(6, 3))), []
    for trial, name in enumerate(names):
        method, backbone, levels, settings = VARIANTS[name]
        scores = score_maps(fitted(name).anomaly_maps(good), RULE, SIZE)
        chosen = {"backbone": backbone, "levels": levels, **settings}
        scale = {"centre": float(scores.mean()), "spread": float(scores.std())}
        members.append(Member(trial=trial, method=method, settings=chosen, seed=0, **scale))
    return EnsembleDetector(EnsembleSettings(members=tuple(members)), [fitted(name) for name in names])


@lru_cache
def graph(*names: str) -> bytes:
    return export_graph(average(*names), RULE, SIZE)


@pytest.mark.parametrize("names", [NAMES, ("padim", "patchcore-network"), ("anoseg", "destseg-network", "realnet")])
def test_the_graph_says_what_the_detector_says(names: tuple[str, ...]) -> None:
    maps = average(*names).anomaly_maps(ImageSet.from_hwc(list(pictures())))
    found_maps, found_scores = run_graph(graph(*names), pictures())
    scores = score_maps(maps, RULE, SIZE)
    assert scores.std() > 0
    np.testing.assert_allclose(found_scores, scores, atol=1e-3 * scores.std())
    np.testing.assert_allclose(found_maps, resize_maps(maps, SIZE), atol=5e-3 * maps.std())


def test_a_backbone_of_two_members_is_in_the_graph_once() -> None:
    onnx = pytest.importorskip("onnx")
    convolutions = [
        sum(node.op_type == "Conv" for node in onnx.load_from_string(graph(*names)).graph.node)
        for names in (NAMES, ("padim", "patchcore-network"))
    ]
    assert convolutions[0] == convolutions[1]


@pytest.fixture
def bundle(make_contents: Callable[..., BundleContents], tmp_path: Path) -> Path:
    contents = make_contents(average(*NAMES), graph=graph(*NAMES), aggregation=RULE)
    return write_bundle(tmp_path / "bundle", contents)


def test_its_bundle_tells_of_all_backbones(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    facts = manifest["backbone"]
    assert manifest["method"] == "average"
    assert (facts["name"], facts["levels"]) == (f"embedded & {NETWORK}", [])
    assert [(each["name"], each["levels"]) for each in facts["each"]] == [("embedded", [-4, -3]), (NETWORK, [-3, -2])]
    assert "drawn at random" in facts["weights_origin"]
    assert f"ensemble on embedded & {NETWORK}" in (bundle / "model_card.md").read_text()
    assert len(load_bundle(bundle).predict(pictures())["results"]) == 8


def test_the_detector_comes_back(bundle: Path) -> None:
    loaded, images = load_detector(bundle), ImageSet.from_hwc(list(pictures()))
    assert isinstance(loaded, EnsembleDetector)
    assert loaded.settings == average(*NAMES).settings
    np.testing.assert_allclose(loaded.anomaly_maps(images), average(*NAMES).anomaly_maps(images), rtol=1e-4, atol=1e-4)


def test_a_bundle_without_one_of_its_backbones_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loading.load_tensors
    lacking = lambda data: {name: t for name, t in whole(data).items() if not name.startswith("backbone1.")}  # noqa: E731
    monkeypatch.setattr(loading, "load_tensors", lacking)
    with pytest.raises(BundleError, match="cannot be rebuilt"):
        load_detector(bundle)
