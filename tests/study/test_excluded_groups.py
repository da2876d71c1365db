"""Leaving a whole group out of a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_ad.data.audit import audit
from automl_ad.data.study_images import read_study_images
from automl_ad.errors import InputError
from automl_ad.study.settings import requested_settings


@pytest.fixture
def two_products(tmp_path: Path) -> Path:
    """20 crosses ``a*.png`` and 12 frames ``b*.png``."""
    rng = np.random.default_rng(0)
    for name, number in (("a", 20), ("b", 12)):
        for index in range(number):
            image = np.full((64, 64), 90.0)
            middle = 32
            if name == "a":
                image[middle - 4 : middle + 4, 8:56] = image[8:56, middle - 4 : middle + 4] = 190
            else:
                image[8:56, 8:56], image[14:50, 14:50] = 60, 150
            pixels = np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{name}{index:02}.png")
    return tmp_path


def test_a_group_becomes_the_paths_of_its_images(two_products: Path) -> None:
    small = audit(two_products).groups[1]
    settings = requested_settings(two_products, exclude_group=[small.name])
    assert settings.exclude == tuple(f"b{index:02}.png" for index in range(12))
    assert requested_settings(two_products, exclude_group=[small.name]) == settings
    with_one_more = requested_settings(two_products, exclude=["a00.png"], exclude_group=[small.name])
    assert with_one_more.exclude == ("a00.png", *settings.exclude)


def test_an_unknown_group_is_refused(two_products: Path) -> None:
    with pytest.raises(InputError, match=r"exclude_group product-x is no group .* \(20 images\), .* \(12 images\)"):
        requested_settings(two_products, exclude_group=["product-x"])


def test_no_image_is_left_without_both_groups(two_products: Path) -> None:
    names = [group.name for group in audit(two_products).groups]
    settings = requested_settings(two_products, exclude_group=names)
    with pytest.raises(InputError, match=r"All 32 images .* are excluded"):
        read_study_images(settings)


@pytest.mark.parametrize("side", [64, 256])
def test_a_search_warns_of_groups_by_the_names_of_the_audit(two_products: Path, side: int) -> None:
    names = [group.name for group in audit(two_products).groups]
    (warning,) = [text for text in _warnings(two_products, image_size=side) if "candidates learn all of them" in text]
    assert "--exclude-group" in warning
    assert all(name in warning for name in names)
    left = _warnings(two_products, image_size=side, exclude_group=names[1:])
    assert not any("candidates learn" in text for text in left)


def _warnings(folder: Path, **options: object) -> list[str]:
    return read_study_images(requested_settings(folder, **options)).warnings
