from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automl_ad.data.audit import audit
from automl_ad.data.choosing_rendering import early_rendering, suited_rendering
from automl_ad.data.reading import read_image
from automl_ad.data.transparency import transparency_of


def cut_out(hidden: int, visible: int = 90, mode: str = "RGBA") -> Image.Image:
    """A square on transparent ground of an invisible colour."""
    pixels = np.full((40, 40, 4), hidden, np.uint8)
    pixels[:, :, 3] = 0
    pixels[10:30, 10:30] = (visible, visible, visible, 255)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_hidden_colour_does_not_matter(tmp_path: Path, mode: str) -> None:
    for hidden in (0, 200):
        cut_out(hidden, mode=mode).save(tmp_path / f"{hidden}.png")
    first, second = (read_image(tmp_path / f"{hidden}.png", background=255) for hidden in (0, 200))
    np.testing.assert_array_equal(first, second)
    assert (first[0, 0].tolist(), first[20, 20].tolist()) == ([255] * 3, [90] * 3)
    assert read_image(tmp_path / "200.png")[0, 0].tolist() == [200] * 3  # as before where nothing is composed


def test_half_transparent_is_in_between(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (100, 0, 200, 51)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", background=50)[0, 0].tolist() == [60, 40, 80]


@pytest.mark.parametrize(
    ("mode", "options"), [("P", {"transparency": 0}), ("L", {"transparency": 7}), ("RGB", {"transparency": (7, 7, 7)})]
)
def test_transparent_colours_of_files(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    pixels = np.full((8, 8), 7, np.uint8)
    pixels[:, 4:] = 60
    image = Image.fromarray(pixels).convert(mode)
    if mode == "P":
        image = Image.fromarray((pixels > 7).astype(np.uint8), mode="P")
        image.putpalette([7, 7, 7, 60, 60, 60])
    image.save(tmp_path / "a.png", **options)
    assert read_image(tmp_path / "a.png", background=255)[0, ::4].tolist() == [[255] * 3, [60] * 3]


def test_a_transparent_value_of_16_bits(tmp_path: Path) -> None:
    values = np.full((8, 8), 700, np.uint16)
    values[:, 4:] = 40_000
    Image.fromarray(values).save(tmp_path / "a.png", transparency=700)
    read = read_image(tmp_path / "a.png", background=255)[0, ::4, 0].tolist()
    assert read[1] == round(40_000 / 257)
    assert read[0] in (255, round(700 / 257))  # not every version of Pillow keeps the value in such files


@pytest.mark.parametrize("background", [0, 128, 255])
def test_opaque_alpha_changes_nothing(tmp_path: Path, background: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    Image.fromarray(np.dstack([rgb, np.full((30, 20), 255, np.uint8)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", background=background), rgb)
    assert transparency_of([tmp_path / "a.png"]).files == frozenset()


@pytest.mark.parametrize(("visible", "background"), [(40, 255), (220, 0)])
def test_the_background_is_far_from_the_parts(tmp_path: Path, visible: int, background: int) -> None:
    cut_out(99, visible).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    found = transparency_of(paths)
    assert (found.files, found.background) == (frozenset(paths[:1]), background)
    assert suited_rendering(paths).background == background
    assert early_rendering(paths).background is None


def test_audit_counts_them(tmp_path: Path) -> None:
    for i in range(3):
        pixels = np.array(cut_out(99))  # not of two values only, as masks are
        pixels[10:30, 10:30, :3] = np.random.default_rng(i).integers(20, 90, (20, 20, 1))
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    report = audit(tmp_path)
    assert (report.transparent, report.background) == (3, 255)
    assert any("3 of 3 images have transparent pixels, which are composed on white" in line for line in report.advice)
    noise = np.random.default_rng(9).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "opaque.png")
    advice = audit(tmp_path).advice
    assert any(
        "3 of 4 images have transparent pixels" in line and "cut all of them out, or none" in line for line in advice
    )
