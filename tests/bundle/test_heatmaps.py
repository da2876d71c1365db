from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from automl_ad.bundle.heatmaps import HeatmapFolder, heat, overlay
from automl_ad.bundle.loading import load_bundle
from automl_ad.bundle.pictures import list_sources
from automl_ad.errors import InputError


def write_pictures(root: Path, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 90, 3), dtype=np.uint8)).save(root / name)


def test_heat_is_a_fixed_scale() -> None:
    values = np.array([[-5.0, 1.0, 2.0], [3.0, 5.0, 900.0]], np.float32)
    np.testing.assert_array_equal(heat(values, (1.0, 3.0)), [[0, 0, 64], [128, 255, 255]])


def test_heat_of_a_constant_range_is_all_or_nothing() -> None:
    np.testing.assert_array_equal(heat(np.array([[0.0, 1.0, 2.0]], np.float32), (1.0, 1.0)), [[0, 0, 255]])


def test_a_cold_picture_stays_as_it_is() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(picture, np.zeros((4, 4), np.uint8)), picture)


def test_a_hot_picture_is_the_last_colour_over_the_picture() -> None:
    picture = np.full((700, 3, 3), 100, np.uint8)
    red = cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1].astype(float)
    expected = np.rint(100 + 0.7 * (red - 100))
    assert red[0] > red[2]  # red, not blue: the channels are in order
    np.testing.assert_allclose(
        overlay(picture, np.full((4, 4), 255, np.uint8)), np.broadcast_to(expected, picture.shape)
    )


def test_heat_lies_where_the_map_says() -> None:
    picture = np.full((80, 160, 3), 50, np.uint8)
    level = np.zeros((8, 16), np.uint8)
    level[6, 1] = 255
    changed = (overlay(picture, level) != picture).any(2)
    rows, columns = np.nonzero(changed)
    assert (rows.min() >= 50, rows.max() < 80, columns.max() < 30) == (True, True, True)
    assert changed[65, 15]


def test_predicting_writes_a_heatmap_at_each_pictures_own_size(bundle_path: Path, tmp_path: Path) -> None:
    names = ["a.png", "a.bmp", "sub/a.png", "other/a.png"]
    write_pictures(tmp_path / "in", names)
    (tmp_path / "in" / "bad.png").write_bytes(b"x")
    results = load_bundle(bundle_path).predict(tmp_path / "in", output=tmp_path / "out")["results"]
    written = [result["heatmap"] for result in results]
    assert [None if path is None else Path(path).relative_to(tmp_path / "out").as_posix() for path in written] == [
        *("a_heatmap.png", "a_heatmap_2.png", None, "other/a_heatmap.png", "sub/a_heatmap.png")
    ]
    for path in filter(None, written):
        assert np.asarray(Image.open(path)).shape == (40, 90, 3)
    assert len(list((tmp_path / "out").rglob("*.*"))) == 4


def test_arrays_have_heatmaps_too(bundle_path: Path, tmp_path: Path) -> None:
    arrays = np.zeros((2, 50, 70, 3), np.uint8)
    results = load_bundle(bundle_path).predict(arrays, output=tmp_path / "out")["results"]
    assert len({result["heatmap"] for result in results}) == 2
    assert all(Image.open(result["heatmap"]).size == (70, 50) for result in results)


def free_names(folder: Path, images: list[Path] | Path) -> list[str]:
    sources = list_sources(images)
    writer = HeatmapFolder(folder, images, sources, (0.0, 1.0))
    level: npt.NDArray[np.float32] = np.zeros((2, 2), np.float32)
    pictures = [writer.write(source, np.zeros((4, 4, 3), np.uint8), level) for source in sources]
    return [path.relative_to(folder).as_posix() for path in pictures]


def test_listed_files_keep_the_folders_that_tell_them_apart(tmp_path: Path) -> None:
    names = ["left/a.png", "right/a.png"]
    write_pictures(tmp_path, names)
    paths = [tmp_path / name for name in names]
    assert free_names(tmp_path / "out", paths) == ["left/a_heatmap.png", "right/a_heatmap.png"]
    assert free_names(tmp_path / "out2", [paths[0], paths[0]]) == ["a_heatmap.png", "a_heatmap_2.png"]


def test_a_picture_is_never_overwritten(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "a_heatmap.png"])
    before = (tmp_path / "a_heatmap.png").read_bytes()
    assert free_names(tmp_path, [tmp_path / "a.png", tmp_path / "a_heatmap.png"]) == [
        "a_heatmap_2.png",
        "a_heatmap_heatmap.png",
    ]
    assert (tmp_path / "a_heatmap.png").read_bytes() == before


@pytest.mark.parametrize("inside", [".", "maps", "maps/deep"])
def test_an_output_among_the_pictures_is_refused(bundle_path: Path, tmp_path: Path, inside: str) -> None:
    write_pictures(tmp_path / "in", ["a.png"])
    with pytest.raises(InputError, match=r"--output .* lies inside"):
        load_bundle(bundle_path).predict(tmp_path / "in", output=tmp_path / "in" / inside)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.png"]


def test_an_output_that_cannot_be_made_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", ["a.png"])
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"--output .* cannot be written"):
        load_bundle(bundle_path).predict(tmp_path / "in", output=tmp_path / "file")
