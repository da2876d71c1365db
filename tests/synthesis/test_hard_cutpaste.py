"""Patches of a changed copy: where they sit, and where they come from."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.synthesis import hard_cutpaste
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.blending import contrast
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.hard_cutpaste import LEAST_CONTRAST, HardCutPasteSource, hard_copy

Image = npt.NDArray[np.uint8]
BRIGHT = Foreground("otsu", bright=True)


def picture(kind: str, height: int = 64, width: int = 64) -> Image:
    rng = np.random.default_rng(3)
    image = np.full((height, width, 3), {"white": 255, "grey": 128}.get(kind, 0), np.uint8)
    if kind == "noise":
        image = rng.integers(0, 256, image.shape, np.uint8)
    if kind == "grey noise":
        image = np.repeat(rng.integers(60, 200, (height, width, 1), np.uint8), 3, axis=2)
    if kind == "disc":
        cv2.circle(image, (width // 2, height // 2), min(height, width) // 3, (180, 150, 120), -1)
        image[:, ::4] -= image[:, ::4] // 3
    return image


def source_on(image: Image, rule: Foreground | None = None, **options: Any) -> HardCutPasteSource:
    return HardCutPasteSource(Context(image[None], rule or Foreground()), **options)


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that patches come from is the image itself."""
    monkeypatch.setattr(hard_cutpaste, "CHANGE_SHARE", 0.0)


@pytest.mark.parametrize("opacity", [(1.0, 1.0), (0.2, 1.0), (0.001, 0.002)])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (45, 33)])
@pytest.mark.parametrize("kind", ["black", "white", "grey", "noise", "grey noise", "disc"])
def test_promises_hold_on_any_image(kind: str, size: tuple[int, int], opacity: tuple[float, float]) -> None:
    image = picture(kind, *size)
    rule = BRIGHT if kind == "disc" else Foreground()
    inside = rule.mask_of(image)
    source, before = source_on(image, rule, opacity=opacity), image.copy()
    for seed in range(12):
        drawn, mask = source.draw(image, np.random.default_rng(seed))
        again, mask_again = source.draw(image, np.random.default_rng(seed))
        assert (drawn.dtype, drawn.shape, mask.dtype, mask.shape) == (np.uint8, image.shape, np.bool_, size)
        assert (drawn != image)[mask].any()
        np.testing.assert_array_equal(drawn[~mask], image[~mask])
        assert not (mask & ~inside).any()
        np.testing.assert_array_equal(drawn, again)
        np.testing.assert_array_equal(mask, mask_again)
    np.testing.assert_array_equal(image, before)


def test_other_states_draw_other_patches() -> None:
    image = picture("noise")
    drawn = {source_on(image).draw(image, np.random.default_rng(seed))[0].tobytes() for seed in range(20)}
    assert len(drawn) == 20


@pytest.mark.usefixtures("unchanged")
def test_a_patch_is_a_turned_piece_of_the_image() -> None:
    """Where the colour of a pixel tells its place, a patch's colours are places: turned and shifted as one."""
    rows, columns = np.mgrid[:64, :64]
    image = np.stack([3 * rows, 3 * columns, 0 * rows], axis=2).astype(np.uint8)
    angles = []
    for seed in range(60):
        drawn, mask = source_on(image).draw(image, np.random.default_rng(seed))
        inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        places = np.stack([*np.nonzero(inner), np.ones(inner.sum())], axis=1)
        if np.linalg.matrix_rank(places) < 3 or inner.sum() < 30:
            continue
        origins = drawn[inner][:, :2] / 3
        motion, _, _, _ = np.linalg.lstsq(places, origins, rcond=None)
        if np.abs(places @ motion - origins).max() > 0.6:  # it reaches beyond the image, where that is reflected
            continue
        turn = motion[:2]
        np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=0.1)
        assert np.linalg.det(turn) > 0
        angles.append(np.rad2deg(np.arctan2(turn[0, 1], turn[0, 0])))
    assert len(angles) > 20
    assert -47 < min(angles) < -20
    assert 20 < max(angles) < 47


@pytest.mark.usefixtures("unchanged")
def test_a_patch_shows_only_what_is_on_the_product() -> None:
    """A background that the product does not have never gets upon it, but for what lies next to the product."""
    image = picture("disc", 128, 128)
    image[..., 2] = np.where(BRIGHT.mask_of(image), 0, 90)
    greenish = 0
    for seed in range(40):
        drawn, mask = source_on(image, BRIGHT).draw(image, np.random.default_rng(seed))
        greenish += int(np.median(drawn[mask][:, 2]) > 45)
    assert greenish < 12


@pytest.mark.usefixtures("unchanged")
def test_a_half_opaque_patch_is_half_way() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    changes = []
    for seed in range(30):
        drawn, _ = source_on(image, opacity=(0.5, 0.5)).draw(image, np.random.default_rng(seed))
        changes.append(int(cv2.absdiff(drawn, image).max()))
    assert max(changes) == 128
    assert np.mean(np.isin(changes, [127, 128])) > 0.8


@pytest.mark.usefixtures("unchanged")
def test_areas_are_those_of_patches_and_scars() -> None:
    image = picture("noise", 128, 128)
    areas = np.array([source_on(image).draw(image, np.random.default_rng(seed))[1].mean() for seed in range(300)])
    assert areas.max() < 0.16
    scars = areas < 0.008  # the largest scar is 8 by 12.5 pixels, 0.6 %; a patch as small is cut by the border
    assert 0.17 < scars.mean() < 0.37
    # The middle of the log-uniform areas is the root of 0.02 * 0.15; the border takes some of it away.
    assert 0.035 < np.median(areas[~scars]) < 0.055


def test_the_mask_leaves_out_what_stayed_as_it_was() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :8] = 200
    for seed in range(40):
        drawn, mask = source_on(image).draw(image, np.random.default_rng(seed))
        distance = cv2.distanceTransform((cv2.absdiff(drawn, image).max(axis=2) == 0).astype(np.uint8), cv2.DIST_C, 3)
        assert distance[mask].max() <= 4  # the change is averaged over windows of 5 pixels


def test_what_can_hardly_be_seen_is_drawn_again() -> None:
    image = picture("grey")  # only a recoloured patch shows, which every second one is
    seen = []
    for seed in range(60):
        drawn, mask = source_on(image).draw(image, np.random.default_rng(seed))
        seen.append(contrast(image, drawn, mask.astype(np.float32)))
    assert np.mean(np.array(seen) >= LEAST_CONTRAST) > 0.9


def test_on_black_the_last_patch_is_inverted() -> None:
    image = picture("black")
    drawn, mask = source_on(image).draw(image, np.random.default_rng(0))
    assert (drawn[mask] == 128).all()


def test_grey_images_stay_grey() -> None:
    image = picture("grey noise")
    for seed in range(30):
        drawn, _ = source_on(image).draw(image, np.random.default_rng(seed))
        assert np.ptp(drawn.astype(int), axis=2).max() <= 1


def state_for(turns: bool, shuffles: bool, recolours: bool) -> np.random.Generator:
    """A generator whose first three tosses come out as wanted."""
    seeds = range(1000)
    wanted = [turns, shuffles, recolours]
    seed = next(seed for seed in seeds if (np.random.default_rng(seed).random(3) < 0.5).tolist() == wanted)
    return np.random.default_rng(seed)


def test_a_copy_without_changes_is_the_image() -> None:
    image, inside = picture("noise"), np.eye(64, dtype=bool)
    copy, product = hard_copy(image, inside, state_for(turns=False, shuffles=False, recolours=False))
    np.testing.assert_array_equal(copy, image)
    np.testing.assert_array_equal(product, inside)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (45, 33)])
def test_shuffling_moves_quarters_and_the_product_with_them(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    corners = [(0, 0), (0, w), (h, 0), (h, w)]
    for number, (top, left) in enumerate(corners):
        image[top : top + h, left : left + w] = number + 1
    rng = state_for(turns=False, shuffles=True, recolours=False)
    copy, product = hard_copy(image, image[..., 0] == 3, rng)
    numbers = [np.unique(copy[top : top + h, left : left + w]).tolist() for top, left in corners]
    assert sorted(numbers) == [[1], [2], [3], [4]]
    assert numbers != [[1], [2], [3], [4]]
    np.testing.assert_array_equal(product, copy[..., 0] == 3)
    np.testing.assert_array_equal(copy[2 * h :], image[2 * h :])
    np.testing.assert_array_equal(copy[:, 2 * w :], image[:, 2 * w :])


def test_turning_turns_about_the_centre_and_takes_the_product_along() -> None:
    image = np.zeros((65, 65, 3), np.uint8)
    image[28:37, 45:60] = 255
    copy, product = hard_copy(image, image[..., 0] > 0, state_for(turns=True, shuffles=False, recolours=False))
    assert (copy != image).any()
    bright = np.argwhere(copy[..., 0] > 127)
    assert np.linalg.norm(bright.mean(axis=0) - 32) == pytest.approx(20, abs=0.7)
    assert len(bright) == pytest.approx(9 * 15, rel=0.1)
    assert product[copy[..., 0] > 127].all()
    assert not product[copy[..., 0] == 0].any()


def test_recolouring_leaves_the_product_where_it_is() -> None:
    image, inside = picture("disc"), BRIGHT.mask_of(picture("disc"))
    copy, product = hard_copy(image, inside, state_for(turns=False, shuffles=False, recolours=True))
    assert np.abs(copy[inside].astype(int) - image[inside]).mean() > 4
    np.testing.assert_array_equal(product, inside)


def test_a_product_that_turns_out_of_the_image_leaves_all_of_it() -> None:
    image, inside = picture("noise", 32, 160), np.zeros((32, 160), bool)
    inside[:2, :2] = True
    products = [hard_copy(image, inside, np.random.default_rng(seed))[1] for seed in range(60)]
    assert all(product.any() for product in products)
    assert any(product.all() for product in products)


def test_each_change_is_made_every_second_time_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for name in ("_turned", "_shuffled", "colour_jitter"):

        def note(picture: Image, *_: Any, name: str = name) -> Image:
            made.append(name)
            return picture

        monkeypatch.setattr(hard_cutpaste, name, note)
    image, rng, counts = picture("noise", 8, 8), np.random.default_rng(0), np.zeros(3, int)
    for _ in range(400):
        made.clear()
        hard_copy(image, np.ones((8, 8), bool), rng)
        order = ["_turned", "_turned", "_shuffled", "_shuffled", "colour_jitter"]  # the product is turned as well
        assert made == [name for name in order if name in made]
        counts += [name in made for name in ("_turned", "_shuffled", "colour_jitter")]
    assert counts.tolist() == pytest.approx([200] * 3, abs=30)  # three standard deviations
