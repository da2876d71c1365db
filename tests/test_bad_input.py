"""Bad input at the command line: one clear sentence with the path and the remedy, exit code 2, nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from automl_ad.cli import app

FAST = ("--backbones", "embedded", "--image-size", "64", "--trials", "1", "--time-budget", "100s")
"""A quarter of so little time is too short for SDAS on any machine."""


def refused(*arguments: str | Path) -> str:
    """Runs a command that must be refused; returns its one sentence."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def search(images: Path, workspace: Path, *options: str) -> str:
    sentence = refused("search", images, "--workspace", workspace, "--name", "bad", *FAST, *options)
    assert not list(workspace.rglob("*.part"))
    assert not (workspace / "studies" / "bad" / "trials").exists()
    return sentence


@pytest.fixture
def good(parts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in search(tmp_path / "empty", tmp_path / "ws")


def test_no_such_folder(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in search(tmp_path / "none", tmp_path / "ws")


def test_a_file_instead_of_a_folder(good: Path, tmp_path: Path) -> None:
    sentence = search(good / "000.png", tmp_path / "ws")
    assert "000.png" in sentence
    assert "folder" in sentence


def test_pillow_does_not_warn_users_of_the_command_line(good: Path, tmp_path: Path) -> None:
    Image.new("P", (64, 64)).save(good / "palette.png", transparency=b"\x01\x02")
    tags = Image.Exif()
    tags[0x010E] = "a part"
    Image.new("RGB", (64, 64)).save(good / "cut_tags.jpg", exif=tags.tobytes()[:-4])
    command = [sys.executable, "-W", "always", "-m", "automl_ad.cli", "audit", str(good)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Warning" in done.stderr) == (0, False)


def test_only_truncated_images(good: Path, tmp_path: Path) -> None:
    for path in good.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 3])
    assert "000.png" in search(good, tmp_path / "ws")


def test_only_text_files_called_png(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for index in range(15):
        (tmp_path / "texts" / f"{index:02d}.png").write_text("a note")
    assert "00.png" in search(tmp_path / "texts", tmp_path / "ws")


def test_images_of_one_pixel(tmp_path: Path) -> None:
    (tmp_path / "dots").mkdir()
    for index in range(20):
        Image.fromarray(np.full((1, 1, 3), 10 * index, np.uint8)).save(tmp_path / "dots" / f"{index:02d}.png")
    sentence = search(tmp_path / "dots", tmp_path / "ws")
    assert "1 x 1 pixels" in sentence
    assert "16 or more" in sentence


def test_eleven_images(good: Path, tmp_path: Path) -> None:
    for path in sorted(good.iterdir())[11:]:
        path.unlink()
    assert "11" in search(good, tmp_path / "ws")


def test_images_that_are_all_identical(good: Path, tmp_path: Path) -> None:
    for path in sorted(good.iterdir())[1:]:
        shutil.copy(good / "000.png", path)
    assert "only 1 distinct" in search(good, tmp_path / "ws")


def test_a_workspace_that_is_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("in the way")
    sentence = refused("search", good, "--workspace", tmp_path / "ws", *FAST)
    assert str(tmp_path / "ws") in sentence


def test_a_workspace_below_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in refused("search", good, "--workspace", tmp_path / "file" / "ws", *FAST)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--methods", "magic"), ("magic", "padim")),
        (("--backbones", "resnet5000"), ("resnet5000", "timm")),
        (("--time-budget", "0"), ("--time-budget",)),
        (("--time-budget", "soon"), ("--time-budget",)),
        (("--weights-dir", "/no/such/folder", "--backbones", "resnet18"), ("/no/such/folder", "--weights-dir")),
        (("--texture-dir", "/no/such/folder"), ("/no/such/folder",)),
        (("--device", "cuda:99"), ("cuda:99",)),
        (("--device", "abacus"), ("abacus",)),
        (("--workers", "4"), ("--workers",)),
        (("--name", "a/b"), ("--name",)),
    ],
)
def test_wrong_options(good: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    sentence = refused("search", good, "--workspace", tmp_path / "ws", *FAST, *options)
    for word in words:
        assert word in sentence


def test_an_option_that_was_wrong_leaves_no_study_behind(good: Path, tmp_path: Path) -> None:
    refused("search", good, "--workspace", tmp_path / "ws", *FAST, "--texture-dir", tmp_path / "none")
    result = CliRunner().invoke(app, ["search", str(good), "--workspace", str(tmp_path / "ws"), *FAST])
    assert result.exit_code == 0, result.output


def test_a_named_backbone_without_weights_is_an_error_with_the_ways_to_provide_it(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    sentence = refused("search", good, "--workspace", tmp_path / "ws", *FAST, "--backbones", "resnet34")
    assert "--weights-dir" in sentence
    assert "AUTOML_AD_WEIGHTS" in sentence


def test_a_few_unreadable_files_are_a_warning_that_lists_them(good: Path, tmp_path: Path) -> None:
    (good / "broken.png").write_text("a note")
    result = CliRunner().invoke(app, ["search", str(good), "--workspace", str(tmp_path / "ws"), *FAST])
    assert result.exit_code == 0, result.output
    assert "broken.png" in result.stderr + result.stdout


def synthesize(images: Path, output: Path, *options: str | Path) -> str:
    """Runs a synthesis that must be refused; returns its one sentence."""
    workspace = output.parent / "ws"
    return refused("synthesize", images, "--output", output, "--workspace", workspace, "--image-size", "64", *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--family", "magic"), ("--family", "magic", "texture, cutpaste, poisson, photometric, scratch")),
        (("--strength", "0"), ("--strength",)),
        (("--strength", "1.5"), ("--strength", "1.5")),
        (("--strength", "nan"), ("--strength",)),
        (("--count", "0"), ("--count", "100000")),
        (("--count", "100001"), ("--count", "100000")),
        (("--texture-dir", "/no/such/folder", "--family", "texture"), ("/no/such/folder",)),
        (("--device", "cuda:99"), ("cuda:99",)),
        (("--device", "abacus"), ("abacus",)),
    ],
)
def test_wrong_options_of_a_synthesis(
    good: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    sentence = synthesize(good, tmp_path / "out", *options)
    for word in words:
        assert word in sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"]


def test_a_synthesis_without_usable_images(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in synthesize(tmp_path / "none", tmp_path / "out", "--family", "texture")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "00.png").write_text("a note")
    assert "00.png" in synthesize(tmp_path / "texts", tmp_path / "out", "--family", "texture")
    assert not (tmp_path / "out").exists()


def test_a_synthesis_where_something_lies(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    for place, words in (("file", "is a file"), ("file/out", "cannot be written"), ("full", "not empty")):
        sentence = synthesize(good, tmp_path / place, "--family", "texture")
        assert f"--output {tmp_path / place} " in sentence
        assert words in sentence
    assert "lies inside" in synthesize(good, good / "anomalies", "--family", "texture")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"
    assert not (good / "anomalies").exists()


def test_a_diffusion_model_of_too_few_or_flat_images(good: Path, tmp_path: Path) -> None:
    for path in sorted(good.iterdir())[11:]:
        path.unlink()
    assert "at least 12" in synthesize(good, tmp_path / "out")
    (tmp_path / "flat").mkdir()
    for grey in range(0, 250, 10):
        Image.fromarray(np.full((64, 64, 3), grey, np.uint8)).save(tmp_path / "flat" / f"{grey}.png")
    sentence = synthesize(tmp_path / "flat", tmp_path / "out", "--family", "sdas")
    assert "only 1 distinct" in sentence
    assert "choose another --family" in sentence
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(
        app,
        ["synthesize", str(tmp_path / "flat"), "--family", "poisson", "--count", "1", "--output", str(tmp_path / "o")],
    )
    assert result.exit_code == 0, result.output


def test_a_diffusion_model_without_a_place_for_it(good: Path, tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("in the way")
    assert str(tmp_path / "ws") in synthesize(good, tmp_path / "out", "--family", "sdas")
    assert not (tmp_path / "out").exists()


def test_asking_for_a_study_that_is_not_there(tmp_path: Path) -> None:
    assert str(tmp_path) in refused("trials", "none", "--workspace", tmp_path / "ws")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_folder_that_is_no_bundle(parts: Path, tmp_path: Path, command: str) -> None:
    assert str(tmp_path) in refused(command, tmp_path, parts)
