"""What trials share: backbones, the search space, and what methods learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.data.study_images import read_study_images
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import BackboneSpace, Space
from automl_ad.store.artifacts import StudyFolder
from automl_ad.study.backbones import BackboneSet
from automl_ad.study.configuration import Configuration
from automl_ad.study.context import StudyContext
from automl_ad.study.settings import StudySettings, requested_settings
from automl_ad.study.suites import StudyData, draw_study_data

CPU = torch.device("cpu")
EMBEDDED = {"backbone": "embedded", "levels": (-4, -3)}


def backbones() -> BackboneSet:
    return BackboneSet({name: FeatureExtractor(EmbeddedBackbone()) for name in ("first", "embedded")}, [])


class TestRack:
    def test_spaces_are_those_of_its_backbones_in_their_order(self) -> None:
        made = EmbeddedBackbone()
        described = (made.levels, made.strides, made.channels)
        assert backbones().spaces == (BackboneSpace("first", *described), BackboneSpace("embedded", *described))

    def test_extractors_are_found_by_name(self) -> None:
        made = backbones()
        assert made.extractor("first") is made.extractors["first"]
        assert made.extractor("embedded") is made.extractors["embedded"]
        with pytest.raises(KeyError, match="resnet18"):
            made.extractor("resnet18")

    def test_having_no_backbone_is_always_possible_and_no_backbone_of_the_study(self) -> None:
        made = backbones()
        none = made.extractor(NO_BACKBONE)
        assert made.extractor("none") is none
        assert (none.backbone.levels, none.device) == ((), made.extractors["first"].device)
        images = ImageSet.of(np.zeros((3, 3, 32, 32), np.uint8))
        assert list(none.batches(images, (), 2)) == [[], []]
        assert NO_BACKBONE not in made.tags
        assert NO_BACKBONE not in {space.name for space in made.spaces}


@pytest.fixture(scope="module")
def settings(parts: Path) -> StudySettings:
    options: dict[str, Any] = {"families": ("photometric",), "per_cell": 4, "severities": (0.8,), "methods": ("padim",)}
    return requested_settings(parts, **options, preset="balanced").model_copy(update={"sides": (32, 64), "seed": 4})


@pytest.fixture(scope="module")
def data(settings: StudySettings, tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    folder = StudyFolder(tmp_path_factory.mktemp("workspace"), "parts")
    return draw_study_data(settings, read_study_images(settings), folder, CPU)


@pytest.fixture
def context(data: StudyData, settings: StudySettings, tmp_path: Path) -> StudyContext:
    return StudyContext.of(data, backbones(), StudyFolder(tmp_path, "parts"), settings)


def given_to(context: StudyContext, configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """What the method's fit is given."""
    detector, calls = context.build(configuration), list[tuple[Any, ...]]()
    monkeypatch.setattr(type(detector), "fit", lambda self, *given: calls.append(given))
    context.fit(detector, context.data.normals.images)
    assert isinstance(detector, FeatureDetector)
    return calls[0]


class TestBench:
    def test_every_side_has_a_space_with_all_that_the_study_offers(
        self, context: StudyContext, settings: StudySettings
    ) -> None:
        spaces = context.spaces(settings)
        assert spaces == {side: Space(backbones().spaces, "balanced", side, ("texture",)) for side in (32, 64)}

    def test_methods_are_offered_the_sources_of_the_material(
        self, context: StudyContext, data: StudyData, settings: StudySettings
    ) -> None:
        having = StudyData(data.normals, data.proxy, data.holdout, data.stock, ("texture", "sdas"))
        other = StudyContext.of(having, context.backbones, context.folder, settings)
        assert {space.sources for space in other.spaces(settings).values()} == {("texture", "sdas")}

    def test_who_learns_from_good_images_alone_is_given_no_anomalies(
        self, context: StudyContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        normals, anomalies, budget, report = given_to(context, Configuration.of("padim", 64, EMBEDDED), monkeypatch)
        assert normals is context.data.normals.images
        assert anomalies is None
        assert budget.seconds is None
        report(0.5)

    def test_who_learns_from_anomalies_is_given_those_of_its_recipe(
        self, context: StudyContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        strong = Configuration.of("realnet", 64, EMBEDDED | {"opacity": 1.0})
        normals, anomalies, _, _ = given_to(context, strong, monkeypatch)
        assert isinstance(anomalies, PairSource)
        assert anomalies is context.anomalies.of(context.build(strong).settings.recipe, normals)
        faint = Configuration.of("realnet", 64, EMBEDDED | {"opacity": 0.2, "share": 0.25})
        assert given_to(context, faint, monkeypatch)[1] is not anomalies

    def test_anomalies_follow_the_seed_of_the_study(
        self, context: StudyContext, data: StudyData, settings: StudySettings
    ) -> None:
        normals = data.normals.images
        recipe = context.build(Configuration.of("realnet", 64, EMBEDDED)).settings.recipe
        found = []
        for seed in (4, 4, 5):
            made = StudyContext.of(data, context.backbones, context.folder, settings.model_copy(update={"seed": seed}))
            source = made.anomalies.of(recipe, normals)
            assert source is not None
            found.append(source.pairs(normals, 4).anomalous.key)
        assert found[0] == found[1] != found[2]
