"""Reads image files as 8-bit RGB."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, WebPImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from automl_ad.data.pixel_budget import PIXELS
from automl_ad.data.rendering import FULL_SCALE, Rendering, as_array, composed, strips, to_8_bit
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

WHITE_LEVELS = (1023, 4095, 16383, FULL_SCALE)
"""Values of white for 10, 12, 14 and 16-bit cameras, which all write 16-bit files."""

_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 0x0100, 0x0101
_FILES_LOOKED_AT = 32
_DRAFT_SHARE = 2
"""A reduced JPEG keeps at least so many times the working size a side, so that it is still reduced with a filter."""

_Pixels = npt.NDArray[Any]
_TURN = Image.Transpose
_UPRIGHT = {
    **{2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE},
    **{6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90},
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
        has_alpha: Whether it can hold transparent pixels: an alpha channel, or a transparent colour.
    """

    width: int
    height: int
    mode: str
    bit_depth: int
    has_alpha: bool = False


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """The pixels of a file at its own depth, not turned upright.

    Attributes:
        values: 8-bit pixels as an image, ``L`` or ``RGB``; deeper ones as uint16 or int32 [H, W] or [H, W, 3].
        alpha: ``L``, 0 = transparent; None without.
    """

    values: Image.Image | _Pixels
    alpha: Image.Image | None


def probe(path: Path) -> ImageInfo:
    """Reads the header without decoding pixels.

    Raises:
        InputError: The file is missing, empty, too large or not an image.
    """
    with opened(path) as image:
        width, height = _stored_size(image) if _orientation(image) < 5 else _stored_size(image)[::-1]
        depth = bit_depth_of(image)
        mode = f"{image.mode};16" if depth == 16 and not image.mode.startswith("I") else image.mode
        return ImageInfo(width, height, mode, depth, image.has_transparency_data)


def page_count(path: Path) -> int:
    """Number of pages (TIFF) or frames (GIF, WebP) of a file; 1 if it cannot be read."""
    try:
        with opened(path) as image:
            return int(getattr(image, "n_frames", 1))
    except InputError:
        return 1


def read_image(
    path: Path, white_level: int | None = None, *, black_level: int = 0, background: int | None = None
) -> npt.NDArray[np.uint8]:
    """Reads an image file as uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    Grey is repeated over the channels, palettes and CMYK are converted, and of a file with several pages the first is
    read. Files with more than 8 bits are scaled so that ``black_level`` becomes 0 and ``white_level`` 255; pixels
    outside are clipped.

    Args:
        path: A file with one of `IMAGE_SUFFIXES`.
        white_level: Value of white in files deeper than 8 bits, 65535 unless given; see `levels_of`.
        black_level: Value of black in files deeper than 8 bits, below ``white_level``.
        background: Grey level, 0 to 255, that transparent pixels are composed on; None drops the alpha channel.

    Raises:
        InputError: The file is missing, empty, truncated, too large, not an image, or has floating-point values.
    """
    how = Rendering(black_level=black_level, white_level=white_level or FULL_SCALE, background=background)
    with decoded(path, how) as image:
        return as_array(image)


@contextmanager
def decoded(path: Path, how: Rendering, least: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """An image file as a Pillow image, ``L`` or ``RGB``, upright, while it counts to the pixel budget of the process.

    Args:
        path: A file with one of `IMAGE_SUFFIXES`.
        how: From stored to 8-bit pixels.
        least: (height, width) that it will be resized to: a large JPEG file may be decoded at a smaller size that is
            at least twice that; see `Rendering.draft_above`. None for the full size.

    Raises:
        InputError: As for `read_image`.
    """
    with ExitStack() as held:
        yield _decode(path, how, least, held)


@contextmanager
def stored_pixels(path: Path) -> Iterator[StoredPixels]:
    """The pixels of a file as stored, while they count to the pixel budget of the process.

    Raises:
        InputError: As for `read_image`.
    """
    with ExitStack() as held:
        with opened(path) as image:
            held.enter_context(PIXELS.hold(image.width * image.height))
            found = _stored(image, path)
        yield found


def read_deep_colour(path: Path) -> npt.NDArray[np.uint16]:
    """Decodes a 16-bit colour file with OpenCV, without its EXIF orientation (that of TIFF files excepted).

    Returns:
        [H, W], [H, W, 3] RGB or [H, W, 4] RGBA.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    stored = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ValueError("16-bit colour in an unusual layout")
    if stored.ndim == 3:
        for rows in strips(*stored.shape[:2]):
            stored[rows, :, :3] = stored[rows, :, 2::-1].copy()
    return np.asarray(stored, np.uint16)


def white_level_of(paths: Sequence[Path]) -> int:
    """The full scale of the camera that wrote the 16-bit files among ``paths``.

    Machine-vision cameras often store 10, 12 or 14 bits in 16-bit files: the result is the smallest of `WHITE_LEVELS`
    not below the largest value in at most 32 evenly spaced files; 65535 if no file has 16 bits.
    """
    deep = [path for path in paths if is_deep(path)]
    picks = np.linspace(0, len(deep) - 1, min(len(deep), _FILES_LOOKED_AT)).astype(int)
    largest = max((_largest_value(deep[i]) for i in picks), default=FULL_SCALE)
    return next((level for level in WHITE_LEVELS if largest <= level), FULL_SCALE)


def is_deep(path: Path) -> bool:
    """Whether a file has more than 8 bits a channel; False if it cannot be read."""
    try:
        return probe(path).bit_depth > 8
    except InputError:
        return False


def _largest_value(path: Path) -> int:
    try:
        with stored_pixels(path) as stored:
            return int(np.asarray(stored.values).max())
    except InputError:
        return 0


# The runtime of bundles stands alone and so repeats what follows; a test compares what both read and what they refuse.
def _decode(path: Path, how: Rendering, least: tuple[int, int] | None, held: ExitStack) -> Image.Image:
    with opened(path) as image:
        turn = turn_of(image)
        held.enter_context(PIXELS.hold(_drafted(image, how, least)))
        stored = _stored(image, path)
        values = stored.values
        found = values if isinstance(values, Image.Image) else Image.fromarray(to_8_bit(values, how))
        if stored.alpha is not None and how.background is not None:
            found = composed(found, stored.alpha, how.background)
        return found if turn is None else found.transpose(turn)


def _drafted(image: Image.Image, how: Rendering, least: tuple[int, int] | None) -> int:
    """Lets a large JPEG file be decoded at a smaller size; returns the number of pixels that decoding will hold."""
    pixels = image.width * image.height
    if least is None or how.draft_above is None or pixels <= how.draft_above or not isinstance(image, JpegImageFile):
        return pixels
    height, width = least if _orientation(image) < 5 else least[::-1]
    image.draft(image.mode, (_DRAFT_SHARE * width, _DRAFT_SHARE * height))
    # Progressive files are held at full size before they are reduced.
    return pixels if "progressive" in image.info else image.width * image.height


def _stored(image: Image.Image, path: Path) -> StoredPixels:
    """The pixels of an open file."""
    if image.mode.startswith("F"):
        raise InputError(
            f"{path} holds floating-point values, whose white level is unknown: save it as an 8-bit or 16-bit file."
        )
    depth, orientation = bit_depth_of(image), _orientation(image)
    decoder, maximum, offset = _portable_format(image)
    if decoder == "ppm":
        values = _portable(image, path, maximum, offset)
        return StoredPixels(values if depth > 8 else Image.fromarray(values), None)
    image.load()
    if image.mode.startswith("I"):
        values = _integers(image, depth)
        if decoder == "ppm_plain":  # Pillow has stretched the samples to 16 bits
            values = np.rint(values * (maximum / FULL_SCALE)).astype(np.uint16)
        return StoredPixels(values, _keyed(values, image.info.get("transparency")))
    if depth == 16:
        if isinstance(image, TiffImageFile) and orientation > 4:
            # OpenCV 5 cannot decode these and prints errors to stderr.
            raise InputError(f"{path} is a 16-bit colour TIFF with an EXIF rotation: save it upright.")
        return _deep_colour(image, path)
    return _eight_bit(image)


def _eight_bit(image: Image.Image) -> StoredPixels:
    if image.has_transparency_data:
        # Palettes with transparency need RGBA first, or Pillow blends in the transparent entry.
        whole = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        return StoredPixels(whole.convert("L" if whole.mode == "LA" else "RGB"), whole.getchannel("A"))
    if image.mode in ("1", "L"):
        return StoredPixels(_in_mode(image, "L"), None)
    return StoredPixels(_in_mode(image.convert("RGBA") if image.mode == "PA" else image, "RGB"), None)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Without the copy that Pillow makes of the same mode, unless further pages keep the image to its file."""
    alone = image.format in ("BMP", "DIB", "JPEG", "PNG", "PPM") and not getattr(image, "is_animated", False)
    return image if alone and image.mode == mode else image.convert(mode)


def _integers(image: Image.Image, depth: int) -> _Pixels:
    """uint16 or int32 [H, W], copied in strips."""
    values = np.empty((image.height, image.width), np.uint16 if depth == 16 else np.int32)
    for rows in strips(image.height, image.width):
        values[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return values


def _portable_format(image: Image.Image) -> tuple[str, int, int]:
    """Of a PGM or PPM file that is not loaded: Pillow's decoder, the largest sample value, and where samples begin.

    ("", 0, 0) for other files, and for those that need no such care.
    """
    tiles = getattr(image, "tile", None)
    if image.format != "PPM" or not tiles or tiles[0][0] not in ("ppm", "ppm_plain"):
        return "", 0, 0
    decoder, _, offset, (_, maximum) = tiles[0]
    return decoder, maximum, offset


def _portable(image: Image.Image, path: Path, maximum: int, offset: int) -> _Pixels:
    """The samples of a binary PGM or PPM file of another maximum than 255.

    Pillow would stretch deep grey to 16 bits, reduce deep colour to 8, and take a second a megapixel for it.

    Returns:
        [H, W] or [H, W, 3], uint8 with white 255, or uint16 as stored.
    """
    shape = (image.height, image.width, len(image.getbands()))
    samples = np.fromfile(path, ">u2" if maximum > 255 else np.uint8, math.prod(shape), offset=offset)
    values = np.minimum(samples, maximum).reshape(shape[:2] if shape[2] == 1 else shape)
    if maximum > 255:
        return np.asarray(values, np.uint16)
    return np.asarray(np.rint(values * (255 / maximum)), np.uint8)


def _keyed(values: _Pixels, colour: int | Sequence[int] | None) -> Image.Image | None:
    """Alpha of a file whose pixels of one colour are transparent."""
    if colour is None or isinstance(colour, bytes):
        return None
    alike = values == np.asarray(colour)
    return Image.fromarray(np.where(alike if values.ndim == 2 else alike.all(axis=2), 0, 255).astype(np.uint8))


def _deep_colour(image: Image.Image, path: Path) -> StoredPixels:
    """16-bit colour; Pillow, which would reduce it to 8 bits, has verified the file."""
    colour = image.info.get("transparency")
    has_alpha = "A" in image.getbands() or colour is not None
    image.close()  # its pixels would double the memory
    stored = read_deep_colour(path)
    values = stored[:, :, :3] if stored.ndim == 3 else stored
    if has_alpha and stored.ndim == 3 and stored.shape[2] == 4:
        return StoredPixels(values, Image.fromarray(to_8_bit(stored[:, :, 3], Rendering())))
    return StoredPixels(values, _keyed(values, colour))


def bit_depth_of(image: Image.Image) -> int:
    """Bits a channel of an opened file: 1, 8, 16 or 32."""
    if image.mode in ("1", "F"):
        return 1 if image.mode == "1" else 32
    if image.mode.startswith("I"):
        return 16 if image.mode.startswith("I;16") or image.format in ("PNG", "PPM") else 32
    return 16 if ";16" in _raw_mode(image) or _portable_format(image)[1] > 255 else 8


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


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """The transposition by EXIF orientation of an image that is not decoded yet; None for none."""
    # Both Pillow and OpenCV apply the orientation of TIFF files themselves.
    return None if isinstance(image, TiffImageFile) else _UPRIGHT.get(_orientation(image))


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
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
    if isinstance(fault, MemoryError):
        return "does not fit in the free memory: close other programs or scale it down."
    if path.is_file() and path.stat().st_size == 0:
        return "is empty (0 bytes): copy it again or remove it."
    if isinstance(fault, UnidentifiedImageError):
        return "is not an image, whatever its name says: remove it or save it again as PNG or JPEG."
    return "is damaged or cut short: copy it again or remove it."
