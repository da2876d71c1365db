"""Pool of synthetic images on disk, shared by all trials and studies on the same images."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.data.reading import read_image
from automl_ad.errors import InputError, StoreError
from automl_ad.store.artifacts import read_json, remove_leftovers, write_json
from automl_ad.store.plain_json import plain
from automl_ad.synthesis.contact_sheet import write_png

Image = npt.NDArray[np.uint8]
Generate = Callable[[Image, Sequence[float], Sequence[int]], Image]
"""Generates images, uint8 [B, H, W, 3], from B base images, strengths and seeds."""

_SCHEMA = 1
_ABSENT = object()
_HASH = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[0-9a-f]{32}_s[0-9.e+-]+_[0-9]+\.png")

# Raised on an unreadable or malformed manifest: missing keys, wrong types, numbers out of range.
_DAMAGE = (OSError, StoreError, KeyError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, order=True)
class ImageKey:
    """Identifies one image of a pool.

    Attributes:
        base: ``pixel_hash`` of the base image, uint8 [H, W, 3].
        strength: 0 or more, rounded to 2 significant digits, so that randomly drawn strengths can coincide.
        seed: Seed of the noise, 0 or more.

    Raises:
        ValueError: The base is not a hash, or strength or seed is invalid.
    """

    base: str
    strength: float
    seed: int

    def __post_init__(self) -> None:
        strength = float(f"{self.strength:.1e}") + 0.0  # the sum turns -0.0 into 0.0
        seed = operator.index(self.seed)
        if not _HASH.fullmatch(self.base) or not 0 <= strength < math.inf or seed < 0:
            raise ValueError(f"no image can have base {self.base!r}, strength {self.strength} and seed {self.seed}")
        object.__setattr__(self, "strength", strength)
        object.__setattr__(self, "seed", seed)

    @classmethod
    def of(cls, base_image: Image, strength: float, seed: int) -> ImageKey:
        """The key of the image made from a base image, uint8 [H, W, 3].

        Raises:
            ValueError: The base image has another shape or type, or strength or seed is invalid.
        """
        if base_image.dtype != np.uint8 or base_image.ndim != 3 or base_image.shape[2] != 3 or not base_image.size:
            raise ValueError(f"base images must be uint8 [H, W, 3] but got {base_image.dtype} {base_image.shape}")
        return cls(pixel_hash(base_image), strength, seed)

    @property
    def file_name(self) -> str:
        """Its file name; half of the hash is enough, and the whole hash makes paths too long for Windows."""
        return f"{self.base[:32]}_s{self.strength:g}_{self.seed}.png"


@dataclass(frozen=True, eq=False)
class Request:
    """A requested image.

    Attributes:
        base: The base image, uint8 [H, W, 3].
        strength: 0 or more, used as rounded by `ImageKey`.
        seed: Seed of the noise, 0 or more.
    """

    base: Image
    strength: float
    seed: int = 0

    @property
    def key(self) -> ImageKey:
        """The key of the image."""
        return ImageKey.of(self.base, self.strength, self.seed)


class ImagePool:
    """Images in a folder, listed in its ``pictures.json`` with the hash of their pixels.

    Only listed and unaltered images are returned: a file left by an interrupted write is generated again. Contents are
    verified by ``get`` and ``read`` only; other methods rely on the list and the file names.

    Attributes:
        folder: Folder of the pool.
        identity: All inputs that its images depend on.
        warnings: One sentence for each reason why images in the folder are not used.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """An empty pool; nothing is created until something is written.

        Args:
            folder: Folder of the pool.
            identity: All inputs that the images depend on beside their key, such as the image set, the model, its
                settings and seed. Images of another identity are never returned.

        Raises:
            TypeError: The identity is not JSON-serialisable.
        """
        self.folder = folder
        self.identity: dict[str, Any] = plain(identity)
        self.warnings: list[str] = []
        self._hashes: dict[ImageKey, str] = {}

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, Any]) -> ImagePool:
        """The pool in a folder; empty if the list is damaged or of another identity or version.

        Raises:
            TypeError: The identity is not JSON-serialisable.
        """
        pool = cls(folder, identity)
        pool._reload()
        return pool

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, key: ImageKey) -> bool:
        return key in self._hashes

    def strengths(self) -> list[float]:
        """The distinct strengths in the pool, ascending."""
        return sorted({key.strength for key in self._hashes})

    def slice(self, low: float, high: float, bases: Collection[str] | None = None) -> list[ImageKey]:
        """Sorted keys with ``low`` <= strength <= ``high``, optionally restricted to base images with these hashes."""
        chosen = (key for key in self._hashes if low <= key.strength <= high)
        return sorted(key for key in chosen if bases is None or key.base in bases)

    def read(self, key: ImageKey) -> Image:
        """One image, uint8 [H, W, 3].

        Raises:
            StoreError: The pool has no such image, or its file is missing, unreadable or altered.
        """
        path, pixels = self._path(key), self._hashes.get(key)
        if pixels is None:
            raise StoreError(f"{path} is not among the images of the pool; run the search again to generate it")
        try:
            image = np.array(read_image(path))  # a copy, since Pillow's own is read-only
        except InputError as error:
            self._hashes.pop(key, None)
            raise StoreError(f"{path} is missing or cannot be read; run the search again to generate it") from error
        if pixel_hash(image) != pixels:
            self._hashes.pop(key, None)
            raise StoreError(f"{path} was altered since it was generated; run the search again to replace it")
        return image

    def get(
        self,
        requests: Sequence[Request],
        generate: Generate,
        batch: int = 8,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Image]:
        """Images for the requests; missing ones are generated and stored in batches, under a lock of the pool.

        Args:
            requests: Requested images, with base images of one size.
            generate: Generates images; called only if some are missing.
            batch: Largest batch.
            progress: Called after each batch with the number of images generated and the number that were missing.

        Returns:
            uint8 [H, W, 3] for each request, in order; equal requests share one array.

        Raises:
            ValueError: The base images differ in size, a request is invalid, ``batch`` is below 1, or ``generate``
                returned a wrong shape or type; nothing of that batch is stored.
            StoreError: An image cannot be stored; those of earlier batches are.
        """
        if batch < 1:
            raise ValueError(f"the batch size must be at least 1 but is {batch}")
        keys = [request.key for request in requests]
        bases = {key: request.base for key, request in zip(keys, requests, strict=True)}
        if len({base.shape for base in bases.values()}) > 1:
            raise ValueError("base images must have the same size")
        images = self._readable(bases)
        if len(images) < len(bases):
            with self._exclusive():
                self._reload()
                missing = {key: base for key, base in bases.items() if key not in images}
                images |= self._readable(missing)
                missing = {key: base for key, base in missing.items() if key not in images}
                images |= self._make(missing, generate, batch, progress)
        return [images[key] for key in keys]

    def _make(
        self,
        bases: Mapping[ImageKey, Image],
        generate: Generate,
        batch: int,
        progress: Callable[[int, int], None] | None,
    ) -> dict[ImageKey, Image]:
        keys, images = list(bases), dict[ImageKey, Image]()
        for start in range(0, len(keys), batch):
            chunk = keys[start : start + batch]
            made = _generated(chunk, np.stack([bases[key] for key in chunk]), generate)
            self._store(made)
            images |= made
            if progress is not None:
                progress(len(images), len(keys))
        return images

    def _store(self, images: Mapping[ImageKey, Image]) -> None:
        """Writes files before the list, so that listed files are complete and a full disk leaves the list unchanged."""
        for key, image in images.items():
            grey = bool((image == image[:, :, :1]).all())
            write_png(self._path(key), image[:, :, 0] if grey else image)
        hashes = self._hashes | {key: pixel_hash(image) for key, image in images.items()}
        entries = [_entry(key, hashes[key]) for key in sorted(hashes)]
        write_json(self._manifest, {"schema": _SCHEMA, "identity": self.identity, "pictures": entries})
        self._hashes = hashes
        self._remove_unlisted()

    def _remove_unlisted(self) -> None:
        """Deletes images of another identity and of interrupted writes, but no other files."""
        listed = {key.file_name for key in self._hashes}
        for name in filter(_FILE_NAME.fullmatch, _names(self._image_folder)):
            if name not in listed:
                with suppress(OSError):
                    (self._image_folder / name).unlink()

    def _readable(self, keys: Iterable[ImageKey]) -> dict[ImageKey, Image]:
        images = {}
        for key in keys:
            with suppress(StoreError):
                images[key] = self.read(key)
        return images

    def _reload(self) -> None:
        listed, fault = _listed(self._manifest, self.identity)
        names = set(_names(self._image_folder))
        self._hashes = {key: pixels for key, pixels in listed.items() if key.file_name in names}
        warning = f"The images in {self.folder} {fault}, so they are not used but replaced."
        if fault is not None and warning not in self.warnings:
            self.warnings.append(warning)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Locks the pool against other processes."""
        path = self.folder / ".lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written ({error.strerror or error}); free the disk or choose another --workspace"
            ) from error
        try:
            remove_leftovers(self.folder)
            yield
        finally:
            lock.release()

    @property
    def _manifest(self) -> Path:
        return self.folder / "pictures.json"

    @property
    def _image_folder(self) -> Path:
        return self.folder / "pictures"

    def _path(self, key: ImageKey) -> Path:
        return self._image_folder / key.file_name


def _generated(keys: Sequence[ImageKey], bases: Image, generate: Generate) -> dict[ImageKey, Image]:
    made = np.asarray(generate(bases, [key.strength for key in keys], [key.seed for key in keys]))
    if made.dtype != np.uint8 or made.shape != bases.shape:
        raise ValueError(f"generate must return uint8 {bases.shape} but returned {made.dtype} {made.shape}")
    # Copies, as a generator may reuse its array.
    return {key: image.copy() for key, image in zip(keys, made, strict=True)}


def _entry(key: ImageKey, pixels: str) -> dict[str, Any]:
    return {"file": key.file_name, "base": key.base, "strength": key.strength, "seed": key.seed, "pixels": pixels}


def _listed(manifest: Path, identity: Mapping[str, Any]) -> tuple[dict[ImageKey, str], str | None]:
    """The listed images with their pixel hashes; or none and the reason, if the list is invalid."""
    try:
        if not manifest.exists():
            return {}, None
        content = read_json(manifest)
        fault = _mismatch(content, identity)
        return ({} if fault else _hashes(content["pictures"])), fault
    except _DAMAGE:
        return {}, f"have a list that cannot be read ({manifest.name})"


def _mismatch(content: Mapping[str, Any], identity: Mapping[str, Any]) -> str | None:
    if content["schema"] != _SCHEMA:
        return f"are listed in format {content['schema']}, not {_SCHEMA}"
    theirs = dict(content["identity"])
    names = sorted({*theirs, *identity})
    other = [name for name in names if theirs.get(name, _ABSENT) != identity.get(name, _ABSENT)]
    return f"came from another {' and '.join(other)}" if other else None


def _hashes(entries: Sequence[Mapping[str, Any]]) -> dict[ImageKey, str]:
    hashes = {}
    for entry in entries:
        key = ImageKey(entry["base"], entry["strength"], entry["seed"])
        if entry != _entry(key, str(entry["pixels"])):
            raise ValueError(f"{entry} contradicts itself")
        hashes[key] = str(entry["pixels"])
    return hashes


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return [path.name for path in folder.iterdir()]
    return []
