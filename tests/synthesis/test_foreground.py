"""The automatic foreground on drawn parts and on surfaces without one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.perlin import perlin_noise

SIZE = (128, 160)


def part(seed: int, ground: int, tone: int, move: bool, turn: bool) -> tuple[np.ndarray, np.ndarray]:
    """An oblong part with a hole of ground tone on a noisy ground, and where it is (hole included)."""
    rng = np.random.default_rng(seed)
    centre = np.array([80.0, 64.0]) + (rng.uniform(-20, 20, 2) if move else 0)
    angle = float(rng.uniform(0, 180)) if turn else 20.0
    shape, hole = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    cv2.ellipse(shape, (tuple(centre), (80.0, 40.0), angle), 1, -1)
    cv2.circle(hole, (round(centre[0]), round(centre[1])), 8, 1, -1)
    grey = np.where((shape == 1) & (hole == 0), tone, ground) + rng.normal(0, 6, SIZE)
    return np.clip(np.repeat(grey[..., None], 3, axis=2), 0, 255).astype(np.uint8), shape.astype(bool)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize(("ground", "tone", "bright"), [(40, 190, True), (220, 90, False)])
@pytest.mark.parametrize(("move", "turn"), [(False, False), (True, False), (True, True)])
def test_parts_are_found_wherever_they_lie(ground: int, tone: int, bright: bool, move: bool, turn: bool) -> None:
    parts = [part(seed, ground, tone, move, turn) for seed in range(12)]
    rule = Foreground.fit(np.stack([image for image, _ in parts]))
    assert not rule.is_whole_image
    assert rule.bright == bright
    assert min(overlap(rule.mask_of(image), truth) for image, truth in parts) > 0.9


def texture(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:128, 0:128]
    grey = {
        "noise": rng.normal(120, 40, (128, 128)),
        "clouds": 120 + 80 * perlin_noise((128, 128), (8, 8), rng),
        "stripes": 120 + 80 * np.sign(np.sin(columns / 5 + rng.uniform(0, 6))),
        "still stripes": 120 + 80 * np.sign(np.sin(columns / 5)),
        "dots": 200.0 * ((rows % 16 - 8) ** 2 + (columns % 16 - 8) ** 2 < 16),
        "vignette": 220 - np.hypot(rows - 64, columns - 64) * 1.8 + rng.normal(0, 3, (128, 128)),
        "flat": np.full((128, 128), 77.0),
    }[kind]
    return np.clip(np.repeat(grey[..., None], 3, axis=2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["noise", "clouds", "stripes", "still stripes", "dots", "vignette", "flat"])
def test_textures_fill_the_image(kind: str) -> None:
    images = np.stack([texture(kind, seed) for seed in range(12)])
    rule = Foreground.fit(images)
    assert rule.is_whole_image
    assert rule.mask_of(images[0]).all()


def test_parts_of_ever_other_outline_are_not_trusted() -> None:
    rng = np.random.default_rng(0)
    images = np.full((12, 128, 128, 3), 20, np.uint8)
    for index, image in enumerate(images):
        length = int(rng.integers(6, 12)) * 8
        size = (length, 24) if index % 2 else (30, 120)
        cv2.rectangle(
            image, (64 - size[0] // 2, 64 - size[1] // 2), (64 + size[0] // 2, 64 + size[1] // 2), (200,) * 3, -1
        )
        if index % 3 == 0:
            cv2.circle(image, (64, 64), 50, (200,) * 3, -1)
    assert Foreground.fit(images).is_whole_image


def test_specks_beside_the_part_are_dropped() -> None:
    image, truth = part(0, 40, 190, False, False)
    cv2.circle(image, (12, 12), 5, (190, 190, 190), -1)
    mask = Foreground("otsu", bright=True).mask_of(image)
    assert not mask[:24, :24].any()
    assert overlap(mask, truth) > 0.9


def test_an_image_without_the_part_counts_as_all_foreground() -> None:
    assert Foreground("otsu", bright=True).mask_of(np.zeros((64, 64, 3), np.uint8)).all()


def test_a_single_image_is_enough() -> None:
    image, truth = part(3, 40, 190, False, False)
    assert overlap(Foreground.fit(image[None]).mask_of(image), truth) > 0.9
