from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from drawn import Draw, arm, bars, blurred, grain, plate, ring, some, tee, upright_arm, upright_tee, weave, written
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.data.groups import find_groups
from automl_ad.results import ImageGroup

Images = npt.NDArray[np.uint8]


def found(folder: Path, images: Images) -> tuple[ImageGroup, ...]:
    return find_groups(images, written(folder, images), range(len(images)))


def indices(group: ImageGroup) -> list[int]:
    return [int(Path(path).stem) for path in group.members]


def blue_ring(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return ring(rng, (90, 120, 200))


def small_ring(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return ring(rng, radius=26)


def coarse_weave(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return weave(rng, 12)


@pytest.mark.parametrize(("first", "second"), [(20, 20), (40, 10), (45, 5), (6, 6)])
@pytest.mark.parametrize(
    ("one", "other"),
    [(ring, bars), (ring, blue_ring), (ring, small_ring), (weave, grain), (weave, coarse_weave), (plate, upright_arm)],
)
def test_two_products_are_found(tmp_path: Path, one: Draw, other: Draw, first: int, second: int) -> None:
    groups = found(tmp_path, some(1, (one, first), (other, second)))
    assert [group.kind for group in groups] == ["product", "product"]
    members = sorted((indices(group) for group in groups), key=min)
    assert members == [list(range(first)), list(range(first, first + second))]
    assert {group.share for group in groups} == {first / (first + second), second / (first + second)}
    for group in groups:
        assert f"{group.images} of {first + second} images show another product or view" in group.sentence
        assert set(group.examples) <= set(group.members)


def test_three_products_of_unequal_numbers_are_found(tmp_path: Path) -> None:
    groups = found(tmp_path, some(2, (ring, 30), (bars, 16), (plate, 6)))
    assert [(group.kind, group.images) for group in groups] == [("product", 30), ("product", 16), ("product", 6)]


def bright(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return image * 1.35


def warm(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return image * [1.12, 1.0, 0.82]


def from_the_left(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return image * np.linspace(1.3, 0.7, image.shape[1])[None, :, None]


def noisy(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return image + rng.normal(0, 14, image.shape)


def soft_and_noisy(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return blurred(image) + rng.normal(0, 10, image.shape)


def soft(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return blurred(image)


Change = Callable[[npt.NDArray[np.float64], np.random.Generator], npt.NDArray[np.float64]]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        *((bright, "light"), (warm, "light"), (from_the_left, "light")),
        *((noisy, "camera"), (soft_and_noisy, "camera"), (soft, "camera")),
    ],
)
@pytest.mark.parametrize("draw", [ring, plate, bars, weave])
def test_lights_and_cameras_are_told_apart(tmp_path: Path, draw: Draw, change: Change, kind: str) -> None:
    groups = found(tmp_path, some(3, (draw, 20), (lambda rng: change(draw(rng), rng), 12)))
    assert [(group.kind, group.images) for group in groups] == [(kind, 20), (kind, 12)]


def test_the_sentence_of_a_light_says_what_changed(tmp_path: Path) -> None:
    groups = found(tmp_path, some(4, (plate, 20), (lambda rng: plate(rng) * 1.5, 12)))
    assert "brightness 1.5" in groups[1].sentence
    assert "brightness 0.6" in groups[0].sentence


def test_two_sizes_of_files_are_two_cameras(tmp_path: Path) -> None:
    paths = written(tmp_path, some(5, (ring, 24)))
    for path in paths[15:]:
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (144, 144), interpolation=cv2.INTER_CUBIC))
    groups = find_groups(some(5, (ring, 24)), paths, range(24))
    assert [(group.kind, group.images) for group in groups] == [("camera", 15), ("camera", 9)]
    assert "144 x 144 pixels against 96 x 96 pixels" in groups[1].sentence


@pytest.mark.parametrize("draw", [arm, tee])
@pytest.mark.parametrize("number", [12, 40])
def test_turned_parts_are_found(tmp_path: Path, draw: Draw, number: int) -> None:
    (group,) = found(tmp_path, some(6, (draw, number)))
    assert (group.kind, group.images, group.share) == ("angle", number, 1)
    assert f"all {number} images show the part at angles that vary over" in group.sentence
    assert "--exclude-group" not in group.remedy


def test_two_views_of_a_turned_part_are_no_two_products(tmp_path: Path) -> None:
    images = some(7, (upright_arm, 30), (upright_arm, 6))
    images[30:] = images[30:, :, ::-1, ::-1]
    assert {group.kind for group in found(tmp_path, images)} == {"angle"}


def shaded(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    slope = np.linspace(-1, 1, 96)
    across, down = rng.uniform(-0.4, 0.4, 2)
    return ring(rng) * (1 + across * slope[None, :, None] + down * slope[:, None, None])


VARIETIES: dict[str, Draw] = {
    **{draw.__name__: draw for draw in (ring, bars, plate, weave, grain, upright_arm, upright_tee)},
    "brightness": lambda rng: plate(rng) * rng.uniform(0.6, 1.4),
    "colour": lambda rng: plate(rng) * rng.uniform(0.8, 1.2, 3),
    "shading": shaded,
    "focus": lambda rng: np.asarray(cv2.GaussianBlur(plate(rng), (0, 0), rng.uniform(0.3, 2.5))),
    "pitch": lambda rng: weave(rng, rng.uniform(6, 12)),
    "coarseness": lambda rng: grain(rng, np.exp(rng.uniform(0.3, 1.5))),
    "place": lambda rng: np.roll(plate(rng), int(rng.integers(-1, 2)) * 3, axis=1),
    "radius": lambda rng: ring(rng, radius=rng.uniform(24, 40)),
}


@pytest.mark.parametrize("number", [12, 40, 120])
@pytest.mark.parametrize("name", VARIETIES)
def test_the_variety_of_one_product_makes_no_groups(tmp_path: Path, name: str, number: int) -> None:
    assert found(tmp_path, some(8, (VARIETIES[name], number))) == ()


def test_fewer_than_a_twelfth_are_outliers(tmp_path: Path) -> None:
    assert found(tmp_path, some(9, (ring, 57), (bars, 3))) == ()


def test_identical_images_make_no_groups(tmp_path: Path) -> None:
    images = np.repeat(some(10, (ring, 1)), 20, axis=0)
    paths = written(tmp_path, images)
    assert find_groups(images, paths, [0] * 20) == ()
    assert find_groups(images, paths, range(20)) == ()


def test_tiny_sets_are_not_divided(tmp_path: Path) -> None:
    assert found(tmp_path, some(11, (ring, 4), (bars, 3))) == ()


def test_copies_count_once_and_stay_with_their_image(tmp_path: Path) -> None:
    images = some(12, (ring, 12), (bars, 6))
    images = np.concatenate([images, np.repeat(images[:1], 30, axis=0)])
    groups = find_groups(images, written(tmp_path, images), [*range(18), *[0] * 30])
    assert [(group.images, group.kind) for group in groups] == [(42, "product"), (6, "product")]


TWO = some(13, (plate, 14), (bars, 7))


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_neither_order_nor_names_matter(tmp_path_factory: pytest.TempPathFactory, random: object) -> None:
    order = list(range(21))
    random.shuffle(order)  # type: ignore[attr-defined]
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    one, other = found(folders[0], TWO), found(folders[1], TWO[order])
    assert [group.name for group in one] == [group.name for group in other]
    assert [group.sentence for group in one] == [group.sentence for group in other]
    for group, shuffled in zip(one, other, strict=True):
        assert sorted(indices(group)) == sorted(order[index] for index in indices(shuffled))


def test_another_image_changes_no_name(tmp_path: Path) -> None:
    names = {group.name for group in found(tmp_path / "one", TWO)}
    more = np.concatenate([TWO, some(14, (plate, 1))])
    assert {group.name for group in found(tmp_path / "other", more)} == names
