from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_bundle import SIZE, flat_image, write_toy

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import Bundle, Images, OutputFolder, heat, list_sources, load_bundle, overlay
from automl_ad.errors import InputError


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_toy(tmp_path_factory.mktemp("toy") / "made"))


def write_images(root: Path, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 90, 3), dtype=np.uint8)).save(root / name)


class TestHeat:
    def test_it_is_a_fixed_scale(self) -> None:
        values = np.array([[-5.0, 1.0, 2.0], [3.0, 5.0, 900.0]], np.float32)
        np.testing.assert_array_equal(heat(values, (1.0, 3.0)), [[0, 0, 64], [128, 255, 255]])

    def test_a_constant_range_is_all_or_nothing(self) -> None:
        np.testing.assert_array_equal(heat(np.array([[0.0, 1.0, 2.0]], np.float32), (1.0, 1.0)), [[0, 0, 255]])

    def test_a_cold_image_stays_as_it_is(self) -> None:
        image = np.random.default_rng(1).integers(0, 255, (30, 50, 3), dtype=np.uint8)
        np.testing.assert_array_equal(overlay(image, np.zeros((4, 4), np.uint8)), image)

    def test_a_hot_image_is_the_last_colour_over_the_picture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime, "_TILE_PIXELS", 64)  # several tiles
        image = np.full((70, 3, 3), 100, np.uint8)
        expected = np.rint(100 + 0.7 * (np.array([255, 235, 40]) - 100))
        painted = overlay(image, np.full((4, 4), 255, np.uint8))
        np.testing.assert_array_equal(painted, np.broadcast_to(expected, image.shape))

    def test_hotter_is_lighter_for_every_eye(self) -> None:
        """Lightness alone tells the order, for eyes that see no red or no green too."""
        for weights in ((0.2126, 0.7152, 0.0722), (0.11, 0.83, 0.06), (0.3, 0.64, 0.06)):
            assert (np.diff(((runtime._RAMP / 255) ** 2.2) @ np.array(weights)) > 0).all()

    def test_heat_lies_where_the_map_says(self) -> None:
        image = np.full((80, 160, 3), 50, np.uint8)
        level = np.zeros((8, 16), np.uint8)
        level[6, 1] = 255
        changed = (overlay(image, level) != image).any(2)
        rows, columns = np.nonzero(changed)
        assert (rows.min() >= 50, rows.max() < 80, columns.max() < 30) == (True, True, True)
        assert changed[65, 15]

    def test_large_images_take_little_more_memory_than_their_own(self) -> None:
        image = np.zeros((6000, 4000, 3), np.uint8)
        level = np.full((32, 48), 200, np.uint8)
        tracemalloc.start()
        overlay(image, level)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.5 * image.nbytes  # in one piece it would be nine times as much


class TestFiles:
    def test_each_image_has_a_heatmap_and_a_mask_at_its_own_size(self, toy: Bundle, tmp_path: Path) -> None:
        write_images(tmp_path / "in", ["a.png", "a.bmp", "sub/a.png", "other/a.png"])
        (tmp_path / "in" / "bad.png").write_bytes(b"x")
        results = toy.predict(tmp_path / "in", output=tmp_path / "out")["results"]
        stems = ["a", "a_2", None, "other/a", "sub/a"]
        for kind in ("heatmap", "mask"):
            written = [
                result[kind] and Path(result[kind]).relative_to(tmp_path / "out").as_posix() for result in results
            ]
            assert written == [stem and f"{stem.replace('_2', '')}_{kind}{'_2' * ('_2' in stem)}.png" for stem in stems]
        for result in results[:2] + results[3:]:
            assert np.asarray(Image.open(result["heatmap"])).shape == (40, 90, 3)
            assert np.asarray(Image.open(result["mask"])).shape == (40, 90)
        assert len([*(tmp_path / "out").rglob("*.png")]) == 8

    def test_a_mask_is_white_where_the_map_is_above_its_threshold(self, toy: Bundle, tmp_path: Path) -> None:
        large = flat_image(100).repeat(3, axis=0).repeat(2, axis=1)
        (result,) = toy.predict(large, tmp_path / "out")["results"]
        mask = np.asarray(Image.open(result["mask"]))
        assert set(np.unique(mask)) == {0, 255}
        expected = (toy.maps(large)[0] > toy.mask_threshold().value).repeat(3, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(mask == 255, expected)
        assert (mask == 255).mean() == pytest.approx(result["marked"])
        (loose,) = toy.predict(large, tmp_path / "out", mask=0.5)["results"]
        assert loose["marked"] >= result["marked"] > 0

    def test_a_heatmap_is_the_image_with_its_heat(self, toy: Bundle, tmp_path: Path) -> None:
        image = flat_image(100)
        (result,) = toy.predict(image, tmp_path / "out")["results"]
        expected = overlay(image, heat(toy.maps(image)[0], (10.0, 60.0)))
        np.testing.assert_array_equal(np.asarray(Image.open(result["heatmap"])), expected)
        assert (expected != image).any(2).sum() == 1

    def test_arrays_have_files_too(self, toy: Bundle, tmp_path: Path) -> None:
        results = toy.predict(np.zeros((2, 50, 70, 3), np.uint8), output=str(tmp_path / "out"))["results"]
        assert [Path(result["heatmap"]).name for result in results] == ["image_heatmap.png", "image_heatmap_2.png"]
        assert all(Image.open(result["mask"]).size == (70, 50) for result in results)


def test_a_disk_that_is_full_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    writer = OutputFolder(tmp_path / "out", flat_image(1), [flat_image(1)])
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); choose"):
        writer.write(flat_image(1), "heatmap", flat_image(1))


def free_names(folder: Path, images: Images) -> list[str]:
    sources = list_sources(images)
    writer = OutputFolder(folder, images, sources)
    written = [writer.write(source, "heatmap", np.zeros((4, 4, 3), np.uint8)) for source in sources]
    return [path.relative_to(folder).as_posix() for path in written]


class TestNames:
    def test_listed_files_keep_the_folders_that_tell_them_apart(self, tmp_path: Path) -> None:
        names = ["left/a.png", "right/a.png"]
        write_images(tmp_path, names)
        paths = [tmp_path / name for name in names]
        assert free_names(tmp_path / "out", paths) == ["left/a_heatmap.png", "right/a_heatmap.png"]
        assert free_names(tmp_path / "out2", [paths[0], paths[0]]) == ["a_heatmap.png", "a_heatmap_2.png"]

    def test_an_image_is_never_overwritten(self, tmp_path: Path) -> None:
        write_images(tmp_path, ["a.png", "a_heatmap.png"])
        before = (tmp_path / "a_heatmap.png").read_bytes()
        paths = [tmp_path / "a.png", tmp_path / "a_heatmap.png"]
        assert free_names(tmp_path, paths) == ["a_heatmap_2.png", "a_heatmap_heatmap.png"]
        assert (tmp_path / "a_heatmap.png").read_bytes() == before

    def test_files_of_several_drives_have_names_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def commonpath(paths: list[Path]) -> str:
            raise ValueError("Paths don't have the same drive")

        monkeypatch.setattr(os.path, "commonpath", commonpath)
        write_images(tmp_path, ["left/a.png", "right/a.png"])
        paths = [tmp_path / "left" / "a.png", tmp_path / "right" / "a.png"]
        assert free_names(tmp_path / "out", paths) == ["a_heatmap.png", "a_heatmap_2.png"]


class TestRefusedFolders:
    """All of it is found out before an image is scored."""

    @pytest.fixture(autouse=True)
    def _no_judging(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def judge(*_: object, **__: object) -> None:
            raise AssertionError("an image was scored")

        monkeypatch.setattr(runtime, "_load", judge)

    @pytest.mark.parametrize("inside", [".", "maps", "maps/deep"])
    def test_among_the_pictures(self, toy: Bundle, tmp_path: Path, inside: str) -> None:
        write_images(tmp_path / "in", ["a.png"])
        with pytest.raises(InputError, match=r"--output .* lies inside"):
            toy.predict(tmp_path / "in", output=tmp_path / "in" / inside)
        assert os.listdir(tmp_path / "in") == ["a.png"]

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_among_the_images_by_a_link(self, toy: Bundle, tmp_path: Path) -> None:
        write_images(tmp_path / "in", ["a.png"])
        (tmp_path / "in" / "maps").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "in" / "maps")
        with pytest.raises(InputError, match=r"--output .* lies inside"):
            toy.predict(tmp_path / "in", output=tmp_path / "link")

    def test_a_file_in_its_place(self, toy: Bundle, tmp_path: Path) -> None:
        write_images(tmp_path / "in", ["a.png"])
        (tmp_path / "file").write_text("x")
        for output in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(InputError, match=r"--output .* cannot be written \(.+\); choose a writable folder"):
                toy.predict(tmp_path / "in", output=output)

    def test_a_read_only_folder(self, toy: Bundle, tmp_path: Path) -> None:
        output = tmp_path / "locked"
        output.mkdir(mode=0o500)
        if os.access(output, os.W_OK):  # as root, who may write everywhere but here
            output = Path("/proc/self")
        if not output.is_dir():
            pytest.skip("no folder that cannot be written")
        with pytest.raises(InputError, match=r"--output .* cannot be written \(.+\); choose a writable folder"):
            toy.predict(flat_image(1), output=output)

    def test_a_share_that_cannot_be_guaranteed_leaves_no_folder_behind(self, toy: Bundle, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="--overkill"):
            toy.predict(np.zeros((*SIZE, 3), np.uint8), tmp_path / "out", overkill=0.001)
        assert not (tmp_path / "out").exists()
