"""Finds the groups of a set of good images, names them and describes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_ad.data.fingerprint import content_hash, pixel_hash
from automl_ad.data.groups import wording
from automl_ad.data.groups.descriptions import Descriptions, describe
from automl_ad.data.groups.drift import find_drift
from automl_ad.data.groups.file_facts import FileFacts, file_facts
from automl_ad.data.groups.kinds import Kind
from automl_ad.data.groups.partition import Part, partition
from automl_ad.data.groups.rotation import polar_maps
from automl_ad.results import ImageGroup

FEWEST_IMAGES = 8
"""Sets of fewer distinct images are not divided."""

_SMALLEST_SHARE = 0.08
"""A group of a tenth must be found although one or another of its images is odd."""
_FEWEST_MEMBERS = 3
_MOST_GROUPS = 8
"""More groups than this are the variety of one product."""
_EXAMPLES = 4
_DIGITS = 4

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Found:
    kind: Kind
    rows: _Rows
    sentence: str


def find_groups(
    images: npt.NDArray[np.uint8], paths: Sequence[Path], duplicates: Sequence[int]
) -> tuple[ImageGroup, ...]:
    """Finds groups of images that differ in product, light, camera, angle or time.

    A group has at least 8 % of the distinct images, and 3 of them; smaller ones are outliers (see `find_suspects`). It
    must be apart by a clear gap, so that the natural variety of one product makes no groups. Parts at varying angles
    and a drift over time are looked for in each group. Neither the order of the images nor their names matter.

    Args:
        images: uint8 [N, 3, H, W], RGB.
        paths: The file of each image.
        duplicates: Near-duplicate group of each image, as from `near_duplicate_groups`; duplicates count once.

    Returns:
        The groups, largest first; none if the images are of one kind.
    """
    leaders, copies = _leaders(images, duplicates)
    if len(leaders) < FEWEST_IMAGES:
        return ()
    distinct = images[leaders]
    described, facts = describe(distinct), [file_facts(paths[leader]) for leader in leaders]
    smallest = max(_FEWEST_MEMBERS, math.ceil(_SMALLEST_SHARE * len(leaders)))
    parts = partition(described, polar_maps(distinct), facts, smallest)
    if len(parts) > _MOST_GROUPS:
        return ()
    files = [paths[leader] for leader in leaders]
    found = [group for part in parts for group in _of_part(part, described, facts, files, smallest)]
    groups = [
        _group(one, described, [[paths[copy] for copy in copies[row]] for row in one.rows], len(paths)) for one in found
    ]
    return tuple(sorted(groups, key=lambda group: (-group.images, group.name)))


def _leaders(images: npt.NDArray[np.uint8], duplicates: Sequence[int]) -> tuple[_Rows, list[list[int]]]:
    """One image of each near-duplicate group, in an order that depends on the content alone; the members of each."""
    ranks = sorted(range(len(images)), key=lambda index: pixel_hash(images[index]))
    members: dict[int, list[int]] = {}
    for index in ranks:
        members.setdefault(duplicates[index], []).append(index)
    return np.array([group[0] for group in members.values()], np.int64), list(members.values())


def _of_part(
    part: Part, images: Descriptions, facts: Sequence[FileFacts], files: Sequence[Path], smallest: int
) -> list[_Found]:
    rows, found = part.rows, []
    if part.kind is not None and part.beside is not None:
        found.append(_Found(part.kind, rows, wording.difference(part.kind, rows, part.beside, images, facts)))
    if part.arc is not None:
        found.append(_Found("angle", rows, wording.turned(part.arc)))
    drift = find_drift(images.take(rows), [facts[row] for row in rows], [files[row] for row in rows], smallest)
    if drift is not None:
        halves = (False, True)
        found += [_Found("time", rows[drift.late == late], wording.drifted(drift, late)) for late in halves]
    return found


def _group(found: _Found, images: Descriptions, copies: Sequence[Sequence[Path]], total: int) -> ImageGroup:
    members = [path for group in copies for path in group]
    name = f"{found.kind}-{min(content_hash(path) for path in members)[:_DIGITS]}"
    everything = len(members) == total
    counted = f"all {total}" if everything else f"{len(members)} of {total}"
    return ImageGroup(
        name=name,
        kind=found.kind,
        images=len(members),
        share=len(members) / total,
        examples=tuple(str(copies[place][0]) for place in _typical(found, images)),
        members=tuple(sorted(map(str, members))),
        sentence=f"{counted} images {found.sentence}",
        remedy=wording.remedy(found.kind, name, everything),
    )


def _typical(found: _Found, images: Descriptions) -> list[int]:
    """Places of a few members: the most typical ones, or for angles some that differ."""
    count = min(len(found.rows), _EXAMPLES)
    if found.kind == "angle":
        return [int(place) for place in np.linspace(0, len(found.rows) - 1, count)]
    points = images.thumbnails[found.rows].reshape(len(found.rows), -1)
    distances = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    return [int(place) for place in np.argsort(distances, kind="stable")[:count]]
