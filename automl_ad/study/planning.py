"""Decides how much of the suites a study can afford, from a short measurement on the machine that searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.data.study_images import StudyImages
from automl_ad.evaluation.plan import Costs, Images, SuitePlan, choose_plan, expected_seconds
from automl_ad.study.reference_panel import PANEL_LEVELS
from automl_ad.synthesis.base import AnomalyFamily, Context
from automl_ad.synthesis.registry import create_family

SHARE_OF_BUDGET = 0.7
"""Of what is left of a study's time, for suites, the baseline's trial and its hold-out check together."""
_TRIED = (0.1, 0.5)
"""Strengths at which a family is timed."""
_PASSES = 2
"""Images in a timed pass; the first pass of a backbone is slower and does not count."""


@dataclass(frozen=True)
class Planner:
    """Plans the suites of a study within what is left of its time.

    Attributes:
        remaining: Seconds left of the time budget, asked when the plan is made.
        baseline: The backbone that the baseline runs on.
    """

    remaining: Callable[[], float]
    baseline: FeatureExtractor

    def plan(self, full: SuitePlan, normals: StudyImages, context: Context) -> tuple[SuitePlan, str | None]:
        """Measures and decides.

        Args:
            full: All that was asked for.
            normals: The study's images.
            context: What families draw with.

        Returns:
            The plan, and a warning where the time is too short even for the smallest.
        """
        costs = measured_costs(full.families, normals, context, self.baseline)
        images, left = _images(normals), self.remaining()
        plan = choose_plan(full, costs, images, SHARE_OF_BUDGET * left)
        needed = expected_seconds(plan, costs, images)
        if needed <= left:
            return plan, None
        return plan, (
            f"The time budget is too short for these images at the working size {round(images.side)}: the smallest "
            f"suite and the baseline alone take about {needed:.0f} s more, {max(0.0, left):.0f} s of it are left; give "
            "a longer --time-budget or a smaller --image-size."
        )


def measured_costs(
    families: Sequence[str], normals: StudyImages, context: Context, baseline: FeatureExtractor
) -> Costs:
    """Times a few drawings of each family and a pass through the two backbones that all depends on."""
    some = normals.images.take(range(min(_PASSES, len(normals.images))))
    panel = FeatureExtractor(EmbeddedBackbone(), baseline.device)
    return Costs(
        draw={name: _drawing_s(create_family(name, context), context) for name in families},
        panel_pass=_pass_s(panel, some, PANEL_LEVELS),
        trial_pass=_pass_s(baseline, some, baseline.backbone.levels),
    )


def _images(normals: StudyImages) -> Images:
    height, width = normals.images.size
    splits = normals.splits
    return Images(len(splits.train), len(splits.validation), len(splits.holdout), float(np.sqrt(height * width)))


def _drawing_s(family: AnomalyFamily, context: Context) -> float:
    """Mean seconds of a drawing; what is found out about the image beforehand, once for all families, is left out."""
    rng, image = np.random.default_rng(0), context.normals[0]
    context.product_of(image)
    context.variation_of(image)
    times = []
    for strength in _TRIED:
        start = time.perf_counter()
        family.try_draw(image, strength, rng)
        times.append(time.perf_counter() - start)
    return fmean(times)


def _pass_s(extractor: FeatureExtractor, images: ImageSet, levels: Sequence[int]) -> float:
    """Seconds for one image."""
    batch = torch.from_numpy(next(images.batches(len(images))))
    extractor.maps(batch[:1], levels)
    start = time.perf_counter()
    for maps in extractor.maps(batch, levels)[-1:]:
        maps.cpu()  # waits for a GPU
    return (time.perf_counter() - start) / len(images)
