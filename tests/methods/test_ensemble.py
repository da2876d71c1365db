"""The mean of a few detectors: by hand, and as a detector like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from handmade import EMBEDDED_LEVELS, TableBackbone, draw_discs, fitted, noise, table_images
from pydantic import ValidationError
from safetensors.torch import load, save
from torch import Tensor

from automl_ad.backbones.base import NO_BACKBONE, NoBackbone
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import InputError
from automl_ad.methods.base import Extractors, FeatureSpec
from automl_ad.methods.ensemble import EnsembleDetector, EnsembleSettings, Member, SharedPass, mean_map, mean_maps
from automl_ad.methods.names import ENSEMBLE, METHODS
from automl_ad.methods.registry import candidate_class, detector_class
from automl_ad.training import Budget, ignore_progress

PADIM = {"backbone": "embedded", "levels": EMBEDDED_LEVELS, "channels": 20}
PATCHCORE = {"backbone": "table", "levels": (-1,), "ratio": 1.0}
DFR = {"backbone": "embedded", "levels": (-3, -2), "model": "image_pca", "stride": 8}


class Counted(TableBackbone):
    """A table that counts how often it is asked."""

    passes = 0

    def forward(self, images: Tensor, levels: Any = None) -> list[Tensor]:
        self.passes += 1
        return super().forward(images, levels)


def member(method: str = "padim", settings: dict[str, Any] | None = None, trial: int = 0, **changes: Any) -> Member:
    chosen = {"seed": 1, "centre": 0.0, "spread": 1.0} | changes
    return Member(trial=trial, method=method, settings=settings or PADIM, **chosen)


def settings(*members: Member) -> EnsembleSettings:
    return EnsembleSettings(members=members)


def extractors(table: TableBackbone | None = None) -> Extractors:
    known = {
        "embedded": FeatureExtractor(EmbeddedBackbone()),
        NO_BACKBONE: FeatureExtractor(NoBackbone()),
        "table": FeatureExtractor(table or TableBackbone([noise(12, 4, 8, 8)], (8,))),
    }
    return known.__getitem__


@pytest.fixture(scope="module")
def discs() -> ImageSet:
    return ImageSet.of(draw_discs(8))


@pytest.fixture(scope="module")
def pair(discs: ImageSet) -> EnsembleDetector:
    """PaDiM and DFR on one backbone, on grids of their own."""
    both = settings(member(centre=4.0, spread=2.0), member("dfr", DFR, centre=-1.0, spread=0.5))
    detector: EnsembleDetector = fitted(EnsembleDetector.build(both, extractors()), discs)
    return detector


class TestMeanMap:
    def test_two_maps_by_hand(self) -> None:
        first, second = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[20.0, 10.0]]])
        mean = mean_map([first, second], [member(centre=1, spread=2), member(centre=10, spread=5)])
        assert mean.tolist() == [[[1.0, 0.5]]]  # (0 + 2) / 2 and (1 + 0) / 2

    def test_coarse_maps_are_enlarged_to_the_finest_grid(self) -> None:
        flat, coarse = torch.zeros(1, 4, 4), torch.tensor([[[0.0, 4.0], [0.0, 4.0]]])
        mean = mean_map([flat, coarse], [member(), member()])
        # Half-pixel centres and replicated borders: 0, 1, 3, 4 along each row; half of that is the mean.
        assert torch.equal(mean, torch.tensor([0.0, 0.5, 1.5, 2.0]).expand(1, 4, 4))

    def test_a_grid_may_be_finest_along_one_side_only(self) -> None:
        assert mean_map([torch.zeros(2, 8, 3), torch.zeros(2, 4, 6)], [member(), member()]).shape == (2, 8, 6)

    def test_kept_maps_give_the_same(self) -> None:
        maps, members = [noise(3, 4, 4), noise(3, 2, 2, seed=1)], [member(centre=1), member(spread=3)]
        kept = mean_maps([own.numpy() for own in maps], members)
        assert kept.dtype == np.float32
        np.testing.assert_array_equal(kept, mean_map(maps, members).numpy())


class TestSettings:
    def test_backbones_are_named_once_and_follow_from_the_members(self) -> None:
        three = settings(member(), member("patchcore", PATCHCORE), member("dfr", DFR))
        assert three.backbone == "embedded & table"
        again = EnsembleSettings(**three.model_dump(mode="json") | {"backbone": "other"})
        assert again == three

    def test_it_learns_and_trains_as_any_member_does(self) -> None:
        destseg = {"backbone": "embedded", "levels": EMBEDDED_LEVELS, "families": "texture"}
        anoseg = {"backbone": NO_BACKBONE, "levels": ()}
        assert not settings(member(), member("patchcore", PATCHCORE)).trains
        mixed = settings(member(), member("destseg", destseg), member("anoseg", anoseg))
        assert mixed.trains
        assert mixed.learns_from == {"texture"} | detector_class("anoseg").settings_type(**anoseg).learns_from

    def test_its_advantage_is_the_mean_of_its_members_advantages(self) -> None:
        destseg = {"backbone": "table", "levels": (-1,)}
        own = detector_class("destseg").settings_type(**destseg).advantage
        assert own > 0
        assert settings(member(), member("patchcore", PATCHCORE)).advantage == 0
        assert settings(member(), member("destseg", destseg)).advantage == own / 2
        assert settings(member(), member("dfr", DFR), member("destseg", destseg)).advantage == own / 3

    @pytest.mark.parametrize("broken", [{"spread": 0.0}, {"spread": float("nan")}, {"centre": float("inf")}])
    def test_a_scale_must_be_one(self, broken: dict[str, float]) -> None:
        with pytest.raises(ValidationError):
            member(**broken)

    def test_one_member_is_no_average(self) -> None:
        with pytest.raises(ValidationError):
            settings(member())

    def test_it_is_a_candidate_and_not_a_method(self) -> None:
        assert candidate_class(ENSEMBLE) is EnsembleDetector
        assert candidate_class("padim") is detector_class("padim")
        assert ENSEMBLE not in METHODS
        with pytest.raises(InputError):
            detector_class(ENSEMBLE)


class TestSharedPass:
    def test_each_part_of_a_backbone_is_run_once(self) -> None:
        table = Counted([noise(5, 2, 8, 8), noise(5, 3, 4, 4)], (8, 16))
        joined = JoinedBackbone(table)
        feature_specs = [FeatureSpec(table, (-2,)), FeatureSpec(joined, (-1,)), FeatureSpec(EmbeddedBackbone(), (-4,))]
        shared = SharedPass(feature_specs)
        assert shared.feature_specs[0].levels == (-2, -1)
        assert len(shared.feature_specs) == 2
        images = torch.from_numpy(next(table_images(range(5), (64, 64)).batches(5)))
        found = shared.split([spec.backbone(images, spec.levels) for spec in shared.feature_specs])
        assert table.passes == 1
        for own, spec in zip(found, feature_specs, strict=True):
            for maps, expected in zip(own, spec.backbone(images, spec.levels), strict=True):
                assert torch.equal(maps, expected)


class TestDetector:
    def test_its_map_is_the_mean_of_its_members(self, pair: EnsembleDetector) -> None:
        images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        parts = [detector.anomaly_map(images) for detector in pair.detectors]
        expected = mean_map(parts, pair.settings.members)
        torch.testing.assert_close(pair.anomaly_map(images), expected)
        assert expected.shape == (3, 16, 24)

    def test_sets_and_batches_agree(self, pair: EnsembleDetector, discs: ImageSet) -> None:
        maps = pair.anomaly_maps(discs)
        assert maps.dtype == np.float32
        alone = pair.anomaly_map(torch.from_numpy(next(discs.batches(8)))).numpy()
        np.testing.assert_allclose(maps, alone, rtol=1e-4, atol=1e-4 * np.ptp(alone))

    def test_the_module_is_the_detector(self, pair: EnsembleDetector, discs: ImageSet) -> None:
        images = torch.from_numpy(next(discs.batches(4)))
        with torch.no_grad():
            torch.testing.assert_close(pair.to_module()(images), pair.anomaly_map(images))

    def test_a_backbone_is_read_once_for_all_members(self, pair: EnsembleDetector) -> None:
        assert [spec.levels for spec in pair.feature_specs] == [(-4, -3, -2)]
        assert len(pair.to_module().backbones) == 1  # type: ignore[arg-type]

    def test_members_on_several_backbones(self) -> None:
        table = Counted([noise(12, 4, 8, 8)], (8,))
        flat = {"backbone": "table", "levels": (-1,), "channels": 3}
        three = settings(member("patchcore", PATCHCORE), member("padim", flat), member())
        detector = fitted(EnsembleDetector.build(three, extractors(table)), table_images(range(10), (64, 64)))
        assert [spec.backbone.name for spec in detector.feature_specs] == ["table", "embedded"]
        table.passes = 0
        assert detector.anomaly_map(torch.zeros(2, 3, 64, 64)).shape == (2, 16, 16)
        assert table.passes == 1

    def test_a_state_survives_its_file(self, pair: EnsembleDetector, discs: ImageSet) -> None:
        again = EnsembleDetector.build(pair.settings, extractors())
        again.load_state(load(save(pair.state)))
        np.testing.assert_array_equal(again.anomaly_maps(discs), pair.anomaly_maps(discs))
        assert again.state.keys() == pair.state.keys()

    def test_a_strange_state_is_refused(self, pair: EnsembleDetector) -> None:
        with pytest.raises(ValueError, match="not those of a fitted"):
            EnsembleDetector.build(pair.settings, extractors()).load_state(pair.detectors[0].state)

    def test_members_fit_with_their_own_seeds(self, discs: ImageSet) -> None:
        two = settings(member(seed=3), member(seed=4))
        first, second = fitted(EnsembleDetector.build(two, extractors(), seed=9), discs).detectors
        assert (first.seed, second.seed) == (3, 4)
        assert not torch.equal(first.head.index, second.head.index)

    def test_a_fit_ends_with_full_progress(self, discs: ImageSet) -> None:
        reported: list[float] = []
        EnsembleDetector.build(settings(member(), member()), extractors()).fit(discs, None, Budget(), reported.append)
        assert reported == [0.5, 1.0]

    def test_members_that_learn_from_different_anomalies_are_fitted_one_by_one(self, discs: ImageSet) -> None:
        teacher = {"backbone": "embedded", "levels": EMBEDDED_LEVELS}
        both = settings(*(member("destseg", teacher | {"families": name}) for name in ("texture", "cutpaste")))
        detector = EnsembleDetector.build(both, extractors())
        assert detector.parts == detector.detectors
        with pytest.raises(ValueError, match="each of the parts"):
            detector.fit(discs, None, Budget(), ignore_progress)

    def test_it_chooses_where_a_member_does(self, pair: EnsembleDetector) -> None:
        assert not pair.selects_channels
        realnet = {"backbone": "embedded", "levels": EMBEDDED_LEVELS}
        assert EnsembleDetector.build(settings(member(), member("realnet", realnet)), extractors()).selects_channels


def test_any_other_detector_is_its_only_part() -> None:
    detector = member().build(extractors())
    assert detector.parts == (detector,)
    assert [spec.backbone.name for spec in detector.feature_specs] == ["embedded"]
    assert not detector.selects_channels
