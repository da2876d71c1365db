from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation import severity
from automl_ad.evaluation.severity import STRENGTHS, DetectabilityCurve, Panel, measure_detectability
from automl_ad.synthesis.base import AnomalyFamily, Context


def curve(*measured: float) -> DetectabilityCurve:
    return DetectabilityCurve.of(STRENGTHS, measured)


class TestReach:
    def test_a_rung_that_hits_the_severity_is_its_strength(self) -> None:
        assert curve(0.5, 0.6, 0.7, 0.8, 0.9, 1.0).strength(0.8) == pytest.approx(STRENGTHS[3])

    def test_between_rungs_strength_grows_in_equal_ratios(self) -> None:
        assert curve(0.5, 0.5, 0.6, 0.8, 0.9, 1.0).strength(0.7) == pytest.approx((STRENGTHS[2] * STRENGTHS[3]) ** 0.5)

    def test_out_of_reach_is_the_strongest_or_the_faintest(self) -> None:
        faint, plain = curve(0.5, 0.5, 0.5, 0.55, 0.7, 0.7), curve(0.9, 0.95, 1, 1, 1, 1)
        assert (faint.strength(0.95), faint.nearest(0.95), faint.reaches(0.95)) == (STRENGTHS[-1], 0.7, False)
        assert (plain.strength(0.7), plain.nearest(0.7), plain.reaches(0.7)) == (STRENGTHS[0], 0.9, False)
        assert plain.reaches(0.95)

    def test_a_dip_in_the_ladder_is_smoothed_over(self) -> None:
        dipped = curve(0.5, 0.7, 0.6, 0.8, 0.9, 1.0)
        assert dipped.aurocs == pytest.approx((0.5, 0.65, 0.65, 0.8, 0.9, 1.0))
        assert dipped.strengths == STRENGTHS

    def test_rungs_that_could_not_be_drawn_play_no_part(self) -> None:
        some = DetectabilityCurve.of(STRENGTHS[3:], (0.6, 0.8, 1.0))
        assert some.strength(0.5) == STRENGTHS[3]
        assert some.strength(0.8) == pytest.approx(STRENGTHS[4])

    def test_nothing_drawn_reaches_nothing(self) -> None:
        assert DetectabilityCurve.of((), ()) == DetectabilityCurve((), ())


def brightest_change(images: ImageSet) -> np.ndarray:
    """A detector that knows the flat good images by heart."""
    return np.abs(images.pixels.astype(np.float64) - 128).mean((1, 2, 3)) + np.linspace(0, 3, len(images)) % 1


def test_harder_severities_get_fainter_strengths() -> None:
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(128, 6, (6, 64, 64, 3)), 0, 255).astype(np.uint8)
    panel = Panel.of([brightest_change], ImageSet.from_hwc(images))
    for found in measure_detectability(Context(images), ("texture", "photometric"), panel, 8, rng).values():
        assert found.strengths == STRENGTHS
        assert 0 < found.strength(0.6) <= found.strength(0.95) <= 1


class Patchy(AnomalyFamily):
    """Draws on bright images alone, and on none at a strength of 0.15 or less."""

    name = "patchy"

    def attempt(self, image, inside, severity, rng):  # type: ignore[no-untyped-def]
        if image[0, 0, 0] < 100 or severity <= 0.15:
            return None
        drawn = image.copy()
        drawn[0, 0] = 255
        return drawn, (drawn != image).any(axis=2)


def brightest(images: ImageSet) -> np.ndarray:
    return images.pixels.max(axis=(1, 2, 3)).astype(float)


@pytest.mark.parametrize(("bright", "strengths"), [(3, STRENGTHS[3:]), (1, ())])
def test_strengths_at_which_most_drawings_come_to_nothing_are_out_of_the_ladder(
    bright: int, strengths: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stand for the few that failed: every one of them is brighter than the good images."""
    monkeypatch.setattr(severity, "create_family", lambda _, context: Patchy(context))
    images = np.full((4, 32, 32, 3), 20, np.uint8)
    images[:bright] = 120
    panel = Panel.of([brightest], ImageSet.from_hwc(images))
    found = measure_detectability(Context(images), ("patchy",), panel, 40, np.random.default_rng(0))["patchy"]
    assert found == DetectabilityCurve(strengths, (1.0,) * len(strengths))


class Whiter:
    """Pictures nearer to white the greater the strength; remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[np.ndarray], list[float]]] = []

    def synthesise(self, images: Sequence[np.ndarray], strengths: Sequence[float]) -> list[np.ndarray]:
        self.calls.append((list(images), list(strengths)))
        return [
            np.rint(image + strength * (255.0 - image)).astype(np.uint8)
            for image, strength in zip(images, strengths, strict=True)
        ]


def test_a_family_is_told_at_once_what_the_ladder_takes() -> None:
    images = np.random.default_rng(0).integers(110, 140, (3, 64, 64, 3), np.uint8)
    source, panel = Whiter(), Panel.of([brightest_change], ImageSet.from_hwc(images))
    measure_detectability(Context(images, sdas=source), ("sdas",), panel, 4, np.random.default_rng(1))
    asked, strengths = source.calls[0]
    assert strengths == [strength for strength in STRENGTHS for _ in range(4)]
    later = [(image.tobytes(), strength) for images, (strength,) in source.calls[1:] for image in images]
    assert later == [(image.tobytes(), strength) for image, strength in zip(asked, strengths, strict=True)]


def test_the_panel_judges_every_rung_with_one_run() -> None:
    """Whatever comes of white on grey is brighter than every good image."""
    images, sizes = np.full((4, 64, 64, 3), 120, np.uint8), []

    def counting(scored: ImageSet) -> np.ndarray:
        sizes.append(len(scored))
        return brightest(scored)

    panel = Panel.of([counting], ImageSet.from_hwc(images))
    found = measure_detectability(Context(images, sdas=Whiter()), ("sdas",), panel, 5, np.random.default_rng(0))
    assert sizes == [4, 5 * len(STRENGTHS)]
    assert found == {"sdas": DetectabilityCurve(STRENGTHS, (1.0,) * len(STRENGTHS))}


def levels(*values: int) -> ImageSet:
    """Flat images of these grey levels."""
    return ImageSet.from_hwc([np.full((4, 4, 3), value, np.uint8) for value in values])


def brightness(images: ImageSet) -> np.ndarray:
    return images.pixels[:, 0, 0, 0].astype(float)


def darkness(images: ImageSet) -> np.ndarray:
    return 100 - brightness(images)


class TestPanel:
    def test_detectability_by_hand(self) -> None:
        """Of 4 x 2 pairs 25 wins 2 and ties none, 40 wins 3 and ties one: (2 + 3.5) / 8."""
        panel = Panel.of([brightness], levels(10, 20, 30, 40))
        assert panel.detectability(levels(25, 40)) == pytest.approx(5.5 / 8)

    def test_detectability_is_the_mean_over_the_detectors(self) -> None:
        both = Panel.of([brightness, darkness, brightness], levels(10, 20, 30, 40))
        assert both.detectability(levels(50)) == pytest.approx(2 / 3)
        assert both.detectability(levels(25)) == pytest.approx(0.5)

    def test_groups_are_judged_apart_and_in_order(self) -> None:
        panel = Panel.of([brightness], levels(10, 20))
        assert panel.detectabilities(levels(30, 40, 0, 5, 15, 25), 3) == pytest.approx([1, 0, 0.75])
        assert panel.detectabilities(levels(30, 40, 0, 5, 15, 25), 1) == pytest.approx([3.5 / 6])

    def test_groups_are_judged_as_sets_of_their_own(self) -> None:
        rng = np.random.default_rng(0)
        panel = Panel.of([brightness, darkness], levels(*rng.integers(0, 100, 9)))
        values = rng.integers(0, 100, 12)
        alone = [panel.detectability(levels(*part)) for part in np.split(values, 4)]
        assert panel.detectabilities(levels(*values), 4) == pytest.approx(alone)

    def test_unequal_groups_are_refused(self) -> None:
        with pytest.raises(ValueError, match="equal division"):
            Panel.of([brightness], levels(1, 2)).detectabilities(levels(1, 2, 3), 2)

    def test_the_good_images_are_scored_once(self) -> None:
        runs = []

        def counting(images: ImageSet) -> np.ndarray:
            runs.append(len(images))
            return brightness(images)

        panel = Panel.of([counting], levels(1, 2, 3))
        for _ in range(2):
            panel.detectability(levels(4, 5))
            panel.distance(levels(4))
        assert runs == [3, 2, 1, 2, 1]

    def test_distance_by_hand(self) -> None:
        """The middle of 30, 50 and 90 over the 95 % quantile of 10 and 30, which is 29."""
        panel = Panel.of([brightness], levels(10, 30))
        assert panel.distance(levels(30, 90, 50)) == pytest.approx(50 / 29)

    def test_one_detector_that_takes_offence_does_not_decide(self) -> None:
        """Ratios 2, 50 / 75 and 40: the median is that of the first."""

        def offended(images: ImageSet) -> np.ndarray:
            return brightness(images) ** 3 / 1000

        panel = Panel.of([brightness, darkness, offended], levels(25))
        assert panel.distance(levels(50)) == pytest.approx(2)
        assert Panel(panel.scorers[:2], panel.reference[:2]).distance(levels(50)) == pytest.approx((2 + 2 / 3) / 2)

    def test_ninety_five_percent_of_the_good_images_lie_within_distance_one(self) -> None:
        panel = Panel.of([brightness, brightness], levels(*range(1, 101)))
        within = [panel.distance(levels(value)) <= 1 for value in range(1, 101)]
        assert within == [True] * 95 + [False] * 5

    def test_good_images_without_any_distance_do_not_divide_by_zero(self) -> None:
        panel = Panel.of([brightness], levels(0, 0))
        assert panel.distance(levels(0)) == 0
        assert 1.5 < panel.distance(levels(1)) < np.inf
