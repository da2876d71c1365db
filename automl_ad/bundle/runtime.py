"""Judges pictures with an exported bundle: all it takes is onnxruntime, numpy and pillow.

This file is a module of automl-ad and, as ``predict.py``, a part of every bundle, where it runs without the package::

    pip install -r requirements.txt
    python predict.py PICTURES --output heatmaps

    from predict import load_bundle
    answer = load_bundle("the/bundle").predict("the/pictures")

In this order: what thresholds promise, how pictures are read, how the files of a bundle are checked, the graph, what is
painted, the bundle itself, the command line.
"""

from __future__ import annotations

import argparse
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
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, WebPImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

try:
    from automl_ad.errors import BundleError, InputError
except ImportError:  # the copy in a bundle

    class InputError(Exception):  # type: ignore[no-redef]
        """An image, folder or option cannot be used as given."""

    class BundleError(Exception):  # type: ignore[no-redef]
        """A bundle is incomplete, altered or of another version."""


Array = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]
Source = Path | Array
"""One image: a file, or uint8 [H, W, 3]."""
Reader = Callable[[Path, int], Array]
Pictures = str | os.PathLike[str] | Array | Sequence[str | os.PathLike[str] | Array]

MANIFEST, MODEL, CALIBRATION = "bundle.json", "model.onnx", "calibration.json"
SCHEMA_VERSION = 2
BATCH = 8
MAX_PIXELS = 178_000_000
"""Larger pictures are refused: they would not fit in the memory of a small machine."""
MAX_BYTES = 4 * 2**30
"""No bundle is larger: a crafted one must not fill the memory."""
MAX_JSON_BYTES = 64 * 2**20
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Endings of the files that a folder is searched for, in lower case."""

# Pillow would take more, among them formats that it hands to other programs.
_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", WebPImagePlugin.WebPImageFile.format)
# Readers run in threads, where warnings.catch_warnings would race; Pillow's remarks on odd metadata help no user.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Threshold:
    """A decision ``score > value`` and what it promises.

    The promise is marginal: over repeated choices of calibration images and of a new good part that is exchangeable
    with them. It says nothing about parts from a line that has changed since, and nothing about escapes.

    Attributes:
        value: What lies above it is called anomalous, on the raw scale of scores (of map values for a mask).
        overkill: The promise that is kept: at most this share of good parts (for a mask: of the pixels of a good part,
            on average) is called anomalous, 0 to 1.
        requested: The share that was asked for.
        supported: Whether the calibration images are many enough for the share asked for; if not, ``overkill`` is the
            smallest that they can support.
        n: Calibration images.
        message: One sentence for the user; says what would be needed when the request is not supported.
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
        float64 [N], 1/(n+1) to 1; small = unlike the calibration images.

    Raises:
        ValueError: There are no calibration scores, or a score is not finite.
    """
    ascending = _sorted_calibration(calibration)
    at_or_above = len(ascending) - np.searchsorted(ascending, _finite(scores, "scores"), side="left")
    p: Floats = (1 + at_or_above) / (len(ascending) + 1)
    return p


def smallest_overkill(n: int) -> float:
    """The smallest share of overkill that n calibration images can promise, 1/(n+1).

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"a promise needs at least one calibration image but got {n}")
    return 1 / (n + 1)


def overkill_threshold(calibration: npt.ArrayLike, overkill: float) -> Threshold:
    """The smallest threshold that promises at most the overkill asked for.

    ``score > value`` holds exactly when the score's conformal p-value is at most the returned ``overkill``, ties
    included.

    Args:
        calibration: [n], scores of normal images that took no part in fitting.
        overkill: Share of good parts that may be called anomalous, between 0 and 1.

    Returns:
        The threshold; when n is too small for the request, that of the smallest share that n can support.

    Raises:
        ValueError: There are no calibration scores, one is not finite, or ``overkill`` is not between 0 and 1.
    """
    if not 0 < overkill < 1:
        raise ValueError(f"overkill must be between 0 and 1, such as 0.01 for 1 %, but got {overkill}")
    ascending = _sorted_calibration(calibration)
    n = len(ascending)
    supported = smallest_overkill(n) <= overkill
    kept = overkill if supported else smallest_overkill(n)
    # Counted by the very comparison that decides on p-values: rounding kept * (n + 1) down would lose a rank at values
    # such as 0.29 * 100.
    alarms = int(np.count_nonzero(np.arange(1, n + 2) / (n + 1) <= kept))
    message = _sentence(n, overkill, kept, "At most {} overkill", "{} overkill")
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
        The threshold; when the table does not reach the request, that of the smallest share that it supports.

    Raises:
        ValueError: The table is empty or not finite, ``n`` is below 1, or ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of marked pixels must be between 0 and 1, such as 0.01 for 1 %, but got {share}")
    marked, levels = _finite(shares, "pixel shares"), _finite(values, "pixel values")
    if n < 1 or not len(marked):
        raise ValueError(f"a promise needs calibration images and their pixels but got {n} and {len(marked)} shares")
    risks = (n * marked + 1) / (n + 1)
    supported = bool(risks[-1] <= share)
    kept = share if supported else float(risks[-1])
    promise, request = "At most {} of a good part's pixels marked on average", "marking {} of a good part's pixels"
    message = _sentence(n, share, kept, promise, request)
    return Threshold(float(levels[np.argmax(risks <= kept)]), kept, share, supported, n, message)


def _finite(values: npt.ArrayLike, name: str) -> Floats:
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers, but at least one is NaN or infinite")
    return array


def _sorted_calibration(calibration: npt.ArrayLike) -> Floats:
    ascending = np.sort(_finite(calibration, "calibration scores").ravel())
    if not len(ascending):
        raise ValueError("a promise needs at least one calibration score but got none")
    return ascending


def _sentence(n: int, requested: float, kept: float, promise: str, request: str) -> str:
    asked = f"{requested * 100:.3g} %"
    if kept == requested:
        return f"{promise.format(asked)}, promised from {n} calibration images."
    return (
        f"{n} calibration images cannot support {request.format(asked)}: the threshold promises {kept * 100:.3g} %; "
        f"{_images_needed(requested)} images would be needed."
    )


def _images_needed(share: float) -> int:
    needed = max(1, math.ceil(1 / share) - 2)
    while smallest_overkill(needed) > share:
        needed += 1
    return needed


def list_sources(images: Pictures) -> list[Source]:
    """The single images that ``images`` stands for, folders searched recursively and sorted.

    Raises:
        InputError: No such file or folder, no image in it, or an array of another type or shape.
    """
    if isinstance(images, str | os.PathLike):
        return [*_files_at(Path(images))]
    given = images if isinstance(images, Sequence) else [images]
    sources = [source for item in given for source in _sources(item)]
    if not sources:
        raise InputError("There are no images to judge: give at least one.")
    return sources


def read_picture(path: Path, white_level: int = 65535) -> Array:
    """Reads an image file as uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    Grey is repeated over the channels, palettes and CMYK are converted, transparency is ignored (the colour stored
    under it is kept), and of a file with several pages the first is read. Deep grey files are scaled so that
    ``white_level`` becomes 255; brighter pixels are clipped.

    Raises:
        InputError: The file is missing, empty, truncated, too large, no image, or holds floating-point values or
            16-bit colour.
    """
    with _opened(path) as image:
        if image.mode.startswith("F"):
            raise InputError(
                f"{path} holds floating-point values, whose white is unknown: save it as an 8-bit or 16-bit image."
            )
        if not image.mode.startswith("I") and ";16" in _raw_mode(image):
            raise InputError(
                f"{path} holds 16-bit colour, of which Pillow would drop the lower bits: save it as 8-bit RGB, or pass "
                "its pixels as an array."
            )
        turn = _turn(image)
        image.load()
        return _rgb(image if turn is None else image.transpose(turn), white_level)


def prepare(picture: Array, preprocessing: Mapping[str, Any]) -> Array:
    """Resizes a picture to the working size.

    With Pillow's antialiased bilinear filter; if there is a ``via``, to that size, and from there by area averages.

    Args:
        picture: uint8 [H, W, 3], RGB.
        preprocessing: The manifest's section of that name.

    Returns:
        uint8 [height, width, 3].
    """
    height, width = size = preprocessing["height"], preprocessing["width"]
    via_height, via_width = preprocessing.get("via") or size
    resized = Image.fromarray(picture).resize((via_width, via_height), Image.Resampling.BILINEAR)
    return np.asarray(resized.resize((width, height), Image.Resampling.BOX))


def _files_at(path: Path) -> list[Path]:
    # Not by pathlib's own questions, here and below: they raise where a folder may not be entered.
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: give an image file or a folder of images.")
        return [path]
    found: list[Path] = []
    for here, folders, files in os.walk(path, onerror=_refuse_unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in files if name[0] != "." and Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise InputError(f"{path} holds no images: give an image file or a folder of images.")
    return sorted(found)


def _refuse_unlisted(fault: OSError) -> None:
    raise InputError(f"{fault.filename} cannot be listed ({fault.strerror}): give this user permission to read it.")


def _sources(item: Any) -> list[Source]:
    """A listed file as it is, and uint8 [H, W, 3] or [N, H, W, 3] as [H, W, 3] each."""
    if isinstance(item, str | os.PathLike):
        return [Path(item)]
    array = item if isinstance(item, np.ndarray) else np.empty(0)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape[-3:]:
        kind = f"{array.dtype} {list(array.shape)}" if array is item else type(item).__name__
        raise InputError(
            f"Images in memory must be uint8 [H, W, 3] or [N, H, W, 3], RGB, but one is {kind}: convert it to uint8, "
            "black 0 and white 255."
        )
    return [np.ascontiguousarray(image) for image in (array if array.ndim == 4 else array[None])]


_ORIENTATION_TAG = 0x0112
_TURN = Image.Transpose
_UPRIGHT = {
    **{2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE},
    **{6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90},
}


def _rgb(image: Image.Image, white_level: int) -> Array:
    if image.mode.startswith("I"):
        scaled = np.asarray(image).astype(np.float32) * np.float32(255 / white_level)
        return np.repeat(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    # A palette with transparency has to pass through RGBA, or Pillow mixes the transparent entry in.
    rgba = image.convert("RGBA") if image.mode in ("P", "PA") else image
    return np.asarray(rgba.convert("RGB"))


def _raw_mode(image: Image.Image) -> str:
    """How the channels lie in the file, such as ``RGB;16B``; known until the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings an image upright that has not been decoded."""
    # Pillow turns TIFF files by itself. Asked for the EXIF data of a PNG that has none in its header, it would decode
    # all pixels to look behind them.
    if isinstance(image, TiffImageFile) or (image.format == "PNG" and "exif" not in image.info):
        return None
    return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a file with Pillow and turns whatever a decoder may raise on a bad file into one sentence."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except InputError:
        raise
    except Exception as fault:  # decoders raise nearly anything on a damaged file, and all of it means "unreadable"
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
    """The files of a bundle that is a folder; others that lie beside them do no harm."""

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
        if os.path.exists(place) and not os.path.isfile(place):  # reading a pipe would wait for ever
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
    """The content of a file, a little at a time and no more than ``most`` bytes."""
    try:
        with files.open(name) as file:
            while block := file.read(_BLOCK):
                most -= len(block)
                if most < 0:
                    raise BundleError(f"{files.where(name)} is larger than it can be; {_AGAIN}")
                yield block
    except FileNotFoundError as error:
        raise BundleError(f"{files.where(name)} is missing; copy the whole bundle or export it again.") from error
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None)
        fault = f"cannot be read ({reason})" if reason else "is damaged or altered"
        raise BundleError(f"{files.where(name)} {fault}; {_AGAIN}") from error


def _verified(files: _Files, name: str, digest: str, keep: bool) -> bytes:
    """The content of a file that is the one that was written; empty unless it is to be kept."""
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
        raise BundleError(f"{where} does not hold what its name says; {_AGAIN}")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over everything in a manifest but the checksum itself and ``decision``, which may be edited by hand."""
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
        and type(value.get("white_level")) is int
        and 0 < value["white_level"] < 2**32
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
    if version < SCHEMA_VERSION:
        raise BundleError(f"{where} was written by an older version of automl-ad: export it again with this one.")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{where} is of version {version} but this program reads version {SCHEMA_VERSION}; update automl-ad or "
            "export the bundle again with this version."
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
    """Scores [n] of normals, and the table of their pixels: shares [k] descending, map values [k] ascending."""

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
        raise BundleError(f"{where} does not hold a table of pixels in order; export the bundle again.")
    return _Calibration(scores, shares, values)


# Where tensors may lie in a model: the messages of ONNX and the numbers of their fields.
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


def _names_other_files(model: bytes) -> bool:
    """Whether a tensor of the model lies elsewhere: ONNX Runtime would open whatever file it names.

    Raises:
        ValueError: This is no protobuf.
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
        # Longer tags are cut by other readers, which would then see another field than is seen here.
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
    """``model.onnx`` in an ONNX Runtime session, which may be run from several threads at once."""

    def __init__(self, model: bytes, where: str, size: tuple[int, int], device: str, threads: int | None) -> None:
        self._where, self._size = where, size
        try:
            elsewhere = _names_other_files(model)
        except ValueError as error:
            raise BundleError(f"{where} is no ONNX model; {_AGAIN}") from error
        if elsewhere:
            raise BundleError(f"{where} keeps data in other files, which a bundle never does; export it again.")
        self._session = _session(model, where, device, threads)
        self._check_contract()

    def __call__(self, pixels: Array) -> tuple[Maps, Maps]:
        """Maps float32 [N, height, width] and scores float32 [N] of uint8 [N, height, width, 3]."""
        try:
            maps, scores = self._session.run(["map", "score"], {"images": pixels})
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise BundleError(f"{self._where} fails on a picture ({_one_line(error)}); {_AGAIN}") from error
        if maps.shape != (len(pixels), *self._size) or scores.shape != (len(pixels),):
            raise BundleError(f"{self._where} gives maps or scores of another shape than it says; {_AGAIN}")
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
    options.log_severity_level = 4  # faults come as exceptions, and need no second voice on stderr
    # ONNX Runtime also reads a format of its own, which the look for other files does not know.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no common base
        version = onnxruntime.__version__
        raise BundleError(f"{where} cannot be used by onnxruntime {version} ({_one_line(error)}); {_AGAIN}") from error
    if len(providers) > 1 and "CUDAExecutionProvider" not in session.get_providers():
        raise InputError("device 'cuda' cannot be reached: install the CUDA and cuDNN that onnxruntime-gpu asks for.")
    return session


def _providers(device: str, available: Sequence[str]) -> list[Any]:
    kind, _, number = str(device).partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not (number or "0").isdecimal():
        raise InputError(f"device {str(device)!r} is not known: give 'cpu' or 'cuda'.")
    if "CUDAExecutionProvider" not in available:
        raise InputError(
            "device 'cuda' needs ONNX Runtime for GPUs: pip uninstall onnxruntime, then pip install onnxruntime-gpu."
        )
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# Heat 0 to 1 and its colour: the lightness rises steadily, so that the order can be seen without seeing the hues.
_HEATS = (0, 0.35, 0.6, 0.8, 1)
_STOPS = ((30, 40, 150), (130, 40, 170), (215, 60, 120), (250, 140, 40), (255, 235, 40))
_RAMP = np.stack([np.interp(np.linspace(0, 1, 256), _HEATS, channel) for channel in zip(*_STOPS, strict=True)], axis=1)
_OPACITY = 0.7
_TILE_PIXELS = 1 << 20
"""Painted at once; bounds the memory on large pictures."""


def heat(anomaly_map: Maps, map_range: Sequence[float]) -> Array:
    """Map values on a fixed scale of 0 to 255, that means the same on every picture of a bundle.

    Args:
        anomaly_map: [h, w], raw.
        map_range: Values of normal pixels, (usual, highest): these become 0 and 128, and what lies as far again above
            the highest becomes 255. Beyond, the scale ends.
    """
    usual, highest = map_range
    span = max(2 * (highest - usual), float(np.finfo(np.float32).tiny))
    scaled = (anomaly_map.astype(np.float64) - usual) / span
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), np.uint8)


def overlay(picture: Array, level: Array) -> Array:
    """Paints heat over a picture, the more opaque the hotter: where nothing is odd the picture stays as it is.

    Args:
        picture: [H, W, 3], RGB.
        level: [h, w], from `heat`; enlarged to the picture.

    Returns:
        [H, W, 3], RGB.
    """
    height, width = picture.shape[:2]
    large = np.asarray(Image.fromarray(level).resize((width, height), Image.Resampling.BILINEAR))
    painted = np.empty_like(picture)
    ramp, step = _RAMP.astype(np.float32), max(1, _TILE_PIXELS // width)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        opacity = large[rows, :, None].astype(np.float32) * np.float32(_OPACITY / 255)
        painted[rows] = np.rint(picture[rows] + opacity * (ramp[large[rows]] - picture[rows]))
    return painted


class OutputFolder:
    """Writes heatmaps and masks under names of their own, in sub-folders like those of the pictures."""

    def __init__(self, folder: Path, images: Pictures, sources: Sequence[Source]) -> None:
        """Creates the folder and tries to write in it.

        Args:
            folder: Where the pictures go.
            images: What the user gave.
            sources: The single images of it.

        Raises:
            InputError: The folder lies among the pictures, or cannot be created or written.
        """
        self.folder = folder
        paths = [_absolute(source) for source in sources if isinstance(source, Path)]
        # Nothing that was given may be overwritten, nor one heatmap by another.
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

    def write(self, source: Source, kind: str, picture: Array) -> Path:
        """Writes uint8 [H, W] or [H, W, 3] as PNG under the name of ``source`` and returns its path.

        Raises:
            InputError: It cannot be written.
        """
        path = self._free_path(source, kind)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, format="PNG", compress_level=1)
        except OSError as error:
            raise self._unwritable(error) from error
        return path

    def _check_outside(self, pictures: Path) -> None:
        if Path(os.path.realpath(self.folder)).is_relative_to(os.path.realpath(pictures)):
            raise InputError(
                f"--output {self.folder} lies inside {pictures}, where the heatmaps would be taken for pictures next "
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
    # Links are followed for no file: a heatmap is named after the link, as the user sees it.
    return Path(os.path.abspath(path))


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """The folder that all files lie in; None when there is none, as for files of several drives."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return None


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a bundle says of one image.

    Attributes:
        source: The file or array.
        picture: uint8 [H, W, 3] as read, where pictures were asked for; else None.
        anomaly_map: float32 [height, width], raw, or None when there is an error.
        score: Raw score, higher = more anomalous; NaN when there is an error.
        error: Why there is no score.
    """

    source: Source
    picture: Array | None
    anomaly_map: Maps | None
    score: float
    error: str | None


_READERS = 4
_NOT_FINITE = "the detector's scores are not finite numbers: check the image and the bundle."
_NOTHING = ("score", "p_value", "anomalous", "decision", "marked", "heatmap", "mask")

_Loaded = tuple[Array | None, Array | str]
"""The picture if it is kept, and its pixels at the working size or the reason why there are none."""


@dataclass(frozen=True)
class _Rules:
    reject: Threshold
    review: Threshold | None
    mask: Threshold


@dataclass(frozen=True, eq=False)
class Bundle:
    """A detector with all it takes to judge images; made by `load_bundle`, and safe to share between threads.

    Attributes:
        path: Where it was loaded from.
        manifest: What it is and where it came from: ``bundle.json`` as it is.
        calibration: float64 [n], scores of normals by detectors that did not see them.
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    calibration: Floats = field(repr=False)
    _table: _Calibration = field(repr=False)
    _graph: _Graph = field(repr=False)
    _read: Reader = field(default=read_picture, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """The working size, (height, width) in pixels."""
        return self.manifest["preprocessing"]["height"], self.manifest["preprocessing"]["width"]

    def threshold(self, overkill: float | None = None, threshold: float | None = None) -> Threshold:
        """The score above which a part is rejected: as the manifest's ``decision`` says when nothing is given.

        Args:
            overkill: At most this share of good parts is rejected.
            threshold: A raw score; its promise is what the calibration says of it.

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

    def maps(self, images: Pictures) -> Maps:
        """Anomaly maps, float32 [N, height, width] at the working size: raw, higher = more anomalous.

        Args:
            images: As for `predict`.

        Raises:
            InputError: A file cannot be read, or there are no images.
        """
        found = []
        for judgement in self.judge(list_sources(images)):
            if judgement.anomaly_map is None:
                raise InputError(str(judgement.error))
            found.append(judgement.anomaly_map)
        return np.stack(found)

    def predict(
        self,
        images: Pictures,
        output: str | os.PathLike[str] | None = None,
        *,
        overkill: float | None = None,
        review: float | None = None,
        threshold: float | None = None,
        mask: float | None = None,
    ) -> dict[str, Any]:
        """Judges images.

        Args:
            images: A file, a folder (searched recursively), a list of files or arrays, or one uint8 [H, W, 3] or
                [N, H, W, 3] array in RGB.
            output: Folder for one heatmap and one mask an image, as PNG at the image's own size; None for neither.
            overkill: Share of good parts that may be rejected, 0 to 1; as the manifest says when None.
            review: Share of good parts that may be reviewed or rejected; as the manifest says when None.
            threshold: Raw score above which parts are rejected, in place of ``overkill``.
            mask: Share of a good part's pixels that may be marked; as the manifest says when None.

        Returns:
            The ``predict`` answer: ``bundle``, ``threshold`` (of the score), ``overkill`` (what it promises),
            ``promise`` (the same as a sentence), ``review`` (threshold of the score, or None), ``mask_threshold`` (of
            map values) and ``results`` in the order of the images, each with ``path`` (None for arrays), ``score``,
            ``p_value``, ``anomalous`` (that is, rejected), ``decision`` (``pass``, ``review`` or ``reject``),
            ``marked`` (share of pixels above the mask's threshold), ``heatmap`` and ``mask`` (paths; white = marked)
            and ``error``. An image that cannot be read is a result with ``error`` and None for the rest.

        Raises:
            InputError: No images, a share that cannot be promised, or an ``output`` that cannot be written.
        """
        head, results = self.stream(images, output, overkill=overkill, review=review, threshold=threshold, mask=mask)
        return {**head, "results": list(results)}

    def stream(
        self,
        images: Pictures,
        output: str | os.PathLike[str] | None = None,
        *,
        overkill: float | None = None,
        review: float | None = None,
        threshold: float | None = None,
        mask: float | None = None,
    ) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
        """The answer of `predict` without its results, and the results as they come.

        Takes and raises what `predict` does; whatever can be refused is refused before the first image is judged.
        """
        reject, zone = self.threshold(overkill, threshold), self.review_threshold(review, overkill, threshold)
        rules = _Rules(reject, zone, self.mask_threshold(mask))
        sources = list_sources(images)
        folder = None if output is None else OutputFolder(Path(output), images, sources)
        head = {
            "bundle": str(self.path),
            "threshold": reject.value,
            "overkill": reject.overkill,
            "promise": reject.message,
            "review": zone.value if zone else None,
            "mask_threshold": rules.mask.value,
        }
        judgements = self.judge(sources, pictures=folder is not None)
        return head, (self._result(judgement, rules, folder) for judgement in judgements)

    def judge(self, sources: Sequence[Source], pictures: bool = False) -> Iterator[Judgement]:
        """Maps and scores, in order, read and computed a few images at a time.

        Args:
            sources: Files and arrays; see `list_sources`.
            pictures: Whether to hand out the pictures too, which may be large.
        """
        load = partial(_load, read=self._read, preprocessing=self.manifest["preprocessing"], keep=pictures)
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(sources), BATCH):
                batch = sources[start : start + BATCH]
                yield from self._judge_batch(batch, list(pool.map(load, batch)))

    def _judge_batch(self, sources: Sequence[Source], loaded: Sequence[_Loaded]) -> Iterator[Judgement]:
        readable = [pixels for _, pixels in loaded if not isinstance(pixels, str)]
        judged = iter(zip(*self._graph(np.stack(readable)), strict=True) if readable else ())
        for source, (picture, pixels) in zip(sources, loaded, strict=True):
            if isinstance(pixels, str):
                yield Judgement(source, None, None, math.nan, pixels)
                continue
            anomaly_map, score = next(judged)
            if np.isfinite(anomaly_map).all() and np.isfinite(score):
                yield Judgement(source, picture, anomaly_map, float(score), None)
            else:
                yield Judgement(source, picture, None, math.nan, _NOT_FINITE)

    def _raw_threshold(self, value: float) -> Threshold:
        n, above = len(self.calibration), int(np.count_nonzero(self.calibration > value))
        share = (above + 1) / (n + 1)
        message = _sentence(n, share, share, f"At most {{}} overkill above a score of {value:g}", "")
        return Threshold(value, share, share, True, n, message)

    def _result(self, judgement: Judgement, rules: _Rules, folder: OutputFolder | None) -> dict[str, Any]:
        source, anomaly_map = judgement.source, judgement.anomaly_map
        answer: dict[str, Any] = {"path": str(source) if isinstance(source, Path) else None, **dict.fromkeys(_NOTHING)}
        if anomaly_map is None:
            return {**answer, "error": judgement.error}
        marks = anomaly_map > rules.mask.value
        decision = "review" if rules.review and judgement.score > rules.review.value else "pass"
        decision = "reject" if judgement.score > rules.reject.value else decision
        answer |= {
            "score": judgement.score,
            "p_value": float(p_values([judgement.score], self.calibration)[0]),
            "anomalous": decision == "reject",
            "decision": decision,
            "marked": float(marks.mean()),
        }
        if folder and judgement.picture is not None:
            level = heat(anomaly_map, self.manifest["map_range"])
            answer["heatmap"] = str(folder.write(source, "heatmap", overlay(judgement.picture, level)))
            answer["mask"] = str(folder.write(source, "mask", _enlarged(marks, judgement.picture)))
        return {**answer, "error": None}


def _load(source: Source, read: Reader, preprocessing: Mapping[str, Any], keep: bool) -> _Loaded:
    try:
        picture = read(source, preprocessing["white_level"]) if isinstance(source, Path) else source
        return picture if keep else None, prepare(picture, preprocessing)
    except InputError as fault:
        return None, str(fault)


def _enlarged(marks: npt.NDArray[np.bool_], picture: Array) -> Array:
    """Marks as white on black, at the size of the picture and without a pixel in between."""
    white = Image.fromarray(marks.astype(np.uint8) * np.uint8(255))
    return np.asarray(white.resize(picture.shape[1::-1], Image.Resampling.NEAREST))


def _share(option: str, value: float) -> float:
    if not 0 < value < 1:
        raise InputError(f"{option} {value:g} is not between 0 and 1; give a share such as 0.01 for 1 %.")
    return value


def _supported(option: str, found: Threshold) -> Threshold:
    if not found.supported:
        raise InputError(
            f"{option} {found.requested:g} is more than {found.n} calibration images can promise; give at least "
            f"{_round_up(found.overkill):g} or search again with more images."
        )
    return found


def _round_up(share: float) -> float:
    """To six decimals, so that the number can be typed in again and is not smaller."""
    nearest = round(share, 6)
    return nearest if nearest >= share else round(nearest + 1e-6, 6)


def load_bundle(
    path: str | os.PathLike[str], device: str = "cpu", threads: int | None = None, read: Reader = read_picture
) -> Bundle:
    """Loads a bundle from its folder or zip file, checked, and executing nothing that it holds.

    Args:
        path: What the export wrote.
        device: Where the graph runs: ``cpu``, ``cuda`` or ``cuda:1``.
        threads: Threads of the graph; as many as there are cores when None.
        read: Reads a file, given the value of its white, as uint8 [H, W, 3]; automl-ad knows more formats.

    Raises:
        BundleError: A file is missing or altered, or the bundle is of another version.
        InputError: The device or the number of threads cannot be had.
    """
    path = Path(path)
    manifest, contents = read_bundle(path, (MODEL, CALIBRATION))
    table = _read_calibration(contents[CALIBRATION], _place(path, CALIBRATION))
    size = manifest["preprocessing"]["height"], manifest["preprocessing"]["width"]
    graph = _Graph(contents[MODEL], _place(path, MODEL), size, device, threads)
    return Bundle(path, manifest, table.scores, table, graph, read)


def read_bundle(path: Path, wanted: Collection[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Reads a bundle without judging by it: every file is checked, and those that are wanted are kept.

    Args:
        path: Its folder or zip file.
        wanted: Names of files.

    Returns:
        The manifest, and the content of each wanted file.

    Raises:
        BundleError: A file is missing or altered, or the bundle is of another version.
    """
    with _open_files(path) as files:
        manifest = _manifest_in(files)
        listed = manifest["files"]
        strangers = files.names() - {MANIFEST, "samples/", *listed}
        if strangers:
            raise BundleError(f"{files.where(min(strangers))} is no part of the bundle; export the bundle again.")
        contents = {name: _verified(files, name, digest, name in wanted) for name, digest in listed.items()}
    return manifest, {name: contents[name] for name in wanted if name in contents}


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of a bundle, whatever has become of its other files.

    Raises:
        BundleError: It is missing or altered, or the bundle is of another version.
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
        0, or 2 with one sentence on stderr when something cannot be used or no image could be judged.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold what a console cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(_parser().parse_args(arguments))
    except (InputError, BundleError) as fault:
        print(fault, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="predict.py", description="Judges pictures with an exported bundle.")
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="a picture, several, or a folder of pictures")
    home = Path(__file__).resolve().parent
    parser.add_argument("--bundle", type=Path, default=home, help="folder or .zip file (default: where this file lies)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="writes a heatmap and a mask of each picture there")
    shares = {
        "overkill": "share of good parts that may be rejected, such as 0.01",
        "review": "share of good parts that may be reviewed or rejected",
        "threshold": "score above which a part is rejected, in place of --overkill",
        "mask": "share of a good part's pixels that may be marked",
    }
    for name, purpose in shares.items():
        parser.add_argument(f"--{name}", type=float, metavar="X", help=purpose)
    parser.add_argument("--threads", type=int, metavar="N", help="threads to compute with (default: one a core)")
    parser.add_argument("--json", action="store_true", help="prints one JSON object a line, one line a picture")
    return parser


def _run(given: argparse.Namespace) -> None:
    bundle = load_bundle(given.bundle, threads=given.threads)
    images = given.images[0] if len(given.images) == 1 else given.images
    options = {name: getattr(given, name) for name in ("overkill", "review", "threshold", "mask")}
    _, results = bundle.stream(images, given.output, **options)
    judged = 0
    for result in results:
        print(json.dumps(result, allow_nan=False) if given.json else _line(result), flush=True)
        judged += result["error"] is None
    if not judged:
        raise InputError(f"None of the pictures in {', '.join(given.images)[:200]} could be judged: see above why.")


def _line(result: Mapping[str, Any]) -> str:
    if result["error"] is not None:
        return f"error   {result['error']}"
    return (
        f"{result['decision']:<6}  score {result['score']:.5g}  p {result['p_value']:.4f}  "
        f"marked {result['marked'] * 100:.2f} %  {result['path']}"
    )


if __name__ == "__main__":
    sys.exit(main())
