"""Single rows of arrays in ``.npz`` files: a page that shows one picture must not read those of all others."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.errors import StoreError

_LOCAL_HEADER, _NAME_LENGTH_AT = 30, 26
"""Bytes of the header before each member of a zip file, and where the lengths of what follows it stand."""


@dataclass(frozen=True)
class StoredRows:
    """One array of an ``.npz`` file as ``store.artifacts.save_arrays`` writes it, read row by row.

    The file is opened for each read and closed again: it may be replaced or removed at any time.

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
        with _faults(path), zipfile.ZipFile(path) as archive, path.open("rb") as file:
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("compressed")
            file.seek(member.header_offset + _NAME_LENGTH_AT)
            lengths = np.frombuffer(file.read(4), "<u2")
            file.seek(member.header_offset + _LOCAL_HEADER + int(lengths.sum()))
            start = file.tell()
            shape, dtype = _array_header(file)
            rows = cls(path, shape, dtype, file.tell())
            if rows.offset - start + rows.row_bytes * len(rows) != member.file_size:
                raise ValueError("cut off")
        return rows

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def row(self, index: int) -> npt.NDArray[Any]:
        """One row, of shape ``shape[1:]``.

        Raises:
            IndexError: There is no such row.
            StoreError: The file was removed or cut off.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} holds {len(self)} rows, none at {index}")
        return self._read(index * self.row_bytes, self.row_bytes).view(self.dtype).reshape(self.shape[1:])

    def all(self) -> npt.NDArray[Any]:
        """The whole array.

        Raises:
            StoreError: The file was removed or cut off.
        """
        return self._read(0, self.row_bytes * len(self)).view(self.dtype).reshape(self.shape)

    def bits(self, start: int, count: int) -> npt.NDArray[np.bool_]:
        """So many bits from ``start`` on of an array of bytes made by ``numpy.packbits`` over all axes.

        Raises:
            StoreError: The file was removed or cut off.
        """
        first, last = start // 8, -(-(start + count) // 8)
        unpacked = np.unpackbits(self._read(first, last - first))
        return unpacked[start - 8 * first :][:count].astype(bool)

    def _read(self, start: int, count: int) -> npt.NDArray[np.uint8]:
        with _faults(self.path), self.path.open("rb") as file:
            file.seek(self.offset + start)
            content = file.read(count)
            if len(content) != count:
                raise ValueError("cut off")
        return np.frombuffer(content, np.uint8)


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
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"{path} is damaged ({type(error).__name__}), so this cannot be shown; delete it and run the search again"
        ) from error
