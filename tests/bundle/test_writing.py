from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from automl_ad.bundle import runtime, writing
from automl_ad.bundle.loading import load_bundle
from automl_ad.bundle.writing import BundleContents, check_output, write_bundle
from automl_ad.errors import InputError
from automl_ad.methods.features import FeatureDetector

FILES = [
    "bundle.json",
    "calibration.json",
    "model.onnx",
    "model_card.md",
    "predict.py",
    "requirements.txt",
    "samples/texture.png",
    "weights.safetensors",
]


@pytest.fixture
def other(detectors: dict[str, FeatureDetector], make_contents: Callable[..., BundleContents]) -> BundleContents:
    return make_contents(detectors["dfr-pca"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def method_of(path: Path) -> str:
    return str(load_bundle(path).manifest["method"])


def test_a_folder_holds_these_files_and_its_neighbourhood_nothing_else(
    contents: BundleContents, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "deep" / "bundle"
    assert write_bundle(output, contents) == output
    assert files(output) == FILES
    assert names(output.parent) == ["bundle"]


def test_the_program_is_the_runtime_itself(contents: BundleContents, tmp_path: Path) -> None:
    output = write_bundle(tmp_path / "bundle", contents)
    assert (output / "predict.py").read_bytes() == Path(runtime.__file__).read_bytes()
    assert (output / "samples" / "texture.png").read_bytes() == b"drawn"
    wanted = (output / "requirements.txt").read_text().splitlines()
    assert [line.split(">=")[0] for line in wanted] == ["onnxruntime", "numpy", "pillow"]


def test_others_may_read_it(contents: BundleContents, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    output = write_bundle(tmp_path / "bundle", contents)
    assert output.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_equal_contents_give_equal_bytes(contents: BundleContents, tmp_path: Path) -> None:
    folders = [write_bundle(tmp_path / name, contents) for name in ("a", "b")]
    zips = [write_bundle(tmp_path / name, contents) for name in ("a.zip", "b.ZIP")]
    assert zips[0].read_bytes() == zips[1].read_bytes()
    with zipfile.ZipFile(zips[0]) as archive:
        assert sorted(archive.namelist()) == FILES
        for name in FILES:
            assert archive.read(name) == (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_a_bundle_is_replaced(contents: BundleContents, other: BundleContents, tmp_path: Path, name: str) -> None:
    output = write_bundle(tmp_path / name, contents)
    assert method_of(output) == "padim"
    write_bundle(output, other)
    assert method_of(output) == "dfr"
    assert names(tmp_path) == [name]


def test_an_empty_folder_is_filled(contents: BundleContents, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert files(write_bundle(tmp_path / "empty", contents)) == FILES


def test_a_link_to_a_bundle_stays_a_link(contents: BundleContents, other: BundleContents, tmp_path: Path) -> None:
    write_bundle(tmp_path / "real", contents)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bundle(tmp_path / "link", other)
    assert (tmp_path / "link").is_symlink()
    assert method_of(tmp_path / "real") == "dfr"


@pytest.mark.parametrize("stray", ["photo.png", "bundle.json"])
def test_a_folder_that_is_no_bundle_is_refused(contents: BundleContents, tmp_path: Path, stray: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / stray).write_text("{}")
    with pytest.raises(InputError, match=r"--output .*mine exists and is not a bundle"):
        write_bundle(tmp_path / "mine", contents)
    assert (tmp_path / "mine" / stray).read_text() == "{}"


def test_files_beside_a_bundle_are_not_lost(contents: BundleContents, bundle_path: Path) -> None:
    (bundle_path / "notes.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds notes\.txt beside a bundle"):
        write_bundle(bundle_path, contents)
    assert (bundle_path / "notes.txt").read_text() == "dear"


def test_a_zip_with_a_stranger_is_not_lost(contents: BundleContents, zip_path: Path) -> None:
    with zipfile.ZipFile(zip_path, "a") as archive:
        archive.writestr("notes.txt", "dear")
    with pytest.raises(InputError, match=r"holds notes\.txt beside a bundle"):
        write_bundle(zip_path, contents)


def test_a_file_or_folder_in_the_way_is_refused(contents: BundleContents, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "file.zip").write_text("x")
    (tmp_path / "folder.zip").mkdir()
    for name, complaint in (("file", "is a file"), ("file.zip", "is not a bundle"), ("folder.zip", "is a folder")):
        with pytest.raises(InputError, match=complaint):
            write_bundle(tmp_path / name, contents)
        with pytest.raises(InputError, match=complaint):
            check_output(tmp_path / name)
    assert (tmp_path / "file").read_text() == (tmp_path / "file.zip").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "folder", "archive"),
    [
        ("flanges.onnx", "flanges", "flanges.zip"),
        ("flanges.v2.PT", "flanges.v2", "flanges.v2.zip"),
        ("flanges.tar.gz", "flanges", "flanges.zip"),
        ("flanges.engine", "flanges", "flanges.zip"),
        (".onnx", "bundle", "bundle.zip"),
    ],
)
def test_a_name_of_another_kind_of_file_is_refused(
    contents: BundleContents, tmp_path: Path, name: str, folder: str, archive: str
) -> None:
    """It would become a folder of that name."""
    with pytest.raises(InputError) as refused:
        write_bundle(tmp_path / name, contents)
    assert f"give {tmp_path / folder} for a folder" in str(refused.value)
    assert f"or {tmp_path / archive} for one file." in str(refused.value)
    assert ("model.onnx" in str(refused.value)) == name.endswith(".onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["flanges", "flanges.v2", "line.2026-11-27"])
def test_other_names_with_dots_are_folders(contents: BundleContents, tmp_path: Path, name: str) -> None:
    assert write_bundle(tmp_path / name, contents).is_dir()


def test_a_place_that_cannot_be_written(contents: BundleContents, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"--output .* cannot be written \(.+\); choose"):
        write_bundle(tmp_path / "file" / "bundle", contents)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
@pytest.mark.parametrize("step", ["_manifest", "_move"])
def test_interrupted_writing_leaves_nothing(
    contents: BundleContents,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    step: str,
    fault: BaseException,
) -> None:
    def interrupt(*_: object) -> None:
        raise fault

    monkeypatch.setattr(writing, step, interrupt)
    with pytest.raises(type(fault)):
        write_bundle(tmp_path / name, contents)
    assert names(tmp_path) == []


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_replacement_keeps_the_old_bundle(
    contents: BundleContents, other: BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    output = write_bundle(tmp_path / "bundle", contents)
    moves, replace = [0], os.replace

    def fail_once(source: Path, target: Path) -> None:
        moves[0] += 1
        if moves[0] == failing:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(InputError, match="No space left on device"):
        write_bundle(output, other)
    assert names(tmp_path) == ["bundle"]
    assert method_of(output) == "padim"


def test_others_may_read_a_bundle(contents: BundleContents, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        output = write_bundle(tmp_path / "bundle", contents)
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in output.rglob("*") if path.is_file()} == {0o644}
