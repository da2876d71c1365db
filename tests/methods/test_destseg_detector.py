"""DeSTSeg as a detector: what it finds, its two phases, and what it offers to a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from handmade import Squares, draw_discs, noise, on_table, plant_squares, table_images
from spaces import EFFORTS, EMBEDDED, RESNET, STEM, VIT, default_that_comes_back, suggestions
from torch import Tensor

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.metrics import pixel_auroc, resize_maps
from automl_ad.methods.destseg import detector as destseg
from automl_ad.methods.destseg.detector import DeStSeg, DeStSegSettings
from automl_ad.methods.destseg.training import on_grid
from automl_ad.methods.fit_memory import HOST, Placement
from automl_ad.methods.pairs import Augment, Pairs, PairSource
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, Report, ignore_progress

LEVELS = (-4, -3)


def prepare(seed: int = 0, **settings: Any) -> DeStSeg:
    tiny = {"width": 8, "head_width": 8, "pairs": 8, "student_steps": 4, "head_steps": 4, "batch": 4, "stride": 4}
    made = DeStSegSettings(backbone="embedded", levels=LEVELS, **(tiny | settings))
    return DeStSeg(made, FeatureExtractor(EmbeddedBackbone()), seed)


def fit(detector: DeStSeg, report: Report = ignore_progress, budget: Budget | None = None) -> DeStSeg:
    normals = ImageSet.of(draw_discs(6, (64, 64)))
    detector.fit(normals, PairSource(Squares(), seed=0), budget or Budget(), report)
    return detector


def learnt(seed: int = 0, **settings: Any) -> DeStSeg:
    return fit(prepare(seed, **settings))


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def brief() -> DeStSeg:
    """A detector after a few steps."""
    return learnt()


@pytest.fixture(scope="module")
def others() -> ImageSet:
    return ImageSet.of(draw_discs(3, (64, 64), seed=1))


@pytest.mark.usefixtures("precision")
def test_squares_on_drawn_parts_are_found_by_the_student_and_better_by_the_network() -> None:
    discs = draw_discs(10, (64, 64))
    spoilt, masks = plant_squares(discs, 10, seed=9)
    found: list[float] = []

    def note(_: float) -> None:
        maps = detector.anomaly_maps(ImageSet.of(spoilt))
        assert maps.shape == (10, 16, 16)
        assert maps.dtype == np.float32
        found.append(pixel_auroc(resize_maps(maps, masks.shape[1:]), masks))

    detector = prepare(head_width=16, pairs=30, student_steps=50, head_steps=110, batch=8)
    detector.fit(ImageSet.of(discs), PairSource(Squares(), seed=0), Budget(), note)
    assert found[1] > 0.95
    assert found[-1] > max(0.98, found[1])


def test_same_seed_same_maps_another_seed_other_maps(brief: DeStSeg, others: ImageSet) -> None:
    np.testing.assert_array_equal(learnt().anomaly_maps(others), brief.anomaly_maps(others))
    assert np.abs(learnt(seed=1).anomaly_maps(others) - brief.anomaly_maps(others)).max() > 0.001


def test_fitting_leaves_the_global_random_state_alone(brief: DeStSeg) -> None:
    torch.manual_seed(4)
    wanted = torch.rand(3)
    torch.manual_seed(4)
    learnt(student_steps=1, head_steps=1).load_state(brief.state)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("segments", [True, False])
def test_a_saved_state_gives_the_same_maps(segments: bool, others: ImageSet) -> None:
    long = {"head_steps": 5_000}  # of which the budget allows one: the student still makes the map
    detector = learnt() if segments else fit(prepare(**long), budget=Budget(0.0))
    assert bool(detector.state["segments"]) == segments
    restored = prepare(seed=5)
    restored.load_state(detector.state)
    np.testing.assert_allclose(restored.anomaly_maps(others), detector.anomaly_maps(others), atol=1e-5)
    images = torch.from_numpy(next(others.batches(3)))
    np.testing.assert_allclose(restored.anomaly_map(images).numpy(), detector.anomaly_maps(others), atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(restored.to_module()(images).numpy(), detector.anomaly_maps(others), atol=1e-5)


@pytest.mark.parametrize("spoil", ["nothing", "foreign", "lacking", "surplus", "shape", "width", "flag"])
def test_foreign_tensors_are_refused(brief: DeStSeg, spoil: str) -> None:
    state, settings = brief.state, {}
    last = list(state)[-1]
    if spoil in ("nothing", "foreign"):
        state = {"bank": torch.zeros(4, 2)} if spoil == "foreign" else {}
    elif spoil == "lacking":
        del state[last]
    elif spoil == "surplus":
        state["bank"] = torch.zeros(3)
    elif spoil == "shape":
        state[last] = torch.zeros(3, 3)
    elif spoil == "flag":
        state["segments"] = torch.zeros(3, dtype=torch.bool)
    else:
        settings = {"width": 12}
    with pytest.raises(ValueError, match="not those of a fitted destseg"):
        prepare(**settings).load_state(state)


def test_images_of_a_batch_do_not_meet(brief: DeStSeg, others: ImageSet) -> None:
    alone = np.concatenate([brief.anomaly_maps(others.take([row])) for row in range(3)])
    np.testing.assert_allclose(brief.anomaly_maps(others), alone, atol=1e-5)


def test_the_student_sees_the_image_and_not_only_features(brief: DeStSeg) -> None:
    images = torch.from_numpy(next(ImageSet.of(draw_discs(1, (64, 64))).batches(1)))
    maps = brief.extractor.maps(images, LEVELS)
    with torch.no_grad():
        assert (brief.head([*maps, images]) - brief.head([*maps, images.flip(3)])).abs().max() > 1e-4


@pytest.mark.parametrize(("student", "head"), [(4, 4), (10, 30), (7, 13)])
def test_progress_is_reported_to_the_end(student: int, head: int) -> None:
    reported: list[float] = []
    fit(prepare(student_steps=student, head_steps=head, width=4, head_width=4, batch=2), reported.append)
    assert len(reported) >= 6
    assert reported == sorted(set(reported))
    assert reported[-1] == 1
    phase = student / (student + head)
    assert sum(done <= phase for done in reported) >= 2
    assert sum(done > phase for done in reported) >= 4


def watched(check: Callable[[DeStSeg, float], None], **settings: Any) -> DeStSeg:
    """A fit during which every report is checked."""
    detector = prepare(**settings)
    return fit(detector, lambda done: check(detector, done))


def test_each_phase_trains_its_own_network_and_nothing_else() -> None:
    seen: list[tuple[float, dict[str, Tensor], dict[str, Tensor]]] = []

    def note(detector: DeStSeg, done: float) -> None:
        seen.append((done, weights_of(detector.head.student), weights_of(detector.head.segmentation)))

    detector = watched(note)
    teacher = weights_of(detector.extractor.backbone)
    first = [entry for entry in seen if entry[0] <= 0.5]
    second = [entry for entry in seen if entry[0] > 0.5]
    fresh = prepare()._new_head()
    assert not same(first[0][1], weights_of(fresh.student))
    assert not same(first[0][1], first[1][1])
    assert same(first[1][2], weights_of(fresh.segmentation))
    assert all(same(entry[1], first[1][1]) for entry in second)  # weights and the statistics of batch norm
    assert not same(second[0][2], first[1][2])
    assert not same(second[0][2], second[1][2])
    assert same(teacher, weights_of(EmbeddedBackbone()))
    assert not detector.head.training


def test_the_student_alone_makes_the_map_until_the_network_has_learned(
    others: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destseg, "_MIN_HEAD_STEPS", 6)
    alone: list[bool] = []

    def note(detector: DeStSeg, done: float) -> None:
        del done
        maps = detector.anomaly_maps(others)
        with torch.no_grad():
            products = torch.cat([detector.head.products(maps) for maps in detector._batches(others)])
            alone.append(np.array_equal(maps, detector.head.deviation(products).numpy()))

    watched(note, head_steps=8)  # reports after 2, 4, 6 and 8 steps
    assert alone == [True, True, True, True, False, False]


def test_a_student_sees_the_good_image_where_something_was_drawn() -> None:
    detector = learnt(student_steps=40, head_steps=1)
    pairs = PairSource(Squares(), seed=0).pairs(ImageSet.of(draw_discs(6, (64, 64))), 8)
    good, bad = (next(detector.extractor.batches(images, LEVELS)) for images in (pairs.clean, pairs.anomalous))
    images = torch.from_numpy(next(pairs.anomalous.batches(8)))
    with torch.no_grad():
        answers = detector.head.student(images, [(16, 16), (8, 8)])
    inside = on_grid(pairs.masks, (16, 16)).bool()
    to_good, to_bad = (1 - torch.cosine_similarity(answers[0], level[0])[inside].mean() for level in (good, bad))
    assert to_good < to_bad / 2


@pytest.mark.parametrize(("share", "good"), [(0.0, 0), (0.25, 3), (0.5, 8)])
def test_good_images_are_learned_from_too(share: float, good: int, brief: DeStSeg) -> None:
    detector = prepare(normal_share=share)
    detector.head = brief.head
    pairs = PairSource(Squares(), seed=0).pairs(ImageSet.of(draw_discs(6, (64, 64))), 8)
    examples = detector._segmentation_data(pairs, Placement(HOST, HOST))
    assert len(examples.products) == len(examples.masks) == 8 + good
    assert examples.masks[:8].flatten(1).any(1).all()
    assert not examples.masks[8:].any()
    for images, rows in ((pairs.anomalous, slice(0, 8)), (pairs.clean, slice(8, None))):
        products = torch.cat([brief.head.products(maps) for maps in detector._batches(images)])
        wanted = products[: len(examples.products[rows])]
        torch.testing.assert_close(examples.products[rows].float(), wanted.float(), atol=1e-3, rtol=1e-2)


def test_a_spent_budget_ends_the_fit_with_what_it_has(others: ImageSet) -> None:
    reported: list[float] = []
    detector = fit(prepare(student_steps=100_000, head_steps=100_000), reported.append, Budget(0.0))
    assert reported == []
    assert np.isfinite(detector.anomaly_maps(others)).all()
    assert not same(weights_of(detector.head.segmentation), weights_of(prepare()._new_head().segmentation))


def test_the_student_leaves_half_of_the_time_to_the_network() -> None:
    assert destseg._half_of(Budget(100.0)).left == pytest.approx(50, abs=0.5)
    assert destseg._half_of(Budget()).seconds is None
    assert destseg._half_of(Budget(0.0)).spent


def test_without_anomalies_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="needs a source"):
        prepare().fit(ImageSet.of(draw_discs(4, (64, 64))), None, Budget(), ignore_progress)


def test_residual_blocks_learn_at_the_full_rate_and_the_rest_at_its_share() -> None:
    fresh = weights_of(prepare(head_optimiser="sgd")._new_head().segmentation)
    head = {"head_steps": 1, "head_optimiser": "sgd", "head_rate": 0.1}
    whole, part = (weights_of(learnt(**head, head_share=share).head.segmentation) for share in (1.0, 0.01))
    names = [name for name, _ in prepare()._new_head().segmentation.named_parameters()]
    assert {name.split(".")[0] for name in names} == {"refine", "judge"}
    for name in names:
        share = 0.01 if name.startswith("judge.") else 1.0
        torch.testing.assert_close(part[name] - fresh[name], share * (whole[name] - fresh[name]), atol=2e-7, rtol=0.05)


def test_plans_by_hand() -> None:
    made = DeStSegSettings(**DeStSeg.defaults(Space((RESNET,), "faithful"))[0])
    for plan, steps, rate in ((made.student_plan, 1_000, 0.4), (made.head_plan, 4_000, 0.1)):
        assert (plan.optimiser, plan.momentum, plan.weight_decay, plan.schedule) == ("sgd", 0.9, 1e-4, "constant")
        assert (plan.steps, plan.rate) == (steps, rate)
    assert made.head_plan.shares == {"judge.": 0.1}
    fast = DeStSegSettings(**DeStSeg.defaults(Space((RESNET,), "quick"))[0])
    assert (fast.student_plan.optimiser, fast.student_plan.rate) == ("sgd", 0.4)
    assert (fast.head_plan.optimiser, fast.head_plan.schedule, fast.head_plan.weight_decay) == ("adam", "cosine", 0)


class Wishes(PairSource):
    """Remembers what it was asked for."""

    def pairs(self, normals: ImageSet, count: int, variation: str = "", vary: Augment | None = None) -> Pairs:
        self.asked = (count, variation, vary is not None)
        return super().pairs(normals, count, variation, vary)


@pytest.mark.parametrize(
    ("rotation", "asked"),
    [
        ("none", (8, "", False)),
        ("slight", (8, "rotation slight", True)),
        ("full", (8, "rotation full", True)),
    ],
)
def test_good_images_are_turned_as_the_settings_say(rotation: str, asked: tuple[int, str, bool]) -> None:
    source = Wishes(Squares(), seed=0)
    detector = prepare(rotation=rotation, student_steps=1, head_steps=1)
    detector.fit(ImageSet.of(draw_discs(3, (64, 64))), source, Budget(), ignore_progress)
    assert source.asked == asked


class NextTen:
    """Turns the image that stands for row i of a table into that of row 10 + i, anomalous in one quarter."""

    def draw(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        del rng
        mask = np.zeros(image.shape[:2], np.bool_)
        mask[:32, :32] = True
        return image + np.uint8(10), mask


def test_teachers_of_a_single_stride_and_of_odd_sizes_serve_as_well() -> None:
    tables = [noise(20, 6, 5, 7), noise(20, 6, 5, 7, seed=1)]
    settings = {"pairs": 10, "student_steps": 1, "head_steps": 30, "head_width": 8, "width": 4, "batch": 4}
    for table in tables:
        table[10:] = table[:10]
        table[10:, :, :2, :2] *= -1
    detector = on_table(DeStSeg, tables, strides=(14, 14), **settings)
    detector.fit(table_images(range(10), (64, 96)), PairSource(NextTen(), seed=0), Budget(), ignore_progress)
    maps = detector.anomaly_maps(table_images(range(20), (64, 96)))
    assert maps.shape == (20, 5, 7)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize(
    ("families", "wanted"),
    [
        ("texture", ("texture",)),
        ("sdas", ("sdas",)),
        ("both", ("texture", "sdas")),
        ("cutpaste", ("cutpaste",)),
    ],
)
def test_the_recipe_is_what_the_settings_say(families: Any, wanted: tuple[str, ...]) -> None:
    settings = DeStSegSettings(backbone="any", levels=LEVELS, families=families, opacity=0.3, strength=(0.1, 0.5))
    assert settings.recipe == Recipe(wanted, (0.3, 1.0), (0.1, 0.5))
    assert settings.learns_from == set(wanted) <= DeStSeg.learns_from
    assert settings.trains


def test_on_a_network_it_has_an_advantage_on_synthetic_anomalies() -> None:
    advantages = [DeStSegSettings(backbone=name, levels=LEVELS).advantage for name in ("resnet18", "x+filters")]
    assert advantages[0] == advantages[1] > 0
    assert DeStSegSettings(backbone=EMBEDDED.name, levels=LEVELS).advantage == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 3},
        {"blocks": 0},
        {"head_width": 0},
        {"stride": 0},
        {"rotation": "half"},
        {"families": "perlin"},
        {"opacity": 1.1},
        {"gamma": 0.5},
        {"normal_share": 0.6},
        {"pairs": 0},
        {"student_steps": 0},
        {"head_steps": 0},
        {"batch": 1},
        {"student_rate": 0},
        {"head_optimiser": "lion"},
        {"head_rate": -1},
        {"head_share": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DeStSegSettings(backbone="any", levels=LEVELS, **wrong)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("backbones", [(RESNET, EMBEDDED), (EMBEDDED, VIT), (STEM,)], ids=["resnet", "vit", "stem"])
def test_defaults_come_back_from_their_parameters(backbones: tuple[BackboneSpace, ...], effort: Effort) -> None:
    space = Space(backbones, effort)
    settings = default_that_comes_back(DeStSeg, "destseg", space)
    assert not space.backbone(settings["backbone"]).fixed
    assert set(DeStSegSettings(**settings).levels) <= set(space.backbone(settings["backbone"]).levels)


def test_published_settings_by_hand() -> None:
    (settings,) = DeStSeg.defaults(Space((RESNET,), "faithful"))
    made = DeStSegSettings(**settings)
    assert made.levels == (-4, -3, -2)
    assert (made.width, made.blocks, made.head_width, made.stride, made.batch) == (64, 2, 256, 4, 32)
    assert (made.families, made.opacity, made.gamma, made.normal_share) == ("texture", 0.2, 4.0, 0.0)


def test_fixed_filters_alone_get_no_defaults() -> None:
    assert list(DeStSeg.defaults(Space((EMBEDDED,), "quick"))) == []


@pytest.mark.parametrize("backbone", [RESNET, EMBEDDED, VIT, STEM], ids=["resnet", "embedded", "vit", "stem"])
def test_random_suggestions_make_settings(backbone: BackboneSpace) -> None:
    families = set()
    for settings, trial in suggestions(DeStSeg, Space((backbone,), "quick")):
        made = DeStSegSettings(**settings)
        assert len(made.levels) <= 4
        assert len(made.levels) > 1 or len(backbone.usable) == 1
        assert set(made.levels) <= set(backbone.levels)
        assert all(name.startswith("destseg.") for name in trial.params)
        assert "destseg.strength" not in trial.params
        assert made.width == 16
        families.add(made.families)
    assert families == {"texture", "cutpaste"}


def test_where_images_of_sdas_can_be_had_they_are_learned_from_too() -> None:
    strengths, families = set(), set()
    for settings, trial in suggestions(DeStSeg, Space((RESNET,), "quick", sources=("texture", "sdas"))):
        made = DeStSegSettings(**settings)
        assert ("destseg.strength" in trial.params) == (made.families in ("sdas", "both"))
        families.add(made.families)
        strengths |= {made.strength} if made.families in ("sdas", "both") else set()
    assert families == {"texture", "sdas", "both", "cutpaste"}
    assert strengths == {(0.5, 1.0), (0.2, 1.0)}


@pytest.mark.parametrize("effort", EFFORTS)
def test_learning_rates_are_searched_below_the_usual_ones(effort: Effort) -> None:
    (usual,) = DeStSeg.defaults(Space((RESNET,), effort))
    made = [DeStSegSettings(**settings) for settings, _ in suggestions(DeStSeg, Space((RESNET,), effort))]
    for name in ("student_rate", "head_rate"):
        shares = {round(getattr(settings, name) / usual[name], 6) for settings in made}
        assert shares == {0.25, 0.5, 1.0}
