"""The family with pictures that were made up, and the formula by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_sdas import draw_parts

from automl_ad.errors import InputError
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas.family import SdasFamily
from automl_ad.synthesis.sdas.local import local_anomaly

Image = npt.NDArray[np.uint8]

BYTES = st.integers(0, 255)


class Source:
    """Makes pictures by a rule, and remembers what was asked."""

    def __init__(self, rule: Callable[[Image, float], Image]) -> None:
        self.rule = rule
        self.calls: list[tuple[list[Image], list[float]]] = []

    def synthesise(self, images: Sequence[Image], strengths: Sequence[float]) -> list[Image]:
        self.calls.append((list(images), list(strengths)))
        return [self.rule(image, strength) for image, strength in zip(images, strengths, strict=True)]


def flat(level: int, side: int = 64) -> Image:
    return np.full((side, side, 3), level, np.uint8)


def family_of(source: Source, side: int = 64, foreground: Foreground | None = None) -> SdasFamily:
    return SdasFamily(Context(flat(0, side)[None], foreground or Foreground(), sdas=source))


def to_white(image: Image, strength: float) -> Image:
    return np.full_like(image, 255)


class TestLocalAnomaly:
    def test_by_hand(self) -> None:
        image = np.array([[[100, 0, 255], [100, 0, 255]]], np.uint8)
        synthetic = np.array([[[200, 255, 0], [200, 255, 0]]], np.uint8)
        mask = np.array([[True, False]])
        # 0.7 * 100 + 0.3 * 200 = 130, 0.3 * 255 = 76.5 (to even), 0.7 * 255 = 178.5 (to even)
        expected = [[[130, 76, 178], [100, 0, 255]]]
        drawn = local_anomaly(image, synthetic, mask, 0.3)
        np.testing.assert_allclose(drawn.astype(int), expected, atol=1)
        np.testing.assert_array_equal(drawn[0, 0, 0], 130)
        np.testing.assert_array_equal(drawn[0, 1], image[0, 1])

    @given(
        image=arrays(np.uint8, (3, 4, 3)),
        synthetic=arrays(np.uint8, (3, 4, 3)),
        mask=arrays(np.bool_, (3, 4)),
        opacity=st.floats(0, 1),
    )
    def test_is_the_published_formula(
        self, image: Image, synthetic: Image, mask: npt.NDArray[np.bool_], opacity: float
    ) -> None:
        m = mask[..., None].astype(float)
        expected = (1 - m) * image + m * ((1 - opacity) * image + opacity * synthetic.astype(float))
        drawn = local_anomaly(image, synthetic, mask, opacity)
        assert drawn.dtype == np.uint8
        np.testing.assert_allclose(drawn.astype(float), expected, atol=0.501)
        np.testing.assert_array_equal(drawn[~mask], image[~mask])

    @pytest.mark.parametrize(("opacity", "level"), [(0.0, 40), (0.5, 70), (1.0, 100)])
    def test_ends_and_middle(self, opacity: float, level: int) -> None:
        drawn = local_anomaly(flat(40, 4), flat(100, 4), np.ones((4, 4), np.bool_), opacity)
        np.testing.assert_array_equal(drawn, level)


class TestFamily:
    @given(image_level=BYTES, synthetic_level=BYTES, severity=st.floats(0.001, 1), seed=st.integers(0, 10_000))
    @settings(deadline=None, max_examples=60)
    def test_opacity_lies_in_the_published_range(
        self, image_level: int, synthetic_level: int, severity: float, seed: int
    ) -> None:
        image, family = flat(image_level), family_of(Source(lambda image, strength: flat(synthetic_level)))
        drawn, mask = family.draw(image, severity, np.random.default_rng(seed))
        np.testing.assert_array_equal(drawn[~mask], image_level)
        (level,) = np.unique(drawn[mask])
        if abs(synthetic_level - image_level) > 1:
            opacity = (int(level) - image_level) / (synthetic_level - image_level)
            half_a_level = 0.5 / abs(synthetic_level - image_level)
            assert 0.5 - half_a_level - 1e-6 <= opacity <= 1 + 1e-6

    def test_all_of_the_range_is_used(self) -> None:
        family = family_of(Source(to_white))
        drawn = [family.draw(flat(0), 0.5, np.random.default_rng(seed)) for seed in range(60)]
        opacities = [image[mask].mean() / 255 for image, mask in drawn]
        assert min(opacities) < 0.55
        assert max(opacities) > 0.95
        assert len(set(opacities)) > 40

    @given(
        image=arrays(np.uint8, (32, 64, 3), elements=BYTES),
        seed=st.integers(0, 1000),
        severity=st.floats(0.001, 1),
    )
    @settings(deadline=None, max_examples=40)
    def test_outside_the_mask_nothing_changes(self, image: Image, seed: int, severity: float) -> None:
        noise = np.random.default_rng(seed).integers(0, 256, image.shape, np.uint8)
        family = SdasFamily(Context(image[None], sdas=Source(lambda image, strength: noise)))
        drawn, mask = family.draw(image, severity, np.random.default_rng(seed))
        assert mask.any()
        np.testing.assert_array_equal(drawn[~mask], image[~mask])
        assert (drawn != image)[mask].any()

    def test_severity_is_the_strength_and_the_image_the_base(self) -> None:
        source = Source(to_white)
        parts = draw_parts(3, side=64)
        family = SdasFamily(Context(parts, sdas=source))
        for image, severity in zip(parts, (0.07, 0.15, 1.0), strict=True):
            family.draw(image, severity, np.random.default_rng(0))
        assert [strengths for _, strengths in source.calls] == [[0.07], [0.15], [1.0]]
        np.testing.assert_array_equal([images[0] for images, _ in source.calls], parts)

    def test_what_is_expected_is_made_at_once(self) -> None:
        source, parts = Source(to_white), list(draw_parts(3, side=64))
        family_of(source).prepare(parts, [0.1, 0.2, 0.3])
        ((images, strengths),) = source.calls
        np.testing.assert_array_equal(images, parts)
        assert strengths == [0.1, 0.2, 0.3]

    def test_defects_stay_on_the_product(self) -> None:
        image = flat(10)
        image[16:48, 8:56] = 150
        rule = Foreground("otsu", bright=True)
        family = family_of(Source(to_white), foreground=rule)
        for seed in range(10):
            mask = family.draw(image, 0.5, np.random.default_rng(seed))[1]
            assert not (mask & ~rule.mask_of(image)).any()

    def test_a_image_like_the_image_leaves_a_spot_of_another_tone(self) -> None:
        source = Source(lambda image, strength: image.copy())
        image = flat(100)
        drawn, mask = family_of(source).draw(image, 1.0, np.random.default_rng(0))
        assert mask.any()
        assert (drawn[mask] > 110).all()
        np.testing.assert_array_equal(drawn[~mask], image[~mask])
        assert len(source.calls) == 1

    def test_where_the_image_agrees_with_the_image_another_mask_is_tried(self) -> None:
        """Half of the image is changed: no anomaly is left without a change, or reaches into the other half."""

        def half(image: Image, strength: float) -> Image:
            synthetic = image.copy()
            synthetic[:, 32:] = 220
            return synthetic

        family = family_of(Source(half))
        for seed in range(30):
            drawn, mask = family.draw(flat(100), 0.5, np.random.default_rng(seed))
            assert mask.any()
            assert set(np.unique(drawn[:, 34:][mask[:, 34:]])) <= set(range(160, 221))
            np.testing.assert_array_equal(drawn[:, :32], 100)

    def test_without_images_it_cannot_be(self) -> None:
        with pytest.raises(InputError, match="sdas needs a trained diffusion model"):
            SdasFamily(Context(flat(0)[None]))

    def test_states_differ(self) -> None:
        family = family_of(Source(to_white))
        drawn = {family.draw(flat(0), 0.5, np.random.default_rng(seed))[0].tobytes() for seed in range(10)}
        assert len(drawn) == 10
