from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from automl_ad.backbones import weights as weights_module
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.weights import Weights
from automl_ad.backbones.zoo import build_backbone
from automl_ad.bundle import container
from automl_ad.bundle.loading import load_bundle
from automl_ad.bundle.manifest import Manifest
from automl_ad.bundle.writing import BundleContents, write_bundle
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError
from automl_ad.evaluation.scoring import score_maps
from automl_ad.methods.dfr import Dfr, DfrSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.padim import Padim, PadimSettings
from automl_ad.training import Budget

Parts = Callable[[int, int], npt.NDArray[np.uint8]]
FILES = ["bundle.json", "calibration.safetensors", "weights.safetensors"]


def as_set(images: npt.NDArray[np.uint8]) -> ImageSet:
    return ImageSet.of(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("suffix", ["", ".zip"])
@pytest.mark.parametrize(
    "name", ["padim", "patchcore", "patchcore-plain", "dfr-image_pca", "dfr-pca", "dfr-autoencoder"]
)
def test_a_loaded_bundle_maps_and_scores_as_the_detector_did(
    detectors: dict[str, FeatureDetector],
    make_contents: Callable[..., BundleContents],
    parts: Parts,
    tmp_path: Path,
    name: str,
    suffix: str,
) -> None:
    contents = make_contents(detectors[name])
    bundle = load_bundle(write_bundle(tmp_path / f"bundle{suffix}", contents))
    images = parts(9, 5)
    images[3, 20:40, 20:40] = 255
    expected = detectors[name].anomaly_maps(as_set(images))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(bundle.maps(images), expected, rtol=1e-5, atol=1e-5)
    scores = [result["score"] for result in bundle.predict(images)["results"]]
    np.testing.assert_allclose(scores, score_maps(expected, contents.rule, (64, 64)), rtol=1e-5)
    assert int(np.argmax(scores)) == 3
    assert bundle.detector.settings == detectors[name].settings
    np.testing.assert_array_equal(bundle.calibration, contents.calibration)
    assert bundle.manifest.threshold == contents.threshold


def test_a_loaded_bundle_can_be_written_again(
    make_contents: Callable[..., BundleContents], bundle_path: Path, tmp_path: Path
) -> None:
    again = write_bundle(tmp_path / "again", make_contents(load_bundle(bundle_path).detector))
    for name in ("weights.safetensors", "calibration.safetensors"):
        assert (again / name).read_bytes() == (bundle_path / name).read_bytes()


@pytest.mark.parametrize("name", ["resnet18", "resnet18+filters"])
def test_a_network_needs_neither_hub_nor_weights_folder(
    make_contents: Callable[..., BundleContents],
    parts: Parts,
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
    detector.fit(as_set(parts(6, 0)), None, Budget(), lambda share: None)
    path = write_bundle(tmp_path / "b.zip", make_contents(detector, weights_origin="somewhere/resnet18.safetensors"))

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a bundle holds its own weights")

    for helper in ("find_weights", "_hub_file", "hub_reachable"):
        monkeypatch.setattr(weights_module, helper, forbidden)
    monkeypatch.setenv("AUTOML_AD_WEIGHTS", str(tmp_path / "absent"))
    images = parts(4, 5)
    bundle = load_bundle(path)
    np.testing.assert_allclose(bundle.maps(images), detector.anomaly_maps(as_set(images)), rtol=1e-4, atol=1e-5)
    assert bundle.manifest.backbone.weights_origin == "somewhere/resnet18.safetensors"
    # Levels that the detector does not read are not carried.
    assert bundle.detector.extractor.backbone.levels == (-5, -4, -3)
    assert path.stat().st_size < sum(value.nbytes for value in tensors.values()) / 2


@pytest.mark.parametrize("name", ["vgg11", "vgg11+reflect", "vgg11+reflect+filters"])
def test_a_network_of_levels_by_layer_comes_back(
    make_contents: Callable[..., BundleContents], parts: Parts, tmp_path: Path, name: str
) -> None:
    backbone = build_backbone(name, Weights(first_layers_of_vgg11(), "somewhere/vgg11.safetensors", "vgg11-f00d"))
    settings = DfrSettings(backbone=name, levels=(-8, -7, -6), autoencoder="paper", variance=0.5, steps=5, batch=64)
    detector = Dfr(settings, FeatureExtractor(backbone))
    detector.fit(as_set(parts(6, 0)), None, Budget(), lambda share: None)
    path = write_bundle(tmp_path / "bundle", make_contents(detector))
    bundle = load_bundle(path)
    images = parts(4, 5)
    np.testing.assert_allclose(bundle.maps(images), detector.anomaly_maps(as_set(images)), rtol=1e-4, atol=1e-5)
    assert bundle.detector.extractor.backbone.weights_tag == backbone.weights_tag
    again = write_bundle(tmp_path / "again", make_contents(bundle.detector))
    assert (again / "weights.safetensors").read_bytes() == (path / "weights.safetensors").read_bytes()
    facts = bundle.manifest.backbone.model_dump(mode="json")
    for other in ({"weights_tag": "vgg11-f00d"}, {"name": "vgg11.tv_in1k" if name != "vgg11" else "vgg11+reflect"}):
        reseal(path, backbone=facts | other)
        with pytest.raises(BundleError, match="its features are those of vgg11-f00d"):
            load_bundle(path)


def first_layers_of_vgg11() -> dict[str, torch.Tensor]:
    """Random tensors of the first three of its eight convolutions."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for place, inputs, outputs in ((0, 3, 64), (3, 64, 128), (6, 128, 256)):
        tensors[f"features.{place}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / inputs**0.5 / 3
        tensors[f"features.{place}.bias"] = torch.zeros(outputs)
    return tensors


@pytest.mark.parametrize("name", FILES)
def test_an_altered_file_of_a_folder_is_named(bundle_path: Path, name: str) -> None:
    content = bytearray((bundle_path / name).read_bytes())
    for position in np.linspace(0, len(content) - 1, 25).astype(int):
        altered = content.copy()
        altered[position] ^= 0x10
        (bundle_path / name).write_bytes(altered)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            load_bundle(bundle_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_of_a_folder_is_named(bundle_path: Path, name: str) -> None:
    (bundle_path / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing; copy"):
        load_bundle(bundle_path)


def test_a_folder_in_the_place_of_a_file(bundle_path: Path) -> None:
    (bundle_path / "weights.safetensors").unlink()
    (bundle_path / "weights.safetensors").mkdir()
    with pytest.raises(BundleError, match=r"weights\.safetensors cannot be read"):
        load_bundle(bundle_path)


def test_other_files_in_a_folder_do_no_harm(bundle_path: Path) -> None:
    (bundle_path / ".DS_Store").write_bytes(b"x")
    (bundle_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    assert load_bundle(bundle_path).manifest.method == "padim"


def rezip(path: Path, changes: dict[str, bytes | None], **options: Any) -> Path:
    """The archive again with some members replaced, added or, where None, left out."""
    with zipfile.ZipFile(path) as archive:
        members: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in (members | changes).items():
            if content is not None:
                archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", FILES)
def test_an_altered_or_missing_member_of_a_zip_is_named(zip_path: Path, name: str) -> None:
    with zipfile.ZipFile(zip_path) as archive:
        content = bytearray(archive.read(name))
    content[len(content) // 2] ^= 1
    rezip(zip_path, {name: bytes(content)})
    with pytest.raises(BundleError, match=rf"{name} in .*made\.zip"):
        load_bundle(zip_path)
    rezip(zip_path, {name: None})
    with pytest.raises(BundleError, match=rf"{name} in .*made\.zip is missing"):
        load_bundle(zip_path)


def test_a_zip_made_by_another_tool_is_read(zip_path: Path) -> None:
    rezip(zip_path, {}, compression=zipfile.ZIP_DEFLATED)
    assert load_bundle(zip_path).manifest.method == "padim"


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:evil.txt"])
def test_members_that_point_elsewhere_are_refused(zip_path: Path, tmp_path: Path, name: str) -> None:
    rezip(zip_path, {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match="outside of a bundle"):
        load_bundle(zip_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_members_that_the_manifest_does_not_list_are_refused(zip_path: Path) -> None:
    rezip(zip_path, {"extra.bin": b"x"})
    with pytest.raises(BundleError, match=r"extra\.bin in .* is no part of the bundle"):
        load_bundle(zip_path)


def test_a_zipped_folder_says_how_to_zip(bundle_path: Path, tmp_path: Path) -> None:
    made = shutil.make_archive(str(tmp_path / "wrapped"), "zip", tmp_path, bundle_path.name)
    with pytest.raises(BundleError, match=r"without their folder|outside of a bundle"):
        load_bundle(Path(made))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(zip_path: Path) -> None:
    with zipfile.ZipFile(zip_path, "a") as archive:
        archive.writestr("bundle.json", "{}")
    with pytest.raises(BundleError, match="twice"):
        load_bundle(zip_path)


def test_the_unpacked_size_is_bounded(zip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(zip_path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    monkeypatch.setattr(container, "MAX_BYTES", total)
    load_bundle(zip_path)
    monkeypatch.setattr(container, "MAX_BYTES", total - 1)
    with pytest.raises(BundleError, match="unpack to more than"):
        load_bundle(zip_path)


def test_a_damaged_zip_gives_one_sentence_or_the_same_bundle(zip_path: Path) -> None:
    """Bits of the archive's own fields are flipped: the end of the file and the beginnings of the members."""
    content = zip_path.read_bytes()
    manifest = load_bundle(zip_path).manifest
    starts = [content.find(b"PK\x03\x04", at) for at in (0, 31)]
    fields = [at + i for at in starts if at >= 0 for i in range(50)]
    refused = 0
    for position in fields + list(range(content.rfind(b"PK\x01\x02") - 150, len(content))):
        damaged = bytearray(content)
        damaged[position] ^= 0x09
        zip_path.write_bytes(damaged)
        try:
            assert load_bundle(zip_path).manifest == manifest
        except BundleError:
            refused += 1
    assert refused > 100


def test_a_cut_or_encrypted_zip_is_refused(zip_path: Path) -> None:
    content = zip_path.read_bytes()
    zip_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=r"neither the folder nor a complete \.zip"):
        load_bundle(zip_path)
    encrypted = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = encrypted.find(signature) + offset
        encrypted[at : at + 2] = struct.pack("<H", 1)
    zip_path.write_bytes(encrypted)
    with pytest.raises(BundleError, match=r"bundle\.json in"):
        load_bundle(zip_path)


def test_what_is_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(BundleError, match=r"bundle\.json is missing"):
        load_bundle(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(BundleError, match="neither the folder"):
        load_bundle(tmp_path / "model.pt")


def reseal(path: Path, **changes: Any) -> None:
    """Rewrites the manifest with other values and a valid checksum, as another version might."""
    content = json.loads((path / "bundle.json").read_bytes())
    (path / "bundle.json").write_bytes(Manifest.model_validate(content | changes).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "future"},
        {"method": "patchcore", "settings": {"backbone": "embedded", "levels": [-4]}},
        {"settings": {"backbone": "embedded", "levels": [-4, -3], "novel": 1}},
        {"rule": "median"},
        {"backbone": {"name": "embedded", "levels": [-4], "weights_origin": "", "weights_tag": "gabor-0"}},
        {"backbone": {"name": "embedded+filters", "levels": [-4], "weights_origin": "", "weights_tag": "x"}},
        {"backbone": {"name": "resnet18", "levels": [-4], "weights_origin": "", "weights_tag": "x"}},
    ],
)
def test_what_this_version_cannot_use_names_the_one_that_can(bundle_path: Path, changes: dict[str, Any]) -> None:
    reseal(bundle_path, **changes)
    with pytest.raises(BundleError, match=r"cannot be used by this version .* install the versions .* torch \d"):
        load_bundle(bundle_path)


def test_the_file_of_a_bundle_is_closed(zip_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    load_bundle(zip_path)
    after = set(os.listdir("/proc/self/fd")) if before else set()
    assert len(after) <= len(before)
