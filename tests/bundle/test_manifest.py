from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from automl_ad.bundle.manifest import Decision, Manifest, encode_manifest
from automl_ad.bundle.runtime import SCHEMA_VERSION, manifest_checksum, read_manifest


@pytest.fixture
def content(bundle_path: Path) -> dict[str, Any]:
    return dict(json.loads((bundle_path / "bundle.json").read_bytes()))


def test_round_trip_keeps_every_value(bundle_path: Path, content: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(read_manifest(bundle_path))
    assert manifest.encode() == (bundle_path / "bundle.json").read_bytes()
    assert encode_manifest(content) == manifest.encode()


def test_what_a_reader_without_the_library_finds(content: dict[str, Any]) -> None:
    assert list(content)[:3] == ["schema_version", "checksum", "decision"]
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["checksum"] == manifest_checksum(content)
    assert content["decision"] == {"overkill": 0.1, "review": None, "mask": 0.05, "threshold": None}
    assert content["method"] == "padim"
    assert content["settings"] == {"backbone": "embedded", "levels": [-4, -3], "channels": 20, "ridge": 0.02}
    assert content["backbone"]["levels"] == [-4, -3]
    assert "Apache-2.0" in content["backbone"]["licence"]
    assert content["preprocessing"] == {"height": 64, "width": 64, "white_level": 65535, "via": None}
    assert (content["rule"], content["precision"]) == ("top2%+sigma4", "fp32")
    assert content["facts"]["families"] == {"texture": 0.85, "poisson": 0.95}
    assert content["facts"]["latency_ms"] is None
    assert content["parity"]["decisions_changed"] == 0
    assert content["speed"] == {"latency_ms": 12.5, "images_s": 100.0, "threads": 2, "size_mb": 3.5}
    assert content["versions"].keys() == {"automl_ad", "torch", "timm", "onnx", "onnxruntime"}
    assert "bundle.json" not in content["files"]
    assert {"model.onnx", "calibration.json", "samples/texture.png"} <= content["files"].keys()


def test_the_decision_alone_is_not_sealed(content: dict[str, Any]) -> None:
    assert manifest_checksum(content | {"decision": {"overkill": 0.5}}) == content["checksum"]
    for key in content.keys() - {"checksum", "decision"}:
        assert manifest_checksum(content | {key: "other"}) != content["checksum"]


@pytest.mark.parametrize("wrong", [{"overkill": 0}, {"overkill": 1.5}, {"review": 0}, {"threshold": float("nan")}])
def test_a_decision_that_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Decision(**{"overkill": 0.05, "mask": 0.01} | wrong)


FIRST_RELEASE: dict[str, Any] = {
    "schema_version": 2,
    "checksum": "9f" * 32,
    "decision": {"overkill": 0.05, "review": None, "mask": 0.01, "threshold": None},
    "method": "average",
    "settings": {"members": [], "weights": None},
    "backbone": {
        "name": "embedded&resnet18",
        "levels": [],
        "weights_origin": "built in; hub",
        "weights_tag": "gabor-4&resnet18-f00d",
        "licence": "Apache-2.0",
        "each": [
            {
                "name": "embedded",
                "levels": [-4, -3],
                "weights_origin": "built in",
                "weights_tag": "gabor-4",
                "licence": "Apache-2.0",
                "each": [],
            }
        ],
    },
    "preprocessing": {"height": 64, "width": 64, "white_level": 65535, "via": None},
    "rule": "top2%+sigma4",
    "precision": "fp32",
    "map_range": [0.5, 2.0],
    "facts": {
        "study": "flanges",
        "trial": 3,
        "images": 40,
        "suite": "ab" * 32,
        "fingerprint": "cd" * 32,
        "proxy_score": 0.9,
        "interval": [0.8, 0.95],
        "families": {"texture": 0.85},
        "learned_from": ["texture"],
        "advantage": 0.01,
        "latency_ms": 12.5,
        "size_mb": 3.5,
        "peak_mb": 100.0,
        "seed": 0,
    },
    "parity": {
        "images": 8,
        "largest": 1e-6,
        "spread": 1.0,
        "relative": 1e-6,
        "beyond": 0,
        "map_largest": 1e-6,
        "decisions_changed": 0,
        "auroc_torch": 0.9,
        "auroc_onnx": 0.9,
    },
    "speed": {"latency_ms": 12.5, "images_s": 100.0, "threads": 2, "size_mb": 3.5},
    "versions": {"automl_ad": "0.1.0", "torch": "2.11", "timm": "1.0.20", "onnx": "1.17", "onnxruntime": "1.20"},
    "files": {"model.onnx": "ef" * 32, "calibration.json": "01" * 32},
}


def test_a_manifest_of_the_first_release_keeps_its_keys_and_values() -> None:
    expected = {key: value for key, value in FIRST_RELEASE.items() if key != "checksum"}
    assert Manifest.model_validate(FIRST_RELEASE).model_dump(mode="json") == expected
