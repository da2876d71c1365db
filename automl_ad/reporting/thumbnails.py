"""Small images, kept on disk so that a page shows them again without making them again."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.bundle.evaluation_gallery import small
from automl_ad.bundle.runtime import heat, overlay
from automl_ad.errors import StoreError
from automl_ad.store.artifacts import StudyFolder, write_atomically

Picture = npt.NDArray[np.uint8]

LIMIT_BYTES = 500 * 10**6
"""What all kept images of a workspace may take together."""
_KEPT_SHARE = 0.8
"""When there are too many, the oldest go until this share of the limit is left: not to be back at once."""
_WRITES_BETWEEN_CHECKS = 500
_QUALITY = 88
_writes = itertools.count()  # of this process, whose pages each open the cache anew


@dataclass(frozen=True)
class ThumbnailCache:
    """Encoded images by what they show; any number of processes may use one folder.

    Attributes:
        folder: Where they lie.
        limit: Bytes that they may take together.
    """

    folder: Path
    limit: int = LIMIT_BYTES

    @classmethod
    def of(cls, study: StudyFolder) -> ThumbnailCache:
        """The cache of a study's workspace."""
        return cls(study.workspace / "cache" / "thumbnails")

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The image kept under a key; made, and kept, when there is none.

        Args:
            key: Names all that the image depends on.
            make: Encodes it.
        """
        path = self._path(key)
        try:
            return path.read_bytes()
        except OSError:
            content = make()
        self._keep(path, content)
        return content

    def trim(self) -> None:
        """Removes the oldest images when all together are over the limit."""
        files = sorted(self._files(), key=lambda entry: entry.stat().st_mtime_ns)
        excess = sum(entry.stat().st_size for entry in files) - self.limit
        if excess <= 0:
            return
        excess += int((1 - _KEPT_SHARE) * self.limit)
        for entry in files:
            if excess <= 0:
                return
            excess -= entry.stat().st_size
            Path(entry).unlink(missing_ok=True)

    def _keep(self, path: Path, content: bytes) -> None:
        try:
            with write_atomically(path) as temporary:
                temporary.write_bytes(content)
            if next(_writes) % _WRITES_BETWEEN_CHECKS == 0:
                self.trim()
        except (StoreError, OSError):  # a full disk or another process's cleaning must not cost anybody the image
            return

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / name

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for group in os.scandir(self.folder):
            if group.is_dir():
                yield from os.scandir(group)


def shrunk(picture: Picture, side: int | None) -> Picture:
    """An image whose longest side is at most ``side``; as it is for None."""
    return picture if side is None else small(picture, side)


def under_heat(
    picture: Picture, anomaly_map: npt.NDArray[np.float32], map_range: tuple[float, float], side: int | None
) -> Picture:
    """An image under its heatmap, coloured as bundles do.

    Args:
        picture: [H, W, 3], RGB.
        anomaly_map: [h, w], raw.
        map_range: What is usual and what is high on normals, of the trial that made the map.
        side: Longest side of the outcome in pixels; that of the image for None.
    """
    return overlay(shrunk(picture, side), heat(anomaly_map, map_range))


def encoded(picture: Picture, side: int | None) -> bytes:
    """An image, [H, W, 3] RGB, as JPEG; as PNG, which loses nothing, where it was not to be shrunk (None)."""
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    kind, options = (".png", []) if side is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return cv2.imencode(kind, bgr, options)[1].tobytes()
