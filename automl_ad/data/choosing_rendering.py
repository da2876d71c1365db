"""Chooses how the pixels of a study's images become 8-bit ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from automl_ad.data.levels import levels_of
from automl_ad.data.reading import white_level_of
from automl_ad.data.rendering import DRAFT_ABOVE, Rendering
from automl_ad.data.transparency import transparency_of

Renderer = Callable[[Sequence[Path]], Rendering]
"""Chooses the rendering of image files."""


def suited_rendering(paths: Sequence[Path]) -> Rendering:
    """The rendering of a new study: levels and background are chosen for its images."""
    black, white = levels_of(paths)
    background = transparency_of(paths, (black, white)).background
    return Rendering(black_level=black, white_level=white, background=background, draft_above=DRAFT_ABOVE)


def early_rendering(paths: Sequence[Path]) -> Rendering:
    """The rendering of studies of earlier versions, which kept none: full scale, without regard to transparency."""
    return Rendering(white_level=white_level_of(paths))
