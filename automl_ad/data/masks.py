"""Ground truth masks: which pixels of a picture are defective, whatever way a tool stored that."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from automl_ad.data.reading import bit_depth_of, opened, probe, read_deep_colour, turn_of
from automl_ad.errors import InputError

Marks = npt.NDArray[np.bool_]
_Levels = npt.NDArray[Any]

FEW_VALUES = 32
"""A picture of at most so many values can be a mask: background, class numbers, antialiased edges of small masks."""
_LOSSY = ("JPEG", "MPO")
_BACKGROUND, _NEARLY_BLACK = 0.05, 0.05
_NEAR = 12
_AT_TWO_LEVELS = 0.7
_STRAY = 0.005


def read_masks(
    masks: Sequence[Path],
    image: Path | None,
    size: tuple[int, int],
    values: Collection[int] = (),
) -> Marks:
    """Which pixels of a picture are defective, at the working size.

    A pixel of the working size is marked if a defect touches it at all: a speck of one pixel would vanish otherwise.

    Args:
        masks: Files of one picture's masks, which are joined.
        image: The picture; its shape and orientation are the masks' own. None skips that check.
        size: (height, width) of the working size.
        values: The values that mark; every value but 0 when empty.

    Returns:
        bool [height, width], True = defective.

    Raises:
        InputError: A file cannot be read, has another shape than the picture, or is no mask.
    """
    joined: Marks | None = None
    for path in masks:
        marks = _turned(path, image, marked_pixels(path, values))
        if joined is not None and joined.shape != marks.shape:
            raise InputError(f"{path} has another shape than {masks[0]}, a mask of the same image: save both alike.")
        joined = marks if joined is None else joined | marks
    if joined is None:
        raise ValueError("at least one mask is needed")
    return touched(joined, size)


def touched(marks: Marks, size: tuple[int, int]) -> Marks:
    """Resizes marks so that every pixel of the result that a marked pixel overlaps is marked.

    Example:
        >>> touched(np.eye(4, dtype=bool), (2, 2)).tolist()
        [[True, False], [False, True]]
    """
    for axis in (0, 1):
        marks = _touched_along(marks, size[axis], axis)
    return marks


def _touched_along(marks: Marks, length: int, axis: int) -> Marks:
    given = marks.shape[axis]
    if given == length:
        return marks
    # Cell t of the result covers the pixels from t * given / length to (t + 1) * given / length, in whole numbers.
    spans = [(t * given // length, -(-(t + 1) * given // length)) for t in range(length)]
    rows = [marks.take(range(start, stop), axis).any(axis=axis) for start, stop in spans]
    return np.stack(rows, axis=axis)


def marked_pixels(path: Path, values: Collection[int] = ()) -> Marks:
    """Which pixels of a mask file are marked, bool [H, W], upright by the file's own orientation.

    Every value but 0 marks: white, 1, 127, class numbers, colours other than black. Where a file has an alpha channel
    that varies, transparent pixels are not marked. Of lossy files (JPEG), in which the surroundings of an edge are not
    quite 0, values from half of the largest one on mark.

    Args:
        path: The file.
        values: The values that mark instead: grey values, class numbers or indices of a palette.

    Raises:
        InputError: The file cannot be read, or holds a picture rather than a mask.
    """
    with opened(path) as file:
        lossy, turn = file.format in _LOSSY, turn_of(file)
        indices = np.asarray(file) if file.mode == "P" and (values or _indexed(file)) else None
        levels, visible = _levels(path, file) if indices is None else (indices, None)
    marks = np.isin(levels, list(values)) if values else _not_background(path, levels, visible, lossy)
    return marks if turn is None else _transposed(marks, turn)


def is_empty_mask(path: Path, values: Collection[int] = ()) -> bool:
    """Whether a mask marks nothing; remembered while the file does not change.

    Raises:
        InputError: As for `marked_pixels`.
    """
    facts = os.stat(path)
    return _is_empty(path, tuple(sorted(values)), facts.st_size, facts.st_mtime_ns)


def looks_like_mask(path: Path) -> bool:
    """Whether a file holds few values, as masks do and photographs never do; remembered while it does not change."""
    try:
        facts = os.stat(path)
        return _few_valued(path, facts.st_size, facts.st_mtime_ns)
    except (InputError, OSError):
        return False


def is_two_valued(path: Path) -> bool:
    """Whether a picture has exactly two values, but for the traces of lossy compression at their edges."""
    try:
        with opened(path) as file:
            levels, _ = _levels(path, file)
            lossy = file.format in _LOSSY
    except InputError:
        return False
    if not lossy:
        return len(np.unique(levels)) == 2
    counts = np.bincount(levels.astype(np.int64).ravel())
    first = int(counts.argmax())
    rest = counts.copy()
    rest[max(0, first - _NEAR) : first + _NEAR + 1] = 0
    second = int(rest.argmax())
    rest[max(0, second - _NEAR) : second + _NEAR + 1] = 0
    return bool(counts[second] > 0 and second != first and rest.sum() <= _STRAY * counts.sum())


def two_valued(pixels: npt.NDArray[np.uint8], paths: Sequence[Path]) -> list[int]:
    """Finds masks among pictures: which of them have two values.

    Args:
        pixels: uint8 [N, 3, H, W], the pictures at the working size.
        paths: Their files, which are read again where the pixels look like a mask.

    Returns:
        Rows, ascending.
    """
    suspected = [row for row, image in enumerate(pixels) if _mostly_two_levels(image.max(axis=0))]
    return [row for row in suspected if is_two_valued(paths[row])]


def _mostly_two_levels(levels: npt.NDArray[np.uint8]) -> bool:
    """Resizing leaves other values than the two of a mask at its edges alone."""
    counts = np.sort(np.bincount(levels.ravel(), minlength=256))
    return bool(counts[-2:].sum() >= _AT_TWO_LEVELS * counts.sum())


@lru_cache(maxsize=65536)
def _is_empty(path: Path, values: tuple[int, ...], size: int, changed: int) -> bool:
    del size, changed  # only tell one state of the file from another
    return not marked_pixels(path, values).any()


@lru_cache(maxsize=65536)
def _few_valued(path: Path, size: int, changed: int) -> bool:
    del size, changed
    with opened(path) as file:
        levels = None if file.format in _LOSSY else _levels(path, file)[0]
    return is_two_valued(path) if levels is None else len(np.unique(levels)) <= FEW_VALUES


def _levels(path: Path, file: Image.Image) -> tuple[_Levels, Marks | None]:
    """The largest channel of each pixel at the file's own depth, and where it is visible if its alpha varies."""
    if bit_depth_of(file) == 16 and not file.mode.startswith("I"):
        file.load()
        stored = read_deep_colour(path)
        return (stored if stored.ndim == 2 else stored.max(axis=2)), None
    if file.mode in ("1", "L", "F") or file.mode.startswith("I"):
        return np.asarray(file).astype(np.uint8) if file.mode == "1" else np.asarray(file), None
    has_alpha = file.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in file.info
    rgba = np.asarray(file.convert("RGBA" if has_alpha else "RGB"))
    alpha = rgba[:, :, 3] if has_alpha else None
    visible = None if alpha is None or alpha.min() == alpha.max() else alpha > 0
    return rgba[:, :, :3].max(axis=2), visible


def _indexed(file: Image.Image) -> bool:
    """Whether the colours of a palette tell nothing of the background, so that its index 0 must: none used is black."""
    used = {index for _, index in file.getcolors(256) or []}
    palette = file.getpalette("RGB") or []
    return all(any(palette[3 * index : 3 * index + 3]) for index in used if isinstance(index, int))


def _not_background(path: Path, levels: _Levels, visible: Marks | None, lossy: bool) -> Marks:
    if visible is not None:
        marks = (levels > 0) & visible
        return marks if marks.any() else visible  # painted in black on nothing
    marks = np.asarray((levels >= levels.max() / 2) & (levels > _NEAR) if lossy else levels > 0)
    if len(np.unique(levels)) <= FEW_VALUES:
        return marks
    if float(np.mean(levels <= levels.max() * _NEARLY_BLACK)) < _BACKGROUND:
        raise InputError(
            f"{path} is no mask: it has hardly any black and more than {FEW_VALUES} grey levels, as pictures have; "
            "save a mask with black background there, or name the values that mark with --mask-value."
        )
    return marks


def _turned(path: Path, image: Path | None, marks: Marks) -> Marks:
    """The marks in the orientation of the picture.

    Some tools draw masks on the picture as it is shown, others on the pixels as they are stored; a mask without an
    orientation of its own that fits only the latter is turned as the picture is.
    """
    if image is None:
        return marks
    info = probe(image)
    if marks.shape == (info.height, info.width):
        return marks
    with opened(image) as file:
        turn = turn_of(file)
    if turn is not None and (stored := _transposed(marks, turn)).shape == (info.height, info.width):
        return stored
    height, width = marks.shape
    raise InputError(
        f"{path} has {width} x {height} pixels but its image {image} has {info.width} x {info.height}: "
        "save a mask of the image's own size."
    )


def _transposed(marks: Marks, turn: Image.Transpose) -> Marks:
    return np.asarray(Image.fromarray(marks.astype(np.uint8)).transpose(turn)) > 0
