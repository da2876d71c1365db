"""The gate with judges whose verdicts are written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas.gate import (
    BASES,
    MASKS,
    OPACITIES,
    STRENGTHS,
    GateResult,
    detectability_table,
    mean_change,
    run_gate,
)
from automl_ad.synthesis.sdas.scale import StrengthScale

Image = npt.NDArray[np.uint8]
Table = Mapping[tuple[float, float], float]

LEVEL = 100
SHIFT = {0.125: 20, 0.25: 40, 0.5: 70, 1.0: 150}
"""Of the whole image at each strength; seen at 0.3, that is 6, 12, 21 and 45."""
SCALE = StrengthScale(full=1.0, power=1.0)
"""Strengths that are added variance."""
NORMAL = 130
RISING: dict[tuple[float, float], float] = {
    (0.125, 0.3): 0.50,
    (0.125, 1.0): 0.60,
    (0.25, 0.3): 0.55,
    (0.25, 1.0): 0.70,
    (0.5, 0.3): 0.60,
    (0.5, 1.0): 0.80,
    (1.0, 0.3): 0.75,
    (1.0, 1.0): 0.95,
}


class ReferenceDetector:
    """Recognises strength and opacity by how far the grey level has moved, and says what it was told to say."""

    def __init__(self, table: Table = RISING, distance: float = 1.0) -> None:
        self.table = table
        self.away = distance
        self.shown: dict[tuple[float, float], npt.NDArray[np.uint8]] = {}
        self.measured: list[ImageSet] = []

    def detectability(self, images: ImageSet) -> float:
        moved = int(images.pixels.max()) - LEVEL
        (cell,) = [(s, o) for s in STRENGTHS for o in OPACITIES if round(SHIFT[s] * o) == moved]
        self.shown[cell] = images.hwc
        return self.table[cell]

    def distance(self, images: ImageSet) -> float:
        self.measured.append(images)
        return self.away


def flat(count: int, level: int = LEVEL, side: int = 64) -> Image:
    return np.full((count, side, side, 3), level, np.uint8)


def drawn(s: float, count: int = BASES) -> list[Image]:
    return list(flat(count, LEVEL + SHIFT[s]))


def verdict_of(judge: ReferenceDetector, seed: int = 0) -> GateResult:
    return run_gate(list(flat(BASES, NORMAL)), drawn, SCALE, flat(BASES), Foreground(), judge, seed)


def fault_of(table: Table = RISING, distance: float = 1.0) -> str | None:
    return verdict_of(ReferenceDetector(table, distance)).fault


def full(*values: float, faint: float = 0.6) -> dict[tuple[float, float], float]:
    """A table with these detectabilities of opaque anomalies."""
    table = dict.fromkeys(RISING, faint)
    return table | {(strength, 1.0): value for strength, value in zip(STRENGTHS, values, strict=True)}


class TestVerdict:
    def test_a_model_whose_anomalies_grow_passes(self) -> None:
        judge = ReferenceDetector(distance=0.9)
        verdict = verdict_of(judge)
        assert (verdict.fault, verdict.distance, verdict.detectability) == (None, 0.9, RISING)
        (normal,) = judge.measured
        np.testing.assert_array_equal(normal.hwc, flat(BASES, NORMAL))
        assert verdict.scale == SCALE
        np.testing.assert_array_equal(verdict.drawn[0.5], drawn(0.5))

    def test_odd_normal_images_are_a_fault(self) -> None:
        assert fault_of(distance=2.0) is None
        assert fault_of(distance=2.61) == (
            "its good images lie 2.61 times as far from the good images as 95 % of unseen good ones do"
        )
        assert fault_of(distance=2.0001) is not None

    @pytest.mark.parametrize(
        "values",
        [
            (0.8, 0.8, 0.8, 0.8),
            (0.9, 0.8, 0.8, 0.7),
            (0.8, 0.81, 0.82, 0.84),
            (0.6, 0.7, 0.9, 0.86),
            (0.9, 0.85, 0.9, 1),
        ],
    )
    def test_detectability_must_rise_with_strength(self, values: tuple[float, ...]) -> None:
        steps = ", ".join(f"{value:.2f}" for value in values)
        assert fault_of(full(*values)) == (
            f"its anomalies are not found more easily when they are stronger (reference image AUROC {steps})"
        )

    @pytest.mark.parametrize(
        "values", [(0.8, 0.8, 0.8, 0.86), (0.8, 0.78, 0.8, 0.9), (0.7, 0.8, 0.9, 0.88), (0.6, 0.66, 0.66, 0.66)]
    )
    def test_chance_is_allowed_for(self, values: tuple[float, ...]) -> None:
        assert fault_of(full(*values)) is None

    def test_what_is_plain_to_see_from_the_start_need_not_rise(self) -> None:
        """Images that start from noise differ in light at any strength."""
        assert fault_of(full(0.99, 0.99, 0.98, 0.99)) is None
        assert fault_of(full(0.99, 0.99, 0.98, 0.99, faint=0.97)) is None
        assert fault_of(full(0.99, 0.99, 0.90, 0.99)) is not None

    def test_detectability_must_rise_with_opacity(self) -> None:
        assert fault_of(RISING | {(1.0, 0.3): 0.88}) is None
        assert fault_of(RISING | {(1.0, 0.3): 0.92}) == (
            "its anomalies are found no more easily when opaque (0.92, 0.95)"
        )

    def test_only_the_strongest_must_rise_with_opacity(self) -> None:
        assert fault_of(RISING | {(0.125, 0.3): 0.7, (0.5, 0.3): 0.8}) is None

    @pytest.mark.parametrize("distance", [1.0, 3.0])
    def test_facts_are_json(self, distance: float) -> None:
        verdict = verdict_of(ReferenceDetector(distance=distance))
        facts = json.loads(json.dumps(verdict.facts))
        assert (facts["distance"], facts["fault"]) == (distance, verdict.fault)
        assert {(strength, o): value for strength, _, o, value in facts["detectability"]} == RISING
        assert [s for _, s, _, _ in facts["detectability"]] == [strength for strength, _ in RISING]
        assert StrengthScale(**facts["scale"]) == SCALE


class TestAnomalies:
    def test_every_cell_has_the_same_masks(self) -> None:
        judge = ReferenceDetector()
        verdict_of(judge)
        assert judge.shown.keys() == RISING.keys()
        masks = {cell: (images != LEVEL).any(3) for cell, images in judge.shown.items()}
        first = masks.pop((0.125, 1.0))
        assert len(first) == BASES * MASKS
        assert first.any((1, 2)).all()
        assert len({mask.tobytes() for mask in first}) == BASES * MASKS
        for other in masks.values():
            np.testing.assert_array_equal(other, first)

    def test_the_seed_decides_the_masks(self) -> None:
        judges = [ReferenceDetector(), ReferenceDetector(), ReferenceDetector()]
        for judge, seed in zip(judges, (3, 3, 4), strict=True):
            verdict_of(judge, seed)
        one, again, other = (judge.shown[1.0, 1.0].tobytes() for judge in judges)
        assert one == again
        assert one != other

    def test_the_image_shows_through_at_the_opacity(self) -> None:
        judge = ReferenceDetector()
        verdict_of(judge)
        for (strength, opacity), images in judge.shown.items():
            assert set(np.unique(images)) == {LEVEL, LEVEL + round(SHIFT[strength] * opacity)}

    def test_they_lie_on_the_product(self) -> None:
        bases = flat(BASES, 10)
        bases[:, 16:48, 20:60] = LEVEL
        judge = ReferenceDetector()
        run_gate(list(flat(BASES)), drawn, SCALE, bases, Foreground("otsu", bright=True), judge, 0)
        changed = (judge.shown[1.0, 1.0] != bases.repeat(MASKS, axis=0)).any(3)
        assert changed.any((1, 2)).all()
        changed[:, 16:48, 20:60] = False
        assert not changed.any()

    @pytest.mark.parametrize("count", [1, 3])
    def test_few_bases_are_enough(self, count: int) -> None:
        judge = ReferenceDetector()
        few = run_gate(list(flat(count)), lambda s: drawn(s, count), SCALE, flat(count), Foreground(), judge, 0)
        assert few.fault is None
        assert len(judge.shown[1.0, 1.0]) == count * MASKS

    def test_each_image_goes_with_its_base(self) -> None:
        levels = range(20, 20 + 10 * BASES, 10)
        bases = np.concatenate([flat(1, level) for level in levels])
        sources: dict[float, Sequence[Image]] = {0.5: [base + np.uint8(3) for base in bases]}
        seen: list[Any] = []

        class Looking(ReferenceDetector):
            def detectability(self, images: ImageSet) -> float:
                seen.extend(np.unique(image).tolist() for image in images.hwc)
                return 0.75

        table = detectability_table(sources, list(bases), Foreground(), Looking(), (1.0,), 0)
        assert table == {(0.5, 1.0): 0.75}
        assert seen == [[level, level + 3] for level in levels for _ in range(MASKS)]

    def test_nothing_is_modified(self) -> None:
        bases, images = flat(BASES), {s: drawn(s) for s in SHIFT}
        run_gate(list(flat(BASES)), images.__getitem__, SCALE, bases, Foreground(), ReferenceDetector(), 0)
        np.testing.assert_array_equal(bases, flat(BASES))
        np.testing.assert_array_equal(images[1.0], drawn(1.0))


class TestFindingTheScale:
    def test_strength_1_is_the_first_added_variance_that_is_plain_to_see(self) -> None:
        """Images move by 40 levels times the standard deviation, and 95 % is reached at 2.6 times a level of 10."""
        made: list[float] = []

        def draw(s: float) -> list[Image]:
            made.append(s)
            return list(flat(BASES, LEVEL + round(40 * s**0.5)))

        class Seeing(ReferenceDetector):
            def detectability(self, images: ImageSet) -> float:
                return min(1.0, 0.5 + (int(images.pixels.max()) - LEVEL) / 58)

        result = run_gate(list(flat(BASES)), draw, None, flat(BASES), Foreground(), Seeing(), 0)
        assert result.scale == StrengthScale(full=0.64)
        assert result.fault is None
        # The strengths are values that were tried, or go on from them; nothing is drawn twice.
        assert sorted(made) == pytest.approx([0.01, 0.04, 0.16, 0.64])

    def test_what_is_never_found_is_plain_once_the_product_is_hardly_there(self) -> None:
        def draw(s: float) -> list[Image]:
            return list(flat(BASES, LEVEL + round(40 * s**0.5)))

        class Blind(ReferenceDetector):
            def detectability(self, images: ImageSet) -> float:
                return 0.5

        result = run_gate(list(flat(BASES)), draw, None, flat(BASES), Foreground(), Blind(), 0)
        assert result.scale == StrengthScale(full=0.64)  # moves it by 32 levels

    @pytest.mark.parametrize(("best", "fault"), [(0.89, True), (0.91, False)])
    def test_what_the_reference_hardly_detects_at_strength_1_is_not_used(self, best: float, fault: bool) -> None:
        """The scale ends at a change of 32 levels before 95 % is reached."""

        def draw(s: float) -> list[Image]:
            return list(flat(BASES, LEVEL + round(40 * s**0.5)))

        class Weak(ReferenceDetector):
            def detectability(self, images: ImageSet) -> float:
                return min(best, 0.5 + (int(images.pixels.max()) - LEVEL) * (best - 0.5) / 32)

        result = run_gate(list(flat(BASES)), draw, None, flat(BASES), Foreground(), Weak(), 0)
        assert result.scale == StrengthScale(full=0.64)
        sentence = "even its strongest anomalies are hardly detected (reference image AUROC 0.89, needed: 0.9)"
        assert result.fault == (sentence if fault else None)
        fixed = run_gate(list(flat(BASES)), draw, result.scale, flat(BASES), Foreground(), Weak(), 0)
        assert fixed.fault is None  # as the published model's

    def test_the_change_of_the_product_by_hand(self) -> None:
        bases, images = flat(2, 10), flat(2, 10)
        bases[:, 16:48, 16:48] = images[:, 16:48, 16:48] = LEVEL
        images[0, 16:32, 16:48] += 8  # half of the product of one of two
        images[:, :8] = 0  # not of the product
        assert mean_change(bases, list(images), Foreground("otsu", bright=True)) == pytest.approx(2.0, rel=0.01)
