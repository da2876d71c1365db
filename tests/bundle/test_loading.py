"""Both ways back from a bundle: the graph says what the detector said, and the detector is the one that was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from automl_ad.backbones import weights as weights_module
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.weights import Weights
from automl_ad.backbones.zoo import build_backbone
from automl_ad.bundle.loading import load_bundle, load_detector
from automl_ad.bundle.manifest import encode_manifest
from automl_ad.bundle.runtime import load_bundle as bare_load
from automl_ad.bundle.writing import BundleContents, write_bundle
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import score_maps
from automl_ad.evaluation.metrics import resize_maps
from automl_ad.methods.dfr import Dfr, DfrSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.padim import Padim, PadimSettings
from automl_ad.training import Budget

BACKBONE = {"levels": [-4], "weights_origin": "", "licence": ""}
Parts = Callable[[int, int], npt.NDArray[np.uint8]]


def as_set(images: npt.NDArray[np.uint8]) -> ImageSet:
    return ImageSet.of(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("suffix", ["", ".zip"])
@pytest.mark.parametrize("name", ["padim", "patchcore", "dfr-autoencoder"])
def test_a_bundle_judges_as_the_detector_did(
    detectors: dict[str, FeatureDetector],
    make_contents: Callable[..., BundleContents],
    draw_images: Parts,
    tmp_path: Path,
    name: str,
    suffix: str,
) -> None:
    contents = make_contents(detectors[name])
    path = write_bundle(tmp_path / f"bundle{suffix}", contents)
    images = draw_images(9, 5)
    images[3, 20:40, 20:40] = 255
    expected = detectors[name].anomaly_maps(as_set(images))
    assert np.ptp(expected) > 0
    bundle = load_bundle(path)
    scores = [result["score"] for result in bundle.predict(images)["results"]]
    own = score_maps(expected, contents.aggregation, (64, 64))
    np.testing.assert_allclose(scores, own, atol=1e-3 * own.std())
    np.testing.assert_allclose(bundle.maps(images), resize_maps(expected, (64, 64)), atol=1e-3 * expected.std())
    assert int(np.argmax(scores)) == 3
    np.testing.assert_array_equal(bundle.calibration, contents.calibration.scores)
    assert bundle.threshold().overkill == contents.decision.overkill


def test_deep_colour_is_read_here_but_not_by_the_copy(bundle_path: Path, draw_images: Parts, tmp_path: Path) -> None:
    deep = draw_images(1, 5)[0].astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "deep.png"), deep[:, :, ::-1])
    here, copy = (load(bundle_path).predict(tmp_path / "deep.png")["results"] for load in (load_bundle, bare_load))
    assert here[0]["score"] == pytest.approx(load_bundle(bundle_path).predict(draw_images(1, 5))["results"][0]["score"])
    assert "16-bit colour" in copy[0]["error"]


@pytest.mark.parametrize(
    "name", ["padim", "patchcore", "patchcore-plain", "dfr-image_pca", "dfr-pca", "dfr-autoencoder"]
)
def test_the_detector_comes_back(
    detectors: dict[str, FeatureDetector],
    make_contents: Callable[..., BundleContents],
    draw_images: Parts,
    tmp_path: Path,
    name: str,
) -> None:
    path = write_bundle(tmp_path / "bundle", make_contents(detectors[name], graph=b"not read"))
    loaded = load_detector(path)
    images = as_set(draw_images(5, 5))
    np.testing.assert_array_equal(loaded.anomaly_maps(images), detectors[name].anomaly_maps(images))
    assert loaded.settings == detectors[name].settings
    again = write_bundle(tmp_path / "again", make_contents(loaded, graph=b"not read"))
    assert (again / "weights.safetensors").read_bytes() == (path / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["resnet18", "resnet18+filters"])
def test_a_network_needs_neither_hub_nor_weights_folder(
    make_contents: Callable[..., BundleContents],
    draw_images: Parts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = timm.create_model("resnet18", pretrained=False, num_classes=0).state_dict()
        # As after training: a rebuilt network with fresh statistics would give other features.
        tensors = {key: torch.rand_like(value) + 0.5 if "running" in key else value for key, value in tensors.items()}
    backbone = build_backbone(name, Weights(tensors, "somewhere/resnet18.safetensors", "f00d"))
    settings = PadimSettings(backbone=name, levels=(-4, -3), channels=30)
    detector = Padim(settings, FeatureExtractor(backbone))
    detector.fit(as_set(draw_images(6, 0)), None, Budget(), lambda share: None)
    path = write_bundle(tmp_path / "b", make_contents(detector, graph=b"not read"))

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a bundle holds its own weights")

    for helper in ("find_weights", "_hub_file", "hub_reachable"):
        monkeypatch.setattr(weights_module, helper, forbidden)
    monkeypatch.setenv("AUTOML_AD_WEIGHTS", str(tmp_path / "absent"))
    images = draw_images(4, 5)
    loaded = load_detector(path)
    np.testing.assert_allclose(
        loaded.anomaly_maps(as_set(images)), detector.anomaly_maps(as_set(images)), rtol=1e-4, atol=1e-5
    )
    assert backbone_facts(path)["weights_origin"] == "somewhere/resnet18.safetensors"
    # Levels that the detector does not read are not carried.
    assert loaded.extractor.backbone.levels == (-5, -4, -3)
    assert (path / "weights.safetensors").stat().st_size < sum(value.nbytes for value in tensors.values()) / 2


@pytest.mark.parametrize("name", ["vgg11", "vgg11+reflect", "vgg11+reflect+filters"])
def test_a_network_of_levels_by_layer_comes_back(
    make_contents: Callable[..., BundleContents], draw_images: Parts, tmp_path: Path, name: str
) -> None:
    backbone = build_backbone(name, Weights(first_layers_of_vgg11(), "somewhere/vgg11.safetensors", "vgg11-f00d"))
    settings = DfrSettings(backbone=name, levels=(-8, -7, -6), autoencoder="paper", variance=0.5, steps=5, batch=64)
    detector = Dfr(settings, FeatureExtractor(backbone))
    detector.fit(as_set(draw_images(6, 0)), None, Budget(), lambda share: None)
    path = write_bundle(tmp_path / "bundle", make_contents(detector, graph=b"not read"))
    loaded = load_detector(path)
    images = draw_images(4, 5)
    np.testing.assert_allclose(
        loaded.anomaly_maps(as_set(images)), detector.anomaly_maps(as_set(images)), rtol=1e-4, atol=1e-5
    )
    assert loaded.extractor.backbone.weights_tag == backbone.weights_tag
    again = write_bundle(tmp_path / "again", make_contents(loaded, graph=b"not read"))
    assert (again / "weights.safetensors").read_bytes() == (path / "weights.safetensors").read_bytes()
    facts = backbone_facts(path)
    for other in ({"weights_tag": "vgg11-f00d"}, {"name": "vgg11.tv_in1k" if name != "vgg11" else "vgg11+reflect"}):
        reseal(path, backbone=facts | other)
        with pytest.raises(BundleError, match="it needs the features vgg11-f00d"):
            load_detector(path)


def first_layers_of_vgg11() -> dict[str, torch.Tensor]:
    """Random tensors of the first three of its eight convolutions."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for place, inputs, outputs in ((0, 3, 64), (3, 64, 128), (6, 128, 256)):
        tensors[f"features.{place}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / inputs**0.5 / 3
        tensors[f"features.{place}.bias"] = torch.zeros(outputs)
    return tensors


def backbone_facts(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "bundle.json").read_bytes())["backbone"])


def reseal(path: Path, **changes: Any) -> None:
    """Rewrites the manifest with other values and a valid checksum, as another version might."""
    content = json.loads((path / "bundle.json").read_bytes())
    (path / "bundle.json").write_bytes(encode_manifest(content | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "future"},
        {"method": "patchcore", "settings": {"backbone": "embedded", "levels": [-4]}},
        {"settings": {"backbone": "embedded", "levels": [-4, -3], "novel": 1}},
        {"backbone": {"name": "embedded", "weights_tag": "gabor-0"} | BACKBONE},
        {"backbone": {"name": "embedded+filters", "weights_tag": "x"} | BACKBONE},
        {"backbone": {"name": "resnet18", "weights_tag": "x"} | BACKBONE},
    ],
)
def test_what_this_version_cannot_use_names_the_one_that_can(bundle_path: Path, changes: dict[str, Any]) -> None:
    reseal(bundle_path, **changes)
    with pytest.raises(BundleError, match=r"cannot be rebuilt by this version .* install the versions .* torch \d"):
        load_detector(bundle_path)
