"""Reads image files as 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, WebPImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from automl_ad.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File name suffixes of images, in lower case; compare with ``path.suffix.lower()``."""

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", WebPImagePlugin.WebPImageFile.format)
"""Accepted formats, in Pillow's names. Pillow supports more, but runs external programs for some of them."""

MAX_PIXELS = 178_000_000
"""Larger images are refused, as they need too much memory."""

WHITE_LEVELS = (1023, 4095, 16383, 65535)
"""Values of white for 10, 12, 14 and 16-bit cameras, which all write 16-bit files."""

_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 0x0100, 0x0101
_FILES_LOOKED_AT = 32

_Pixels = npt.NDArray[Any]
_UPRIGHT: dict[int, Callable[[_Pixels], _Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@dataclass(frozen=True)
class ImageInfo:
    """The header of an image file.

    Attributes:
        width: Pixels a row, after EXIF rotation.
        height: Rows, after EXIF rotation.
        mode: Pillow's name of the pixel format (``L``, ``RGB``, ``I;16`` ...); with 16 bits a channel, colour ends in
            ``;16``.
        bit_depth: Bits a channel: 1, 8, 16 or 32.
    """

    width: int
    height: int
    mode: str
    bit_depth: int


def probe(path: Path) -> ImageInfo:
    """Reads the header without decoding pixels.

    Raises:
        InputError: The file is missing, empty, too large or not an image.
    """
    with _opened(path) as image:
        width, height = _stored_size(image) if _orientation(image) < 5 else _stored_size(image)[::-1]
        depth = _bit_depth(image)
        mode = f"{image.mode};16" if depth == 16 and not image.mode.startswith("I") else image.mode
        return ImageInfo(width, height, mode, depth)


def page_count(path: Path) -> int:
    """Number of pages (TIFF) or frames (GIF, WebP) of a file; 1 if it cannot be read."""
    try:
        with _opened(path) as image:
            return int(getattr(image, "n_frames", 1))
    except InputError:
        return 1


def read_image(path: Path, white_level: int | None = None) -> npt.NDArray[np.uint8]:
    """Reads an image file as uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    Grey is repeated over the channels, palettes and CMYK are converted, the alpha channel is dropped, and of a file
    with several pages the first is read. Files with more than 8 bits are scaled so that ``white_level`` becomes 255;
    brighter pixels are clipped.

    Args:
        path: A file with one of `IMAGE_SUFFIXES`.
        white_level: Value of white in files deeper than 8 bits, 65535 unless given; see `white_level_of`.

    Raises:
        InputError: The file is missing, empty, truncated, too large, not an image, or has floating-point values.
    """
    raw = _decode(path)
    if raw.dtype != np.uint8:
        raw = _to_8_bit(raw, white_level or WHITE_LEVELS[-1])
    rgb = np.repeat(raw[:, :, None], 3, axis=2) if raw.ndim == 2 else raw
    return np.ascontiguousarray(rgb, dtype=np.uint8)


def white_level_of(paths: Sequence[Path]) -> int:
    """Estimates the value of white in the 16-bit files among ``paths``.

    Machine-vision cameras often store 10, 12 or 14 bits in 16-bit files: the result is the smallest of `WHITE_LEVELS`
    not below the largest value in at most 32 evenly spaced files; 65535 if no file has 16 bits.
    """
    deep = [path for path in paths if _is_deep(path)]
    picks = np.linspace(0, len(deep) - 1, min(len(deep), _FILES_LOOKED_AT)).astype(int)
    largest = max((_largest_value(deep[i]) for i in picks), default=WHITE_LEVELS[-1])
    return next((level for level in WHITE_LEVELS if largest <= level), WHITE_LEVELS[-1])


def _is_deep(path: Path) -> bool:
    try:
        return probe(path).bit_depth > 8
    except InputError:
        return False


def _largest_value(path: Path) -> int:
    try:
        return int(_decode(path).max())
    except InputError:
        return 0


def _to_8_bit(values: _Pixels, white_level: int) -> npt.NDArray[np.uint8]:
    scaled = values.astype(np.float32) * np.float32(255 / white_level)
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def _decode(path: Path) -> _Pixels:
    """Upright pixels at the depth of the file: uint8, uint16 or int32, [H, W] or [H, W, 3]."""
    with _opened(path) as image:
        if image.mode.startswith("F"):
            raise InputError(
                f"{path} holds floating-point values, whose white level is unknown: save it as an 8-bit or 16-bit file."
            )
        orientation, depth = _orientation(image), _bit_depth(image)
        # Both libraries apply the orientation of TIFF files themselves.
        upright = _UPRIGHT[1 if isinstance(image, TiffImageFile) else orientation]
        image.load()
        if image.mode.startswith("I"):
            return upright(np.asarray(image))
        if depth == 16:
            if isinstance(image, TiffImageFile) and orientation > 4:
                # OpenCV 5 cannot decode these and prints errors to stderr.
                raise InputError(f"{path} is a 16-bit colour TIFF with an EXIF rotation: save it upright.")
            return upright(_decode_deep_colour(path))
        # Palettes with transparency need RGBA first, or Pillow blends in the transparent entry.
        rgba = image.convert("RGBA") if image.mode in ("P", "PA") else image
        return upright(np.asarray(rgba.convert("RGB")))


def _decode_deep_colour(path: Path) -> _Pixels:
    """uint16 [H, W, 3], decoded by OpenCV, as Pillow reduces such files to 8 bits; Pillow has verified the file."""
    stored = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("16-bit colour in an unusual layout")
    return stored if stored.ndim == 2 else stored[:, :, 2::-1]


def _bit_depth(image: Image.Image) -> int:
    if image.mode in ("1", "F"):
        return 1 if image.mode == "1" else 32
    if image.mode.startswith("I"):
        return 16 if image.mode.startswith("I;16") or image.format == "PNG" else 32
    return 16 if ";16" in _raw_mode(image) else 8


def _raw_mode(image: Image.Image) -> str:
    """Pillow's raw mode of the file, such as ``RGB;16B``; available until the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _orientation(image: Image.Image) -> int:
    # For a PNG without EXIF data in its header, Pillow's getexif decodes all pixels to search behind them.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    return orientation if orientation in _UPRIGHT else 1


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before rotation; newer versions of Pillow swap those of TIFF files on opening."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2[_WIDTH_TAG], image.tag_v2[_HEIGHT_TAG]
    return image.size


# The runtime of bundles stands alone and so repeats what follows; a test compares what both read and what they refuse.
@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a file with Pillow; converts any decoder error to an ``InputError``."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except InputError:
        raise
    except Exception as fault:  # decoders raise arbitrary exceptions on damaged files
        raise InputError(f"{path} {_why(path, fault)}") from fault


def _why(path: Path, fault: Exception) -> str:
    if isinstance(fault, Image.DecompressionBombError):
        return f"has more than {MAX_PIXELS // 1_000_000} megapixels: cut it into tiles or scale it down first."
    if isinstance(fault, FileNotFoundError):
        return "does not exist: check the path."
    if isinstance(fault, PermissionError):
        return "may not be read: give this user permission to read it."
    if isinstance(fault, IsADirectoryError):
        return "is a folder, not an image file: name a file."
    if path.is_file() and path.stat().st_size == 0:
        return "is empty (0 bytes): copy it again or remove it."
    if isinstance(fault, UnidentifiedImageError):
        return "is not an image, whatever its name says: remove it or save it again as PNG or JPEG."
    return "is damaged or cut short: copy it again or remove it."
