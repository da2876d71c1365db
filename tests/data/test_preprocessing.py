from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing, reduce, working_size
from automl_ad.errors import InputError
from automl_ad.evaluation.suite import resize_images


@pytest.mark.parametrize("side", [32, 64, 256, 320])
@pytest.mark.parametrize("given_side", [10, 256, 3000])
def test_squares_stay_square(side: int, given_side: int) -> None:
    assert working_size([(given_side, given_side)] * 3, side) == (side, side)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(1000, 2000)], (192, 352)),  # aspect 1.83, area 1.03 of 256 x 256; 160 x 352 and 192 x 384 are further off
        ([(2000, 1000)], (352, 192)),
        ([(768, 1024)], (224, 288)),
        ([(1024, 1024), (1024, 1024), (100, 5000)], (256, 256)),  # the odd one out has no say
        ([(10, 100_000)], (32, 1024)),
    ],
)
def test_rectangles_follow_the_median_aspect(sizes: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    assert working_size(sizes, 256) == expected


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=9),
    side=st.integers(32, 600),
)
def test_sides_are_multiples_of_32_and_turning_the_images_turns_the_size(
    sizes: list[tuple[int, int]], side: int
) -> None:
    height, width = working_size(sizes, side)
    assert height >= 32
    assert width >= 32
    assert height % 32 == width % 32 == 0
    turned = working_size([(w, h) for h, w in sizes], side)
    assert np.isclose(turned[0] * turned[1], height * width, rtol=0.35)


def test_a_side_below_32_is_refused() -> None:
    with pytest.raises(InputError, match="--image-size 31"):
        working_size([(100, 100)], 31)


def test_it_is_frozen_checked_and_survives_json() -> None:
    one = Preprocessing(height=64, width=96, white_level=4095)
    assert Preprocessing.model_validate_json(one.model_dump_json()) == one
    with pytest.raises(ValidationError):
        one.height = 32
    with pytest.raises(ValidationError):
        Preprocessing(height=0, width=96)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the small image can show: must turn grey, not stay striped
    small = Preprocessing(height=64, width=64).apply(stripes)
    assert small.shape == (3, 64, 64)
    assert np.abs(small[:, 2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_reducing_averages_blocks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    means = image.reshape(32, 2, 32, 4, 3).mean(axis=(1, 3))
    reduced = reduce(image, (32, 32))
    assert reduced.dtype == np.uint8
    assert np.abs(reduced - means).max() <= 1  # Pillow rounds after each axis


def test_by_way_of_a_larger_size_it_is_what_a_study_of_several_sizes_sees(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (301, 450, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    large = Preprocessing(height=96, width=160)
    study = resize_images(ImageSet.of(large.load_all([tmp_path / "a.png"])[0]), (64, 96)).pixels
    bundle = Preprocessing(height=64, width=96, via=(96, 160))
    np.testing.assert_array_equal(bundle.load_all([tmp_path / "a.png"])[0], study)
    np.testing.assert_array_equal(bundle.load(tmp_path / "a.png"), study[0])
    assert not np.array_equal(Preprocessing(height=64, width=96).load(tmp_path / "a.png"), study[0])


def test_the_larger_size_survives_json_and_may_be_missing_from_it() -> None:
    one = Preprocessing(height=64, width=96, via=(96, 160))
    assert Preprocessing.model_validate_json(one.model_dump_json()) == one
    assert Preprocessing.model_validate_json('{"height": 64, "width": 96, "white_level": 255}').via is None
    with pytest.raises(ValidationError, match="at least 32"):
        Preprocessing(height=64, width=96, via=(0, 160))


def test_channels_and_directions_keep_their_place() -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:32, :, 0], image[:, 64:, 2] = 200, 100
    small = Preprocessing(height=32, width=64).apply(image)
    assert (small[0, :15].min(), small[0, 17:].max()) == (200, 0)
    assert (small[2, :, 33:].min(), small[2, :, :31].max()) == (100, 0)
    assert small[1].max() == 0


def test_load_uses_the_white_level(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40), 1023, np.uint16))
    assert Preprocessing(height=32, width=32, white_level=1023).load(tmp_path / "a.png").min() == 255
    assert Preprocessing(height=32, width=32).load(tmp_path / "a.png").max() == 4


def test_load_all_keeps_the_order_and_lists_what_it_cannot_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for i, path in enumerate(paths):
        Image.new("RGB", (40, 40), (i, 2 * i, 3 * i)).save(path)
    paths[5].write_text("no image")
    pixels, faults = Preprocessing(height=32, width=32).load_all(paths)
    assert pixels.shape == (11, 3, 32, 32)
    assert pixels[:, 2, 0, 0].tolist() == [3 * i for i in range(12) if i != 5]
    assert [path for path, _ in faults] == [paths[5]]
    assert "5.png is not an image" in faults[0][1]


def test_load_all_of_nothing_readable_is_empty(tmp_path: Path) -> None:
    pixels, faults = Preprocessing(height=32, width=64).load_all([tmp_path / "missing.png"])
    assert pixels.shape == (0, 3, 32, 64)
    assert len(faults) == 1
