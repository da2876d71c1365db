"""The good images of a study: read, checked for near-duplicates and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from automl_ad.data.choosing_rendering import Renderer, suited_rendering
from automl_ad.data.fingerprint import content_hash, near_duplicate_groups
from automl_ad.data.folder import without
from automl_ad.data.grey_levels import few_levels, levels_used
from automl_ad.data.groups import find_groups
from automl_ad.data.image_facts import ImageFacts
from automl_ad.data.image_set import ImageSet
from automl_ad.data.layouts import read_dataset
from automl_ad.data.left_aside import LeftAsideFiles
from automl_ad.data.masks import two_valued
from automl_ad.data.preprocessing import STRIDE, Preprocessing, working_size
from automl_ad.data.reading import ImageInfo, probe
from automl_ad.data.rendering import Rendering
from automl_ad.data.splits import Splits, split
from automl_ad.data.suspects import find_suspects
from automl_ad.data.transparency import composed_on, transparency_of
from automl_ad.errors import AutomlAdError, InputError
from automl_ad.formatting import first_few
from automl_ad.results import LayoutResult, LeftAside
from automl_ad.suggestions import suggested_command

Split = Literal["train", "validation", "holdout"]

SMALLEST = 16
"""Pixels a side below which an image is too small to show a part."""
_ENLARGED = 1.25
"""Ratio of the working size to the images' own side above which they count as enlarged."""
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
        facts: What the files have in common.
        warnings: Sentences for the user.
        layout: What the folder was taken for.
        left_aside: What was not read of it.
    """

    images: ImageSet
    paths: Sequence[Path]
    hashes: Sequence[str]
    preprocessing: dict[int, Preprocessing]
    facts: ImageFacts
    warnings: list[str]
    layout: LayoutResult
    left_aside: tuple[LeftAside, ...]


@dataclass(frozen=True)
class StudyImages:
    """The good images of a study, read and divided.

    Attributes:
        folder: Where they lie.
        good: The images as read.
        splits: Division of the images.
        groups: Near-duplicate group of each image.
        fingerprint: Digest of the readable files' contents.
    """

    folder: Path
    good: GoodImages
    splits: Splits
    groups: list[int]
    fingerprint: str

    @property
    def images(self) -> ImageSet:
        """All readable images at the largest working size, in the order of their content hashes."""
        return self.good.images

    @property
    def preprocessing(self) -> dict[int, Preprocessing]:
        """By side, how files become arrays."""
        return self.good.preprocessing

    @cached_property
    def warnings(self) -> list[str]:
        """Sentences for the user; looked for when they are asked for, as an export or an assessment does not."""
        good = self.good
        found = [*self.warnings_at_once, *_suspicions(good.images, good.paths)]
        return [*found, *_group_warnings(good, self.groups)]

    @property
    def warnings_at_once(self) -> list[str]:
        """Those of them that take no time."""
        return [*self.good.warnings, *_counting_warnings(self.groups, self.folder)]

    @property
    def reading(self) -> Preprocessing:
        """How files become arrays at the largest working size."""
        return self.preprocessing[max(self.preprocessing)]

    @property
    def rendering(self) -> Rendering:
        """How stored pixels become 8-bit ones, at every working size."""
        return Rendering.model_validate(self.reading.model_dump(include=set(Rendering.model_fields)))

    def learning_from(self, count: int | None) -> StudyImages:
        """A copy with at most ``count`` training images, evenly taken from all, or all of them when None."""
        train = self.splits.train
        if count is None or count >= len(train):
            return self
        kept = np.linspace(0, len(train) - 1, count).round().astype(int)
        return replace(self, splits=replace(self.splits, train=tuple(train[place] for place in kept)))

    def part(self, split: Split) -> ImageSet:
        """The images of one split."""
        return self.images.take(getattr(self.splits, split))


@dataclass(frozen=True)
class ReadingWatch:
    """Who is told of images while they are read.

    Attributes:
        found: Called before any is read with their number and the largest working size (height, width); may refuse.
        read: Called with how many are read, and how many there are.
    """

    found: Callable[[int, tuple[int, int]], None] | None = None
    read: Callable[[int, int], None] | None = None


UNWATCHED = ReadingWatch()


def read_images(
    settings: ReadingSettings, renderer: Renderer = suited_rendering, watch: ReadingWatch = UNWATCHED
) -> GoodImages:
    """Reads the images of a folder.

    Args:
        settings: Which folder, and at which sizes.
        renderer: Chooses how stored pixels become 8-bit ones.
        watch: Told of the images.

    Raises:
        InputError: There is none, all are excluded, or none can be read.
    """
    dataset = read_dataset(settings.images)
    good = dataset.good()
    aside = dataset.left_aside(good)
    paths = without(good, settings.images, settings.exclude)
    infos, faults = _probe(paths)
    readable, sizes = list(infos), [(info.height, info.width) for info in infos.values()]
    _require_some(readable, settings.images, len(paths), faults)
    rendering = renderer(readable)
    largest = working_size(sizes, max(settings.sides))
    preprocessing = {side: _preprocessing(working_size(sizes, side), largest, rendering) for side in settings.sides}
    if watch.found is not None:
        watch.found(len(readable), largest)
    pixels, unread = preprocessing[max(settings.sides)].load_all(readable, tell=watch.read)
    faults += [message for _, message in unread]
    lost = {path for path, _ in unread}
    kept = [path for path in readable if path not in lost]
    _require_some(kept, settings.images, len(paths), faults)
    pixels, kept = _without_masks(settings.images, pixels, kept, aside)
    transparent = transparency_of(kept, (rendering.black_level, rendering.white_level)).files
    hashes = [content_hash(path) for path in kept]
    order = sorted(range(len(kept)), key=lambda i: hashes[i])  # file names and folder order must not matter
    kinds = [path in transparent for path in kept]
    return GoodImages(
        ImageSet.of(pixels[order]),
        [kept[i] for i in order],
        [hashes[i] for i in order],
        preprocessing,
        ImageFacts.of([infos[path] for path in kept], pixels, kinds, rendering.white_level),
        [
            *_reading_warnings(faults, sizes),
            *_pixel_warnings(pixels, len(transparent), rendering),
            *_enlarging_warnings(sizes, largest),
        ],
        dataset.summary(),
        aside.summary(),
    )


def divide(settings: ReadingSettings, good: GoodImages) -> StudyImages:
    """Divides the images of a study.

    Raises:
        InputError: There are too few distinct ones.
    """
    groups = near_duplicate_groups(good.images.pixels)
    splits = _split(settings, good.hashes, groups)
    fingerprint = hashlib.sha256("".join(good.hashes).encode()).hexdigest()
    return StudyImages(settings.images, good, splits, groups, fingerprint)


def read_study_images(
    settings: ReadingSettings, renderer: Renderer = suited_rendering, watch: ReadingWatch = UNWATCHED
) -> StudyImages:
    """Reads the images of a study and divides them.

    Args:
        settings: Which folder, at which sizes, and the seed of the split.
        renderer: Chooses how stored pixels become 8-bit ones; a study that exists keeps to what it began with.
        watch: Told of the images.

    Raises:
        InputError: There are too few readable, distinct images, or none at all.
    """
    return divide(settings, read_images(settings, renderer, watch))


def _require_some(readable: Sequence[Path], folder: Path, count: int, faults: Sequence[str]) -> None:
    if not readable:
        raise InputError(f"None of the {count} images in {folder} can be read: {faults[0]}")


def _without_masks(
    folder: Path, pixels: npt.NDArray[np.uint8], paths: list[Path], aside: LeftAsideFiles
) -> tuple[npt.NDArray[np.uint8], list[Path]]:
    """Leaves pictures of two values aside: masks that nothing but their pixels tells from good images."""
    masks = set(two_valued(pixels, paths))
    if len(masks) == len(paths):
        raise InputError(f"{folder} holds nothing but images of two values, as masks have: give the good images.")
    aside.add_all("two-valued", (paths[row] for row in sorted(masks)))
    kept = [row for row in range(len(paths)) if row not in masks]
    return (pixels[kept] if masks else pixels), [paths[row] for row in kept]


def _probe(paths: Sequence[Path]) -> tuple[dict[Path, ImageInfo], list[str]]:
    infos, faults = {}, []
    for path in paths:
        info = _header(path)
        if isinstance(info, str):
            faults.append(info)
        else:
            infos[path] = info
    return infos, faults


def _header(path: Path) -> ImageInfo | str:
    """What the file says of itself, or what is wrong with it."""
    try:
        info = probe(path)
    except AutomlAdError as error:
        return str(error)
    if min(info.height, info.width) < SMALLEST:
        return f"{path} has only {info.width} x {info.height} pixels: give images of {SMALLEST} or more a side."
    return info


def _preprocessing(size: tuple[int, int], largest: tuple[int, int], how: Rendering) -> Preprocessing:
    height, width = size
    return Preprocessing(**dict(how), height=height, width=width, via=None if size == largest else largest)


def _split(settings: ReadingSettings, hashes: Sequence[str], groups: Sequence[int]) -> Splits:
    try:
        return split(hashes, groups, settings.seed)
    except InputError as error:
        raise InputError(f"In {settings.images} {error}") from error


def _reading_warnings(faults: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[str]:
    found = []
    if faults:
        found.append(f"{len(faults)} unreadable images were left out: {first_few(faults, _LISTED, '; ')}")
    aspects = np.log([width / height for height, width in sizes])
    if float(np.ptp(aspects)) > 0.3:
        found.append("The images have different aspect ratios and are stretched to one; crop them alike if you can.")
    return found


def _pixel_warnings(pixels: npt.NDArray[np.uint8], transparent: int, how: Rendering) -> list[str]:
    found = []
    if transparent and how.background is not None:
        found.append(f"{composed_on(transparent, len(pixels), how.background)}, here and in the bundle.")
    used = levels_used(pixels)
    if few_levels(used):
        found.append(f"The images use only {used} of 256 grey levels; run `automl-ad audit` for what to do.")
    return found


def _enlarging_warnings(sizes: Sequence[tuple[int, int]], working: tuple[int, int]) -> list[str]:
    own = float(np.median([np.sqrt(height * width) for height, width in sizes]))
    side = float(np.sqrt(working[0] * working[1]))
    if side <= _ENLARGED * own:
        return []
    return [
        f"The images have about {own:.0f} x {own:.0f} pixels and are enlarged to {working[1]} x {working[0]}, which "
        f"adds no detail but takes time and memory; --image-size {max(STRIDE, round(own))} keeps their size."
    ]


def _counting_warnings(groups: Sequence[int], folder: Path) -> list[str]:
    found, count = [], len(groups)
    if count < 30:
        found.append(f"Only {count} good images: the ranking is uncertain; 30 or more are better.")
    copies = count - len(set(groups))
    if copies > count / 10:
        audit = suggested_command("audit", folder)
        found.append(f"{copies} of {count} images are near-duplicates of others and add little; run `{audit}`.")
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
