"""Feature cache on disk, shared by all trials and studies on the same images."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from automl_ad.errors import StoreError
from automl_ad.store.artifacts import create_folder, is_writable

DEFAULT_LIMIT_BYTES = 6 * 2**30
_ABANDONED_S = 24 * 3600
"""Age after which an unfinished file is considered abandoned by a dead process."""


class FeatureFile:
    """A complete float16 array [N, C, h, w] on disk, read some rows at a time.

    Rows are read, not mapped: mapped pages would count as this process's memory. An open file stays readable when
    another process evicts it.
    """

    def __init__(self, path: Path) -> None:
        """Opens ``path``.

        Raises:
            OSError: There is no such file.
            ValueError: The file is incomplete or no float16 array.
        """
        self._file = path.open("rb")
        try:
            self.shape = self._read_shape()
        except ValueError:
            self._file.close()
            raise

    def read(self, rows: slice | Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """A copy of ``rows``, in their order."""
        counted = np.arange(self.shape[0])[rows]  # negative ones too, and none beyond the end
        result = np.empty((len(counted), *self.shape[1:]), np.float16)
        for place, row in zip(result, counted, strict=True):
            self._file.seek(self._offset + int(row) * place.nbytes)
            self._file.readinto(place.data)
        return result

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _read_shape(self) -> tuple[int, ...]:
        if np.lib.format.read_magic(self._file) != (1, 0):
            raise ValueError("unknown version of the npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(self._file)
        self._offset = self._file.tell()
        size = self._offset + 2 * int(np.prod(shape, dtype=np.int64))
        if dtype != np.float16 or os.fstat(self._file.fileno()).st_size != size:
            raise ValueError("incomplete or not of half precision")
        return tuple(shape)


class FeatureWriter:
    """Writes one float16 array row after row; its number of rows is known beforehand."""

    def __init__(self, file: BinaryIO, rows: int) -> None:
        self._file = file
        self._rows = rows
        self._begun = False

    def append(self, maps: npt.NDArray[np.float16]) -> None:
        """Adds the next rows, [b, C, h, w]."""
        if not self._begun:
            header = {"descr": "<f2", "fortran_order": False, "shape": (self._rows, *maps.shape[1:])}
            np.lib.format.write_array_header_1_0(self._file, header)
            self._begun = True
        self._file.write(np.ascontiguousarray(maps, dtype="<f2").tobytes())


class FeatureCache:
    """A bounded folder of float16 arrays [N, C, h, w], one file a set of images, backbone and level.

    Half precision keeps 11 bits, far more than any detector's scores depend on. The least recently used files are
    removed when the folder grows beyond its limit. Files are complete or absent: they are renamed into place.
    """

    def __init__(self, folder: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES, *, may_be_read_only: bool = False) -> None:
        """Opens or creates the cache.

        Args:
            folder: Its folder.
            limit_bytes: Size that it may have.
            may_be_read_only: Where the folder cannot be written, new features go to a temporary folder, which lasts as
                long as this object.

        Raises:
            StoreError: The folder cannot be created.
        """
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._aside: tempfile.TemporaryDirectory[str] | None = None
        if may_be_read_only and not _can_be_written(folder):
            self._aside = tempfile.TemporaryDirectory(prefix="automl_ad_features_", ignore_cleanup_errors=True)
            return
        create_folder(folder)
        self._remove_abandoned()

    def path(self, images_key: str, weights_tag: str, level: int) -> Path:
        """Where the features of one level of one set of images live."""
        digest = hashlib.sha256(f"{images_key}|{weights_tag}|{level}".encode()).hexdigest()
        path = self.folder / f"{digest[:40]}.npy"
        return path if self._aside is None or path.exists() else Path(self._aside.name) / path.name

    def open(self, path: Path) -> FeatureFile | None:
        """Opens a complete file and marks it as used now; None when it is absent or damaged."""
        try:
            file = FeatureFile(path)
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            os.utime(path)
        return file

    @contextmanager
    def write(self, paths: Sequence[Path], rows: int) -> Iterator[list[FeatureWriter]]:
        """Writers of new arrays of ``rows`` rows, which appear at ``paths`` when the block ends without an error.

        Raises:
            StoreError: The disk is full or cannot be written.
        """
        unfinished = [path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.part") for path in paths]
        try:
            with ExitStack() as stack:
                yield [FeatureWriter(stack.enter_context(file.open("wb")), rows) for file in unfinished]
            for file, path in zip(unfinished, paths, strict=True):
                os.replace(file, path)
        except OSError as error:
            raise StoreError(
                f"Feature cache {self.folder} cannot be written ({error.strerror}); make room there or choose another "
                "--workspace."
            ) from error
        finally:
            for file in unfinished:
                file.unlink(missing_ok=True)

    def shrink(self) -> None:
        """Removes the least recently used files until the folder is within its limit."""
        folder = self.folder if self._aside is None else Path(self._aside.name)
        files = sorted(_sizes(folder.glob("*.npy")), reverse=True)
        total = sum(size for _, size, _ in files)
        while files and total > self.limit_bytes:
            _, size, path = files.pop()
            total -= size
            with suppress(OSError):  # another process was faster, or still reads it where that forbids removal
                path.unlink()

    def _remove_abandoned(self) -> None:
        for used, _, path in _sizes(self.folder.glob(".*.part")):
            if used < time.time() - _ABANDONED_S:
                path.unlink(missing_ok=True)


def _can_be_written(folder: Path) -> bool:
    try:
        create_folder(folder)
    except StoreError:
        return False
    return is_writable(folder)


def _sizes(paths: Iterator[Path]) -> list[tuple[float, int, Path]]:
    """Last use (seconds since the epoch), bytes and path of each file that is still there."""
    found = []
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    return found
