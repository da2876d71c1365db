"""Heatmaps over the pictures, in colours that mean the same on every picture of a bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.bundle.pictures import Pictures, Source
from automl_ad.errors import InputError

_OPACITY = 0.7
_TILE_ROWS = 512
"""Rows painted at once; bounds the memory on large pictures."""


def heat(anomaly_map: npt.NDArray[np.float32], map_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Map values on a fixed scale of 0 to 255.

    Args:
        anomaly_map: [h, w], raw.
        map_range: Values of normal pixels, (usual, highest): these become 0 and 128, and what lies as far again above
            the highest becomes 255. Beyond, the scale ends.
    """
    usual, highest = map_range
    span = max(2 * (highest - usual), float(np.finfo(np.float32).tiny))
    scaled = (anomaly_map.astype(np.float64) - usual) / span
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), np.uint8)


def overlay(picture: npt.NDArray[np.uint8], level: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Paints heat over a picture, the more opaque the hotter: where nothing is odd the picture stays as it is.

    Args:
        picture: [H, W, 3], RGB.
        level: [h, w], from `heat`; enlarged to the picture.

    Returns:
        [H, W, 3], RGB.
    """
    height, width = picture.shape[:2]
    large = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    painted = np.empty_like(picture)
    for top in range(0, height, _TILE_ROWS):
        rows = slice(top, top + _TILE_ROWS)
        colours = cv2.applyColorMap(large[rows], cv2.COLORMAP_TURBO)[:, :, ::-1]
        opacity = large[rows, :, None].astype(np.float32) * np.float32(_OPACITY / 255)
        painted[rows] = np.rint(picture[rows] + opacity * (colours.astype(np.float32) - picture[rows]))
    return painted


class HeatmapFolder:
    """Writes heatmaps under names of their own, in sub-folders like those of the pictures."""

    def __init__(
        self, folder: Path, images: Pictures, sources: Sequence[Source], map_range: tuple[float, float]
    ) -> None:
        """Creates the folder.

        Args:
            folder: Where the heatmaps go.
            images: What the user gave.
            sources: The single images of it.
            map_range: As for `heat`.

        Raises:
            InputError: The folder lies among the pictures, or cannot be created.
        """
        self.folder = folder
        self.map_range = map_range
        paths = [_absolute(source) for source in sources if isinstance(source, Path)]
        self._root = _root(images, paths)
        # Nothing that was given may be overwritten, nor one heatmap by another.
        self._taken = {str(path).lower() for path in paths}
        self._check_outside(images)
        self._make(folder)

    def write(self, source: Source, picture: npt.NDArray[np.uint8], anomaly_map: npt.NDArray[np.float32]) -> Path:
        """Writes one heatmap as PNG and returns its path.

        Raises:
            InputError: It cannot be written.
        """
        path = self._free_path(source)
        painted = overlay(picture, heat(anomaly_map, self.map_range))
        _, encoded = cv2.imencode(".png", painted[:, :, ::-1])
        self._make(path.parent)
        try:
            path.write_bytes(encoded.tobytes())
        except OSError as error:
            raise self._unwritable(error) from error
        return path

    def _check_outside(self, images: Pictures) -> None:
        if not isinstance(images, str | os.PathLike) or not Path(images).is_dir():
            return
        pictures, folder = _absolute(Path(images)), _absolute(self.folder)
        if folder == pictures or pictures in folder.parents:
            raise InputError(
                f"--output {self.folder} lies inside {images}, where the heatmaps would be taken for pictures next "
                "time; choose a folder outside of it."
            )

    def _free_path(self, source: Source) -> Path:
        wanted = self._wanted(source)
        path, number = wanted, 1
        while str(_absolute(path)).lower() in self._taken:
            number += 1
            path = wanted.with_name(f"{wanted.stem}_{number}.png")
        self._taken.add(str(_absolute(path)).lower())
        return path

    def _wanted(self, source: Source) -> Path:
        if not isinstance(source, Path):
            return self.folder / "image_heatmap.png"
        inside = _absolute(source).relative_to(self._root)
        return self.folder / inside.with_name(f"{inside.stem}_heatmap.png")

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"--output {self.folder} cannot be written ({error.strerror or error}); choose a writable folder with "
            "enough room."
        )


def _absolute(path: Path) -> Path:
    # Links are followed for no file: a heatmap is named after the link, as the user sees it.
    return Path(os.path.abspath(path))


def _root(images: Pictures, paths: Sequence[Path]) -> Path:
    """The folder that all pictures lie in."""
    if isinstance(images, str | os.PathLike) and Path(images).is_dir():
        return _absolute(Path(images))
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
