"""The two shapes of a bundle, folder and zip file, read alike and never unpacked."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from automl_ad.bundle.manifest import MANIFEST, Manifest, decode_manifest
from automl_ad.errors import BundleError

MAX_BYTES = 4 * 2**30
"""No bundle is larger: a crafted archive must not fill the memory."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile lets through for damaged archives; RuntimeError for encrypted ones.
_DAMAGE = (zipfile.BadZipFile, RuntimeError, zlib.error, OSError, EOFError, ValueError, OverflowError, struct.error)


class Container(Protocol):
    """Named files."""

    def names(self) -> set[str]:
        """Every name that is there."""
        ...

    def where(self, name: str) -> str:
        """How to name a file in a message."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file that is there.

        Raises:
            BundleError: It cannot be read.
        """
        ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        try:
            return {entry.name for entry in self._path.iterdir()}
        except OSError as error:
            raise BundleError(
                f"{self._path} cannot be listed ({error.strerror or error}); give this user permission to read it."
            ) from error

    def where(self, name: str) -> str:
        return str(self._path / name)

    def read(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise BundleError(
                f"{self.where(name)} cannot be read ({reason}); make it readable or copy the bundle again."
            ) from error


class _Archive:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        for member in archive.infolist():
            self._check(member)
        if len(self.names()) < len(archive.infolist()):
            raise BundleError(f"{path} holds one name twice; export the bundle again.")
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise BundleError(f"{path} would unpack to more than {MAX_BYTES >> 30} GiB; export the bundle again.")

    def names(self) -> set[str]:
        return set(self._archive.namelist())

    def where(self, name: str) -> str:
        return f"{name} in {self._path}"

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except _DAMAGE as error:
            raise BundleError(f"{self.where(name)} is damaged or altered; copy or export the bundle again.") from error

    def _check(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        if name.endswith(f"/{MANIFEST}") and ".." not in name and not name.startswith("/"):
            raise BundleError(f"{self._path} holds a folder; zip the files of the bundle without their folder.")
        if "/" in name or "\\" in name or ".." in name or ":" in name:
            raise BundleError(f"{self._path} holds {name!r}, which lies outside of a bundle; export the bundle again.")
        if member.compress_type not in _METHODS:
            raise BundleError(f"{self.where(name)} is compressed in an unusual way; export the bundle again.")


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Opens a bundle's folder or zip file for reading.

    Raises:
        BundleError: There is nothing, or something that is neither.
    """
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


def read_manifest(container: Container) -> Manifest:
    """Reads and checks the manifest.

    Raises:
        BundleError: It is missing or not valid.
    """
    _require(container, MANIFEST)
    return decode_manifest(container.read(MANIFEST), container.where(MANIFEST))


def read_files(container: Container, manifest: Manifest) -> dict[str, bytes]:
    """Reads every file that the manifest lists.

    Raises:
        BundleError: A file is missing or is not the one that was written, or an archive holds others.
    """
    strangers = container.names() - {MANIFEST} - manifest.files.keys()
    if strangers and isinstance(container, _Archive):
        raise BundleError(f"{container.where(min(strangers))} is no part of the bundle; export the bundle again.")
    return {name: _verified(container, name, digest) for name, digest in manifest.files.items()}


def _verified(container: Container, name: str, digest: str) -> bytes:
    _require(container, name)
    content = container.read(name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleError(
            f"{container.where(name)} has been altered since it was written; copy or export the bundle again."
        )
    return content


def _require(container: Container, name: str) -> None:
    if name not in container.names():
        raise BundleError(f"{container.where(name)} is missing; copy the whole bundle or export it again.")
