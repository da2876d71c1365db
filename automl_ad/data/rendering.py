"""How the pixels of a file become 8-bit ones: grey levels, transparency, reduced decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

FULL_SCALE = 65535
"""White of 16-bit files, unless something else is known."""
DRAFT_ABOVE = 24_000_000
"""Pixels above which JPEG files are decoded at a fraction of their size where the working size is far smaller."""
STRIP = 1 << 22
"""Pixels converted at a time; bounds the memory on large images."""

Pixels = npt.NDArray[np.generic]

# Blocks above 32 MiB go back to the system when they are freed; smaller ones glibc keeps, for each thread its own.
_core: Any = Image.core  # type: ignore[attr-defined]  # documented, but not among the names that Pillow types
_core.set_block_size(max(_core.get_block_size(), 1 << 26))


class Rendering(BaseModel):
    """How stored pixels become 8-bit ones; a study and its bundle share it.

    Attributes:
        black_level: Value of black in files deeper than 8 bits.
        white_level: Value of white in files deeper than 8 bits, above ``black_level``.
        background: Grey level, 0 to 255, that transparent pixels are composed on; None ignores transparency.
        draft_above: Pixels above which JPEG files are decoded at a half, a quarter or an eighth of their size, as long
            as that is twice the working size; None never does. The results are nearly but not exactly the same.
    """

    model_config = ConfigDict(frozen=True)

    black_level: int = Field(default=0, ge=0)
    white_level: int = Field(default=FULL_SCALE, ge=1)
    background: int | None = Field(default=None, ge=0, le=255)
    draft_above: int | None = Field(default=None, ge=0)

    @model_serializer(mode="wrap")
    def _without_what_is_not_done(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what changes nothing, so that manifests of earlier versions come back as they were."""
        fields: dict[str, Any] = handler(self)
        idle = {"black_level": 0, "background": None, "draft_above": None}
        return {key: value for key, value in fields.items() if key not in idle or value != idle[key]}

    @model_validator(mode="after")
    def _white_above_black(self) -> Rendering:
        if self.white_level <= self.black_level:
            raise ValueError(f"white_level {self.white_level} is not above black_level {self.black_level}")
        return self


def strips(height: int, width: int) -> Iterator[slice]:
    """Slices of rows with at most `STRIP` pixels, at least one row each."""
    step = max(1, STRIP // max(width, 1))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def to_8_bit(values: Pixels, how: Rendering) -> npt.NDArray[np.uint8]:
    """Integers of any depth and shape as uint8: black becomes 0 and white 255, values outside are clipped."""
    out = np.empty(values.shape, np.uint8)
    scale = np.float32(255 / (how.white_level - how.black_level))
    for rows in strips(values.shape[0], values[0].size):
        scaled = values[rows].astype(np.float32)
        scaled -= np.float32(how.black_level)
        scaled *= scale
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        out[rows] = scaled
    return out


def composed(image: Image.Image, alpha: Image.Image, background: int) -> Image.Image:
    """Composes an image, ``L`` or ``RGB``, on a grey level in place; opaque pixels are unchanged to the last bit."""
    colour = background if image.mode == "L" else (background,) * 3
    image.paste(colour, None, ImageChops.invert(alpha))
    return image


def as_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """An image, ``L`` or ``RGB``, as uint8 [H, W, 3]; in strips, as Pillow would make two copies of the whole."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for rows in strips(image.height, image.width):
        part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
        out[rows] = part if part.ndim == 3 else part[:, :, None]
    return out
