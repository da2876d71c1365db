"""How a study's image files become 8-bit pixels: chosen once, and kept for as long as the study exists."""

from __future__ import annotations

from automl_ad.data.choosing_rendering import Renderer, early_rendering, suited_rendering
from automl_ad.data.rendering import Rendering
from automl_ad.store.records import StudyRecord

RENDERING = "rendering"
"""Key of the rendering in the meaning of a study."""


def renderer_of(record: StudyRecord | None) -> Renderer:
    """What chooses the rendering of a study.

    Args:
        record: Of the study; None before it exists. Records of earlier versions hold no rendering: their images are
            read as those versions did, since trials, suites and features are those of such pixels.
    """
    if record is None:
        return suited_rendering
    if RENDERING not in record.meaning:
        return early_rendering
    kept = Rendering.model_validate(record.meaning[RENDERING])
    return lambda _: kept
