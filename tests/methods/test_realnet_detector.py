"""RealNet as a detector: what it finds, what it keeps, and what it offers to a search."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pytest
import torch
from handmade import Squares, draw_discs, noise, on_table, plant_squares, table_images
from spaces import EFFORTS, EMBEDDED, RESNET, STEM, VIT, default_that_comes_back, suggestions

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.metrics import pixel_auroc, resize_maps
from automl_ad.methods.pairs import Pairs, PairSource
from automl_ad.methods.realnet.detector import PUBLISHED_SELECTION, RealNet, RealNetSettings
from automl_ad.methods.realnet.head import Network
from automl_ad.methods.realnet.reconstruction import FeatureUNet
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, ignore_progress

LEVELS = (-4, -3)


def prepare(seed: int = 0, **settings: Any) -> RealNet:
    chosen: dict[str, Any] = {"pairs": 8, "steps": 6, "batch": 4, "taper": 1, "kept": 0.5} | settings
    made = RealNetSettings(backbone="embedded", levels=LEVELS, **chosen)
    return RealNet(made, FeatureExtractor(EmbeddedBackbone()), seed)


def learnt(seed: int = 0, **settings: Any) -> RealNet:
    detector = prepare(seed, **settings)
    detector.fit(ImageSet.of(draw_discs(6, (64, 64))), PairSource(Squares(), seed=0), Budget(), ignore_progress)
    return detector


@pytest.fixture(scope="module")
def quick() -> RealNet:
    """A detector after a few steps."""
    return learnt()


@pytest.fixture(scope="module")
def others() -> ImageSet:
    return ImageSet.of(draw_discs(3, (64, 64), seed=1))


@pytest.mark.usefixtures("precision")
def test_squares_on_drawn_parts_are_found() -> None:
    discs = draw_discs(10, (64, 64))
    detector = prepare(pairs=30, steps=220, batch=8)
    detector.fit(ImageSet.of(discs), PairSource(Squares(), seed=0), Budget(), ignore_progress)
    spoilt, masks = plant_squares(discs, 10, seed=9)
    maps = detector.anomaly_maps(ImageSet.of(spoilt))
    assert maps.shape == (10, 32, 32)
    assert maps.dtype == np.float32
    assert pixel_auroc(resize_maps(maps, masks.shape[1:]), masks) > 0.95


def test_same_seed_same_maps_another_seed_other_maps(quick: RealNet, others: ImageSet) -> None:
    np.testing.assert_array_equal(learnt().anomaly_maps(others), quick.anomaly_maps(others))
    assert np.abs(learnt(seed=1).anomaly_maps(others) - quick.anomaly_maps(others)).max() > 0.001


def test_fitting_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(4)
    wanted = torch.rand(3)
    torch.manual_seed(4)
    learnt(steps=1)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("network", ["light", "unet"])
def test_a_saved_state_gives_the_same_maps(network: Network, others: ImageSet) -> None:
    detector = learnt(network=network, steps=2, mode="max")
    restored = prepare(seed=5, network="light", mode="mean")  # the state alone says what the head is
    restored.load_state(detector.state)
    np.testing.assert_allclose(restored.anomaly_maps(others), detector.anomaly_maps(others), atol=1e-5)
    images = torch.from_numpy(next(others.batches(3)))
    np.testing.assert_allclose(restored.anomaly_map(images).numpy(), detector.anomaly_maps(others), atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(restored.to_module()(images).numpy(), detector.anomaly_maps(others), atol=1e-5)


@pytest.mark.parametrize("spoil", ["nothing", "foreign", "lacking", "surplus", "shape", "mode", "kept"])
def test_foreign_tensors_are_refused(quick: RealNet, spoil: str) -> None:
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
        state["plan"] = torch.tensor([14, 7, 0] if spoil == "mode" else [999, 2, 0])
    with pytest.raises(ValueError, match=r"not those of a fitted realnet|999 cannot be kept"):
        prepare().load_state(state)


def test_images_of_a_batch_do_not_meet(quick: RealNet, others: ImageSet) -> None:
    alone = np.concatenate([quick.anomaly_maps(others.take([row])) for row in range(3)])
    np.testing.assert_allclose(quick.anomaly_maps(others), alone, atol=1e-5)


def test_progress_is_reported_to_the_end() -> None:
    reported: list[float] = []
    prepare(steps=10).fit(
        ImageSet.of(draw_discs(4, (64, 64))), PairSource(Squares(), seed=0), Budget(), reported.append
    )
    assert len(reported) >= 5
    assert reported == sorted(reported)
    assert reported[-1] == 1


def test_a_spent_budget_ends_the_fit_with_what_it_has(others: ImageSet) -> None:
    reported: list[float] = []
    detector = prepare(steps=100_000)
    detector.fit(ImageSet.of(draw_discs(4, (64, 64))), PairSource(Squares(), seed=0), Budget(0.0), reported.append)
    assert reported == []
    assert np.isfinite(detector.anomaly_maps(others)).all()


def test_without_anomalies_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="needs a source"):
        prepare().fit(ImageSet.of(draw_discs(4, (64, 64))), None, Budget(), ignore_progress)


class NextTen:
    """Turns the image that stands for row i of a table into that of row 10 + i, anomalous in one quarter."""

    def draw(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        del rng
        mask = np.zeros(image.shape[:2], np.bool_)
        mask[:4, :4] = True
        return image + np.uint8(10), mask


def test_the_channels_that_show_anomalies_go_on() -> None:
    features = noise(20, 32, 8, 8)
    telling = [1, 4, 5, 9, 12, 13, 16, 20, 21, 22, 24, 25, 28, 29, 30, 31]
    features[10:, telling] = features[:10, telling]
    features[10:, telling, :4, :4] += 2
    detector = on_table(RealNet, [features], share=0.5, taper=1.0, pairs=20, steps=1, batch=4, kept=0.25)
    detector.fit(table_images(range(10), (8, 8)), PairSource(NextTen(), seed=0), Budget(), ignore_progress)
    assert sorted(detector.state["selected_0"].tolist()) == telling
    assert detector.state["plan"].tolist() == [4, 2, 0]


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> list[RealNet]:
    """The detectors that ranked channels."""
    calls: list[RealNet] = []
    rank = RealNet._rank

    def watched(self: RealNet, pairs: Pairs) -> list[torch.Tensor]:
        calls.append(self)
        return rank(self, pairs)

    monkeypatch.setattr(RealNet, "_rank", watched)
    return calls


def on_noise(levels: int = 1, **settings: Any) -> RealNet:
    """An unfitted detector on the last ``levels`` levels of a network, 64 channels each."""
    tables = [noise(20, 64, 8, 8, seed=place) for place in reversed(range(levels))]
    chosen: dict[str, Any] = {"taper": 1.0, "pairs": 20, "steps": 1, "batch": 4, "kept": 0.25} | settings
    return on_table(RealNet, tables, strides=(1,) * levels, **chosen)


def test_the_order_of_channels_is_worked_out_once_for_all_candidates_on_the_same_pairs(ranked: list[RealNet]) -> None:
    normals, anomalies = table_images(range(10), (8, 8)), PairSource(NextTen(), seed=0)
    chosen = []
    for share in (0.5, 1.0, 0.25):
        detector = on_noise(share=share, seed=round(4 * share))
        detector.fit(normals, anomalies, Budget(), ignore_progress)
        chosen.append(detector.state["selected_0"].tolist())
    assert [len(channels) for channels in chosen] == [32, 64, 16]
    assert sorted(chosen[1]) == list(range(64))
    assert chosen[0] == chosen[1][:32]
    assert chosen[2] == chosen[1][:16]
    assert len(ranked) == 1
    assert [order.tolist() for order in anomalies.pairs(normals, 20).derived.values()] == [chosen[1]]

    alone = on_noise(share=0.5)
    alone.fit(normals, PairSource(NextTen(), seed=0), Budget(), ignore_progress)
    assert alone.state["selected_0"].tolist() == chosen[0]


def test_other_pairs_levels_or_weights_are_ranked_anew(ranked: list[RealNet]) -> None:
    normals, anomalies = table_images(range(10), (8, 8)), PairSource(NextTen(), seed=0)
    one, two, other = on_noise(), on_noise(levels=2), on_noise()
    other.extractor.backbone.weights_tag = "table-2"
    for detector in (one, two, other, two, one):
        detector.fit(normals, anomalies, Budget(), ignore_progress)
    assert ranked == [one, two, other]
    on_noise(pairs=10).fit(normals, anomalies, Budget(), ignore_progress)
    one.fit(normals, anomalies, Budget(), ignore_progress)
    assert len(ranked) == 5


@pytest.mark.parametrize(
    ("network", "share", "taper", "available", "kept"),
    [
        ("unet", 1.0, 0.5, [256, 512, 1024, 2048], [256, 256, 256, 256]),
        ("unet", 0.5, 1.0, [256, 512, 1024], [128, 256, 512]),
        ("unet", 0.25, 0.5, [64, 128, 256], [64, 64, 64]),  # never fewer than one step
        ("unet", 1.0, 1.0, [24, 40], [24, 40]),  # unless there are no more
        ("light", 1.0, 0.5, [64, 128, 256, 512], [64, 64, 64, 64]),
        ("light", 0.5, 0.5, [64, 128, 256], [32, 32, 32]),
        ("light", 0.25, 1.0, [64, 128, 256], [16, 32, 64]),
        ("light", 0.5, 1.0, [56, 90], [32, 48]),  # 28 and 45, to the nearest step; halves go to the even one
        ("light", 1.0, 0.5, [14, 14], [14, 14]),
    ],
)
def test_channels_by_hand(network: Network, share: float, taper: float, available: list[int], kept: list[int]) -> None:
    settings = RealNetSettings(backbone="any", levels=LEVELS, network=network, share=share, taper=taper)
    assert settings.channels(available) == kept


@pytest.mark.parametrize(
    ("available", "kept"),
    [
        ([256, 512, 1024, 2048], [256, 512, 512, 256]),
        ([64, 128, 256, 512], [64, 128, 256, 256]),
        ([256, 512], [256, 512]),
    ],
)
def test_the_published_channels_of_each_level(available: list[int], kept: list[int]) -> None:
    settings = RealNetSettings(backbone="any", levels=LEVELS, network="unet", selection="published")
    assert settings.channels(available) == kept


def test_of_the_published_channels_256_residuals_are_kept_by_each_statistic() -> None:
    head = prepare(network="light", selection="published", kept=1 / 3)._new_head(
        [torch.arange(count) for count in PUBLISHED_SELECTION]
    )
    assert head.plan.tolist()[0] == 512
    chosen = head.select.eval().ranked(torch.rand(2, 1536, 3, 3))
    assert [len(set(half.tolist())) for row in chosen for half in row.split(256)] == [256] * 4


def test_at_least_one_pair_of_residual_channels_is_judged() -> None:
    assert learnt(kept=0.001, steps=1).state["plan"].tolist()[0] == 2
    assert learnt(kept=1.0, steps=1).state["plan"].tolist()[0] == 28


@pytest.mark.parametrize(
    ("families", "wanted"), [("texture", ("texture",)), ("sdas", ("sdas",)), ("both", ("texture", "sdas"))]
)
def test_the_recipe_is_what_the_settings_say(families: Any, wanted: tuple[str, ...]) -> None:
    settings = RealNetSettings(backbone="any", levels=LEVELS, families=families, opacity=0.3, strength=(0.1, 0.5))
    assert settings.recipe == Recipe(wanted, (0.3, 1.0), (0.1, 0.5))
    assert settings.learns_from == set(wanted) <= RealNet.learns_from
    assert settings.trains


@pytest.mark.parametrize(
    "wrong", [{"share": 0}, {"taper": 1.1}, {"kept": 0}, {"mode": "median"}, {"normal_share": 1}, {"opacity": 2}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RealNetSettings(backbone="any", levels=LEVELS, **wrong)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("backbones", [(RESNET, EMBEDDED), (EMBEDDED, VIT), (STEM,)], ids=["resnet", "vit", "stem"])
def test_defaults_come_back_from_their_parameters(backbones: tuple[BackboneSpace, ...], effort: Effort) -> None:
    space = Space(backbones, effort)
    settings = default_that_comes_back(RealNet, "realnet", space)
    assert not space.backbone(settings["backbone"]).fixed
    assert set(RealNetSettings(**settings).levels) <= set(space.backbone(settings["backbone"]).levels)


def test_published_settings_by_hand() -> None:
    (settings,) = RealNet.defaults(Space((RESNET,), "faithful"))
    made = RealNetSettings(**settings)
    assert made.levels == (-4, -3, -2, -1)
    assert (made.network, made.mode, made.kept, made.rate, made.normal_share) == ("unet", "both", 1 / 3, 1e-4, 0.5)
    assert made.steps * made.batch == pytest.approx(1000 * 220, rel=0.03)


def test_fixed_filters_alone_get_no_defaults() -> None:
    assert list(RealNet.defaults(Space((EMBEDDED,), "quick"))) == []


@pytest.mark.parametrize("backbone", [RESNET, EMBEDDED, VIT, STEM], ids=["resnet", "embedded", "vit", "stem"])
def test_random_suggestions_make_settings(backbone: BackboneSpace) -> None:
    for settings, trial in suggestions(RealNet, Space((backbone,), "quick")):
        made = RealNetSettings(**settings)
        assert len(made.levels) <= 4
        assert len(made.levels) > 1 or len(backbone.usable) == 1
        assert set(made.levels) <= set(backbone.levels)
        assert all(name.startswith("realnet.") for name in trial.params)
        assert made.families == "texture"
        assert "realnet.strength" not in trial.params


def test_where_images_of_sdas_can_be_had_they_are_learned_from_alone_or_beside_textures() -> None:
    strengths, families = set(), set()
    for settings, trial in suggestions(RealNet, Space((RESNET,), "quick", sources=("texture", "sdas"))):
        made = RealNetSettings(**settings)
        offered = trial.distributions["realnet.families"]
        assert isinstance(offered, optuna.distributions.CategoricalDistribution)
        assert offered.choices == ("texture", "sdas", "both")
        assert ("realnet.strength" in trial.params) == (made.families != "texture")
        families.add(made.families)
        strengths |= {made.strength} if made.families != "texture" else set()
    assert families == {"texture", "sdas", "both"}
    assert strengths == {(0.5, 1.0), (0.2, 1.0)}


@pytest.mark.parametrize("available", [110, 112])
def test_the_unet_takes_every_count_that_channels_gives(available: int) -> None:
    settings = RealNetSettings(backbone="any", levels=(-1,), network="unet")
    (count,) = settings.channels([available])
    assert count == 64
    FeatureUNet(count)(torch.zeros(1, count, 4, 4))
