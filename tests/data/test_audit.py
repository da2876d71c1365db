from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from automl_ad.data.audit import audit
from automl_ad.errors import InputError
from automl_ad.results import AuditResult


def draw(rng: np.random.Generator, height: int = 256, width: int = 256) -> Image.Image:
    image = np.full((256, 256, 3), 40, np.float32)
    cv2.rectangle(image, (50, 50), (200, 200), (160, 150, 140), -1)
    grain = cv2.GaussianBlur(rng.normal(0, 40, image.shape), (0, 0), 2) + rng.normal(0, 3, image.shape)
    pixels = np.clip(image + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(32):
        draw(rng).save(tmp_path / f"{i:02}.png")
    return tmp_path


def only(report: AuditResult) -> str:
    assert len(report.advice) == 1, report.advice
    return report.advice[0]


def test_a_clean_folder_needs_no_advice(folder: Path) -> None:
    report = audit(folder)
    assert json.loads(report.model_dump_json()) == {
        "images": 32,
        "unreadable": [],
        "sizes": {"256x256": 32},
        "modes": {"RGB": 32},
        "duplicates": [],
        "suspects": [],
        "layout": {
            **{"name": "plain folder", "good": 32, "test_good": 0, "test_defective": {}, "masks": 0},
            "sentence": "Taken for: plain folder, 32 good images to learn from.",
        },
        "left_aside": [],
        "grey_levels": report.grey_levels,
        "black_level": None,
        "white_level": None,
        "transparent": 0,
        "background": None,
        "advice": [],
    }
    assert not report.all_identical


def test_unreadable_files_are_listed_whether_the_header_or_the_rest_is_bad(folder: Path) -> None:
    (folder / "text.png").write_text("no image")
    content = (folder / "00.png").read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    report = audit(folder)
    assert report.images == 32
    assert sum(report.sizes.values()) == 32
    assert {Path(item.path).name for item in report.unreadable} == {"text.png", "cut.png"}
    assert only(report).startswith("unreadable and left out: 2 (")


def test_duplicates_are_grouped_by_path(folder: Path) -> None:
    Image.open(folder / "03.png").save(folder / "copy.jpg", quality=80)
    report = audit(folder)
    assert report.duplicates == ((str(folder / "03.png"), str(folder / "copy.jpg")),)
    assert report.distinct == 32
    assert "near-duplicates of other images: 1" in only(report)


def test_suspects_are_named(folder: Path) -> None:
    Image.new("RGB", (256, 256), (250, 0, 0)).save(folder / "10.png")
    report = audit(folder)
    assert [Path(item.path).name for item in report.suspects] == ["10.png"]
    assert "unlike the others: 1" in only(report)


def test_mixed_sizes_and_proportions(folder: Path) -> None:
    draw(np.random.default_rng(1), 128, 128).save(folder / "00.png")
    report = audit(folder)
    assert report.sizes == {"256x256": 31, "128x128": 1}
    assert "2 sizes: all will be scaled to one" in " ".join(report.advice)
    draw(np.random.default_rng(1), 256, 320).save(folder / "00.png")
    assert "2 sizes with different proportions" in " ".join(audit(folder).advice)


def test_mixed_pixel_formats(folder: Path) -> None:
    Image.open(folder / "00.png").convert("L").save(folder / "00.png")
    report = audit(folder)
    assert report.modes == {"RGB": 31, "L": 1}
    assert "different pixel formats (31 RGB, 1 L)" in " ".join(report.advice)


def test_tiny_images_are_named(folder: Path) -> None:
    Image.new("RGB", (1, 1)).save(folder / "00.png")
    advice = " ".join(audit(folder).advice)
    assert "smaller than 32 pixels a side: 1" in advice
    assert str(folder / "00.png") in advice


@pytest.mark.parametrize(
    ("count", "advice"), [(11, "11 distinct images, too few"), (12, "12 distinct images: a search")]
)
def test_few_images(tmp_path: Path, count: int, advice: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        draw(rng).save(tmp_path / f"{i}.png")
    assert advice in only(audit(tmp_path))


def test_one_image_many_times(tmp_path: Path) -> None:
    image = draw(np.random.default_rng(0))
    for i in range(15):
        image.save(tmp_path / f"{i}.{'png' if i % 2 else 'bmp'}")
    report = audit(tmp_path)
    assert report.all_identical
    assert "all images are identical" in only(report)


def test_a_folder_of_unreadable_files_is_reported_not_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    report = audit(tmp_path)
    assert (report.images, len(report.unreadable)) == (0, 1)
    assert "0 distinct images, too few" in report.advice[1]
    with pytest.raises(InputError, match="does not exist"):
        audit(tmp_path / "missing")


def test_nothing_here_imports_torch() -> None:
    names = ("audit", "demo_parts", "labelled", "preprocessing", "splits")
    imports = "; ".join(f"import automl_ad.data.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", f"{imports}; import sys; sys.exit('torch' in sys.modules)"])
    assert done.returncode == 0


def test_excluded_images_are_as_if_they_were_not_there(folder: Path) -> None:
    Image.new("RGB", (256, 256), (250, 10, 10)).save(folder / "red.png")
    assert [Path(item.path).name for item in audit(folder).suspects] == ["red.png"]
    report = audit(folder, exclude=("red.png",))
    assert (report.images, report.suspects) == (32, ())
