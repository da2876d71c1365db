"""Foreign textures: variety, the user's own folder, and tiles of the product."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from automl_ad.errors import InputError
from automl_ad.synthesis import textures
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.registry import create_family
from automl_ad.synthesis.textures import TextureFolder, procedural_texture, shuffled_tiles


@pytest.mark.parametrize("index", range(len(textures._PATTERNS)))
@pytest.mark.parametrize("shape", [(32, 32), (64, 160), (320, 32)])
def test_every_pattern_fills_any_shape_and_is_not_flat(index: int, shape: tuple[int, int]) -> None:
    field = textures._PATTERNS[index](shape, np.random.default_rng(1))
    assert field.shape == shape
    assert field.dtype == np.float32
    assert np.isfinite(field).all()
    assert field.std() > 1e-3


def test_textures_are_varied_in_colour_and_repeat_with_the_seed() -> None:
    drawn = [procedural_texture((64, 96), np.random.default_rng(seed)) for seed in range(30)]
    assert all(image.shape == (64, 96, 3) and image.dtype == np.uint8 for image in drawn)
    assert np.stack([image.mean(axis=(0, 1)) for image in drawn]).std(axis=0).min() > 20
    np.testing.assert_array_equal(drawn[4], procedural_texture((64, 96), np.random.default_rng(4)))


def test_shuffled_tiles_hold_the_same_pixels_in_another_order() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    shuffled = shuffled_tiles(image, np.random.default_rng(1))
    assert shuffled.shape == image.shape
    assert not np.array_equal(shuffled, image)
    colours = [np.sort(image.reshape(-1, 3).view("u1,u1,u1").ravel()) for image in (image, shuffled)]
    np.testing.assert_array_equal(*colours)


def test_folder_textures_come_from_the_folder_in_rgb_and_at_the_size_asked_for(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "red.png"), np.full((50, 70, 3), (0, 0, 200), np.uint8))
    cv2.imwrite(
        str(tmp_path / "blue.JPG"), np.full((200, 20, 3), (200, 0, 0), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 100]
    )
    (tmp_path / "notes.txt").write_text("no image")
    folder = TextureFolder.open(tmp_path)
    assert [path.name for path in folder.files] == ["blue.JPG", "red.png"]
    rng = np.random.default_rng(0)
    drawn = [folder.draw((64, 96), rng) for _ in range(12)]
    assert all(image.shape == (64, 96, 3) for image in drawn)
    tones = {tuple(round(float(value) / 100) for value in image.mean(axis=(0, 1))) for image in drawn}
    assert tones == {(2, 0, 0), (0, 0, 2)}


def test_missing_empty_and_broken_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        TextureFolder.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no image"):
        TextureFolder.open(tmp_path)
    for name, content in (("a.png", b"not an image"), ("b.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="no readable image"):
            TextureFolder.open(tmp_path)
        with pytest.raises(InputError, match=name):
            TextureFolder((tmp_path / name,)).draw((32, 32), np.random.default_rng(0))


def test_hidden_and_unreadable_files_are_left_aside(tmp_path: Path) -> None:
    for name in ("wood.png", "._wood.png", ".thumbnails/wood.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((40, 40, 3), 90, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    assert TextureFolder.open(tmp_path).files == (tmp_path / "wood.png",)


def test_a_file_that_turns_out_cut_short_is_passed_over(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("a.png", "b.png", "d.png"):
        cv2.imwrite(str(tmp_path / name), noise)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:3000])
    cv2.imwrite(str(tmp_path / "c.png"), np.full((64, 64, 3), 90, np.uint8))
    folder = TextureFolder.open(tmp_path)
    assert len(folder.files) == 4
    rng = np.random.default_rng(0)
    assert all((folder.draw((32, 32), rng) == 90).all() for _ in range(12))
    (tmp_path / "c.png").unlink()
    with pytest.raises(InputError, match="No texture such as"):
        folder.draw((32, 32), rng)


def test_deep_files_are_as_bright_as_their_camera_made_them(tmp_path: Path) -> None:
    values = np.full((40, 40), 2048, np.uint16)
    values[:4] = 4095
    cv2.imwrite(str(tmp_path / "twelve_bits.png"), values)
    drawn = TextureFolder.open(tmp_path).draw((32, 32), np.random.default_rng(0))
    assert drawn[-1, -1].tolist() == [128, 128, 128]


def test_of_very_many_files_an_even_spread_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "_MOST_FILES", 3)
    for index in range(9):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((40, 40), np.uint8))
    assert [path.stem for path in TextureFolder.open(tmp_path).files] == ["0", "4", "8"]


def test_the_family_uses_the_folder_and_refuses_a_missing_one(tmp_path: Path) -> None:
    normals = np.random.default_rng(0).integers(100, 140, (2, 64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="texture folder"):
        create_family("texture", Context(normals, texture_dir=tmp_path))
    cv2.imwrite(str(tmp_path / "t.png"), np.zeros((64, 64, 3), np.uint8))
    with_folder = create_family("texture", Context(normals, texture_dir=tmp_path))
    without = create_family("texture", Context(normals))
    pairs = [[f.draw(normals[0], 1.0, np.random.default_rng(k))[0] for f in (with_folder, without)] for k in range(12)]
    assert any(not np.array_equal(first, second) for first, second in pairs)
