from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from automl_ad.data.fingerprint import content_hash, near_duplicate_groups, pixel_hash

Images = list[np.ndarray]


def fabric(rng: np.random.Generator) -> np.ndarray:
    """A weave whose threads vary, in one place at all times."""
    rows, columns = np.mgrid[:160, :160]
    weave = 20 * np.sin(columns / 3) * np.sin(rows / 3)
    uneven = cv2.GaussianBlur(rng.normal(0, 60, (160, 160)), (0, 0), 2)
    return np.clip(120 + weave + uneven + rng.normal(0, 3, weave.shape), 0, 255).astype(np.uint8)


def plate(rng: np.random.Generator, wobble: float = 1.0, grain: float = 20.0) -> np.ndarray:
    """A part in a fixture: the same outline in every image, moved by a pixel or so, with its own grain and noise."""
    image = np.full((160, 160), 40, np.float32)
    centre = tuple(round(x) for x in 80 * 16 + rng.normal(0, 16 * wobble, 2))
    cv2.circle(image, centre, 60 * 16, 170, -1, cv2.LINE_AA, shift=4)
    cv2.circle(image, centre, 20 * 16, 30, -1, cv2.LINE_AA, shift=4)
    brushed = cv2.GaussianBlur(rng.normal(0, 1, (160, 160)), (1, 31), 0, sigmaY=6) * grain
    return np.clip(image + brushed + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def fixed_plate(rng: np.random.Generator) -> np.ndarray:
    """Parts that differ in nothing but the noise of the camera."""
    return plate(rng, wobble=0, grain=0)


def faint_plate(rng: np.random.Generator) -> np.ndarray:
    """Parts whose grain is fainter than the noise of the camera, while their edges move."""
    return plate(rng, grain=8)


def smooth(rng: np.random.Generator) -> np.ndarray:
    """An empty surface under uneven light: nothing but noise tells two apart."""
    light = np.linspace(100, 140, 160)[None, :]
    return np.clip(light + rng.normal(0, 2, (160, 160)), 0, 255).astype(np.uint8)


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


def rescaled(image: np.ndarray) -> np.ndarray:
    smaller = cv2.resize(image, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    return cv2.resize(smaller, image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def brightened(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.05 + 4, 0, 255).astype(np.uint8)


def several(draw: Callable[[np.random.Generator], np.ndarray], count: int = 30, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    return [draw(rng) for _ in range(count)]


@pytest.mark.parametrize("draw", [fabric, plate, faint_plate, fixed_plate, smooth])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_images_of_alike_parts_are_no_duplicates(draw: Callable[..., np.ndarray], seed: int) -> None:
    assert near_duplicate_groups(np.stack(several(draw, seed=seed))) == list(range(30))


@pytest.mark.parametrize("draw", [fabric, plate])
@pytest.mark.parametrize("change", [jpeg(60), jpeg(80), jpeg(95), rescaled, brightened])
def test_changed_copies_join_their_originals(
    draw: Callable[..., np.ndarray], change: Callable[..., np.ndarray]
) -> None:
    originals = several(draw)
    copies = [change(originals[i]) for i in (3, 20, 11)]
    assert near_duplicate_groups(np.stack(originals + copies)) == [*range(30), 3, 20, 11]


def test_a_set_of_which_each_image_was_saved_twice_falls_into_pairs() -> None:
    originals = several(plate, 12)
    saved_again = [jpeg(75)(image) for image in originals]
    assert near_duplicate_groups(np.stack(originals + saved_again)) == [*range(12), *range(12)]


@pytest.mark.parametrize("draw", [fabric, fixed_plate, lambda _: np.full((40, 40), 7, np.uint8)])
def test_exact_copies_of_one_image_are_one_group(draw: Callable[..., np.ndarray]) -> None:
    assert near_duplicate_groups(np.stack(several(draw, 1) * 20)) == [0] * 20


def test_exact_copies_are_found_even_where_only_noise_tells_images_apart() -> None:
    originals = several(smooth)
    assert near_duplicate_groups(np.stack([*originals, originals[4]])) == [*range(30), 4]


def test_colour_images_and_blocks_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = several(plate, 10)
    grey = np.stack([*originals, jpeg(80)(originals[9])])
    monkeypatch.setattr("automl_ad.data.fingerprint._BLOCK", 3)
    assert near_duplicate_groups(np.repeat(grey[:, None], 3, axis=1)) == [*range(10), 9]
    assert near_duplicate_groups(grey[:0]) == []


def test_a_chain_of_copies_is_one_group_whatever_the_order() -> None:
    originals = several(fabric, 12)
    second = jpeg(80)(originals[0])
    third = brightened(second)
    assert near_duplicate_groups(np.stack([third, *originals, second])) == [0, 0, *range(1, 12), 0]


def test_content_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert content_hash(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_pixel_hash_tells_pixels_and_shapes_apart() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert pixel_hash(pixels) == pixel_hash(np.asfortranarray(pixels))
    assert len({pixel_hash(pixels), pixel_hash(pixels.reshape(4, 3)), pixel_hash(pixels + 1)}) == 3
