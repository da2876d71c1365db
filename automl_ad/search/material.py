"""The images of a study, read and divided, and the suites drawn on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from automl_ad.data.fingerprint import content_hash, near_duplicate_groups
from automl_ad.data.folder import find_images
from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing, working_size
from automl_ad.data.reading import ImageInfo, probe, white_level_of
from automl_ad.data.splits import Splits, split
from automl_ad.data.suspects import find_suspects
from automl_ad.errors import AutomlAdError, InputError
from automl_ad.evaluation.severity import calibrated_strengths
from automl_ad.evaluation.suite import Suite, draw_suite, load_suite, resize_images, resize_suite, save_suite
from automl_ad.search.panel import reference_panel
from automl_ad.search.seeds import derived_rng
from automl_ad.search.settings import StudySettings
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground

Purpose = Literal["fit", "proxy", "certify"]

SMALLEST = 16
"""Pixels a side below which a picture shows no part."""
_LISTED = 5
"""Unreadable files named in one warning."""


@dataclass(frozen=True)
class Views:
    """A study's images and suites at one working size.

    Attributes:
        preprocessing: How files become these arrays.
        normals: All readable good images; the splits index into it.
        proxy: What trials are scored on.
        certify: What the best few are checked on again.
    """

    preprocessing: Preprocessing
    normals: ImageSet
    proxy: Suite
    certify: Suite


@dataclass(frozen=True)
class Normals:
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


@dataclass(frozen=True)
class Material:
    """Everything that a study's trials look at.

    Attributes:
        normals: The good images.
        proxy, certify: Suites at the largest working size.
    """

    normals: Normals
    proxy: Suite
    certify: Suite
    _views: dict[int, Views] = field(default_factory=dict)

    def at(self, side: int) -> Views:
        """The images and suites at one of the study's sides; reduced once and kept."""
        if side not in self._views:
            how = self.normals.preprocessing[side]
            size = (how.height, how.width)
            images = resize_images(self.normals.images, size)
            proxy, certify = resize_suite(self.proxy, size), resize_suite(self.certify, size)
            self._views[side] = Views(how, images, proxy, certify)
        return self._views[side]


def read_normals(settings: StudySettings) -> Normals:
    """Reads the images of a study and divides them.

    Raises:
        InputError: There are too few readable, distinct images, or none at all.
    """
    paths = find_images(settings.images)
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
    images = ImageSet.of(pixels[order])
    groups = near_duplicate_groups(images.pixels)
    splits = _split(settings, [hashes[i] for i in order], groups)
    fingerprint = hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()
    warnings = [*_warnings(faults, sizes, groups), *_suspicions(images, [kept[i] for i in order])]
    return Normals(images, preprocessing, splits, groups, fingerprint, warnings)


def draw_material(settings: StudySettings, normals: Normals, folder: Path, device: torch.device) -> Material:
    """Draws the suites of a study, or loads them when it is resumed."""
    artist = _Artist(settings, normals, device)
    return Material(normals, artist.suite(folder, "proxy"), artist.suite(folder, "certify"))


class _Artist:
    """Draws the suites; severities are calibrated once, and only if something is to be drawn."""

    def __init__(self, settings: StudySettings, normals: Normals, device: torch.device) -> None:
        self._settings = settings
        self._normals = normals
        self._device = device

    def suite(self, folder: Path, purpose: Purpose) -> Suite:
        """Loads or draws the suite of one split."""
        source = self._source(purpose)
        known = load_suite(folder / purpose, source)
        if known is not None:
            return known
        bases = self._bases(purpose)
        rng = derived_rng(self._settings.seed, f"suite/{purpose}")
        suite = draw_suite(self._context(bases), self._strengths, self._settings.per_cell, rng)
        save_suite(suite, bases, folder / purpose, source)
        return suite

    def _source(self, purpose: Purpose) -> str:
        """Digest of all that a suite depends on: a suite of other images or another seed must never serve."""
        fields = {"families", "severities", "per_cell", "sides", "seed", "texture_dir"}
        parts = [self._settings.model_dump_json(include=fields), self._normals.images.key, purpose]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    @cached_property
    def _strengths(self) -> dict[str, dict[float, float]]:
        """Calibrated on the proxy images, which are more than the certify images, for both suites."""
        settings = self._settings
        panel = reference_panel(self._bases("fit"), self._device, max(settings.sides))
        bases = self._bases("proxy")
        rng = derived_rng(settings.seed, "severities")
        return calibrated_strengths(
            self._context(bases), bases, settings.families, settings.severities, panel, settings.per_cell, rng
        )

    def _bases(self, purpose: Purpose) -> ImageSet:
        return self._normals.images.take(getattr(self._normals.splits, purpose))

    def _context(self, bases: ImageSet) -> Context:
        images = np.ascontiguousarray(bases.pixels.transpose(0, 2, 3, 1))
        return Context(images, Foreground.fit(images), self._settings.texture_dir)


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


def _split(settings: StudySettings, hashes: Sequence[str], groups: Sequence[int]) -> Splits:
    try:
        return split(hashes, groups, settings.seed)
    except InputError as error:
        raise InputError(f"In {settings.images} {error}") from error


def _warnings(faults: Sequence[str], sizes: Sequence[tuple[int, int]], groups: Sequence[int]) -> list[str]:
    found, count = [], len(groups)
    if faults:
        more = f" and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        found.append(f"{len(faults)} unreadable images were left out: {'; '.join(faults[:_LISTED])}{more}")
    if count < 30:
        found.append(f"Only {count} good images: the ranking is uncertain; 30 or more are better.")
    copies = count - len(set(groups))
    if copies > count / 10:
        found.append(f"{copies} of {count} images are near-duplicates of others and add little; run `automl-ad audit`.")
    aspects = np.log([width / height for height, width in sizes])
    if float(np.ptp(aspects)) > 0.3:
        found.append("The images have different aspect ratios and are stretched to one; crop them alike if you can.")
    return found


def _suspicions(images: ImageSet, paths: Sequence[Path]) -> list[str]:
    """Warns of images unlike the others: a defect among the good ones teaches every candidate to accept it."""
    found = find_suspects(images.pixels)[:_LISTED]
    if not found:
        return []
    names = ", ".join(str(paths[suspect.index]) for suspect in found)
    return [f"These images look unlike the others; remove them if they show defects: {names}."]
