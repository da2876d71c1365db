from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from automl_ad.bundle.manifest import SCHEMA_VERSION, Manifest, decode_manifest
from automl_ad.errors import BundleError


@pytest.fixture
def encoded(bundle_path: Path) -> bytes:
    return (bundle_path / "bundle.json").read_bytes()


def changed(encoded: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(encoded) | changes).encode()


def test_round_trip_keeps_every_value(encoded: bytes) -> None:
    manifest = decode_manifest(encoded, "x")
    assert manifest.encode() == encoded
    assert decode_manifest(manifest.encode(), "x") == manifest


def test_the_size_that_images_pass_through_is_kept_and_may_be_missing(encoded: bytes) -> None:
    content = json.loads(encoded)
    content["preprocessing"]["via"] = [96, 160]
    written = Manifest.model_validate(content).encode()
    assert decode_manifest(written, "x").preprocessing.via == (96, 160)
    del content["preprocessing"]["via"]
    content["checksum"] = "0" * 64
    older = json.dumps(content).encode()
    older = older.replace(b"0" * 64, hashlib.sha256(older).hexdigest().encode(), 1)
    assert decode_manifest(older, "x").preprocessing.via is None


def test_what_a_reader_without_the_library_finds(encoded: bytes) -> None:
    content = json.loads(encoded)
    assert content["schema_version"] == 1
    assert content["method"] == "padim"
    assert content["settings"] == {"backbone": "embedded", "levels": [-4, -3], "channels": 20, "ridge": 0.02}
    assert content["backbone"]["levels"] == [-4, -3]
    assert content["preprocessing"] == {"height": 64, "width": 64, "white_level": 65535, "via": None}
    assert content["rule"] == "top2%+sigma4"
    assert content["threshold"].keys() >= {"value", "overkill", "requested", "n", "message"}
    assert content["facts"]["proxy_score"] == 0.9
    assert content["facts"]["latency_ms"] is None  # it was NaN, which JSON has no word for
    assert content["versions"].keys() == {"automl_ad", "torch", "timm"}
    assert content["files"].keys() == {"weights.safetensors", "calibration.safetensors"}


def test_facts_that_this_version_does_not_know_are_kept(encoded: bytes) -> None:
    facts = json.loads(encoded)["facts"] | {"operator": "Ada"}
    manifest = Manifest.model_validate(json.loads(encoded) | {"facts": facts})
    assert json.loads(manifest.encode())["facts"]["operator"] == "Ada"


def test_the_manifest_is_frozen(encoded: bytes) -> None:
    manifest = decode_manifest(encoded, "x")
    with pytest.raises(ValidationError, match="frozen"):
        manifest.method = "other"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize("key", ["method", "settings", "backbone", "threshold", "map_range", "files", "checksum"])
def test_a_missing_key_is_named(encoded: bytes, key: str) -> None:
    content = json.loads(encoded)
    del content[key]
    with pytest.raises(BundleError, match=rf"there/bundle.json is incomplete \({key}.*export the bundle again"):
        decode_manifest(json.dumps(content).encode(), "there/bundle.json")


def test_a_newer_version_asks_for_an_update(encoded: bytes) -> None:
    newer = changed(encoded, schema_version=SCHEMA_VERSION + 1, method=None)
    with pytest.raises(BundleError, match=r"x is of version 2 .* up to version 1; update automl-ad"):
        decode_manifest(newer, "x")


@pytest.mark.parametrize("version", [None, 0, "one"])
def test_a_version_that_never_was(encoded: bytes, version: object) -> None:
    with pytest.raises(BundleError, match="schema_version"):
        decode_manifest(changed(encoded, schema_version=version), "x")


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(BundleError, match="x is not JSON"):
        decode_manifest(data, "x")


def test_json_that_is_no_object() -> None:
    with pytest.raises(BundleError, match="not the manifest"):
        decode_manifest(b"[1]", "x")


@pytest.mark.parametrize("name", ["../weights.safetensors", "/etc/passwd", "a/b", ".hidden", "a\\b", ""])
def test_files_are_plain_names(encoded: bytes, name: str) -> None:
    files = json.loads(encoded)["files"] | {name: "0" * 64}
    with pytest.raises(BundleError, match="files"):
        decode_manifest(changed(encoded, files=files), "x")


def test_a_manifest_without_weights_is_refused(encoded: bytes) -> None:
    content = json.loads(encoded)
    del content["files"]["weights.safetensors"]
    with pytest.raises(BundleError, match=r"does not list weights\.safetensors"):
        decode_manifest(Manifest.model_validate(content).encode(), "x")


def test_any_altered_byte_is_found(encoded: bytes) -> None:
    for position in range(len(encoded)):
        altered = bytearray(encoded)
        altered[position] ^= 1
        with pytest.raises(BundleError):
            decode_manifest(bytes(altered), "x")
