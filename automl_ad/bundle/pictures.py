"""What a bundle accepts as images: files, folders, lists of them, arrays."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.data.folder import list_images
from automl_ad.data.reading import read_image
from automl_ad.errors import InputError

Array = npt.NDArray[np.uint8]
Source = Path | Array
"""One image: a file, or uint8 [H, W, 3]."""
Pictures = str | PathLike[str] | Array | Sequence[str | PathLike[str] | Array]


def list_sources(images: Pictures) -> list[Source]:
    """The single images that ``images`` stands for, folders searched recursively and sorted.

    Raises:
        InputError: No such file or folder, no image in it, or an array of another type or shape.
    """
    sources: list[Source] = []
    if isinstance(images, str | PathLike):
        sources.extend(_files(Path(images)))
    elif isinstance(images, np.ndarray):
        sources.extend(_as_images(images))
    else:
        sources.extend(_as_images(item)[0] if isinstance(item, np.ndarray) else Path(item) for item in images)
    if not sources:
        raise InputError("There are no images to judge: give at least one.")
    return sources


def read_source(source: Source, white_level: int) -> Array:
    """One image as uint8 [H, W, 3].

    Raises:
        InputError: The file cannot be read as an image.
    """
    return read_image(source, white_level) if isinstance(source, Path) else source


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path} does not exist: give an image file or a folder of images.")
        return [path]
    found = list_images(path)
    if not found:
        raise InputError(f"{path} holds no images: give an image file or a folder of images.")
    return found


def _as_images(array: npt.NDArray[Any]) -> list[Array]:
    """uint8 [H, W, 3] or [N, H, W, 3] as a list of [H, W, 3]."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape[-3:]:
        raise InputError(
            f"Images in memory must be uint8 [H, W, 3] or [N, H, W, 3], RGB, but one is {array.dtype} "
            f"{list(array.shape)}: convert it."
        )
    return [np.ascontiguousarray(image) for image in (array if array.ndim == 4 else array[None])]
