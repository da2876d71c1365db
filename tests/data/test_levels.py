from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.data.levels import levels_around, levels_of
from automl_ad.data.reading import read_image

Values = npt.NDArray[np.uint16]


def ramp(low: int, high: int, seed: int = 0, shape: tuple[int, ...] = (96, 96)) -> Values:
    """A smooth gradient over the whole range with a little noise."""
    rows = np.linspace(low, high, shape[0])[:, None]
    values = np.broadcast_to(rows if len(shape) == 2 else rows[:, :, None], shape)
    noise = np.random.default_rng(seed).normal(0, (high - low) / 500, shape)
    return np.clip(values + noise, low, high).astype(np.uint16)


def written(folder: Path, images: list[Values], suffix: str = "png") -> list[Path]:
    paths = [folder / f"{i:03}.{suffix}" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    return paths


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        ((51_000, 52_200), (50_700, 52_500)),  # a quarter of 1,200 at both ends
        ((30, 1_000), (0, 1_023)),  # cameras whose range is used: nothing is above their white
        ((30, 4_000), (0, 4_095)),
        ((30, 16_000), (0, 16_383)),
        ((30, 65_000), (0, 65_535)),
        ((500, 2_000), (125, 2_375)),  # half used
        ((3_000, 4_090), (2_728, 4_362)),  # a narrow band just below the white of another camera keeps its room
        ((64_000, 65_500), (63_625, 65_535)),
        ((10, 250), (0, 255)),
        ((80, 90), (0, 255)),
        ((1_000, 1_000), (996, 1_020)),
    ],
)
def test_levels_by_hand(band: tuple[int, int], expected: tuple[int, int]) -> None:
    assert levels_around(*band) == expected


def test_a_narrow_band_uses_most_of_the_range(tmp_path: Path) -> None:
    paths = written(tmp_path, [ramp(51_000, 52_200, i) for i in range(4)])
    black, white = levels_of(paths)
    assert 50_650 <= black <= 50_750
    assert 52_450 <= white <= 52_550
    pixels = read_image(paths[0], white, black_level=black)
    assert len(np.unique(pixels)) > 150
    assert 20 < int(np.min(pixels)) < int(np.max(pixels)) < 235


@pytest.mark.parametrize("outlier", [0, 1, 40, 60_000, 65_535])
@pytest.mark.parametrize("where", [(slice(50, 51), slice(50, 51)), (slice(None), slice(40, 41)), (slice(9, 10),)])
def test_outliers_of_the_sensor_change_nothing(tmp_path: Path, outlier: int, where: tuple[slice, ...]) -> None:
    clean = [ramp(51_000, 52_200, i) for i in range(4)]
    expected = levels_of(written(tmp_path, clean))
    for image in clean:
        image[where] = outlier
    found = levels_of(written(tmp_path, clean))
    assert np.abs(np.subtract(found, expected)).max() <= 12  # one in a hundred of the band


@pytest.mark.parametrize("missing", [0, 65_535])
def test_markers_of_missing_data_do_not_count(tmp_path: Path, missing: int) -> None:
    image = ramp(51_000, 52_200)
    expected = levels_of(written(tmp_path, [image]))
    image[:, :30] = missing
    found = levels_of(written(tmp_path, [image]))
    assert np.abs(np.subtract(found, expected)).max() <= 12


def test_fine_structures_count_if_there_are_many(tmp_path: Path) -> None:
    lines = np.full((96, 96), 10_000, np.uint16)
    lines[:, ::6] = 30_000  # thinner than the median filter leaves
    _, white = levels_of(written(tmp_path, [lines]))
    assert white >= 30_000


def test_a_small_bright_part_is_not_clipped(tmp_path: Path) -> None:
    field = ramp(5_000, 5_200)
    field[40:46, 40:46] = 30_000
    assert levels_of(written(tmp_path, [field]))[1] >= 30_000


def test_8_bit_images_in_16_bit_files_are_those_images(tmp_path: Path) -> None:
    values = ramp(30, 180)
    deep = written(tmp_path, [values])
    black, white = levels_of(deep)
    np.testing.assert_array_equal(read_image(deep[0], white, black_level=black)[:, :, 0], values)


def test_colour_shares_one_scale(tmp_path: Path) -> None:
    colour = ramp(20_000, 21_000, shape=(96, 96, 3))
    colour[:, :, 0] += 2_000
    paths = written(tmp_path, [colour])
    black, white = levels_of(paths)
    assert 19_000 < black < 19_500
    assert 23_400 < white < 23_900
    pixels = read_image(paths[0], white, black_level=black).astype(int)
    assert pixels[:, :, 2].mean() > pixels[:, :, 0].mean() + 50


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 20), 200, np.uint8))
    (tmp_path / "b.png").write_text("no image")
    assert levels_of([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "absent.png"]) == (0, 65_535)
    assert levels_of([]) == (0, 65_535)
    assert levels_of(written(tmp_path, [np.zeros((20, 20), np.uint16)])) == (0, 65_535)
