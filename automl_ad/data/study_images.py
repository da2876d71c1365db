"""The good images of a study: read, checked for near-duplicates and split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from automl_ad.data.fingerprint import content_hash, near_duplicate_groups
from automl_ad.data.folder import find_images, without
from automl_ad.data.groups import find_groups
from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing, working_size
from automl_ad.data.reading import ImageInfo, probe, white_level_of
from automl_ad.data.splits import Splits, split
from automl_ad.data.suspects import find_suspects
from automl_ad.errors import AutomlAdError, InputError

Split = Literal["train", "validation", "holdout"]

SMALLEST = 16
"""Pixels a side below which an image is too small to show a part."""
_LISTED = 5
"""Unreadable files named in one warning."""


class ReadingSettings(Protocol):
    """The part of a study's settings that decides how its images are read and split."""

    @property
    def images(self) -> Path:
        """Folder of good images."""
        ...

    @property
    def exclude(self) -> tuple[str, ...]:
        """Paths left out, relative to ``images``, in POSIX form."""
        ...

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the squares that have the areas of the working sizes, in pixels."""
        ...

    @property
    def seed(self) -> int:
        """Drives the split."""
        ...


@dataclass(frozen=True)
class GoodImages:
    """The good images of a folder, read.

    Attributes:
        images: All readable images at the largest working size, in the order of their content hashes.
        paths: File of each image.
        hashes: Content hash of each image.
        preprocessing: By side, how files become arrays.
        warnings: Sentences for the user.
    """

    images: ImageSet
    paths: Sequence[Path]
    hashes: Sequence[str]
    preprocessing: dict[int, Preprocessing]
    warnings: list[str]


@dataclass(frozen=True)
class StudyImages:
    """The good images of a study, read and divided.

    Attributes:
        images: All readable images at the largest working size, in the order of their content hashes.
        preprocessing: By side, how files become arrays.
        splits: Division of the images.
        groups: Near-duplicate group of each image.
        fingerprint: Digest of the readable files' contents.
        warnings: Sentences for the user.
    """

    images: ImageSet
    preprocessing: dict[int, Preprocessing]
    splits: Splits
    groups: list[int]
    fingerprint: str
    warnings: list[str]

    @property
    def reading(self) -> Preprocessing:
        """How files become arrays at the largest working size."""
        return self.preprocessing[max(self.preprocessing)]

    def part(self, split: Split) -> ImageSet:
        """The images of one split."""
        return self.images.take(getattr(self.splits, split))


def read_images(settings: ReadingSettings) -> GoodImages:
    """Reads the images of a folder.

    Raises:
        InputError: There is none, all are excluded, or none can be read.
    """
    paths = without(find_images(settings.images), settings.images, settings.exclude)
    readable, sizes, faults = _probe(paths)
    _require_some(readable, settings.images, len(paths), faults)
    white = white_level_of(readable)
    largest = working_size(sizes, max(settings.sides))
    preprocessing = {side: _preprocessing(working_size(sizes, side), largest, white) for side in settings.sides}
    pixels, unread = preprocessing[max(settings.sides)].load_all(readable)
    faults += [message for _, message in unread]
    lost = {path for path, _ in unread}
    kept = [path for path in readable if path not in lost]
    _require_some(kept, settings.images, len(paths), faults)
    hashes = [content_hash(path) for path in kept]
    order = sorted(range(len(kept)), key=lambda i: hashes[i])  # file names and folder order must not matter
    return GoodImages(
        ImageSet.of(pixels[order]),
        [kept[i] for i in order],
        [hashes[i] for i in order],
        preprocessing,
        _reading_warnings(faults, sizes),
    )


def divide(settings: ReadingSettings, good: GoodImages) -> StudyImages:
    """Divides the images of a study.

    Raises:
        InputError: There are too few distinct ones.
    """
    groups = near_duplicate_groups(good.images.pixels)
    splits = _split(settings, good.hashes, groups)
    fingerprint = hashlib.sha256("".join(good.hashes).encode()).hexdigest()
    warnings = [*good.warnings, *_counting_warnings(groups), *_suspicions(good.images, good.paths)]
    warnings += _group_warnings(good, groups)
    return StudyImages(good.images, good.preprocessing, splits, groups, fingerprint, warnings)


def read_study_images(settings: ReadingSettings) -> StudyImages:
    """Reads the images of a study and divides them.

    Raises:
        InputError: There are too few readable, distinct images, or none at all.
    """
    return divide(settings, read_images(settings))


def _require_some(readable: Sequence[Path], folder: Path, count: int, faults: Sequence[str]) -> None:
    if not readable:
        raise InputError(f"None of the {count} images in {folder} can be read: {faults[0]}")


def _probe(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[int, int]], list[str]]:
    readable, sizes, faults = [], [], []
    for path in paths:
        info = _header(path)
        if isinstance(info, str):
            faults.append(info)
        else:
            readable.append(path)
            sizes.append((info.height, info.width))
    return readable, sizes, faults


def _header(path: Path) -> ImageInfo | str:
    """What the file says of itself, or what is wrong with it."""
    try:
        info = probe(path)
    except AutomlAdError as error:
        return str(error)
    if min(info.height, info.width) < SMALLEST:
        return f"{path} has only {info.width} x {info.height} pixels: give images of {SMALLEST} or more a side."
    return info


def _preprocessing(size: tuple[int, int], largest: tuple[int, int], white: int) -> Preprocessing:
    height, width = size
    return Preprocessing(height=height, width=width, white_level=white, via=None if size == largest else largest)


def _split(settings: ReadingSettings, hashes: Sequence[str], groups: Sequence[int]) -> Splits:
    try:
        return split(hashes, groups, settings.seed)
    except InputError as error:
        raise InputError(f"In {settings.images} {error}") from error


def _reading_warnings(faults: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[str]:
    found = []
    if faults:
        more = f" and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        found.append(f"{len(faults)} unreadable images were left out: {'; '.join(faults[:_LISTED])}{more}")
    aspects = np.log([width / height for height, width in sizes])
    if float(np.ptp(aspects)) > 0.3:
        found.append("The images have different aspect ratios and are stretched to one; crop them alike if you can.")
    return found


def _counting_warnings(groups: Sequence[int]) -> list[str]:
    found, count = [], len(groups)
    if count < 30:
        found.append(f"Only {count} good images: the ranking is uncertain; 30 or more are better.")
    copies = count - len(set(groups))
    if copies > count / 10:
        found.append(f"{copies} of {count} images are near-duplicates of others and add little; run `automl-ad audit`.")
    return found


def _suspicions(images: ImageSet, paths: Sequence[Path]) -> list[str]:
    """Warns of images unlike the others: a defect among the good ones teaches every candidate to accept it."""
    found = find_suspects(images.pixels)[:_LISTED]
    if not found:
        return []
    names = ", ".join(str(paths[suspect.index]) for suspect in found)
    return [f"These images look unlike the others; remove them if they show defects: {names}."]


def _group_warnings(good: GoodImages, duplicates: Sequence[int]) -> list[str]:
    """Warns of groups: every candidate learns all of them as good, and a defect of one may be normal in another."""
    found = find_groups(good.images.pixels, good.paths, duplicates)
    if not found:
        return []
    listed = "; ".join(f"{group.name}: {group.sentence}" for group in found)
    remedy = "`automl-ad audit` shows them, and --exclude-group NAME leaves one out."
    if len(found[0].members) == len(good.paths) and len(found) == 1:
        remedy = f"{found[0].remedy}."
    return [f"The images are not of one kind, and candidates learn all of them as good ({listed}): {remedy}"]
