"""Runs an exported bundle on images; needs onnxruntime, numpy and pillow only.

This file is a module of automl-ad and is copied into every bundle as ``predict.py``, which runs without the package::

    pip install -r requirements.txt
    python predict.py IMAGES --output heatmaps

    from predict import load_bundle
    answer = load_bundle("the/bundle").predict("the/images")

In this order: thresholds and their guarantees, reading images, checking the files of a bundle, the ONNX graph, heatmaps
and masks, the bundle, the command line.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import io
import json
import math
import os
import re
import struct
import sys
import tempfile
import threading
import warnings
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, UnidentifiedImageError, WebPImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

try:
    from automl_ad.errors import BundleError, InputError
except ImportError:  # the copy in a bundle

    class InputError(Exception):  # type: ignore[no-redef]
        """An image, folder or option cannot be used as given."""

    class BundleError(Exception):  # type: ignore[no-redef]
        """A bundle is incomplete, altered or has another schema version."""


Array = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]
Source = Path | Pixels
"""One image: a file, or uint8, uint16 or bool [H, W] or [H, W, 3 or 4]."""
Images = str | os.PathLike[str] | Pixels | Sequence[str | os.PathLike[str] | Pixels]
DeepColourReader = Callable[[Path], Pixels]
"""Reads a 16-bit colour file as uint16 [H, W], [H, W, 3] or [H, W, 4], RGB, not turned by EXIF orientation."""

MANIFEST, MODEL, CALIBRATION = "bundle.json", "model.onnx", "calibration.json"
SCHEMA_VERSION = 3
"""Version of bundles that are written."""
OLDEST_VERSION = 2
"""Those of version 2 have no black level, ignore transparency and know nothing of the good images."""
BATCH = 8
PIXELS_HELD = 128_000_000
"""Pixels of decoded images in memory together; a single image may be larger."""
MAX_PIXELS = 178_000_000
"""Larger images are refused: they would not fit in the memory of a small machine."""
MAX_BYTES = 4 * 2**30
"""Bundles that unpack to more are refused: a crafted one must not exhaust the memory."""
MAX_JSON_BYTES = 64 * 2**20
IMAGE_SUFFIXES = frozenset(
    {".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File extensions that a folder is searched for, in lower case."""

# Pillow opens more formats, some of them by calling external programs.
_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", WebPImagePlugin.WebPImageFile.format)

_FULL_SCALE = 65535
"""White of 16-bit files, unless something else is known."""

_OVERKILL = "Overkill (false positive rate on good parts)"


@dataclass(frozen=True)
class Threshold:
    """A decision ``score > value`` and its guarantee.

    The guarantee is marginal: it holds on average over draws of the calibration images and of a new good part that is
    exchangeable with them. It does not hold after a distribution shift among normals, and it does not cover escapes
    (false negatives).

    Attributes:
        value: Higher values are called anomalous; on the raw scale of scores (of map values for a mask).
        overkill: Guaranteed false positive rate, 0 to 1: at most this share of good parts (for a mask: of the pixels of
            a good part, on average) is called anomalous.
        requested: The requested share.
        supported: Whether there are enough calibration images for the requested share; if not, ``overkill`` is the
            smallest share that they can guarantee.
        n: Number of calibration images.
        message: The guarantee in one sentence; if the request is not supported, also how many images it needs.
    """

    value: float
    overkill: float
    requested: float
    supported: bool
    n: int
    message: str


def p_values(scores: npt.ArrayLike, calibration: npt.ArrayLike) -> Floats:
    """Conformal p-values: (1 + number of calibration scores at or above the score) / (n + 1).

    Args:
        scores: [N], higher = more anomalous.
        calibration: [n], scores of normal images that took no part in fitting.

    Returns:
        float64 [N], 1/(n+1) to 1; small = more anomalous than the calibration images.

    Raises:
        ValueError: There are no calibration scores, or a score is not finite.
    """
    ascending = _sorted_calibration(calibration)
    at_or_above = len(ascending) - np.searchsorted(ascending, _finite(scores, "scores"), side="left")
    p: Floats = (1 + at_or_above) / (len(ascending) + 1)
    return p


def smallest_overkill(n: int) -> float:
    """The smallest overkill (false positive rate) that n calibration images can guarantee, 1/(n+1).

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"a guarantee needs at least one calibration image but got {n}")
    return 1 / (n + 1)


def overkill_threshold(calibration: npt.ArrayLike, overkill: float) -> Threshold:
    """The smallest threshold that guarantees at most the requested overkill (false positive rate).

    ``score > value`` holds exactly when the score's conformal p-value is at most the returned ``overkill``, ties
    included.

    Args:
        calibration: [n], scores of normal images that took no part in fitting.
        overkill: Share of good parts that may be called anomalous, above 0 and below 1.

    Returns:
        The threshold; if n is too small for the request, the one for the smallest share that n images can guarantee.

    Raises:
        ValueError: There are no calibration scores, one is not finite, or ``overkill`` is not between 0 and 1.
    """
    if not 0 < overkill < 1:
        raise ValueError(f"overkill must be between 0 and 1, such as 0.01 for 1 %, but got {overkill}")
    ascending = _sorted_calibration(calibration)
    n = len(ascending)
    supported = smallest_overkill(n) <= overkill
    kept = overkill if supported else smallest_overkill(n)
    # Counted with the same comparison as p-values: rounding kept * (n + 1) down would lose a rank at values such as
    # 0.29 * 100.
    alarms = int(np.count_nonzero(np.arange(1, n + 2) / (n + 1) <= kept))
    message = _sentence(n, overkill, kept, f"{_OVERKILL} is at most {{}}", "{} overkill")
    return Threshold(float(ascending[n - alarms]), kept, overkill, supported, n, message)


def mask_threshold(shares: npt.ArrayLike, values: npt.ArrayLike, n: int, share: float) -> Threshold:
    """The smallest map value above which at most ``share`` of a good part's pixels lie, on average over good parts.

    Conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814, theorem 1) with the share of marked pixels, at
    most 1, as the loss: the smallest value v with (n * share(v) + 1) / (n + 1) <= ``share``.

    Args:
        shares: [k], descending, 0 to 1: of the calibration images' pixels at most that share lies above the value.
        values: [k], ascending map values.
        n: Calibration images.
        share: Share of a good part's pixels that may be marked, between 0 and 1.

    Returns:
        The threshold; if the table does not reach the request, the one for the smallest share that it supports.

    Raises:
        ValueError: The table is empty or not finite, ``n`` is below 1, or ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of marked pixels must be between 0 and 1, such as 0.01 for 1 %, but got {share}")
    marked, levels = _finite(shares, "pixel shares"), _finite(values, "pixel values")
    if n < 1 or not len(marked):
        raise ValueError(f"a guarantee needs calibration images and their pixels but got {n} and {len(marked)} shares")
    risks = (n * marked + 1) / (n + 1)
    supported = bool(risks[-1] <= share)
    kept = share if supported else float(risks[-1])
    message = _sentence(n, share, kept, "At most {} of a good part's pixels are marked", "{} marked pixels")
    return Threshold(float(levels[np.argmax(risks <= kept)]), kept, share, supported, n, message)


def _finite(values: npt.ArrayLike, name: str) -> Floats:
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers, but at least one is NaN or infinite")
    return array


def _sorted_calibration(calibration: npt.ArrayLike) -> Floats:
    ascending = np.sort(_finite(calibration, "calibration scores").ravel())
    if not len(ascending):
        raise ValueError("a guarantee needs at least one calibration score but got none")
    return ascending


def _sentence(n: int, requested: float, kept: float, guarantee: str, request: str) -> str:
    share = f"{requested * 100:.3g} %"
    if kept == requested:
        return (
            f"{guarantee.format(share)} on average, if new good parts are exchangeable with the {n} calibration "
            "images; approximate, as their scores come from cross-validation and the detector was refitted to all of "
            "them."
        )
    return (
        f"{n} calibration images are too few to guarantee at most {request.format(share)}: the threshold guarantees "
        f"{kept * 100:.3g} %; {_images_needed(requested)} images are needed."
    )


def _images_needed(share: float) -> int:
    needed = max(1, math.ceil(1 / share) - 2)
    while smallest_overkill(needed) > share:
        needed += 1
    return needed


def list_sources(images: Images) -> list[Source]:
    """The single images in ``images``; folders are searched recursively and sorted.

    Raises:
        InputError: No such file or folder, no image in it, or an array of another type or shape.
    """
    return _listed(images)[0]


def _listed(images: Images) -> tuple[list[Source], list[dict[str, Any]]]:
    """The single images, and the files of a folder that are left aside, by reason."""
    if isinstance(images, str | os.PathLike):
        files, aside = _files_at(Path(images))
        return [*files], aside
    given = images if isinstance(images, Sequence) else [images]
    sources = [source for item in given for source in _sources(item)]
    if not sources:
        raise InputError("There are no images: give at least one.")
    return sources, []


def read_image(
    path: Path, white_level: int = _FULL_SCALE, *, black_level: int = 0, background: int | None = None
) -> Array:
    """Reads an image file as uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    Grey is repeated over the channels, palettes and CMYK are converted, and of a file with several pages the first is
    read. Grey files of more than 8 bits are scaled so that ``black_level`` becomes 0 and ``white_level`` 255; pixels
    outside are clipped. Transparent pixels are composed on the grey level ``background``; without one the colour stored
    under them is kept.

    Raises:
        InputError: The file is missing, empty, truncated, too large, no image, or holds floating-point values or
            16-bit colour.
    """
    how = {"black_level": black_level, "white_level": white_level, "background": background}
    with _picture(path, how) as picture:
        return _as_array(picture.image)


def prepare(image: Array, preprocessing: Mapping[str, Any]) -> Array:
    """Resizes an image to the working size.

    Uses Pillow's antialiased bilinear filter. If there is a ``via``, the filter resizes to that size, and area averages
    from there to the working size.

    Args:
        image: uint8 [H, W, 3], RGB.
        preprocessing: The manifest's section of that name.

    Returns:
        uint8 [height, width, 3].
    """
    return _resized(Image.fromarray(image), preprocessing)


def _resized(image: Image.Image, preprocessing: Mapping[str, Any]) -> Array:
    """As `prepare`, of an image ``L`` or ``RGB``: grey takes a quarter of the memory and gives the same values."""
    height, width = _first_size(preprocessing)
    resized = image.resize((width, height), Image.Resampling.BILINEAR).convert("RGB")  # small by now
    return np.asarray(resized.resize((preprocessing["width"], preprocessing["height"]), Image.Resampling.BOX))


def _first_size(preprocessing: Mapping[str, Any]) -> tuple[int, int]:
    height, width = preprocessing.get("via") or (preprocessing["height"], preprocessing["width"])
    return height, width


_LEFT_ASIDE = {
    "ending": "files with an ending that no image has",
    "hidden": "hidden files and folders",
    "link": "links to folders",
}


def _files_at(path: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    # os.path instead of pathlib, here and below: Path.is_dir and Path.exists raise where a folder may not be entered.
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: give an image file or a folder of images.")
        return [path], []
    found: list[Path] = []
    aside: dict[str, list[str]] = {reason: [] for reason in _LEFT_ASIDE}
    for here, folders, files in os.walk(path, onerror=_refuse_unlisted):
        place = Path(here)
        for name in (*folders, *files):
            # Links to folders are not followed, as they may lead in a circle.
            reason = "hidden" if name[0] == "." else "link" if name in folders and (place / name).is_symlink() else ""
            is_image = name in folders or Path(name).suffix.lower() in IMAGE_SUFFIXES
            if reason or not is_image:
                aside[reason or "ending"].append((place / name).relative_to(path).as_posix())
            elif name not in folders:
                found.append(place / name)
        folders[:] = [name for name in folders if name[0] != "." and not (place / name).is_symlink()]
    entries = [
        {"reason": reason, "count": len(names), "examples": sorted(names)[:2]}
        for reason, names in aside.items()
        if names
    ]
    if not found:
        told = f" ({_left_aside_sentence(entries)})" if entries else ""
        raise InputError(f"{path} holds no images{told}: give an image file or a folder of images.")
    return sorted(found), entries


def _left_aside_sentence(entries: Sequence[Mapping[str, Any]]) -> str:
    told = [f"{each['count']} {_LEFT_ASIDE[each['reason']]} ({', '.join(each['examples'])})" for each in entries]
    return f"left aside: {'; '.join(told)}"


def _refuse_unlisted(fault: OSError) -> None:
    raise InputError(f"{fault.filename} cannot be listed ({fault.strerror}): give this user permission to read it.")


def _sources(item: Any) -> list[Source]:
    """A file as it is; an array as one [H, W] or [H, W, 3 or 4] an image."""
    if isinstance(item, str | os.PathLike):
        return [Path(item)]
    if not isinstance(item, np.ndarray):
        raise InputError(f"An image must be a file or a NumPy array, but one is {type(item).__name__}: {_ARRAYS}.")
    fault = _array_fault(item)
    if fault:
        raise InputError(f"An image in memory is {item.dtype} {list(item.shape)}, {fault}")
    channels_last = item.ndim == 4 or (item.ndim == 3 and item.shape[-1] in _CHANNELS)
    images = item if item.ndim == 3 + channels_last else item[None]
    return [np.ascontiguousarray(image[:, :, 0] if image.shape[2:] == (1,) else image) for image in images]


_CHANNELS = (1, 3, 4)
_ARRAYS = "give grey [H, W], [H, W, 1] or [N, H, W], RGB [H, W, 3] or RGBA [H, W, 4]"


def _array_fault(array: Pixels) -> str:
    """What is wrong with an array and what to do; empty if it can be read."""
    if array.dtype not in (np.uint8, np.uint16, np.bool_):
        return "whose values have no known white: convert it to uint8 (black 0, white 255) or give a camera's uint16."
    if array.ndim not in (2, 3, 4):
        return f"which is no image: {_ARRAYS}."
    if array.ndim == 4 and array.shape[-1] not in _CHANNELS:
        first = array.shape[1] in _CHANNELS
        return (
            "whose channels come first: move them last, to [N, H, W, 3]." if first else f"which is no image: {_ARRAYS}."
        )
    if array.ndim == 3 and array.shape[-1] == 2:
        return f"whose two channels have no known meaning: {_ARRAYS}."
    if 0 in array.shape[(array.ndim == 4) :]:
        # No images in a list of them are another fault than an image without pixels.
        return "which has no pixels: give images of at least one pixel a side."
    return ""


class PixelBudget:
    """Lets threads hold decoded images while these have at most ``limit`` pixels together.

    A larger image is let through when nothing else is held. Threads are served in the order in which they asked, so
    that many small images cannot keep a large one waiting.

    Args:
        limit: Pixels.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits until so many pixels fit, and counts them until the block ends. Not to be nested."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(pixels))
                self._held += pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        return not self._held or self._held + pixels <= self.limit


class Holder(Protocol):
    """What readers ask of a `PixelBudget`."""

    @property
    def limit(self) -> int:
        """Pixels in memory together."""
        ...

    def hold(self, pixels: int) -> AbstractContextManager[None]:
        """Waits until so many pixels fit, and counts them until the block ends."""
        ...


_PIXELS: Holder = PixelBudget(PIXELS_HELD)
"""The budget of this process."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image.

    Attributes:
        image: ``L`` or ``RGB``, upright; a large JPEG file may have been decoded at a smaller size.
        size: (height, width) of the whole image in pixels.
        bit_depth: Bits a channel of the file or array.
        transparent: Whether it has transparent pixels.
        pages: Pages or frames of the file, of which the first is read.
    """

    image: Image.Image
    size: tuple[int, int]
    bit_depth: int
    transparent: bool
    pages: int = 1


_ORIENTATION_TAG = 0x0112
_TURN = Image.Transpose
_UPRIGHT = {
    **{2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE},
    **{6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90},
}
_SIDEWAYS = (_TURN.TRANSPOSE, _TURN.ROTATE_270, _TURN.TRANSVERSE, _TURN.ROTATE_90)
_DRAFT_SHARE = 2
"""A reduced JPEG keeps at least so many times the working size a side, so that it is still reduced with a filter."""
_STRIP = 1 << 22
"""Pixels converted at a time; bounds the memory on large images."""
# Blocks above 32 MiB go back to the system when they are freed; smaller ones glibc keeps, for each thread its own.
_core: Any = Image.core  # type: ignore[attr-defined]  # documented, but not among the names that Pillow types
_core.set_block_size(max(_core.get_block_size(), 1 << 26))


@contextmanager
def _picture(
    source: Source,
    how: Mapping[str, Any],
    least: tuple[int, int] | None = None,
    read_deep: DeepColourReader | None = None,
    budget: Holder = _PIXELS,
) -> Iterator[Picture]:
    """A decoded file or array, while it counts to the pixel budget.

    Args:
        source: The file or array.
        how: The manifest's section ``preprocessing``; at least the white level.
        least: (height, width) that it will be resized to: a large JPEG file may be decoded at a smaller size that is
            at least twice that. None for the full size.
        read_deep: Reads 16-bit colour files, which are refused without it.
        budget: Of the process.
    """
    with ExitStack() as held:
        if isinstance(source, Path):
            yield _decode(source, how, least, read_deep, budget, held)
        else:
            held.enter_context(budget.hold(_pixel_count(source)))
            yield _picture_of_array(source, how)


def _picture_of_array(array: Pixels, how: Mapping[str, Any]) -> Picture:
    values, depth = array, {"bool": 1, "uint8": 8}.get(array.dtype.name, 16)
    if depth == 1:
        values = array.astype(np.uint8) * np.uint8(255)
    alpha = None
    if array.ndim == 3 and array.shape[2] == 4:
        alpha = Image.fromarray(values[:, :, 3] if depth < 16 else _to_8_bit(values[:, :, 3], 0, _FULL_SCALE))
        values = values[:, :, :3]
    image = values if depth == 16 else Image.fromarray(np.ascontiguousarray(values))
    return _rendered(image, alpha, how, None, depth)


def _decode(
    path: Path,
    how: Mapping[str, Any],
    least: tuple[int, int] | None,
    read_deep: DeepColourReader | None,
    budget: Holder,
    held: ExitStack,
) -> Picture:
    with _opened(path) as image:
        turn, depth, stored_size = _turn(image), _bit_depth(image), (image.height, image.width)
        held.enter_context(budget.hold(_drafted(image, how, least, turn)))
        values, alpha = _stored(image, path, depth, read_deep)
        picture = replace(_rendered(values, alpha, how, turn, depth), pages=int(getattr(image, "n_frames", 1)))
    if not isinstance(image, JpegImageFile):  # only these may have been reduced
        return picture
    return replace(picture, size=stored_size[::-1] if turn in _SIDEWAYS else stored_size)


def _rendered(
    values: Image.Image | Pixels,
    alpha: Image.Image | None,
    how: Mapping[str, Any],
    turn: Image.Transpose | None,
    depth: int,
) -> Picture:
    """Stored pixels as 8-bit ones, composed on the background and turned upright."""
    if not isinstance(values, Image.Image):
        values = Image.fromarray(_to_8_bit(values, how.get("black_level", 0), how["white_level"]))
    background = how.get("background")
    if alpha is not None and background is not None:
        colour = background if values.mode == "L" else (background,) * 3
        values.paste(colour, None, ImageChops.invert(alpha))  # opaque pixels are unchanged to the last bit
    transparent = alpha is not None and alpha.getextrema()[0] != 255
    upright = values if turn is None else values.transpose(turn)
    return Picture(upright, upright.size[::-1], depth, transparent)


def _drafted(
    image: Image.Image, how: Mapping[str, Any], least: tuple[int, int] | None, turn: Image.Transpose | None
) -> int:
    """Lets a large JPEG file be decoded at a smaller size; returns the number of pixels that decoding will hold."""
    pixels, above = image.width * image.height, how.get("draft_above")
    if least is None or above is None or pixels <= above or not isinstance(image, JpegImageFile):
        return pixels
    height, width = least[::-1] if turn in _SIDEWAYS else least
    image.draft(image.mode, (_DRAFT_SHARE * width, _DRAFT_SHARE * height))
    # Progressive files are held at full size before they are reduced.
    return pixels if "progressive" in image.info else image.width * image.height


def _stored(
    image: Image.Image, path: Path, depth: int, read_deep: DeepColourReader | None
) -> tuple[Image.Image | Pixels, Image.Image | None]:
    """The pixels of an open file at its own depth and their alpha, ``L``, not turned upright.

    8-bit pixels are an image, ``L`` or ``RGB``; deeper ones uint16 or int32 [H, W] or [H, W, 3].
    """
    if image.mode.startswith("F"):
        raise InputError(
            f"{path} holds floating-point values, whose white level is unknown: save it as an 8-bit or 16-bit file."
        )
    decoder, maximum, offset = _portable_format(image)
    if decoder == "ppm":
        values = _portable(image, path, maximum, offset)
        return values if depth > 8 else Image.fromarray(values), None
    if depth == 16 and not image.mode.startswith("I"):
        return _deep_colour(image, path, read_deep)
    image.load()
    if image.mode.startswith("I"):
        values = _integers(image, depth)
        if decoder == "ppm_plain":  # Pillow has stretched the samples to 16 bits
            values = np.rint(values * (maximum / _FULL_SCALE)).astype(np.uint16)
        return values, _keyed(values, image.info.get("transparency"))
    return _eight_bit(image)


def _eight_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    if image.has_transparency_data:
        # A palette with transparency is converted to RGBA first: otherwise Pillow blends the transparent entry in.
        whole = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        return whole.convert("L" if whole.mode == "LA" else "RGB"), whole.getchannel("A")
    if image.mode in ("1", "L"):
        return _in_mode(image, "L"), None
    return _in_mode(image.convert("RGBA") if image.mode == "PA" else image, "RGB"), None


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Without the copy that Pillow makes of the same mode, unless further pages keep the image to its file."""
    alone = image.format in ("BMP", "DIB", "JPEG", "PNG", "PPM") and not getattr(image, "is_animated", False)
    return image if alone and image.mode == mode else image.convert(mode)


def _deep_colour(
    image: Image.Image, path: Path, read_deep: DeepColourReader | None
) -> tuple[Pixels, Image.Image | None]:
    if read_deep is None:
        raise InputError(
            f"{path} holds 16-bit colour, of which Pillow would drop the lower bits: save it as 8-bit RGB, or pass "
            "its pixels as an array."
        )
    colour, sideways = image.info.get("transparency"), image.getexif().get(_ORIENTATION_TAG, 1) > 4
    if isinstance(image, TiffImageFile) and sideways:
        raise InputError(f"{path} is a 16-bit colour TIFF with an EXIF rotation: save it upright.")
    image.load()  # OpenCV would accept a damaged file
    has_alpha = "A" in image.getbands() or colour is not None
    image.close()  # its pixels would double the memory
    stored = read_deep(path)
    values = stored[:, :, :3] if stored.ndim == 3 else stored
    if has_alpha and stored.ndim == 3 and stored.shape[2] == 4:
        return values, Image.fromarray(_to_8_bit(stored[:, :, 3], 0, _FULL_SCALE))
    return values, _keyed(values, colour)


def _integers(image: Image.Image, depth: int) -> Pixels:
    """uint16 or int32 [H, W], copied in strips."""
    values = np.empty((image.height, image.width), np.uint16 if depth == 16 else np.int32)
    for rows in _strips(image.height, image.width):
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


def _portable(image: Image.Image, path: Path, maximum: int, offset: int) -> Pixels:
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


def _keyed(values: Pixels, colour: Any) -> Image.Image | None:
    """Alpha of a file whose pixels of one colour are transparent."""
    if colour is None or isinstance(colour, bytes):
        return None
    alike = values == np.asarray(colour)
    return Image.fromarray(np.where(alike if values.ndim == 2 else alike.all(axis=2), 0, 255).astype(np.uint8))


def _to_8_bit(values: Pixels, black: int, white: int) -> Array:
    """Integers of any depth and shape as uint8: black becomes 0 and white 255, values outside are clipped."""
    out = np.empty(values.shape, np.uint8)
    scale = np.float32(255 / (white - black))
    for rows in _strips(values.shape[0], values[0].size):
        scaled = values[rows].astype(np.float32)
        scaled -= np.float32(black)
        scaled *= scale
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        out[rows] = scaled
    return out


def _as_array(image: Image.Image) -> Array:
    """An image, ``L`` or ``RGB``, as uint8 [H, W, 3]; in strips, as Pillow would make two copies of the whole."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for rows in _strips(image.height, image.width):
        part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
        out[rows] = part if part.ndim == 3 else part[:, :, None]
    return out


def _strips(height: int, width: int) -> Iterator[slice]:
    """Slices of rows with at most `_STRIP` pixels, at least one row each."""
    step = max(1, _STRIP // max(width, 1))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _bit_depth(image: Image.Image) -> int:
    """Bits a channel of a file that is not loaded: 1, 8, 16 or 32."""
    if image.mode in ("1", "F"):
        return 1 if image.mode == "1" else 32
    if image.mode.startswith("I"):
        return 16 if image.mode.startswith("I;16") or image.format in ("PNG", "PPM") else 32
    return 16 if ";16" in _raw_mode(image) or _portable_format(image)[1] > 255 else 8


def _raw_mode(image: Image.Image) -> str:
    """Layout of the channels in the file, such as ``RGB;16B``; available only before the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition by EXIF orientation of an image that is not decoded yet; None for none."""
    # Pillow turns TIFF files by itself. For a PNG without EXIF data in its header, getexif would decode all pixels to
    # look for EXIF data behind them.
    if isinstance(image, TiffImageFile) or (image.format == "PNG" and "exif" not in image.info):
        return None
    return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a file with Pillow; any exception of a decoder becomes an InputError of one sentence."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except InputError:
        raise
    except Exception as fault:  # decoders raise nearly any exception on a damaged file
        raise InputError(f"{path} {_why(path, fault)}") from fault


def _why(path: Path, fault: Exception) -> str:
    if isinstance(fault, Image.DecompressionBombError):
        return f"has more than {MAX_PIXELS // 1_000_000} megapixels: cut it into tiles or scale it down first."
    if isinstance(fault, FileNotFoundError):
        return "does not exist: check the path."
    if os.path.isdir(path):
        return "is a folder, not an image file: name a file."
    if isinstance(fault, PermissionError):
        return "may not be read: give this user permission to read it."
    if isinstance(fault, MemoryError):
        return "does not fit in the free memory: close other programs or scale it down."
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "is empty (0 bytes): copy it again or remove it."
    if isinstance(fault, UnidentifiedImageError):
        return "is not an image, whatever its name says: remove it or save it again as PNG or JPEG."
    return "is damaged or cut short: copy it again or remove it."


_NAME = re.compile(r"(samples/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_BLOCK = 1 << 20
# What zipfile lets through for damaged archives; RuntimeError for ways of packing that it does not know.
_DAMAGE = (zipfile.BadZipFile, RuntimeError, zlib.error, OSError, EOFError, ValueError, OverflowError, struct.error)
_AGAIN = "copy or export the bundle again."


def _place(path: Path, name: str) -> str:
    """How to name a file of a bundle in a message."""
    return str(path / name) if path.is_dir() else f"{name} in {path}"


class _Folder:
    """The files of a bundle that is a folder; other files beside them are ignored."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._root = Path(os.path.realpath(path))

    def where(self, name: str) -> str:
        return _place(self._path, name)

    def names(self) -> set[str]:
        return set()

    def open(self, name: str) -> IO[bytes]:
        place = Path(os.path.realpath(self._path / name))
        if not place.is_relative_to(self._root):
            raise BundleError(f"{self.where(name)} is a link that leads out of the bundle; copy the file itself.")
        if os.path.exists(place) and not os.path.isfile(place):  # reading a pipe would block
            raise BundleError(f"{self.where(name)} cannot be read (it is no file); {_AGAIN}")
        return place.open("rb")


class _Archive:
    """The files of a bundle that is one zip file, read without unpacking it."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        members = archive.infolist()
        for member in members:
            self._check(member)
        if len(self.names()) < len(members):
            raise BundleError(f"{path} holds one name twice; export the bundle again.")
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise BundleError(f"{path} would unpack to more than {MAX_BYTES >> 30} GiB; export the bundle again.")

    def where(self, name: str) -> str:
        return _place(self._path, name)

    def names(self) -> set[str]:
        return set(self._archive.namelist())

    def open(self, name: str) -> IO[bytes]:
        try:
            return self._archive.open(name)
        except KeyError as error:
            raise FileNotFoundError from error

    def _check(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise BundleError(f"{self._path} holds {name!r}, which lies outside of a bundle; export the bundle again.")
        if name.endswith(f"/{MANIFEST}"):
            raise BundleError(f"{self._path} holds a folder; zip the files of the bundle without their folder.")
        if member.flag_bits & 1:
            raise BundleError(f"{self.where(name)} is encrypted; zip the bundle without a password.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{self.where(name)} is compressed in an unusual way; export the bundle again.")


_Files = _Folder | _Archive


@contextmanager
def _open_files(path: Path) -> Iterator[_Files]:
    if os.path.isdir(path):
        yield _Folder(path)
        return
    if not os.path.exists(path):
        raise BundleError(f"Bundle {path} does not exist; give the folder or .zip file that the export wrote.")
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise BundleError(
            f"{path} is neither the folder nor a complete .zip file of a bundle; give what the export wrote."
        ) from error
    with archive:
        yield _Archive(path, archive)


def _blocks(files: _Files, name: str, most: int) -> Iterator[bytes]:
    """The content of a file in blocks, at most ``most`` bytes in all."""
    try:
        with files.open(name) as file:
            while block := file.read(_BLOCK):
                most -= len(block)
                if most < 0:
                    raise BundleError(f"{files.where(name)} is larger than a bundle allows; {_AGAIN}")
                yield block
    except FileNotFoundError as error:
        raise BundleError(f"{files.where(name)} is missing; copy the whole bundle or export it again.") from error
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None)
        fault = f"cannot be read ({reason})" if reason else "is damaged or altered"
        raise BundleError(f"{files.where(name)} {fault}; {_AGAIN}") from error


def _verified(files: _Files, name: str, digest: str, keep: bool) -> bytes:
    """The content of a file after checking its SHA-256; empty unless ``keep``."""
    found, content = hashlib.sha256(), io.BytesIO()
    for block in _blocks(files, name, MAX_BYTES):
        found.update(block)
        if keep:
            content.write(block)
    if found.hexdigest() != digest:
        raise BundleError(f"{files.where(name)} has been altered since it was written; {_AGAIN}")
    return content.getvalue()


def _read_json(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not JSON; {_AGAIN}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{where} does not hold a JSON object; {_AGAIN}")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over a manifest without the checksum itself and ``decision``, which may be edited by hand."""
    sealed = {key: value for key, value in manifest.items() if key not in ("checksum", "decision")}
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 < value < 1


def _is_size(value: Any) -> bool:
    sides = isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)
    return sides and value[0] * value[1] <= MAX_PIXELS


def _is_preprocessing(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_size([value.get("height"), value.get("width")])
        and (value.get("via") is None or _is_size(value["via"]))
        and all(type(value.get(key, 0)) is int for key in ("black_level", "white_level"))
        and 0 <= value.get("black_level", 0) < value.get("white_level", 0) < 2**32
        and _is_count(value.get("background"), 255)
        and _is_count(value.get("draft_above"), sys.maxsize)
    )


def _is_count(value: Any, most: int) -> bool:
    return value is None or (type(value) is int and 0 <= value <= most)


def _is_facts(value: Any) -> bool:
    if value is None:
        return True
    ranges, answers = ("heights", "widths", "aspects"), ("bit_depths", "colour", "transparent")
    return (
        isinstance(value, dict)
        and all(_is_range(value.get(key)) for key in ranges)
        and all(isinstance(value.get(key), list) and value[key] for key in answers)
    )


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


def _is_listing(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(_NAME.fullmatch(name) and re.fullmatch("[0-9a-f]{64}", str(digest)) for name, digest in value.items())
        and MANIFEST not in value
        and {MODEL, CALIBRATION} <= value.keys()
    )


_SECTIONS: dict[str, Callable[[Any], bool]] = {
    "checksum": lambda value: isinstance(value, str),
    "preprocessing": _is_preprocessing,
    "images": _is_facts,
    "map_range": _is_range,
    "files": _is_listing,
    "decision": lambda value: isinstance(value, dict),
}
_DECISIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "overkill": (_is_share, "a share between 0 and 1, such as 0.05"),
    "review": (lambda value: value is None or _is_share(value), "null, or a share between overkill and 1"),
    "mask": (_is_share, "a share between 0 and 1, such as 0.01"),
    "threshold": (lambda value: value is None or _is_number(value), "null, or a score"),
}


def _check_manifest(manifest: Mapping[str, Any], where: str) -> None:
    _check_version(manifest.get("schema_version"), where)
    for key, is_valid in _SECTIONS.items():
        if not is_valid(manifest.get(key)):
            raise BundleError(f"{where} is incomplete ({key} is missing or unusable); export the bundle again.")
    if manifest_checksum(manifest) != manifest["checksum"]:
        raise BundleError(f"{where} has been altered since it was written; {_AGAIN}")
    _check_decision(manifest["decision"], where)


def _check_version(version: Any, where: str) -> None:
    if type(version) is not int or version < 1:
        raise BundleError(f"{where} is incomplete (schema_version is missing or unusable); export the bundle again.")
    if version < OLDEST_VERSION:
        raise BundleError(f"{where} was written by an older version of automl-ad: export it again with this one.")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{where} is of version {version} but this program reads versions {OLDEST_VERSION} to {SCHEMA_VERSION}; "
            "update automl-ad or export the bundle again with this version."
        )


def _check_decision(decision: Mapping[str, Any], where: str) -> None:
    unknown = sorted(decision.keys() - _DECISIONS.keys())
    if unknown:
        raise BundleError(f"{where}: decision has no {unknown[0][:40]!r}; it has {', '.join(_DECISIONS)}.")
    for key, (is_valid, wanted) in _DECISIONS.items():
        if not is_valid(decision.get(key)):
            raise BundleError(f"{where}: {key} of decision is {str(decision.get(key))[:40]!r}; write {wanted}.")
    if decision.get("review") is not None and decision["review"] <= decision["overkill"]:
        raise BundleError(f"{where}: review of decision must be larger than overkill, or null.")


@dataclass(frozen=True)
class _Calibration:
    """Scores [n] of normals, and the shares [k], descending, of their pixels above map values [k], ascending."""

    scores: Floats
    shares: Floats
    values: Floats


def _read_calibration(data: bytes, where: str) -> _Calibration:
    content = _read_json(data, where)
    lists = [content.get(key) for key in ("scores", "pixel_shares", "pixel_values")]
    if not all(isinstance(found, list) and found and all(map(_is_number, found)) for found in lists):
        raise BundleError(f"{where} does not hold lists of numbers; export the bundle again.")
    scores, shares, values = (np.array(found, np.float64) for found in lists)
    falling, rising = (np.diff(shares) <= 0).all(), len(shares) == len(values) and (np.diff(values) >= 0).all()
    if not (falling and rising and shares[-1] >= 0 and shares[0] < 1):
        raise BundleError(f"{where} does not hold a sorted table of pixel values; export the bundle again.")
    return _Calibration(scores, shares, values)


# Where a model may contain tensors: the protobuf messages of ONNX and their field numbers.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def _has_external_data(model: bytes) -> bool:
    """Whether a tensor of the model is stored as external data: ONNX Runtime would open whatever file it names.

    Raises:
        ValueError: This is not a protobuf message.
    """
    pending = [("model", memoryview(model))]
    while pending:
        kind, message = pending.pop()
        for number, value in _protobuf_fields(message):
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                return True
            if number in _MESSAGES[kind] and not isinstance(value, int):
                pending.append((_MESSAGES[kind][number], value))
    return False


def _protobuf_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        # Other readers truncate longer tags and would then see another field than this one.
        if tag >= 1 << 32 or kind not in (0, 1, 2, 5):
            raise ValueError("not a field")
        value, length = 0, {0: 0, 1: 8, 5: 4}.get(kind, 0)
        if kind in (0, 2):
            value, at = _varint(message, at)
        if kind == 2:
            length = value
        if at + length > len(message):
            raise ValueError("cut short")
        yield tag >> 3, message[at : at + length] if kind == 2 else value
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("cut short")


class _Graph:
    """``model.onnx`` in an ONNX Runtime session; thread-safe."""

    def __init__(self, model: bytes, where: str, size: tuple[int, int], device: str, threads: int | None) -> None:
        self._where, self._size = where, size
        try:
            external = _has_external_data(model)
        except ValueError as error:
            raise BundleError(f"{where} is not an ONNX model; {_AGAIN}") from error
        if external:
            raise BundleError(f"{where} keeps data in other files, which a bundle never does; export it again.")
        self._session = _session(model, where, device, threads)
        self._check_contract()

    def __call__(self, pixels: Array) -> tuple[Maps, Maps]:
        """Maps float32 [N, height, width] and scores float32 [N] of uint8 [N, height, width, 3]."""
        try:
            maps, scores = self._session.run(["map", "score"], {"images": pixels})
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise BundleError(f"{self._where} fails on an image ({_one_line(error)}); {_AGAIN}") from error
        if maps.shape != (len(pixels), *self._size) or scores.shape != (len(pixels),):
            raise BundleError(f"{self._where} gives maps or scores of another shape than it declares; {_AGAIN}")
        return maps, scores

    def _check_contract(self) -> None:
        height, width = self._size
        inputs = {item.name: (item.type, tuple(item.shape[1:])) for item in self._session.get_inputs()}
        outputs = {item.name: item.type for item in self._session.get_outputs()}
        many = all(not isinstance(item.shape[0], int) for item in self._session.get_inputs() if item.shape)
        known = {"images": ("tensor(uint8)", (height, width, 3))}, {"map": "tensor(float)", "score": "tensor(float)"}
        if (inputs, outputs) != known or not many:
            raise BundleError(
                f"{self._where} does not take uint8 images [N, {height}, {width}, 3] and give a float map and score; "
                "export the bundle again."
            )


def _session(model: bytes, where: str, device: str, threads: int | None) -> Any:
    if threads is not None and threads < 1:
        raise InputError(f"--threads {threads} is too few: give at least 1.")
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(f"onnxruntime cannot be loaded ({_one_line(error)}): pip install onnxruntime.") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions and need not be logged to stderr as well
    # ONNX Runtime also reads its own ORT format, which the check for external data does not cover.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no common base
        version = onnxruntime.__version__
        raise BundleError(f"{where} cannot be used by onnxruntime {version} ({_one_line(error)}); {_AGAIN}") from error
    if len(providers) > 1 and device != "auto" and "CUDAExecutionProvider" not in session.get_providers():
        raise InputError("device 'cuda' cannot be reached: install the CUDA and cuDNN that onnxruntime-gpu asks for.")
    return session


def _providers(device: str, available: Sequence[str]) -> list[Any]:
    kind, _, number = str(device).partition(":")
    if kind == "cpu" or (device == "auto" and "CUDAExecutionProvider" not in available):
        return ["CPUExecutionProvider"]
    if device != "auto" and (kind != "cuda" or not (number or "0").isdecimal()):
        raise InputError(f"device {str(device)!r} is not known: give 'cpu' or 'cuda', also 'cuda:1', or 'auto'.")
    if "CUDAExecutionProvider" not in available:
        raise InputError(
            "device 'cuda' needs ONNX Runtime for GPUs: pip uninstall onnxruntime, then pip install onnxruntime-gpu."
        )
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# Colour map from heat 0 to 1; the lightness rises monotonically, so that it can be read without telling the hues apart.
_HEATS = (0, 0.35, 0.6, 0.8, 1)
_STOPS = ((30, 40, 150), (130, 40, 170), (215, 60, 120), (250, 140, 40), (255, 235, 40))
_RAMP = np.stack([np.interp(np.linspace(0, 1, 256), _HEATS, channel) for channel in zip(*_STOPS, strict=True)], axis=1)
_OPACITY = 0.7
_TILE_PIXELS = 1 << 20
"""Pixels blended at a time; bounds the memory on large images."""


def heat(anomaly_map: Maps, map_range: Sequence[float]) -> Array:
    """Map values on a scale of 0 to 255, which is the same for all images of a bundle.

    Args:
        anomaly_map: [h, w], raw.
        map_range: Map values of normal pixels, (usual, highest), which become 0 and 128; ``2 * highest - usual``
            becomes 255. Values outside are clipped.
    """
    usual, highest = map_range
    span = max(2 * (highest - usual), float(np.finfo(np.float32).tiny))
    scaled = (anomaly_map.astype(np.float64) - usual) / span
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), np.uint8)


def overlay(image: Array, level: Array) -> Array:
    """Blends a heatmap over an image; the opacity rises with the heat, and at heat 0 the image is unchanged.

    Args:
        image: uint8 [H, W, 3], RGB.
        level: uint8 [h, w], from `heat`; enlarged to the size of the image.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    height, width = image.shape[:2]
    large = np.asarray(Image.fromarray(level).resize((width, height), Image.Resampling.BILINEAR))
    blended = np.empty_like(image)
    ramp, step = _RAMP.astype(np.float32), max(1, _TILE_PIXELS // width)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        opacity = large[rows, :, None].astype(np.float32) * np.float32(_OPACITY / 255)
        blended[rows] = np.rint(image[rows] + opacity * (ramp[large[rows]] - image[rows]))
    return blended


class OutputFolder:
    """Writes heatmaps and masks under unique names, in the same sub-folders as the input images."""

    def __init__(self, folder: Path, images: Images, sources: Sequence[Source]) -> None:
        """Creates the folder and tries to write in it.

        Args:
            folder: Where the heatmaps and masks are written.
            images: The input as given by the user.
            sources: The single images in it.

        Raises:
            InputError: The folder lies inside the folder of input images, or cannot be created or written.
        """
        self.folder = folder
        paths = [_absolute(source) for source in sources if isinstance(source, Path)]
        # Neither an input file nor another heatmap may be overwritten.
        self._taken = {str(path).lower() for path in paths}
        self._root = _common_folder(paths)
        if isinstance(images, str | os.PathLike) and os.path.isdir(images):
            self._root = _absolute(Path(images))
            self._check_outside(Path(images))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, source: Source, kind: str, pixels: Array) -> Path:
        """Writes uint8 [H, W] or [H, W, 3] as PNG under the name of ``source`` and returns its path.

        Raises:
            InputError: It cannot be written.
        """
        path = self._free_path(source, kind)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, format="PNG", compress_level=1)
        except OSError as error:
            raise self._unwritable(error) from error
        return path

    def _check_outside(self, images: Path) -> None:
        if Path(os.path.realpath(self.folder)).is_relative_to(os.path.realpath(images)):
            raise InputError(
                f"--output {self.folder} lies inside {images}, where the heatmaps would be read as input images next "
                "time; choose a folder outside of it."
            )

    def _free_path(self, source: Source, kind: str) -> Path:
        wanted = self._wanted(source, kind)
        path, number = wanted, 1
        while str(_absolute(path)).lower() in self._taken:
            number += 1
            path = wanted.with_name(f"{wanted.stem}_{number}.png")
        self._taken.add(str(_absolute(path)).lower())
        return path

    def _wanted(self, source: Source, kind: str) -> Path:
        if not isinstance(source, Path):
            return self.folder / f"image_{kind}.png"
        inside = _absolute(source).relative_to(self._root) if self._root else Path(source.name)
        return self.folder / inside.with_name(f"{inside.stem}_{kind}.png")

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"--output {self.folder} cannot be written ({error.strerror or error}); choose a writable folder with "
            "enough room."
        )


def _absolute(path: Path) -> Path:
    # Links are not resolved: a heatmap is named after the link that the user gave.
    return Path(os.path.abspath(path))


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """The common parent folder of all files; None if there is none, for example with several drives."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return None


_ASPECT_TOLERANCE = 1.1
"""Ratio of aspect ratios up to which images are alike: they are stretched by less than the eye would notice."""
_FAR_BELOW = 0.5
"""Share of the smallest good image's side below which an image is far smaller."""


def unlike(picture: Picture, colour: bool, facts: Mapping[str, Any] | None, white_level: int) -> tuple[str, ...]:
    """In what an image is of another kind than the good images of a bundle, in sentences.

    Args:
        picture: The image.
        colour: Whether it has colours: three equal channels are grey.
        facts: The manifest's section ``images``; None, where nothing is known, gives no sentence.
        white_level: Of the bundle; 255 makes deep files count as 8-bit ones, since they hold nothing more.
    """
    if facts is None:
        return ()
    depth = 8 if picture.bit_depth > 8 and white_level <= 255 else picture.bit_depth
    return (
        *_unlike_size(picture.size, facts),
        *_unlike_depth(depth, facts["bit_depths"]),
        *_unlike_answer(colour, facts["colour"], ("grey", "in colour"), "take it with their camera settings"),
        *_unlike_answer(
            picture.transparent,
            facts["transparent"],
            ("without transparent pixels", "partly transparent"),
            "cut it out alike",
        ),
    )


def _unlike_size(size: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[str]:
    (height, width), aspect = size, size[1] / size[0]
    low, high = facts["aspects"]
    if not low / _ASPECT_TOLERANCE <= aspect <= high * _ASPECT_TOLERANCE:
        known = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
        yield (
            f"The aspect ratio of {width} x {height} pixels is {aspect:.2f}, that of the good images {known}: the "
            "image is stretched, so crop it as they were."
        )
    least = facts["heights"][0], facts["widths"][0]
    if height < _FAR_BELOW * least[0] or width < _FAR_BELOW * least[1]:
        yield (
            f"{width} x {height} pixels are far below the good images' {least[1]:g} x {least[0]:g}: take the image at "
            "their resolution."
        )


def _unlike_depth(depth: int, known: Sequence[int]) -> Iterator[str]:
    if depth not in known:
        yield f"The image has {depth} bits a channel, the good images {_either(known)}: save it as they were."


def _unlike_answer(found: bool, known: Sequence[bool], names: tuple[str, str], remedy: str) -> Iterator[str]:
    if found not in known:
        yield f"The image is {names[found]}, the good images were {names[not found]}: {remedy}."


def _either(values: Sequence[Any]) -> str:
    return " or ".join(map(str, values))


@dataclass(frozen=True, eq=False)
class Prediction:
    """Raw output of a bundle for one image.

    Attributes:
        source: The file or array.
        image: uint8 [H, W, 3] as read, if images were requested; else None.
        anomaly_map: float32 [height, width], raw, or None when there is an error.
        score: Raw score, higher = more anomalous; NaN when there is an error.
        error: Why there is no score.
        warnings: In what it is unlike the good images that the bundle learned from, in sentences.
    """

    source: Source
    image: Array | None
    anomaly_map: Maps | None
    score: float
    error: str | None
    warnings: tuple[str, ...] = ()


_NOT_FINITE = "the detector's scores are not finite numbers: check the image and the bundle."
_NOTHING = ("score", "p_value", "anomalous", "decision", "marked", "heatmap", "mask")


@dataclass(frozen=True, eq=False)
class _Loaded:
    """One image as read.

    Attributes:
        image: uint8 [H, W, 3], if it is kept.
        pixels: uint8 [height, width, 3] at the working size; None when there is an error.
        error: What prevented reading, or why the image was refused.
        warnings: In what it is unlike the good images.
    """

    image: Array | None = None
    pixels: Array | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Thresholds:
    reject: Threshold
    review: Threshold | None
    mask: Threshold


@dataclass(frozen=True, eq=False)
class Bundle:
    """A detector with its calibration and preprocessing, made by `load_bundle`; thread-safe.

    Attributes:
        path: Where it was loaded from.
        manifest: Content of ``bundle.json``.
        calibration: float64 [n], scores of normals by detectors that did not see them.
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    calibration: Floats = field(repr=False)
    _table: _Calibration = field(repr=False)
    _graph: _Graph = field(repr=False)
    _read_deep: DeepColourReader | None = field(default=None, repr=False)
    _budget: Holder = field(default=_PIXELS, repr=False)
    _readers: int = field(default=4, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """The working size, (height, width) in pixels."""
        return self.manifest["preprocessing"]["height"], self.manifest["preprocessing"]["width"]

    def threshold(self, overkill: float | None = None, threshold: float | None = None) -> Threshold:
        """The score above which a part is rejected: by default that of the manifest's ``decision``.

        Args:
            overkill: At most this share of good parts is rejected.
            threshold: A raw score; its guarantee is computed from the calibration scores.

        Raises:
            InputError: Both are given, one is out of range, or the calibration images are too few for the share.
        """
        if overkill is not None and threshold is not None:
            raise InputError("--overkill and --threshold exclude each other; give one of them.")
        if overkill is not None:
            return _supported("--overkill", overkill_threshold(self.calibration, _share("--overkill", overkill)))
        value = self.manifest["decision"].get("threshold") if threshold is None else threshold
        if value is None:
            return overkill_threshold(self.calibration, self.manifest["decision"]["overkill"])
        if not math.isfinite(value):
            raise InputError(f"--threshold {value} is not a number; give a score.")
        return self._raw_threshold(float(value))

    def review_threshold(
        self, review: float | None = None, overkill: float | None = None, threshold: float | None = None
    ) -> Threshold | None:
        """The score above which a part that is not rejected goes to review.

        Args:
            review: At most this share of good parts goes to review or is rejected; the manifest's when None.
            overkill: As for `threshold`.
            threshold: As for `threshold`.

        Returns:
            None without a review, or where the manifest's own leaves nothing between itself and rejection.

        Raises:
            InputError: ``review`` is out of range or not larger than the share of parts that are rejected.
        """
        in_force = self.threshold(overkill, threshold).overkill
        share = self.manifest["decision"].get("review") if review is None else _share("--review", review)
        if share is None or (review is None and share <= in_force):
            return None
        if share <= in_force:
            raise InputError(
                f"--review {share:g} leaves nothing to review: give more than {_round_up(in_force):g}, the share that "
                "may be rejected."
            )
        return overkill_threshold(self.calibration, share)

    def mask_threshold(self, share: float | None = None) -> Threshold:
        """The map value above which pixels are marked.

        Args:
            share: At most this share of a good part's pixels is marked, on average; the manifest's when None.

        Raises:
            InputError: The share is out of range, or smaller than the calibration images can support.
        """
        wanted = self.manifest["decision"]["mask"] if share is None else _share("--mask", share)
        found = mask_threshold(self._table.shares, self._table.values, len(self.calibration), wanted)
        return found if share is None else _supported("--mask", found)

    def maps(self, images: Images) -> Maps:
        """Anomaly maps at the working size, float32 [N, height, width], raw, higher = more anomalous.

        Args:
            images: As for `predict`.

        Raises:
            InputError: A file cannot be read, or there are no images.
        """
        found = []
        for prediction in self.raw_predictions(list_sources(images)):
            if prediction.anomaly_map is None:
                raise InputError(str(prediction.error))
            found.append(prediction.anomaly_map)
        return np.stack(found)

    def predict(
        self,
        images: Images,
        output: str | os.PathLike[str] | None = None,
        *,
        overkill: float | None = None,
        review: float | None = None,
        threshold: float | None = None,
        mask: float | None = None,
        strict: bool = False,
    ) -> dict[str, Any]:
        """Scores images and decides which are anomalous.

        Args:
            images: A file, a folder (searched recursively), a list of files or arrays, or one array. Arrays are uint8,
                uint16 or bool, and read as files of that kind would be: grey [H, W], [H, W, 1], [N, H, W] or
                [N, H, W, 1], RGB [H, W, 3] or [N, H, W, 3], RGBA [H, W, 4] or [N, H, W, 4]. Three dimensions of which
                the last is 1, 3 or 4 are one image.
            output: Folder for one heatmap and one mask an image, as PNG at the image's own size; None for neither.
            overkill: Share of good parts that may be rejected (false positive rate), 0 to 1; the manifest's when None.
            review: Share of good parts that may be reviewed or rejected; the manifest's when None.
            threshold: Raw score above which parts are rejected, in place of ``overkill``.
            mask: Share of a good part's pixels that may be marked; the manifest's when None.
            strict: Whether images unlike the good ones that the bundle learned from are refused instead of judged.

        Returns:
            The ``predict`` answer: ``bundle``, ``images`` (how many), ``threshold`` (of the score), ``overkill``
            (guaranteed false positive rate), ``promise`` (the guarantee as a sentence), ``review`` (threshold of the
            score, or None), ``mask_threshold`` (of map values), ``left_aside`` (files of a folder that were not read,
            by reason) and ``results`` in the order of the images, each with ``path`` (None for arrays), ``score``,
            ``p_value``, ``anomalous`` (that is, rejected), ``decision`` (``pass``, ``review`` or ``reject``),
            ``marked`` (share of pixels above the mask's threshold), ``heatmap`` and ``mask`` (paths; white = marked),
            ``error`` and ``warnings`` (sentences: in what it is unlike the good images). An image that cannot be read
            or is refused has ``error``, and None for the rest.

        Raises:
            InputError: No images, a share that cannot be guaranteed, an ``output`` that cannot be written, or
                ``strict`` with a bundle that does not know its good images.
        """
        shares = {"overkill": overkill, "review": review, "threshold": threshold, "mask": mask}
        head, results = self.stream(images, output, **shares, strict=strict)
        return {**head, "results": list(results)}

    def stream(
        self,
        images: Images,
        output: str | os.PathLike[str] | None = None,
        *,
        overkill: float | None = None,
        review: float | None = None,
        threshold: float | None = None,
        mask: float | None = None,
        strict: bool = False,
    ) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
        """The answer of `predict` without its results, and an iterator of the results.

        Arguments and errors as for `predict`; errors are raised before the first image is read.
        """
        reject, zone = self.threshold(overkill, threshold), self.review_threshold(review, overkill, threshold)
        thresholds = _Thresholds(reject, zone, self.mask_threshold(mask))
        sources, aside = _listed(images)
        folder = None if output is None else OutputFolder(Path(output), images, sources)
        head = {
            "bundle": str(self.path),
            "images": len(sources),
            "threshold": reject.value,
            "overkill": reject.overkill,
            "promise": reject.message,
            "review": zone.value if zone else None,
            "mask_threshold": thresholds.mask.value,
            "left_aside": aside,
        }
        predictions = self.raw_predictions(sources, keep_images=folder is not None, strict=strict)
        return head, (self._result(prediction, thresholds, folder) for prediction in predictions)

    def raw_predictions(
        self, sources: Sequence[Source], keep_images: bool = False, strict: bool = False
    ) -> Iterator[Prediction]:
        """Maps and scores in the order of ``sources``, read and computed in batches.

        Args:
            sources: Files and arrays; see `list_sources`.
            keep_images: Whether to return the images as read too, which may be large.
            strict: Whether images unlike the good ones are refused.

        Raises:
            InputError: ``strict`` with a bundle that does not know its good images.
        """
        if strict and self.manifest.get("images") is None:
            raise InputError(
                f"--strict needs a bundle that knows its good images, as {self.path} does not: export it again."
            )
        return self._predictions(sources, keep_images, strict)

    def _predictions(self, sources: Sequence[Source], keep: bool, strict: bool) -> Iterator[Prediction]:
        load = partial(
            _load, manifest=self.manifest, read_deep=self._read_deep, budget=self._budget, keep=keep, strict=strict
        )
        with ThreadPoolExecutor(min(BATCH, self._readers)) as pool:
            for batch in _batches(sources, self._budget.limit if keep else None):
                yield from self._predict_batch(batch, list(pool.map(load, batch)))

    def _predict_batch(self, sources: Sequence[Source], loaded: Sequence[_Loaded]) -> Iterator[Prediction]:
        readable = [item.pixels for item in loaded if item.pixels is not None]
        predicted = iter(zip(*self._graph(np.stack(readable)), strict=True) if readable else ())
        for source, item in zip(sources, loaded, strict=True):
            if item.pixels is None:
                yield Prediction(source, None, None, math.nan, item.error, item.warnings)
                continue
            anomaly_map, score = next(predicted)
            if np.isfinite(anomaly_map).all() and np.isfinite(score):
                yield Prediction(source, item.image, anomaly_map, float(score), None, item.warnings)
            else:
                yield Prediction(source, item.image, None, math.nan, _NOT_FINITE, item.warnings)

    def _raw_threshold(self, value: float) -> Threshold:
        """Of a score that was given: nothing is promised, as whoever gave it may have seen the calibration scores."""
        n, above = len(self.calibration), int(np.count_nonzero(self.calibration > value))
        share = (above + 1) / (n + 1)
        message = (
            f"{_OVERKILL} above a score of {value:g} is estimated at {share * 100:.3g} %: {above} of {n} calibration "
            "images are above it. A threshold that is given as a score has no guarantee."
        )
        return Threshold(value, share, share, True, n, message)

    def _result(self, prediction: Prediction, thresholds: _Thresholds, folder: OutputFolder | None) -> dict[str, Any]:
        source, anomaly_map = prediction.source, prediction.anomaly_map
        answer: dict[str, Any] = {"path": str(source) if isinstance(source, Path) else None, **dict.fromkeys(_NOTHING)}
        warned = list(prediction.warnings)
        if anomaly_map is None:
            return {**answer, "error": prediction.error, "warnings": warned}
        marks = anomaly_map > thresholds.mask.value
        decision = "review" if thresholds.review and prediction.score > thresholds.review.value else "pass"
        decision = "reject" if prediction.score > thresholds.reject.value else decision
        answer |= {
            "score": prediction.score,
            "p_value": float(p_values([prediction.score], self.calibration)[0]),
            "anomalous": decision == "reject",
            "decision": decision,
            "marked": float(marks.mean()),
        }
        if folder and prediction.image is not None:
            level = heat(anomaly_map, self.manifest["map_range"])
            answer["heatmap"] = str(folder.write(source, "heatmap", overlay(prediction.image, level)))
            answer["mask"] = str(folder.write(source, "mask", _enlarged(marks, prediction.image)))
        return {**answer, "error": None, "warnings": warned}


def _load(
    source: Source,
    manifest: Mapping[str, Any],
    read_deep: DeepColourReader | None,
    budget: Holder,
    keep: bool,
    strict: bool,
) -> _Loaded:
    how = manifest["preprocessing"]
    decoded = partial(_picture, source, how, read_deep=read_deep, budget=budget)
    try:
        with decoded(_first_size(how)) as picture:
            pixels = _resized(picture.image, how)
            whole = picture.image.size == picture.size[::-1]
            image = _as_read(source, picture) if keep and whole else None
        warned = unlike(picture, _is_coloured(pixels), manifest.get("images"), how["white_level"])
        if strict and warned:
            return _Loaded(error=f"{_named(source)} is refused (--strict): {' '.join(warned)}", warnings=warned)
        if picture.pages > 1:
            warned += (f"The file has {picture.pages} pages, of which the first is judged: save each as a file.",)
        if keep and not whole:  # scored at the reduced size, with or without a heatmap
            with decoded() as picture:
                image = _as_read(source, picture)
        return _Loaded(image, pixels, None, warned)
    except InputError as fault:
        return _Loaded(error=str(fault))
    except MemoryError:
        return _Loaded(error=f"{_named(source)} {_why(Path(), MemoryError())}")


def _batches(sources: Sequence[Source], most: int | None) -> Iterator[Sequence[Source]]:
    """The sources in batches, of at most so many pixels together unless a single one has more; None for any number."""
    batch: list[Source] = []
    pixels = 0
    for source in sources:
        size = 0 if most is None else _pixel_count(source)
        if len(batch) == BATCH or (most is not None and batch and pixels + size > most):
            yield batch
            batch, pixels = [], 0
        batch.append(source)
        pixels += size
    if batch:
        yield batch


def _pixel_count(source: Source) -> int:
    """Pixels of a file or array; 0 for a file that cannot be read."""
    if not isinstance(source, Path):
        return math.prod(source.shape[:2])
    try:
        with _opened(source) as image:
            return image.width * image.height
    except InputError:
        return 0


def _as_read(source: Source, picture: Picture) -> Array:
    """uint8 [H, W, 3]; an array of that kind itself, which is not copied."""
    if not isinstance(source, Path) and source.dtype == np.uint8 and source.shape[2:] == (3,):
        return source
    return _as_array(picture.image)


def _is_coloured(pixels: Array) -> bool:
    return bool((pixels[:, :, 1:] != pixels[:, :, :1]).any())


def _named(source: Source) -> str:
    return str(source) if isinstance(source, Path) else f"The array {list(source.shape)}"


def _usable_cores() -> int:
    """CPU cores that this process may use; a container or a scheduler may allow fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _enlarged(marks: npt.NDArray[np.bool_], image: Array) -> Array:
    """A mask as 255 on 0 at the size of the image, by nearest neighbour."""
    white = Image.fromarray(marks.astype(np.uint8) * np.uint8(255))
    return np.asarray(white.resize(image.shape[1::-1], Image.Resampling.NEAREST))


def _share(option: str, value: float) -> float:
    if not 0 < value < 1:
        raise InputError(f"{option} {value:g} is not between 0 and 1; give a share such as 0.01 for 1 %.")
    return value


def _supported(option: str, found: Threshold) -> Threshold:
    if not found.supported:
        raise InputError(
            f"{option} {found.requested:g} is less than {found.n} calibration images can guarantee; give at least "
            f"{_round_up(found.overkill):g} or search again with more images."
        )
    return found


def _round_up(share: float) -> float:
    """To six decimals and never down, so that the number can be given as an option again."""
    nearest = round(share, 6)
    return nearest if nearest >= share else round(nearest + 1e-6, 6)


def load_bundle(
    path: str | os.PathLike[str],
    device: str = "cpu",
    threads: int | None = None,
    read_deep: DeepColourReader | None = None,
    budget: Holder = _PIXELS,
) -> Bundle:
    """Loads a bundle from its folder or zip file; verifies its checksums and executes no code from it.

    Args:
        path: Folder or zip file of the bundle.
        device: Where the graph runs: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which takes a GPU if there is one.
        threads: Threads of ONNX Runtime, and the most that read files; one per core when None.
        read_deep: Reads 16-bit colour files, which are refused without it; automl-ad has such a reader.
        budget: Bounds the pixels in memory; by default one for all bundles of the process.

    Raises:
        BundleError: A file is missing or altered, or the bundle has another schema version.
        InputError: The device is not available, or ``threads`` is below 1.
    """
    path = Path(path)
    manifest, contents = read_bundle(path, (MODEL, CALIBRATION))
    table = _read_calibration(contents[CALIBRATION], _place(path, CALIBRATION))
    size = manifest["preprocessing"]["height"], manifest["preprocessing"]["width"]
    graph = _Graph(contents[MODEL], _place(path, MODEL), size, device, threads)
    return Bundle(path, manifest, table.scores, table, graph, read_deep, budget, threads or _usable_cores())


def read_bundle(path: Path, wanted: Collection[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Verifies every file of a bundle and returns the manifest and the requested files.

    Args:
        path: Its folder or zip file.
        wanted: Names of the requested files.

    Returns:
        The manifest, and the content of each requested file by name.

    Raises:
        BundleError: A file is missing or altered, or the bundle has another schema version.
    """
    with _open_files(path) as files:
        manifest = _manifest_in(files)
        listed = manifest["files"]
        strangers = files.names() - {MANIFEST, "samples/", *listed}
        if strangers:
            raise BundleError(f"{files.where(min(strangers))} is not part of the bundle; export the bundle again.")
        contents = {name: _verified(files, name, digest, name in wanted) for name, digest in listed.items()}
    return manifest, {name: contents[name] for name in wanted if name in contents}


def read_manifest(path: Path) -> dict[str, Any]:
    """The verified manifest of a bundle; its other files are not read.

    Raises:
        BundleError: It is missing or altered, or the bundle has another schema version.
    """
    with _open_files(path) as files:
        return _manifest_in(files)


def _manifest_in(files: _Files) -> dict[str, Any]:
    where = files.where(MANIFEST)
    manifest = _read_json(b"".join(_blocks(files, MANIFEST, MAX_JSON_BYTES)), where)
    _check_manifest(manifest, where)
    return manifest


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of ``predict.py``.

    Args:
        arguments: Those of the process when None.

    Returns:
        0; 2, with one sentence on stderr, if the input cannot be used or every image failed; or 130 if it was
        interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may hold characters that a console cannot show
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata, which do not help users
    try:
        _run(_parser().parse_args(arguments))
    except (InputError, BundleError) as fault:
        print(fault, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: the images judged so far are shown; the same command starts anew.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has what it wanted
        with suppress(OSError, ValueError):  # a stream that is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what Python flushes at exit
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="predict.py", description="Scores images with an exported bundle.")
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="an image, several, or a folder of images")
    here = Path(__file__).resolve().parent
    parser.add_argument(
        "--bundle", type=Path, default=here, help="folder or .zip file (default: the folder of this file)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="writes a heatmap and a mask of each image there")
    shares = {
        "overkill": "share of good parts that may be rejected (false positive rate), such as 0.01",
        "review": "share of good parts that may be reviewed or rejected",
        "threshold": "score above which a part is rejected, in place of --overkill",
        "mask": "share of a good part's pixels that may be marked",
    }
    for name, purpose in shares.items():
        parser.add_argument(f"--{name}", type=float, metavar="X", help=purpose)
    parser.add_argument("--threads", type=int, metavar="N", help="threads of ONNX Runtime (default: one per core)")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuses images of another kind than the good ones instead of judging them",
    )
    parser.add_argument(
        "--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda, cuda:N, or auto: a GPU if there is one"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", "--jsonl", action="store_true", help="prints one JSON object per image and line")
    form.add_argument("--csv", action="store_true", help="prints comma-separated values, one row per image")
    return parser


def _run(given: argparse.Namespace) -> None:
    bundle = load_bundle(given.bundle, given.device, given.threads)
    images = given.images[0] if len(given.images) == 1 else given.images
    options = {name: getattr(given, name) for name in ("overkill", "review", "threshold", "mask")}
    head, results = bundle.stream(images, given.output, **options, strict=given.strict)
    show = _show_json if given.json else CsvRows(sys.stdout) if given.csv else _show_line
    succeeded = 0
    for result in results:
        show(result)
        succeeded += result["error"] is None
    if head["left_aside"]:
        print(_left_aside_sentence(head["left_aside"]), file=sys.stderr)
    if not succeeded:
        raise InputError(f"No image in {', '.join(given.images)[:200]} could be read and scored: see the errors above.")


class CsvRows:
    """Writes results as comma-separated values, one row each, as they come; the first names the columns.

    Args:
        stream: Where to.
        columns: The columns; the keys of the first result when None.
    """

    def __init__(self, stream: IO[str], columns: Sequence[str] | None = None) -> None:
        self._stream, self._columns = stream, columns
        self._writer = csv.writer(stream, lineterminator="\n")
        if columns is not None:
            self._write(columns)

    def __call__(self, result: Mapping[str, Any]) -> None:
        """Writes one row; a column that ``result`` lacks stays empty."""
        if self._columns is None:
            self._columns = list(result)
            self._write(self._columns)
        self._write([csv_cell(result.get(column)) for column in self._columns])

    def _write(self, cells: Sequence[Any]) -> None:
        self._writer.writerow(cells)
        self._stream.flush()


def csv_cell(value: Any) -> Any:
    """A value as a cell of a table: lists and mappings as JSON, and text that is no formula to any spreadsheet.

    Example:
        >>> csv_cell("=1+1"), csv_cell(-1), csv_cell(["a.png"])
        ("'=1+1", -1, '["a.png"]')
    """
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _show_json(result: Mapping[str, Any]) -> None:
    print(json.dumps(result, allow_nan=False), flush=True)


def _show_line(result: Mapping[str, Any]) -> None:
    print(_line(result), flush=True)


def _line(result: Mapping[str, Any]) -> str:
    if result["error"] is not None:
        return f"error   {located_error(result['path'], result['error'])}"
    line = (
        f"{result['decision']:<6}  score {result['score']:.5g}  p {result['p_value']:.4f}  "
        f"marked {result['marked'] * 100:.2f} %  {result['path']}"
    )
    return "\n".join([line, *(f"        warning: {sentence}" for sentence in result["warnings"])])


def located_error(path: str | None, error: str) -> str:
    """An error of an image as a sentence that names its file."""
    return error if path is None or path in error else f"{path}: {error}"


if __name__ == "__main__":
    sys.exit(main())
