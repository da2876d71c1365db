"""Uploads from a browser: stores images safely, within limits and only in their folder."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from automl_ad.data.reading import IMAGE_SUFFIXES, probe
from automl_ad.data.safe_names import quoted, safe_part, safe_path, unique
from automl_ad.errors import InputError, StoreError

_CHUNK = 1 << 20
_ENTRY_BYTES = 1024
"""Upper bound of a zip directory entry; the directory is read into memory as a whole."""
_END_RECORD, _LARGE_RECORD = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _LONGEST_COMMENT = 22, 65535
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class UploadLimits:
    """Limits of one upload.

    Attributes:
        files: Number of images.
        file_bytes: Size of one image, unpacked.
        total_bytes: Size of all images, unpacked.
        ratio: Largest compression ratio of a zip file whose images exceed ``harmless_bytes``.
        harmless_bytes: Total size below which the ratio is not checked.
    """

    files: int = 20_000
    file_bytes: int = 256 << 20
    total_bytes: int = 8 << 30
    ratio: float = 100.0
    harmless_bytes: int = 256 << 20


LIMITS = UploadLimits()


def unpack_images(archive: BinaryIO, target: Path, limits: UploadLimits = LIMITS) -> Path:
    """Unpacks the images of a zip file with their folders; other files are ignored.

    Names are sanitised and made unique.

    Args:
        archive: The zip file, seekable.
        target: Folder to create; must be missing or empty. It is created completely or not at all.
        limits: Limits of the upload.

    Returns:
        The folder to search: ``target``, or the one folder below it that holds everything.

    Raises:
        InputError: The file is not a zip file, is damaged or encrypted, exceeds a limit, has no images, or contains
            links, names that point outside, or image files that cannot be read.
        StoreError: The disk is full or not writable.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} is not empty; choose another folder.")
    _check_directory(archive, limits)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _images_in(opened.infolist())
            _check_sizes([entry.file_size for entry in entries], limits)
            _check_ratio(entries, limits)
            names = unique(safe_path(entry.filename) for entry in entries)
            with _temporary_folder(target, sum(entry.file_size for entry in entries)) as folder:
                for entry, name in zip(entries, names, strict=True):
                    _unpack(opened, entry, folder / name)
    except _DAMAGE as error:
        raise InputError("The zip file is damaged or of an unsupported kind; pack the images again.") from error
    return _innermost(target)


def store_images(files: Iterable[tuple[str, bytes]], target: Path, limits: UploadLimits = LIMITS) -> list[Path]:
    """Writes images under safe, unique names beside existing files; all of them or none.

    Args:
        files: Name and content of each.
        target: Folder, created if missing.
        limits: Limits for the new and existing files together.

    Returns:
        The files written, in the order given.

    Raises:
        InputError: A file is not an image, or a limit is exceeded.
        StoreError: The disk is full or not writable.
    """
    given = list(files)
    there = [path for path in target.iterdir() if path.is_file()] if target.is_dir() else []
    _check_sizes([path.stat().st_size for path in there] + [len(content) for _, content in given], limits)
    flat = [PurePosixPath(safe_part(name.replace("\\", "/").rpartition("/")[2])) for name, _ in given]
    paths = [target / name for name in unique(flat, [path.name for path in there])]
    with _disk_faults(target), _removed_on_error(paths):
        target.mkdir(parents=True, exist_ok=True)
        for path, (name, content) in zip(paths, given, strict=True):
            _check_suffix(path, name)
            path.write_bytes(content)
            _check_image(path, name)
    return paths


def _check_directory(archive: BinaryIO, limits: UploadLimits) -> None:
    """Refuses a zip directory too large to read into memory, before the other limits are checked."""
    size = archive.seek(0, os.SEEK_END)
    archive.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT))
    tail = archive.read()
    archive.seek(0)
    start = tail.rfind(_END_RECORD)
    if start < 0 or len(tail) < start + _END_BYTES:
        raise InputError("The uploaded file is not a zip file; pack the folder of images as .zip.")
    listed = struct.unpack_from("<I", tail, start + 12)[0]
    # A zip64 record is only needed beyond our limits, and could state any other size.
    if listed > limits.files * _ENTRY_BYTES or tail[max(0, start - 20) : start].startswith(_LARGE_RECORD):
        raise _too_many(limits)


def _images_in(entries: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The entries that are images and may be unpacked."""
    for entry in entries:
        safe_path(entry.filename)
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{quoted(entry.filename)} in the zip file is a link; pack the images themselves.")
    images = [entry for entry in entries if not entry.is_dir() and _is_shown_image(entry.filename)]
    if not images:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"The zip file holds no images: pack files ending in {endings}.")
    for entry in images:
        if entry.flag_bits & 1:
            raise InputError("The zip file is encrypted; pack the images without a password.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError("The zip file uses an unsupported compression; pack the images again as an ordinary .zip.")
    return images


def _is_shown_image(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part != "." for part in parts) or parts[0] == "__MACOSX"
    return not hidden and PurePosixPath(parts[-1]).suffix.lower() in IMAGE_SUFFIXES


def _check_sizes(sizes: Sequence[int], limits: UploadLimits) -> None:
    if len(sizes) > limits.files:
        raise _too_many(limits)
    if max(sizes, default=0) > limits.file_bytes:
        raise InputError(f"An image is larger than {limits.file_bytes >> 20} MB; scale it down or cut it into tiles.")
    if sum(sizes) > limits.total_bytes:
        raise InputError(
            f"The images are larger than {limits.total_bytes >> 20} MB in total; "
            "copy the folder to this machine and name it instead."
        )


def _too_many(limits: UploadLimits) -> InputError:
    return InputError(
        f"More than {limits.files} files are too many for an upload; copy the folder to this machine and name it."
    )


def _check_ratio(entries: Sequence[zipfile.ZipInfo], limits: UploadLimits) -> None:
    size, packed = (sum(getattr(entry, kind) for entry in entries) for kind in ("file_size", "compress_size"))
    if size > limits.harmless_bytes and size > limits.ratio * packed:
        raise InputError(
            f"The zip file would become more than {limits.ratio:g} times larger, which images never do; "
            "pack the images again."
        )


@contextmanager
def _temporary_folder(target: Path, size: int) -> Iterator[Path]:
    """A temporary folder that is renamed to ``target`` if the block succeeds, and removed otherwise."""
    draft = target.with_name(f".{uuid.uuid4().hex}")
    with _disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < size:
            raise StoreError(
                f"The disk of {target.parent} has no space for {size >> 20} MB of images; free some space."
            )
        try:
            draft.mkdir()
            yield draft
            if target.is_dir():
                target.rmdir()  # fails unless it is empty
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _disk_faults(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror}); free the disk, then try again.") from error


@contextmanager
def _removed_on_error(paths: Sequence[Path]) -> Iterator[None]:
    """Removes the files if the block fails."""
    try:
        yield
    except BaseException:
        for path in paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, _CHUNK)  # never more than the size that was checked
    _check_image(path, entry.filename)


def _check_suffix(path: Path, name: str) -> None:
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{quoted(name)} is not an image; give files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")


def _check_image(path: Path, name: str) -> None:
    try:
        probe(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), quoted(name), 1)) from error


def _innermost(folder: Path) -> Path:
    """The innermost folder reached through folders that contain a single folder and nothing else."""
    while not (folder / "train" / "good").is_dir():
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder
