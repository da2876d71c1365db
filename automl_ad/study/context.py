"""What the trials of one study share: images, suites, backbones and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.intervals import BootstrapPlan
from automl_ad.evaluation.suite_scores import plan_for
from automl_ad.methods.space import Space
from automl_ad.seeds import derived_seed
from automl_ad.store.artifacts import StudyFolder
from automl_ad.study.backbones import BackboneSet
from automl_ad.study.configuration import Configuration
from automl_ad.study.settings import StudySettings
from automl_ad.study.suites import StudyData
from automl_ad.study.training_anomalies import TrainingAnomalies
from automl_ad.training import Budget, Report, ignore_progress

if TYPE_CHECKING:
    from automl_ad.methods.base import Detector


@dataclass(frozen=True)
class StudyContext:
    """What trials of one study share.

    Attributes:
        material: Images and suites.
        rack: Backbones.
        anomalies: What methods learn from.
        folder: The study's folder.
        seed: The study's seed.
        plan: Resampling weights of the proxy suite, shared by all candidates so that they can be paired.
    """

    data: StudyData
    backbones: BackboneSet
    anomalies: TrainingAnomalies
    folder: StudyFolder
    seed: int
    plan: BootstrapPlan

    @classmethod
    def of(cls, data: StudyData, backbones: BackboneSet, folder: StudyFolder, settings: StudySettings) -> StudyContext:
        """Draws the resampling weights."""
        plan = plan_for(data.proxy, len(data.normals.splits.validation), settings.seed, "proxy")
        anomalies = TrainingAnomalies(settings.seed, settings.texture_dir, data.stock)
        return cls(data, backbones, anomalies, folder, settings.seed, plan)

    def spaces(self, settings: StudySettings) -> dict[int, Space]:
        """The search space at each working size."""
        return {side: Space(self.backbones.spaces, settings.effort, side, self.data.sources) for side in settings.sides}

    def build(self, configuration: Configuration) -> Detector:
        """An unfitted detector; its seed depends on the configuration alone."""
        return configuration.build(self.backbones.extractor, self.fit_seed(configuration))

    def fit_seed(self, configuration: Configuration) -> int:
        """The seed of a configuration's fit."""
        return derived_seed(self.seed, f"fit/{configuration.digest}")

    def fit(
        self,
        detector: Detector,
        normals: ImageSet,
        budget: Budget | None = None,
        report: Report = ignore_progress,
    ) -> None:
        """Fits a detector, part by part, to good images, and to anomalies drawn on them where a part learns from such.

        ``report`` is called for each part.
        """
        for part in detector.parts:
            part.fit(normals, self.anomalies.of(part.settings.recipe, normals), budget or Budget(), report)
