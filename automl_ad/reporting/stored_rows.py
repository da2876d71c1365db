"""Single rows of arrays in ``.npz`` files: a page that shows one image must not read those of all others.

numpy maps ``.npy`` files into memory, but no member of an ``.npz`` file. A study's members are uncompressed, though:
zipfile finds where one begins, and numpy maps it from there. One file for all arrays of a trial is what makes them
change together or not at all.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.errors import StoreError


@dataclass(frozen=True)
class StoredRows:
    """One array of an ``.npz`` file as ``store.artifacts.save_arrays`` writes it, read row by row.

    The file is mapped for each read and let go again: it may be replaced or removed at any time.

    Attributes:
        path: The file.
        shape: Of the array; the first axis counts the rows.
        dtype: Of the array.
        offset: Bytes in the file before the first row.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @classmethod
    def open(cls, path: Path, name: str) -> StoredRows:
        """Finds an array in a file and reads nothing of it.

        Raises:
            StoreError: The file is missing, damaged, compressed, or holds no such array.
        """
        member = f"{name}.npy"
        with _faults(path), path.open("rb") as file, zipfile.ZipFile(file) as archive, archive.open(member):
            if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
                raise ValueError("compressed")
            # Opening the member took zipfile past its local header: the file stands where the array's own begins.
            start = file.tell()
            shape, dtype = _array_header(file)
            rows = cls(path, shape, dtype, file.tell())
            if rows.offset - start + math.prod(shape) * dtype.itemsize != archive.getinfo(member).file_size:
                raise ValueError("cut off")
        return rows

    def __len__(self) -> int:
        return self.shape[0]

    def row(self, index: int) -> npt.NDArray[Any]:
        """One row, of shape ``shape[1:]``.

        Raises:
            IndexError: There is no such row.
            StoreError: The file was removed or cut off.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} holds {len(self)} rows, none at {index}")
        with _faults(self.path):
            return np.array(self._mapped()[index])

    def all(self) -> npt.NDArray[Any]:
        """The whole array.

        Raises:
            StoreError: The file was removed or cut off.
        """
        with _faults(self.path):
            return np.array(self._mapped())

    def bits(self, start: int, count: int) -> npt.NDArray[np.bool_]:
        """So many bits from ``start`` on of an array of bytes made by ``numpy.packbits`` over all axes.

        Raises:
            StoreError: The file was removed or cut off, or holds fewer bits.
        """
        first, last = start // 8, -(-(start + count) // 8)
        with _faults(self.path):
            unpacked = np.unpackbits(self._mapped()[first:last])[start - 8 * first :][:count]
            if len(unpacked) < count:
                raise ValueError("too few")
        return unpacked.astype(bool)

    def _mapped(self) -> npt.NDArray[Any]:
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


def _array_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except Exception as error:  # of a damaged header, numpy lets through whatever Python's own parser says
        raise ValueError("no header") from error
    if fortran or dtype.hasobject or not shape:
        raise ValueError("not a plain array")
    return shape, dtype


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing, so this cannot be shown; run the same search again") from error
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"{path} is damaged ({type(error).__name__}), so this cannot be shown; delete it and run the search again"
        ) from error
