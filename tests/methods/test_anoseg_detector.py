"""AnoSeg as a detector: what it finds, what it keeps, and what it offers to a search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from handmade import Squares, draw_discs, plant_squares
from spaces import EFFORTS, EMBEDDED, RESNET, default_that_comes_back, suggestions

from automl_ad.backbones.base import NoBackbone
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.metrics import pixel_auroc, resize_maps
from automl_ad.methods.anoseg import detector as module
from automl_ad.methods.anoseg.detector import AnoSeg, AnoSegSettings
from automl_ad.methods.anoseg.losses import joint_loss
from automl_ad.methods.anoseg.networks import Score
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, ignore_progress


def source() -> PairSource:
    return PairSource(Squares(16), seed=0)


def prepare(seed: int = 0, **settings: Any) -> AnoSeg:
    chosen: dict[str, Any] = {"width": 8, "size": 64, "pairs": 8, "steps": 6, "warmup": 2, "batch": 4} | settings
    return AnoSeg(AnoSegSettings(**chosen), FeatureExtractor(NoBackbone()), seed)


def learnt(seed: int = 0, shape: tuple[int, int] = (64, 64), **settings: Any) -> AnoSeg:
    detector = prepare(seed, **settings)
    detector.fit(ImageSet.of(draw_discs(6, shape)), source(), Budget(), ignore_progress)
    return detector


@pytest.fixture(scope="module")
def quick() -> AnoSeg:
    """A detector after a few steps."""
    return learnt()


@pytest.fixture(scope="module")
def others() -> ImageSet:
    return ImageSet.of(draw_discs(3, (64, 64), seed=1))


@pytest.mark.usefixtures("precision")
def test_squares_on_drawn_parts_are_found() -> None:
    discs = draw_discs(10, (64, 64))
    detector = prepare(pairs=80, steps=80, batch=8, rate=2e-3, normal_share=0.1, adversarial=0.0)
    detector.fit(ImageSet.of(discs), source(), Budget(), ignore_progress)
    spoilt, masks = plant_squares(discs, 16, seed=9)
    maps = detector.anomaly_maps(ImageSet.of(spoilt))
    assert maps.shape == (10, 64, 64)
    assert maps.dtype == np.float32
    assert pixel_auroc(resize_maps(maps, masks.shape[1:]), masks) > 0.95


def test_same_seed_same_maps_another_seed_other_maps(quick: AnoSeg, others: ImageSet) -> None:
    np.testing.assert_array_equal(learnt().anomaly_maps(others), quick.anomaly_maps(others))
    assert np.abs(learnt(seed=1).anomaly_maps(others) - quick.anomaly_maps(others)).max() > 0.001


def test_fitting_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(4)
    wanted = torch.rand(3)
    torch.manual_seed(4)
    learnt(steps=1)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("settings", [{}, {"score": "gan"}, {"coordinates": False}, {"size": 96, "adversarial": 0.0}])
def test_a_saved_state_gives_the_same_maps(settings: dict[str, Any], others: ImageSet) -> None:
    detector = learnt(**settings)
    restored = prepare(seed=5, **settings)
    restored.load_state(detector.state)
    wanted = detector.anomaly_maps(others)
    assert wanted.std() > 0
    np.testing.assert_allclose(restored.anomaly_maps(others), wanted, atol=1e-5)
    images = torch.from_numpy(next(others.batches(3)))
    np.testing.assert_allclose(restored.anomaly_map(images).numpy(), wanted, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(restored.to_module()(images).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("score", ["map", "gan"])
def test_the_discriminator_is_kept_only_for_the_score_that_asks_it(score: Score) -> None:
    kept = any(name.startswith("discriminator.") for name in learnt(score=score).state)
    assert kept == (score == "gan")


@pytest.mark.parametrize("spoil", ["nothing", "foreign", "lacking", "surplus", "shape", "width", "discriminator"])
def test_foreign_tensors_are_refused(quick: AnoSeg, spoil: str) -> None:
    state = quick.state
    last = list(state)[-1]
    if spoil in ("nothing", "foreign"):
        state = {"bank": torch.zeros(4, 2)} if spoil == "foreign" else {}
    elif spoil == "lacking":
        del state[last]
    elif spoil == "surplus":
        state["bank"] = torch.zeros(3)
    elif spoil == "shape":
        state[last] = torch.zeros(3, 3)
    else:
        state = learnt(steps=1, **({"width": 10} if spoil == "width" else {"score": "gan"})).state
    with pytest.raises(ValueError, match="not those of a fitted anoseg"):
        prepare().load_state(state)


@pytest.mark.parametrize("score", ["map", "gan"])
def test_images_of_a_batch_do_not_meet(score: Score, others: ImageSet) -> None:
    detector = learnt(score=score)
    alone = np.concatenate([detector.anomaly_maps(others.take([row])) for row in range(3)])
    np.testing.assert_allclose(detector.anomaly_maps(others), alone, atol=1e-5)


def test_images_that_are_no_squares_and_of_another_size_are_taken() -> None:
    detector = learnt(shape=(64, 96))
    maps = detector.anomaly_maps(ImageSet.of(draw_discs(2, (96, 160))))
    assert maps.shape == (2, 64, 64)
    assert np.isfinite(maps).all()


def test_progress_is_reported_to_the_end() -> None:
    reported: list[float] = []
    prepare(steps=10).fit(ImageSet.of(draw_discs(4, (64, 64))), source(), Budget(), reported.append)
    assert len(reported) >= 6
    assert reported == sorted(reported)
    assert reported[-1] == 1


def test_maps_can_be_made_at_every_report(others: ImageSet) -> None:
    detector, seen = prepare(), []
    detector.fit(
        ImageSet.of(draw_discs(4, (64, 64))), source(), Budget(), lambda _: seen.append(detector.anomaly_maps(others))
    )
    assert len(seen) == 6
    assert np.abs(seen[0] - seen[-1]).max() > 0
    np.testing.assert_array_equal(seen[-1], detector.anomaly_maps(others))


def test_a_spent_budget_ends_the_fit_with_what_it_has(others: ImageSet) -> None:
    reported: list[float] = []
    detector = prepare(steps=100_000)
    detector.fit(ImageSet.of(draw_discs(4, (64, 64))), source(), Budget(0.0), reported.append)
    assert reported == []
    assert np.isfinite(detector.anomaly_maps(others)).all()


def test_without_anomalies_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="needs a source"):
        prepare().fit(ImageSet.of(draw_discs(4, (64, 64))), None, Budget(), ignore_progress)


@pytest.mark.parametrize(("adversarial", "joins"), [(0.05, [False, False, True, True, True, True]), (0.0, [False] * 6)])
def test_the_discriminator_joins_in_after_the_warm_up(
    adversarial: float, joins: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[bool] = []

    def noted(generator: Any, discriminator: Any, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        if not images.is_meta:  # whose memory alone is estimated
            joined.append(discriminator is not None)
        return joint_loss(generator, discriminator, images, *rest)

    monkeypatch.setattr(module, "joint_loss", noted)
    learnt(adversarial=adversarial)
    assert joined == joins


def test_the_discriminator_learns_once_it_has_joined_in() -> None:
    before, after = (learnt(score="gan", steps=steps).state for steps in (2, 3))
    assert torch.equal(
        before["discriminator.last.weight"], learnt(score="gan", steps=1).state["discriminator.last.weight"]
    )
    assert not torch.equal(before["discriminator.last.weight"], after["discriminator.last.weight"])


@pytest.mark.parametrize(("families", "wanted"), [("cutpaste", ("cutpaste",)), ("both", ("cutpaste", "texture"))])
def test_the_recipe_is_what_the_settings_say(families: Any, wanted: tuple[str, ...]) -> None:
    settings = AnoSegSettings(families=families, opacity=0.3)
    assert settings.recipe == Recipe(wanted, (0.3, 1.0))
    assert settings.learns_from == set(wanted) <= AnoSeg.learns_from
    assert settings.trains


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 100},
        {"size": 32},
        {"width": 9},
        {"width": 4},
        {"segmentation": "dice"},
        {"reconstruction": -1},
        {"adversarial": -0.1},
        {"families": "sdas"},
        {"opacity": 0},
        {"normal_share": 1},
        {"score": "mean"},
        {"warmup": -1},
        {"steps": 0},
        {"pairs": 0},
        {"batch": 0},
        {"rate": 0},
        {"score": "gan", "adversarial": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        AnoSegSettings(**wrong)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("backbones", [(RESNET, EMBEDDED), (EMBEDDED,)], ids=["resnet", "embedded"])
def test_defaults_come_back_from_their_parameters(backbones: tuple[BackboneSpace, ...], effort: Effort) -> None:
    made = AnoSegSettings(**default_that_comes_back(AnoSeg, "anoseg", Space(backbones, effort)))
    assert (made.backbone, made.levels) == ("none", ())


def test_published_settings_by_hand() -> None:
    (settings,) = AnoSeg.defaults(Space((RESNET,), "faithful"))
    made = AnoSegSettings(**settings)
    assert (made.width, made.size, made.coordinates, made.segmentation) == (128, 256, True, "l1")
    assert (made.families, made.opacity, made.normal_share, made.reconstruction) == ("cutpaste", 1.0, 0.5, 1.0)
    assert made.adversarial > 0


@pytest.mark.parametrize("effort", EFFORTS)
def test_random_suggestions_make_settings(effort: Effort) -> None:
    seen: dict[str, set[Any]] = {"score": set(), "segmentation": set(), "families": set()}
    for settings, trial in suggestions(AnoSeg, Space((EMBEDDED,), effort)):
        made = AnoSegSettings(**settings)
        assert all(name.startswith("anoseg.") for name in trial.params)
        assert ("anoseg.score" in trial.params) == (made.adversarial > 0)
        for name, values in seen.items():
            values.add(getattr(made, name))
    assert seen["score"] == {"map", "gan"}
    assert seen["families"] == {"cutpaste", "both"}
    assert seen["segmentation"] == ({"balanced"} if effort in ("quick", "balanced") else {"l1", "balanced"})


def test_the_backbone_does_not_matter(quick: AnoSeg, others: ImageSet) -> None:
    elsewhere = AnoSeg(quick.settings, FeatureExtractor(EmbeddedBackbone()))
    elsewhere.load_state(quick.state)
    np.testing.assert_allclose(elsewhere.anomaly_maps(others), quick.anomaly_maps(others), atol=1e-5)
