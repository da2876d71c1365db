"""What every family promises, and what sets each one apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.errors import InputError
from automl_ad.synthesis.base import BlendedFamily, Context, Proposal
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.names import FAMILY_NAMES
from automl_ad.synthesis.registry import _FAMILIES, create_family

PAINTED = [name for name in FAMILY_NAMES if name not in ("missing", "warp")]
"""The others show what is there already, which a calm surface keeps from standing out."""
SIDES = st.integers(1, 10).map(lambda k: 32 * k)
KINDS = ("black", "white", "grey", "noise", "clipped", "object")


def picture(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flat = {"black": 0, "white": 255, "grey": 128, "object": 20}
    image = np.full((height, width, 3), flat.get(kind, 0), np.uint8)
    if kind == "noise":
        image = rng.integers(90, 160, image.shape, np.uint8)
    if kind == "clipped":
        image = np.clip(rng.normal(250, 20, image.shape), 0, 255).astype(np.uint8)
    if kind == "object":
        image[height // 4 : height - height // 4, width // 4 : width - width // 4] = rng.integers(160, 200)
    return image


def surface(count: int, side: int = 128) -> np.ndarray:
    """Brushed grey surfaces that differ from each other as photographs of one product do."""
    rng = np.random.default_rng(7)
    rows = rng.normal(0, 8, (count, side, 1, 1)) + rng.normal(0, 4, (count, side, side, 1))
    return np.clip(120 + rows + np.zeros(3), 0, 255).astype(np.uint8)


class Opposites:
    """Pictures that the strength brings nearer to the opposite tone."""

    def synthesise(self, images: Sequence[np.ndarray], strengths: Sequence[float]) -> list[np.ndarray]:
        return [
            np.rint(image + strength * (np.where(image < 128, 255.0, 0.0) - image)).astype(np.uint8)
            for image, strength in zip(images, strengths, strict=True)
        ]


def context_of(normals: np.ndarray, **options: Any) -> Context:
    """One that suits every family."""
    return Context(normals, sdas=Opposites(), **options)


def test_every_family_is_named_apart_from_its_class() -> None:
    assert tuple(_FAMILIES) == FAMILY_NAMES


@pytest.mark.parametrize("name", FAMILY_NAMES)
@given(
    kind=st.sampled_from(KINDS),
    height=SIDES,
    width=SIDES,
    severity=st.floats(0.001, 1.0),
    seed=st.integers(0, 2**32 - 1),
    same_donors=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_promises_hold_on_any_image(
    name: str, kind: str, height: int, width: int, severity: float, seed: int, same_donors: bool
) -> None:
    image = picture(kind, height, width, seed)
    donors = [image if same_donors else picture(kind, height, width, seed + 1 + k) for k in range(2)]
    rule = Foreground("otsu", bright=True) if kind == "object" else Foreground()
    family = create_family(name, context_of(np.stack(donors), foreground=rule))
    before = image.copy()

    drawn, mask = family.draw(image, severity, np.random.default_rng(seed))
    again, mask_again = family.draw(image, severity, np.random.default_rng(seed))

    np.testing.assert_array_equal(image, before)
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    assert mask.dtype == np.bool_
    assert mask.shape == image.shape[:2]
    assert mask.any()
    assert (drawn != image)[mask].any()
    np.testing.assert_array_equal(drawn[~mask], image[~mask])
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_array_equal(mask, mask_again)


@pytest.mark.parametrize("name", PAINTED)
def test_change_grows_with_severity(name: str) -> None:
    normals = surface(6)
    family = create_family(name, context_of(normals[1:]))
    change = {}
    for severity in (0.03, 0.1, 0.2, 0.33):
        drawn = [family.draw(normals[0], severity, np.random.default_rng(k)) for k in range(15)]
        change[severity] = np.mean([np.abs(image.astype(float) - normals[0])[mask].mean() for image, mask in drawn])
    assert change[0.03] < change[0.1] < change[0.2] < change[0.33]
    assert change[0.33] > 2 * change[0.1]


@pytest.mark.parametrize("name", PAINTED)
def test_a_severe_defect_stands_out_of_the_surface_and_a_mild_one_hides_in_it(name: str) -> None:
    normals = surface(6)
    family = create_family(name, context_of(normals[1:]))
    spread = float(normals[0].std())
    contrasts = []
    for severity in (1.0, 0.03):
        drawn = [family.draw(normals[0], severity, np.random.default_rng(k)) for k in range(15)]
        contrasts.append(np.mean([np.abs(image.astype(float) - normals[0])[mask].mean() for image, mask in drawn]))
    assert contrasts[0] > 1.5 * spread
    assert contrasts[1] < spread


@pytest.mark.parametrize("name", [name for name in FAMILY_NAMES if name != "poisson"])
def test_defects_stay_on_the_product(name: str) -> None:
    image = picture("object", 128, 128, 3)
    donors = np.stack([picture("object", 128, 128, k) for k in range(4)])
    context = context_of(donors, foreground=Foreground("otsu", bright=True))
    inside = context.foreground.mask_of(image)
    family = create_family(name, context)
    for seed in range(15):
        mask = family.draw(image, 0.8, np.random.default_rng(seed))[1]
        assert not (mask & ~inside).any()


def test_poisson_defects_lie_mostly_on_the_product() -> None:
    image = picture("object", 128, 128, 3)
    donors = np.stack([picture("object", 128, 128, k) for k in range(4)])
    context = Context(donors, Foreground("otsu", bright=True))
    inside = context.foreground.mask_of(image)
    family = create_family("poisson", context)
    shares = [inside[family.draw(image, 0.8, np.random.default_rng(seed))[1]].mean() for seed in range(15)]
    assert np.mean(shares) > 0.7


def test_families_differ_and_different_states_draw_different_defects() -> None:
    normals = surface(4)
    context = context_of(normals[1:])
    drawn = {
        (name, seed): create_family(name, context).draw(normals[0], 0.6, np.random.default_rng(seed))[0].tobytes()
        for name in FAMILY_NAMES
        for seed in range(3)
    }
    assert len(set(drawn.values())) == len(drawn)


def test_grey_products_get_grey_textures_stains_and_marks() -> None:
    normals = surface(4)
    for name in ("texture", "photometric", "scratch", "speck"):
        family = create_family(name, Context(normals[1:]))
        for seed in range(10):
            drawn = family.draw(normals[0], 1.0, np.random.default_rng(seed))[0]
            assert np.ptp(drawn.astype(int), axis=2).max() <= 1


def test_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=f"choose from {', '.join(FAMILY_NAMES)}"):
        create_family("rust", Context(surface(2)))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_created_families_carry_their_name(name: str) -> None:
    assert create_family(name, context_of(surface(2))).name == name


@pytest.mark.parametrize("severity", [0.0, -0.5, 1.01, float("nan")])
def test_severity_out_of_range_is_the_users_fault(severity: float) -> None:
    with pytest.raises(InputError, match="severity"):
        create_family("texture", Context(surface(2))).draw(surface(1)[0], severity, np.random.default_rng(0))


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="normals"):
        create_family("texture", Context(surface(2))).draw(surface(1, 64)[0], 0.5, np.random.default_rng(0))


def test_context_needs_normals_in_the_right_layout() -> None:
    with pytest.raises(InputError, match="good image"):
        Context(np.zeros((0, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        Context(np.zeros((1, 32, 32, 3), np.float32))  # type: ignore[arg-type]


class Scripted(BlendedFamily):
    """Proposes given shifts of the grey level, one after the other; None for a failed attempt."""

    name = "scripted"

    def __init__(self, context: Context, shifts: list[int | None]) -> None:
        super().__init__(context)
        self.shifts = shifts
        self.calls = 0

    def propose(self, image, inside, severity, rng):  # type: ignore[no-untyped-def]
        shift = self.shifts[self.calls % len(self.shifts)]
        self.calls += 1
        if shift is None:
            return None
        weight = np.zeros(image.shape[:2], np.float32)
        weight[10:20, 10:20] = 1
        return Proposal(image + np.uint8(shift), weight)


def flat_draw(shifts: list[int | None]) -> tuple[Scripted, np.ndarray, np.ndarray]:
    image = np.full((64, 64, 3), 100, np.uint8)
    family = Scripted(Context(image[None]), shifts)
    drawn, mask = family.draw(image, 1.0, np.random.default_rng(0))
    return family, drawn, mask


def test_first_visible_enough_proposal_is_taken_and_toned_down_to_the_target() -> None:
    family, drawn, mask = flat_draw([None, 2, 90, 150])
    # Flat surface, 100 of 4096 pixels: (3 + 51) * (0.01 * 4096 / 100) ** 0.15 = 47.2 grey levels.
    assert family.calls == 3
    assert set(drawn[mask].ravel()) == {147}
    assert mask.sum() == 100


def test_too_faint_proposals_leave_the_strongest_one_at_full_opacity() -> None:
    family, drawn, mask = flat_draw([2, 5, 3])
    assert family.calls == 5
    assert set(drawn[mask].ravel()) == {105}


@pytest.mark.parametrize("shifts", [[None], [0]])
def test_a_family_that_finds_nothing_still_draws_a_spot(shifts: list[int | None]) -> None:
    family, drawn, mask = flat_draw(shifts)
    assert mask.any()
    assert (drawn[mask] > 110).all()
    assert family.try_draw(np.full((64, 64, 3), 100, np.uint8), 1.0, np.random.default_rng(0)) is None


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_what_comes_of_a_try_is_what_is_drawn(name: str) -> None:
    normals = surface(3)
    family = create_family(name, context_of(normals[1:]))
    tried = family.try_draw(normals[0], 0.8, np.random.default_rng(3))
    drawn = family.draw(normals[0], 0.8, np.random.default_rng(3))
    assert tried is not None
    for one, other in zip(tried, drawn, strict=True):
        np.testing.assert_array_equal(one, other)
