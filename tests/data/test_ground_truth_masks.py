from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from automl_ad.data.masks import (
    is_empty_mask,
    is_two_valued,
    looks_like_mask,
    marked_pixels,
    read_masks,
    touched,
    two_valued,
)
from automl_ad.errors import InputError

MARKS = np.zeros((40, 64), bool)
MARKS[8:20, 32:50] = True


def palette(colours: list[tuple[int, int, int]], marks: npt.NDArray[np.bool_] = MARKS) -> Image.Image:
    image = Image.fromarray(marks.astype(np.uint8), "P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def with_alpha(colour: int, outside: int, alpha: npt.NDArray[np.bool_]) -> Image.Image:
    grey = np.where(MARKS, colour, outside).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, grey, grey, alpha.astype(np.uint8) * 255]))


WAYS: dict[str, Callable[[Path], None]] = {
    **{
        f"{value} of 8 bits": lambda path, value=value: Image.fromarray(MARKS.astype(np.uint8) * np.uint8(value)).save(
            path
        )  # type: ignore[misc]
        for value in (1, 2, 3, 127, 255)
    },
    "1 bit": lambda path: Image.fromarray(MARKS).save(path),
    "1 of 16 bits": lambda path: _write(path, MARKS.astype(np.uint16)),
    "65535 of 16 bits": lambda path: _write(path, MARKS.astype(np.uint16) * np.uint16(65535)),
    "16-bit colour": lambda path: _write(path, np.dstack([MARKS.astype(np.uint16) * np.uint16(3)] * 3)),
    "colour": lambda path: Image.fromarray(
        np.dstack([MARKS * np.uint8(200), 0 * MARKS, 0 * MARKS]).astype(np.uint8)
    ).save(path),
    "palette, black and red": lambda path: palette([(0, 0, 0), (128, 0, 0)]).save(path),
    "palette, white and black": lambda path: palette([(255, 255, 255), (0, 0, 0)], ~MARKS).save(path),
    "palette without black": lambda path: palette([(10, 10, 90), (200, 0, 0)]).save(path),
    "white on nothing": lambda path: with_alpha(255, 0, MARKS).save(path),
    "black on nothing": lambda path: with_alpha(0, 0, MARKS).save(path),
    "white on opaque black": lambda path: with_alpha(255, 0, np.ones_like(MARKS)).save(path),
    "white and black in a transparent frame": lambda path: with_alpha(255, 0, np.pad(np.ones((36, 60), bool), 2)).save(
        path
    ),
    "grey and alpha": lambda path: with_alpha(255, 0, MARKS).convert("LA").save(path),
}


def _write(path: Path, values: npt.NDArray[np.uint16]) -> None:
    assert cv2.imwrite(str(path), values)


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_not_background_marks(way: str, tmp_path: Path) -> None:
    WAYS[way](tmp_path / "m.png")
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png"), MARKS)
    assert not is_empty_mask(tmp_path / "m.png")


def test_class_numbers_mark_all_or_those_that_are_named(tmp_path: Path) -> None:
    classes = np.zeros((40, 64), np.uint8)
    classes[MARKS] = 1
    classes[:3, :5] = 2
    Image.fromarray(classes).save(tmp_path / "m.png")
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png"), classes > 0)
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png", [2]), classes == 2)
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png", [1, 2]), classes > 0)
    assert is_empty_mask(tmp_path / "m.png", [3])


def test_named_values_are_indices_of_a_palette(tmp_path: Path) -> None:
    palette([(0, 0, 0), (128, 0, 0)]).save(tmp_path / "m.png")
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png", [1]), MARKS)


def test_the_noise_of_lossy_files_does_not_mark(tmp_path: Path) -> None:
    Image.fromarray(MARKS.astype(np.uint8) * np.uint8(255)).save(tmp_path / "m.jpg", quality=70)
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.jpg"), MARKS)
    assert is_two_valued(tmp_path / "m.jpg")


def test_antialiased_edges_mark(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(MARKS.astype(np.uint8) * np.uint8(255), (5, 5), 0)
    Image.fromarray(soft).save(tmp_path / "m.png")
    np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png"), soft > 0)


def test_a_picture_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(60, 250, (40, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m\.png is no mask.*--mask-value"):
        marked_pixels(tmp_path / "m.png")
    assert not looks_like_mask(tmp_path / "m.png")


class TestShape:
    def picture(self, folder: Path, orientation: int = 1, size: tuple[int, int] = (64, 40)) -> Path:
        image = Image.new("RGB", size, (90, 90, 90))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(folder / "p.jpg", exif=exif)
        return folder / "p.jpg"

    def mask(self, folder: Path, marks: npt.NDArray[np.bool_], name: str = "m.png") -> Path:
        Image.fromarray(marks).save(folder / name)
        return folder / name

    def test_several_masks_are_joined(self, tmp_path: Path) -> None:
        left, right = MARKS.copy(), MARKS.copy()
        left[:, 40:], right[:, :40] = False, False
        masks = [self.mask(tmp_path, left, "a.png"), self.mask(tmp_path, right, "b.png")]
        np.testing.assert_array_equal(read_masks(masks, self.picture(tmp_path), MARKS.shape), MARKS)

    def test_another_shape_than_the_picture_is_an_error_that_names_both(self, tmp_path: Path) -> None:
        mask = self.mask(tmp_path, MARKS[:20, :32])
        with pytest.raises(InputError, match=r"m\.png has 32 x 20 pixels but its image .*p\.jpg has 64 x 40"):
            read_masks([mask], self.picture(tmp_path), (32, 32))

    @pytest.mark.parametrize(
        ("orientation", "turn"),
        [
            (6, lambda upright: np.rot90(upright)),
            (8, lambda upright: np.rot90(upright, -1)),
            (5, lambda upright: upright.T),
            (7, lambda upright: upright[::-1, ::-1].T),
        ],
    )
    def test_masks_follow_the_orientation_of_the_picture(
        self, orientation: int, turn: Callable[[npt.NDArray[np.bool_]], npt.NDArray[np.bool_]], tmp_path: Path
    ) -> None:
        picture = self.picture(tmp_path, orientation, (40, 64))  # shown as 64 x 40
        stored = self.mask(tmp_path, np.ascontiguousarray(turn(MARKS)), "stored.png")
        shown = self.mask(tmp_path, MARKS, "shown.png")
        for mask in (stored, shown):
            np.testing.assert_array_equal(read_masks([mask], picture, MARKS.shape), MARKS)

    def test_an_orientation_of_the_masks_own_holds(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(MARKS).astype(np.uint8) * np.uint8(255)).save(tmp_path / "m.png", exif=exif)
        np.testing.assert_array_equal(marked_pixels(tmp_path / "m.png"), MARKS)


class TestTouched:
    @given(
        st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24), st.integers(0, 10), st.data()
    )
    def test_a_pixel_is_marked_exactly_if_a_defect_overlaps_it(
        self, height: int, width: int, rows: int, columns: int, points: int, data: st.DataObject
    ) -> None:
        marks = np.zeros((height, width), bool)
        for _ in range(points):
            marks[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
        found = touched(marks, (rows, columns))
        expected = np.zeros((rows, columns), bool)
        for y, x in np.argwhere(marks):
            for row in range(rows):
                for column in range(columns):
                    # In exact fractions: pixel y covers [y, y + 1), cell row covers height / rows each.
                    tall = y * rows < (row + 1) * height and (y + 1) * rows > row * height
                    wide = x * columns < (column + 1) * width and (x + 1) * columns > column * width
                    expected[row, column] |= tall and wide
        np.testing.assert_array_equal(found, expected)

    def test_a_speck_does_not_vanish(self) -> None:
        marks = np.zeros((1536, 1536), bool)
        marks[700, 900] = True
        assert touched(marks, (256, 256)).sum() == 1


class TestTwoValued:
    def test_masks_among_pictures_are_found(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        images = [
            MARKS.astype(np.uint8) * np.uint8(255),
            rng.integers(90, 160, (40, 64), np.uint8),
            MARKS.astype(np.uint8),
        ]
        paths = [tmp_path / f"{number}.png" for number in range(3)]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(path)
        pixels = np.stack([np.stack([image] * 3) for image in images])
        assert two_valued(pixels, paths) == [0, 2]

    def test_a_back_lit_part_is_no_mask(self, tmp_path: Path) -> None:
        """Nearly all of its pixels are black or white, but its edges are not."""
        soft = cv2.GaussianBlur(MARKS.astype(np.uint8) * np.uint8(255), (7, 7), 0)
        Image.fromarray(soft).save(tmp_path / "p.png")
        assert not is_two_valued(tmp_path / "p.png")

    @pytest.mark.parametrize("value", [0, 255])
    def test_an_image_of_one_value_is_none(self, value: int, tmp_path: Path) -> None:
        Image.new("L", (40, 40), value).save(tmp_path / "p.png")
        assert not is_two_valued(tmp_path / "p.png")
