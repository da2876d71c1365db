"""A bundle's runtime and a study make the same 8-bit pixels of every kind of file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from automl_ad.bundle import runtime
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.data.reading import decoded, probe, read_deep_colour
from automl_ad.data.rendering import Rendering, as_array

RNG = np.random.default_rng(0)
GREY16 = RNG.integers(50_000, 53_000, (40, 60)).astype(np.uint16)
RGBA = RNG.integers(0, 256, (40, 60, 4)).astype(np.uint8)


def pnm(path: Path, magic: str, values: npt.NDArray[Any], maximum: int) -> None:
    head = f"{magic}\n{values.shape[1]} {values.shape[0]}\n{maximum}\n".encode()
    if magic in ("P2", "P3"):
        path.write_bytes(head + " ".join(map(str, values.ravel().tolist())).encode() + b"\n")
    else:
        path.write_bytes(head + values.astype(">u2" if maximum > 255 else np.uint8).tobytes())


def turned(path: Path, image: Image.Image, orientation: int) -> None:
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


DRAWN: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "deep grey": ("png", lambda path: Image.fromarray(GREY16).save(path)),
    "deep grey tiff": ("tif", lambda path: Image.fromarray(GREY16).save(path)),
    "deep grey, one value transparent": ("png", lambda path: Image.fromarray(GREY16).save(path, transparency=51_000)),
    "deep colour": ("png", lambda path: cv2.imwrite(str(path), np.dstack([GREY16, GREY16 + 90, GREY16 - 90]))),
    "deep colour tiff": ("tif", lambda path: cv2.imwrite(str(path), np.dstack([GREY16, GREY16 + 90, GREY16 - 90]))),
    "deep colour and alpha": (
        "png",
        lambda path: cv2.imwrite(str(path), np.dstack([GREY16] * 3 + [RGBA[:, :, 3].astype(np.uint16) * 257])),
    ),
    "rgba": ("png", lambda path: Image.fromarray(RGBA).save(path)),
    "rgba, turned": ("png", lambda path: turned(path, Image.fromarray(RGBA), 6)),
    "grey and alpha": ("png", lambda path: Image.fromarray(RGBA).convert("LA").save(path)),
    "rgba webp": ("webp", lambda path: Image.fromarray(RGBA).save(path, lossless=True)),
    "rgba tiff": ("tif", lambda path: Image.fromarray(RGBA).save(path)),
    "a transparent colour": (
        "png",
        lambda path: Image.fromarray(RGBA[:, :, :3] // 64).save(path, transparency=(1, 2, 3)),
    ),
    "a transparent grey": ("png", lambda path: Image.fromarray(RGBA[:, :, 0] // 64).save(path, transparency=2)),
    "animated png": (
        "png",
        lambda path: Image.fromarray(RGBA[:, :, :3]).save(
            path, save_all=True, append_images=[Image.new("RGB", (60, 40))]
        ),
    ),
    "pages": (
        "tif",
        lambda path: Image.fromarray(RGBA[:, :, :3]).save(
            path, save_all=True, append_images=[Image.new("RGB", (4, 4))]
        ),
    ),
    "pgm": ("pgm", lambda path: pnm(path, "P5", RGBA[:, :, 0], 255)),
    "pgm of 7 bits": ("pgm", lambda path: pnm(path, "P5", RGBA[:, :, 0] // 2, 127)),
    "pgm of 12 bits": ("pgm", lambda path: pnm(path, "P5", GREY16 % 4096, 4095)),
    "pgm of 16 bits": ("pgm", lambda path: pnm(path, "P5", GREY16, 65_535)),
    "pgm as text": ("pgm", lambda path: pnm(path, "P2", GREY16 % 4096, 4095)),
    "ppm": ("ppm", lambda path: pnm(path, "P6", RGBA[:, :, :3], 255)),
    "ppm of 12 bits": ("ppm", lambda path: pnm(path, "P6", np.dstack([GREY16 % 4096] * 3), 4095)),
    "jfif": ("jfif", lambda path: Image.fromarray(RGBA[:, :, :3]).save(path, "JPEG")),
    "jpe": ("jpe", lambda path: Image.fromarray(RGBA[:, :, 0]).save(path, "JPEG")),
}
HOW = [
    Rendering(),
    Rendering(black_level=50_500, white_level=52_500, background=255),
    Rendering(white_level=4095, background=0),
]


def by_runtime(path: Path, how: Rendering, least: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    with runtime._picture(path, dict(how), least, read_deep_colour) as picture:
        assert picture.bit_depth == probe(path).bit_depth
        return runtime._as_array(picture.image)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", DRAWN)
def test_both_make_the_same_pixels(tmp_path: Path, name: str, how: Rendering) -> None:
    suffix, draw = DRAWN[name]
    draw(tmp_path / f"a.{suffix}")
    with decoded(tmp_path / f"a.{suffix}", how) as image:
        np.testing.assert_array_equal(by_runtime(tmp_path / f"a.{suffix}", how), as_array(image))


@pytest.mark.parametrize("name", ["pgm of 12 bits", "pgm as text", "ppm of 12 bits"])
def test_samples_of_portable_files_are_not_stretched(tmp_path: Path, name: str) -> None:
    suffix, draw = DRAWN[name]
    draw(tmp_path / f"a.{suffix}")
    expected = np.rint((GREY16 % 4096) * np.float32(255 / 4095))
    np.testing.assert_array_equal(by_runtime(tmp_path / f"a.{suffix}", Rendering(white_level=4095))[:, :, 1], expected)
    assert probe(tmp_path / f"a.{suffix}").bit_depth == 16


def test_grey_is_resized_as_its_colours_would_be(tmp_path: Path) -> None:
    Image.fromarray(RGBA[:, :, 0]).save(tmp_path / "a.png")
    Image.fromarray(RGBA[:, :, 0]).convert("RGB").save(tmp_path / "b.png")
    how = Preprocessing(height=32, width=32, via=(64, 64))
    np.testing.assert_array_equal(how.load(tmp_path / "a.png"), how.load(tmp_path / "b.png"))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpegs_are_reduced_alike(tmp_path: Path, orientation: int, progressive: bool) -> None:
    small = RNG.integers(0, 256, (50, 70, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((1120, 800), Image.Resampling.BICUBIC)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, progressive=progressive)
    how = Preprocessing(height=64, width=96, draft_above=500_000)
    plain = how.model_copy(update={"draft_above": None})
    with decoded(tmp_path / "a.jpg", how, (64, 96)) as found:
        assert min(found.size) >= 128
        assert found.width * found.height < 1120 * 800
        np.testing.assert_array_equal(by_runtime(tmp_path / "a.jpg", how, (64, 96)), as_array(found))
    # The filter after it makes nearly the same pixels.
    assert np.abs(how.load(tmp_path / "a.jpg").astype(int) - plain.load(tmp_path / "a.jpg")).mean() < 4
    below = how.model_copy(update={"draft_above": 1120 * 800})
    np.testing.assert_array_equal(below.load(tmp_path / "a.jpg"), plain.load(tmp_path / "a.jpg"))
