from __future__ import annotations

import cv2
import numpy as np
import pytest

from automl_ad.data.suspects import find_suspects, outlier_scores


def part(rng: np.random.Generator, hue: tuple[int, int, int] = (170, 165, 150)) -> np.ndarray:
    image = np.full((96, 96, 3), 35, np.float32)
    centre = tuple(round(x) for x in 48 * 16 + rng.uniform(-24, 24, 2))  # in sixteenths of a pixel
    cv2.circle(image, centre, 36 * 16, hue, -1, cv2.LINE_AA, shift=4)
    cv2.circle(image, centre, 12 * 16, (20, 20, 20), -1, cv2.LINE_AA, shift=4)
    return image * rng.uniform(0.92, 1.08) + rng.normal(0, 3, image.shape)


def texture(rng: np.random.Generator) -> np.ndarray:
    return 120 + cv2.GaussianBlur(rng.normal(0, 60, (96, 96, 3)), (0, 0), 2)


def stack(images: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1) for image in images])


@pytest.mark.parametrize("draw", [part, texture])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [12, 40, 120])
def test_clean_sets_raise_hardly_a_false_alarm(draw: object, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    assert len(find_suspects(stack([draw(rng) for _ in range(count)]))) <= 2


def broken(image: np.ndarray) -> np.ndarray:
    image[:, 60:] = 35
    return image


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 5)


def dark(image: np.ndarray) -> np.ndarray:
    return image * 0.4


def upside_down_light(image: np.ndarray) -> np.ndarray:
    return image + np.linspace(-60, 60, 96)[:, None, None]


@pytest.mark.parametrize("spoil", [broken, blurred, dark, upside_down_light])
def test_planted_outliers_are_found_first(spoil: object) -> None:
    rng = np.random.default_rng(5)
    images = [part(rng) for _ in range(40)]
    for place in (7, 31):
        images[place] = spoil(images[place])
    found = find_suspects(stack(images))
    assert {suspect.index for suspect in found[:2]} == {7, 31}
    assert len(found) <= 3
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)


def test_another_product_is_found_in_either_direction() -> None:
    rng = np.random.default_rng(6)
    assert find_suspects(stack([texture(rng) for _ in range(40)] + [part(rng)]))[0].index == 40
    assert find_suspects(stack([part(rng) for _ in range(40)] + [texture(rng)]))[0].index == 40


def test_a_part_of_another_colour_is_found() -> None:
    rng = np.random.default_rng(7)
    images = [part(rng) for _ in range(39)] + [part(rng, hue=(150, 165, 220))]
    assert find_suspects(stack(images))[0].index == 39


def test_identical_images_and_tiny_sets_have_no_suspects() -> None:
    one = part(np.random.default_rng(0))
    assert find_suspects(stack([one] * 20)) == []
    assert find_suspects(stack([one, one * 0])) == []


def test_scores_follow_the_images() -> None:
    rng = np.random.default_rng(8)
    images = stack([part(rng) for _ in range(20)])
    order = rng.permutation(20)
    np.testing.assert_allclose(outlier_scores(images[order]), outlier_scores(images)[order], atol=1e-2)
