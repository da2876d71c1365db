from __future__ import annotations

import json
import math
import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bundle import SCORES, seal, toy_files, write_files, write_toy

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import load_bundle, manifest_checksum
from automl_ad.errors import BundleError

FILES = ("model.onnx", "calibration.json", "weights.safetensors", "samples/a.png")


@pytest.fixture(params=["made", "made.zip"])
def any_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def changed(manifest: bytes, **sections: Any) -> bytes:
    """Another manifest with a valid checksum."""
    return seal(json.loads(manifest) | sections)


def refusal(path: Path, files: dict[str, bytes], **options: Any) -> str:
    """Why the bundle is refused."""
    with pytest.raises(BundleError) as refused:
        load_bundle(write_files(path, files, **options))
    message = str(refused.value)
    assert "\n" not in message
    return message


class TestWholeBundles:
    def test_both_shapes_are_read_alike(self, any_path: Path) -> None:
        bundle = load_bundle(str(write_toy(any_path)))
        assert (bundle.path, bundle.size) == (any_path, (32, 48))
        assert bundle.manifest == json.loads(toy_files()["bundle.json"])
        np.testing.assert_array_equal(bundle.calibration, SCORES)
        assert bundle.calibration.dtype == np.float64

    def test_the_checksum_is_that_of_the_canonical_form(self) -> None:
        manifest = json.loads(toy_files()["bundle.json"])
        assert manifest_checksum(manifest) == manifest["checksum"]

    def test_the_layout_of_the_manifest_does_not_matter(self, tmp_path: Path) -> None:
        files = toy_files()
        files["bundle.json"] = json.dumps(json.loads(files["bundle.json"]), sort_keys=True).encode()
        load_bundle(write_files(tmp_path / "made", files))

    def test_a_byte_order_mark_that_an_editor_leaves_does_no_harm(self, tmp_path: Path) -> None:
        files = toy_files()
        files["bundle.json"] = b"\xef\xbb\xbf" + files["bundle.json"].replace(b"\n", b"\r\n")
        load_bundle(write_files(tmp_path / "made", files))

    def test_other_files_in_a_folder_do_no_harm(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made")
        (path / ".DS_Store").write_bytes(b"x")
        (path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
        load_bundle(path)

    def test_an_archive_made_by_another_tool_is_read(self, tmp_path: Path) -> None:
        write_toy(tmp_path / "made")
        made = shutil.make_archive(str(tmp_path / "again"), "zip", tmp_path / "made")
        with zipfile.ZipFile(made) as archive:
            assert "samples/" in archive.namelist()
        load_bundle(made)

    def test_the_file_is_closed(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made.zip")
        load_bundle(path)
        descriptors = Path("/proc/self/fd")
        before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
        load_bundle(path)
        assert (len(list(descriptors.iterdir())) if descriptors.exists() else 0) <= before


class TestFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_an_altered_file_is_named(self, any_path: Path, name: str) -> None:
        files = toy_files()
        content = bytearray(files[name])
        content[len(content) // 2] ^= 1
        assert f"{name} " in refusal(any_path, files | {name: bytes(content)}).replace(f"{any_path}{os.sep}", "")

    @pytest.mark.parametrize("name", FILES)
    def test_a_truncated_file_is_named(self, any_path: Path, name: str) -> None:
        files = toy_files()
        message = refusal(any_path, files | {name: files[name][:-1]})
        assert "has been altered since it was written; copy or export the bundle again." in message

    @pytest.mark.parametrize("name", ["bundle.json", *FILES])
    def test_a_missing_file_is_named(self, any_path: Path, name: str) -> None:
        files = toy_files()
        del files[name]
        message = refusal(any_path, files)
        assert Path(name).name in message
        assert "is missing; copy the whole bundle" in message

    def test_a_folder_or_a_pipe_in_the_place_of_a_file(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made")
        (path / "weights.safetensors").unlink()
        (path / "weights.safetensors").mkdir()
        with pytest.raises(BundleError, match=r"weights\.safetensors cannot be read \(it is no file\)"):
            load_bundle(path)
        if hasattr(os, "mkfifo"):
            (path / "weights.safetensors").rmdir()
            os.mkfifo(path / "weights.safetensors")
            with pytest.raises(BundleError, match=r"weights\.safetensors cannot be read \(it is no file\)"):
                load_bundle(path)

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
    @pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "samples/a.png"])
    def test_a_link_that_leads_out_is_refused(self, tmp_path: Path, name: str) -> None:
        path = write_toy(tmp_path / "made")
        (path / name).rename(tmp_path / "elsewhere")
        (path / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BundleError, match="is a link that leads out of the bundle"):
            load_bundle(path)

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
    def test_links_within_and_to_the_folder_are_followed(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made")
        (path / "model.onnx").rename(path / "other")
        (path / "model.onnx").symlink_to("other")
        (tmp_path / "link").symlink_to(path)
        load_bundle(tmp_path / "link")
        shutil.move(path / "samples", tmp_path / "samples")
        (path / "samples").symlink_to(tmp_path / "samples")
        with pytest.raises(BundleError, match="leads out"):
            load_bundle(path)

    def test_what_is_no_bundle_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="does not exist"):
            load_bundle(tmp_path / "absent")
        with pytest.raises(BundleError, match=r"bundle\.json is missing"):
            load_bundle(tmp_path)
        (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
        with pytest.raises(BundleError, match="neither the folder"):
            load_bundle(tmp_path / "model.pt")

    @pytest.mark.parametrize("name", ["MAX_BYTES", "MAX_JSON_BYTES"])
    def test_no_file_is_read_beyond_its_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setattr(runtime, name, 10)
        with pytest.raises(BundleError, match="is larger than a bundle allows"):
            load_bundle(write_toy(tmp_path / "made"))


class TestArchives:
    @pytest.mark.parametrize(
        "name", ["../evil", "/evil", "a/../../evil", "samples/../evil", "..\\evil", "C:evil", "C:\\evil", "a\\b"]
    )
    def test_entries_that_point_elsewhere_are_refused(self, tmp_path: Path, name: str) -> None:
        assert "lies outside of a bundle" in refusal(tmp_path / "made.zip", {**toy_files(), name: b"x"})
        assert os.listdir(tmp_path) == ["made.zip"]

    @pytest.mark.parametrize("name", ["extra.bin", "samples/b.png", "a/b", ".hidden", "__MACOSX/._a"])
    def test_entries_that_the_manifest_does_not_list_are_refused(self, tmp_path: Path, name: str) -> None:
        message = refusal(tmp_path / "made.zip", {**toy_files(), name: b"x"})
        assert message.startswith(f"{name} in {tmp_path / 'made.zip'} is not part of the bundle")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_name_that_is_there_twice_is_refused(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made.zip")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("bundle.json", "{}")
        with pytest.raises(BundleError, match="one name twice"):
            load_bundle(path)

    def test_a_zipped_folder_says_how_to_zip(self, tmp_path: Path) -> None:
        files = {f"made/{name}": content for name, content in toy_files().items()}
        assert "without their folder" in refusal(tmp_path / "made.zip", files)

    def test_unusual_compression_is_refused(self, tmp_path: Path) -> None:
        message = refusal(tmp_path / "made.zip", toy_files(), compression=zipfile.ZIP_LZMA)
        assert "is compressed in an unusual way" in message

    def test_the_unpacked_size_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_toy(tmp_path / "made.zip")
        total = sum(map(len, toy_files().values()))
        monkeypatch.setattr(runtime, "MAX_BYTES", total)
        load_bundle(path)
        monkeypatch.setattr(runtime, "MAX_BYTES", total - 1)
        with pytest.raises(BundleError, match="unpack to more than"):
            load_bundle(path)

    def test_an_entry_that_inflates_beyond_its_size_is_refused(self, tmp_path: Path) -> None:
        files = toy_files()
        files["weights.safetensors"] = bytes(5_000_000)
        path = write_files(tmp_path / "made.zip", files, compression=zipfile.ZIP_DEFLATED)
        whole = struct.pack("<I", 5_000_000)
        content = path.read_bytes()
        assert content.count(whole) == 2
        path.write_bytes(content.replace(whole, struct.pack("<I", 1000)))
        with pytest.raises(BundleError, match=r"weights\.safetensors in .* is damaged or altered"):
            load_bundle(path)

    def test_a_cut_archive_is_refused(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made.zip")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(BundleError, match=r"neither the folder nor a complete \.zip"):
            load_bundle(path)

    def test_an_encrypted_archive_is_refused(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made.zip")
        encrypted = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = encrypted.find(signature) + offset
            encrypted[at : at + 2] = struct.pack("<H", 1)
        path.write_bytes(encrypted)
        with pytest.raises(BundleError, match=r"bundle\.json in .* is encrypted; zip the bundle without a password"):
            load_bundle(path)

    def test_a_damaged_archive_gives_one_sentence_or_the_same_bundle(self, tmp_path: Path) -> None:
        """Bits of the archive's own fields are flipped: the end of the file and the beginnings of the entries."""
        path = write_toy(tmp_path / "made.zip")
        content, manifest = path.read_bytes(), load_bundle(path).manifest
        starts = [i for i in range(len(content)) if content.startswith(b"PK\x03\x04", i)]
        refused = 0
        for position in [at + i for at in starts[:2] for i in range(50)] + list(
            range(len(content) - 400, len(content), 2)
        ):
            damaged = bytearray(content)
            damaged[position] ^= 0x09
            path.write_bytes(damaged)
            try:
                assert load_bundle(path).manifest == manifest
            except BundleError:
                refused += 1
        assert refused > 150


class TestManifest:
    def test_any_altered_value_is_found(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made")
        content = bytearray((path / "bundle.json").read_bytes())
        before, found = json.loads(content), 0
        for position in range(0, len(content), 7):
            altered = content.copy()
            altered[position] ^= 1
            (path / "bundle.json").write_bytes(altered)
            try:
                values = json.loads(altered)
            except ValueError:
                values = {}
            if values.get("decision") == before["decision"] and values != before:
                found += 1
                with pytest.raises(BundleError):
                    load_bundle(path)
        assert found > 20

    @pytest.mark.parametrize("key", ["method", "facts", "map_range", "preprocessing"])
    def test_an_altered_section_is_refused(self, any_path: Path, key: str) -> None:
        files = toy_files()
        other = {"method": "padim", "facts": {}, "map_range": [0.0, 1.0]}
        preprocessing = {"height": 64, "width": 48, "white_level": 1023, "via": None}
        manifest = json.loads(files["bundle.json"]) | {key: other.get(key, preprocessing)}
        message = refusal(any_path, files | {"bundle.json": json.dumps(manifest).encode()})
        assert "has been altered since it was written" in message

    def test_versions(self, tmp_path: Path) -> None:
        manifest = toy_files()["bundle.json"]
        newer = refusal(tmp_path / "a", {"bundle.json": changed(manifest, schema_version=4, files=None)})
        assert "is of version 4 but this program reads versions 2 to 3; update automl-ad" in newer
        older = refusal(tmp_path / "b", {"bundle.json": changed(manifest, schema_version=1)})
        assert "was written by an older version of automl-ad: export it again" in older
        for version in (None, 0, "two", True, 2.0):
            strange = refusal(tmp_path / "c", {"bundle.json": changed(manifest, schema_version=version)})
            assert "is incomplete (schema_version" in strange

    @pytest.mark.parametrize("key", ["checksum", "preprocessing", "map_range", "files", "decision"])
    def test_a_missing_section_is_named(self, tmp_path: Path, key: str) -> None:
        manifest = json.loads(toy_files()["bundle.json"])
        del manifest[key]
        message = refusal(tmp_path / "made", {"bundle.json": json.dumps(manifest).encode()})
        assert f"bundle.json is incomplete ({key} " in message

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("preprocessing", value) for value in (None, [], {"height": 32, "width": 48})),
            ("preprocessing", {"height": 32, "width": 48.0, "white_level": 255, "via": None}),
            ("preprocessing", {"height": 32, "width": True, "white_level": 255, "via": None}),
            ("preprocessing", {"height": 32, "width": 48, "white_level": 0, "via": None}),
            ("preprocessing", {"height": 32, "width": 48, "black_level": 500, "white_level": 500}),
            ("preprocessing", {"height": 32, "width": 48, "black_level": -1, "white_level": 500}),
            ("preprocessing", {"height": 32, "width": 48, "white_level": 500, "background": 256}),
            ("preprocessing", {"height": 32, "width": 48, "white_level": 500, "draft_above": "many"}),
            ("images", {"heights": [1, 2]}),
            ("preprocessing", {"height": 32, "width": 48, "white_level": 255, "via": [64]}),
            ("preprocessing", {"height": 10**6, "width": 10**6, "white_level": 255, "via": None}),
            *(("map_range", value) for value in ([1.0], ["a", "b"], [2.0, 1.0], [0.0, 10**400])),
            *(("files", value) for value in ([], {}, {"model.onnx": "0" * 64}, {"model.onnx": 1})),
        ],
    )
    def test_unusable_sections_are_named(self, tmp_path: Path, key: str, value: Any) -> None:
        files = toy_files()
        files["bundle.json"] = changed(files["bundle.json"], **{key: value})
        assert f"is incomplete ({key} is missing or unusable)" in refusal(tmp_path / "made", files)

    @pytest.mark.parametrize(
        "name",
        [
            "../evil",
            "/etc/passwd",
            "a/b",
            "samples/../evil",
            "samples/.x",
            ".x",
            "a\\b",
            "C:x",
            "",
            "bundle.json",
            "x\n",
        ],
    )
    def test_files_outside_are_refused(self, tmp_path: Path, name: str) -> None:
        files = toy_files()
        listed = json.loads(files["bundle.json"])["files"] | {name: "0" * 64}
        files["bundle.json"] = changed(files["bundle.json"], files=listed)
        assert "is incomplete (files is missing or unusable)" in refusal(tmp_path / "made", files)

    @pytest.mark.parametrize(
        "data", [b"", b"\x80\x04K\x01.", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'{"a": ' + b"1" * 9999]
    )
    def test_what_is_not_json(self, tmp_path: Path, data: bytes) -> None:
        assert "bundle.json is not JSON" in refusal(tmp_path / "made", {"bundle.json": data})

    def test_json_of_another_kind(self, tmp_path: Path) -> None:
        assert "does not hold a JSON object" in refusal(tmp_path / "made", {"bundle.json": b"[1]"})

    def test_half_a_character_is_an_altered_manifest(self, tmp_path: Path) -> None:
        files = toy_files()
        files["bundle.json"] = files["bundle.json"].replace(b'"toy"', b'"\\ud800"')
        assert "has been altered" in refusal(tmp_path / "made", files)


class TestDecision:
    def edited(self, path: Path, **values: Any) -> Path:
        """The bundle after somebody has opened its manifest in an editor."""
        files = toy_files()
        manifest = json.loads(files["bundle.json"])
        manifest["decision"] |= values
        return write_files(path, files | {"bundle.json": json.dumps(manifest, indent=4).encode()})

    def test_it_may_be_edited_by_hand(self, any_path: Path) -> None:
        assert load_bundle(self.edited(any_path)).threshold().value == 95
        assert load_bundle(self.edited(any_path, overkill=0.1, review=0.2)).threshold().value == 90
        bundle = load_bundle(self.edited(any_path, threshold=97.5, mask=0.2))
        assert (bundle.threshold().value, bundle.threshold().overkill) == (97.5, 0.03)
        assert bundle.mask_threshold().value == 20

    @pytest.mark.parametrize(
        ("key", "value", "wanted"),
        [
            *(("overkill", value, "a share between 0 and 1") for value in (None, "5 %", True, 0, 1, -0.1, 5, [])),
            *(("review", value, "null, or a share between overkill and 1") for value in ("x", 0, 1.5, False, 10**400)),
            *(("mask", value, "a share between 0 and 1") for value in (None, 0.0, 1, {})),
            *(("threshold", value, "null, or a score") for value in ("high", True, [3.0], 10**400)),
        ],
    )
    def test_unusable_values_are_refused(self, tmp_path: Path, key: str, value: Any, wanted: str) -> None:
        with pytest.raises(BundleError, match=rf"bundle\.json: {key} of decision is '.*'; write {wanted}"):
            load_bundle(self.edited(tmp_path / "made", **{key: value}))

    @pytest.mark.parametrize("review", [0.05, 0.01])
    def test_review_must_be_larger_than_overkill(self, tmp_path: Path, review: float) -> None:
        with pytest.raises(BundleError, match="review of decision must be larger than overkill"):
            load_bundle(self.edited(tmp_path / "made", review=review))

    def test_a_misspelt_value_is_not_passed_over(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="decision has no 'treshold'; it has overkill, review, mask, threshold"):
            load_bundle(self.edited(tmp_path / "made", treshold=3.0))

    def test_not_a_number_is_no_json(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="is not JSON"):
            load_bundle(self.edited(tmp_path / "made", threshold=math.nan))


class TestCalibration:
    @pytest.mark.parametrize(
        "change",
        [
            *({"scores": value} for value in (None, [], [1.0, "2"], [1.0, None], [True], [[1.0]], [10**400], "12", {})),
            *(
                {"pixel_shares": value}
                for value in ([], [0.5], [0.1, 0.5, 0.04, 0.009, 0.0], [1.0, 0.1, 0.0, 0.0, 0.0])
            ),
            *({"pixel_shares": value} for value in ([0.5, 0.4, 0.3, 0.2, -0.1], 3)),
            *({"pixel_values": value} for value in ([5.0, 4.0, 40.0, 60.0, 90.0], [1.0], None)),
        ],
    )
    def test_what_guarantees_cannot_be_computed_from(self, tmp_path: Path, change: dict[str, Any]) -> None:
        table = {"scores": SCORES, "pixel_shares": [0.5, 0.1, 0.04, 0.009, 0.0], "pixel_values": [5, 20, 40, 60, 90]}
        load_bundle(write_toy(tmp_path / "good", calibration=table))
        message = refusal(tmp_path / "made", toy_files(calibration=table | change))
        assert "calibration.json does not hold" in message

    def test_infinite_scores(self, tmp_path: Path) -> None:
        files = toy_files()
        for number in (b"NaN", b"Infinity", b"1e999"):
            changed_files = files | {"calibration.json": files["calibration.json"].replace(b"99.0", number)}
            manifest = json.loads(files["bundle.json"])
            del manifest["files"]
            data = {name: content for name, content in changed_files.items() if name != "bundle.json"}
            assert "calibration.json" in refusal(tmp_path / "made", data | {"bundle.json": seal(manifest, data)})
