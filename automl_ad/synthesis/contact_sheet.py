"""Contact sheets: many thumbnails in one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.store.artifacts import write_atomically

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CAPTION_HEIGHT = 14
GAP = 2
PAPER = 255
OUTLINE = (255, 0, 0)


def contact_sheet(
    images: Sequence[Image],
    masks: Sequence[Mask | None] | None = None,
    captions: Sequence[str] | None = None,
    columns: int = 8,
    cell: int = 128,
) -> Image:
    """Arranges images row by row, with their masks outlined in red and a caption below each.

    Args:
        images: At least one uint8 [H, W, 3], of any sizes.
        masks: One bool [H, W] or None per image; None for no outlines at all.
        captions: One short text per image; None for no captions.
        columns: Images per row.
        cell: Side in pixels of the square into which every image is fitted.

    Returns:
        uint8 [H, W, 3] on white.

    Raises:
        ValueError: If there is no image, or not as many masks or captions as images.
    """
    outlines = masks if masks is not None else [None] * len(images)
    texts = captions if captions is not None else [""] * len(images)
    if not images or len(outlines) != len(images) or len(texts) != len(images):
        raise ValueError(f"{len(images)} images, {len(outlines)} masks and {len(texts)} captions do not go together")
    height = cell + (CAPTION_HEIGHT if captions is not None else 0) + GAP
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height + GAP, min(columns, len(images)) * (cell + GAP) + GAP, 3), PAPER, np.uint8)
    for index, (image, mask, text) in enumerate(zip(images, outlines, texts, strict=True)):
        top, left = GAP + index // columns * height, GAP + index % columns * (cell + GAP)
        _place(sheet[top : top + height - GAP, left : left + cell], image, mask, text, cell)
    return sheet


def write_png(path: Path, image: Image) -> None:
    """Writes a uint8 [H, W, 3] RGB or [H, W] grey image; the file is replaced atomically.

    Raises:
        StoreError: The file cannot be written.
    """
    colour = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    # Encoded in memory, since OpenCV does not report why a file cannot be written.
    encoded = cv2.imencode(".png", colour)[1]
    with write_atomically(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _place(slot: Image, image: Image, mask: Mask | None, text: str, cell: int) -> None:
    """Draws one image, outline and caption into its part of the sheet."""
    scale = cell / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(image, size, interpolation=method)
    if mask is not None:
        shape = cv2.resize(mask.astype(np.float32), size, interpolation=method) > 0
        contours = cv2.findContours(shape.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(small, contours, -1, OUTLINE, 1)
    top, left = (cell - size[1]) // 2, (cell - size[0]) // 2
    slot[top : top + size[1], left : left + size[0]] = small
    if text:
        # OpenCV cannot draw into a view, so the caption gets a strip of its own.
        strip = np.ascontiguousarray(slot[cell:])
        cv2.putText(strip, text, (1, CAPTION_HEIGHT - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
        slot[cell:] = strip
