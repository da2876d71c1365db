"""Transparent pixels in a set of images, and the grey level that they are composed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from automl_ad.data.levels import levels_of
from automl_ad.data.pixel_budget import in_threads
from automl_ad.data.reading import probe, stored_pixels
from automl_ad.data.rendering import Rendering, to_8_bit
from automl_ad.errors import InputError

WHITE, BLACK = 255, 0
_MIDDLE = 127.5
_SIDE = 256


@dataclass(frozen=True)
class Transparency:
    """Transparent pixels in a set of images.

    Attributes:
        files: The files that have some.
        background: Grey level that they are composed on: of black and white, the one further from what is visible, so
            that the outline of the parts can be seen.
    """

    files: frozenset[Path]
    background: int


def transparency_of(paths: Sequence[Path], levels: tuple[int, int] | None = None) -> Transparency:
    """Looks for transparent pixels in all files that can hold some.

    Args:
        paths: Image files; unreadable ones are passed over.
        levels: Black and white level of files deeper than 8 bits; those of ``paths`` when None.
    """
    able = [path for path in paths if _has_alpha(path)]
    if not able:
        return Transparency(frozenset(), WHITE)
    black, white = levels or levels_of(able)
    how = Rendering(black_level=black, white_level=white)
    means = dict(zip(able, in_threads(lambda path: _visible_mean(path, how), able), strict=True))
    found = {path: mean for path, mean in means.items() if mean is not None}
    bright = bool(found) and float(np.mean(list(found.values()))) > _MIDDLE
    return Transparency(frozenset(found), BLACK if bright else WHITE)


def composed_on(transparent: int, images: int, background: int) -> str:
    """Says how transparent pixels were treated, as a sentence without its full stop."""
    name = {WHITE: "white", BLACK: "black"}.get(background, f"grey level {background}")
    return f"{transparent} of {images} images have transparent pixels, which are composed on {name}"


def _has_alpha(path: Path) -> bool:
    try:
        return probe(path).has_alpha
    except InputError:
        return False


def _visible_mean(path: Path, how: Rendering) -> float | None:
    """Mean grey level of the visible pixels; None for a file without transparent ones, or that cannot be read."""
    try:
        with stored_pixels(path) as stored:
            if stored.alpha is None or stored.alpha.getextrema()[0] == WHITE:
                return None
            steps = tuple(slice(None, None, -(-side // _SIDE)) for side in stored.alpha.size[::-1])
            values = stored.values if not isinstance(stored.values, Image.Image) else np.asarray(stored.values)
            pixels = values[steps] if values.dtype == np.uint8 else to_8_bit(values[steps], how)
            weights = np.asarray(stored.alpha)[steps].astype(np.float64)
    except InputError:
        return None
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    return float((grey * weights).sum() / weights.sum()) if weights.any() else _MIDDLE
