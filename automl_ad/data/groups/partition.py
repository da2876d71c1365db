"""Divides images into groups, again and again until none shows a clear gap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier

from automl_ad.data.groups.descriptions import Descriptions, Floats
from automl_ad.data.groups.file_facts import FileFacts
from automl_ad.data.groups.kinds import Kind, kind_of
from automl_ad.data.groups.rotation import PolarMaps, is_rotated, varied_angle
from automl_ad.data.groups.splitting import find_split

_FLOORS = {"layout": 0.05, "spectrum": 0.05, "colour": 0.01, "light": 0.02, "camera": 0.075}
"""Blocks of `Descriptions` that are looked at, with the distances that have no meaning in them."""
_MOST_COMPARED = 500
_COVERED = 0.95
_PURE = 0.95

_Rows = npt.NDArray[np.int64]
_Members = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A group of images.

    Attributes:
        rows: Indices of its images.
        kind: What makes it different from the part beside it; None for the whole set.
        beside: Indices of the images that it was divided from.
        arc: Degrees over which the angles of the part shown vary; None if they do not.
    """

    rows: _Rows
    kind: Kind | None = None
    beside: _Rows | None = None
    arc: float | None = None


def partition(images: Descriptions, maps: PolarMaps, facts: Sequence[FileFacts], smallest: int) -> list[Part]:
    """The groups of a set of images; the whole set as one part if it shows no clear gap.

    Args:
        images: The images, described.
        maps: The same images around their centres.
        facts: Facts on their files.
        smallest: Members that a group must have at least.
    """
    return _divided(Part(np.arange(len(facts))), images, maps, facts, smallest)


def _divided(
    part: Part, images: Descriptions, maps: PolarMaps, facts: Sequence[FileFacts], smallest: int
) -> list[Part]:
    part = replace(part, arc=varied_angle(maps.take(part.rows)))
    here = [facts[row] for row in part.rows]
    second = None
    if len(part.rows) >= 2 * smallest:
        second = _second(images.take(part.rows), here, part.arc is not None, smallest)
    if second is None:
        return [part]
    sides = part.rows[~second], part.rows[second]
    kind = _kind(sides, images, maps, facts)
    parts = [Part(side, kind, beside) for side, beside in (sides, sides[::-1])]
    return [found for side in parts for found in _divided(side, images, maps, facts, smallest)]


def _second(images: Descriptions, facts: Sequence[FileFacts], turned: bool, smallest: int) -> _Members | None:
    """The members of the second group, by the clearest gap, or else by what the files say."""
    sample = np.linspace(0, len(facts) - 1, min(len(facts), _MOST_COMPARED)).astype(np.int64)
    fewest = max(3, smallest * len(sample) // len(facts))
    found = []
    for name, points in _blocks(images, turned).items():
        split = find_split(points[sample], fewest, _FLOORS[name])
        if split is not None:
            found.append((split.clarity, points, split.second))
    if not found:
        return _by_files(facts, smallest)
    _, points, second = max(found, key=lambda item: item[0])
    if len(sample) == len(facts):
        return second
    nearest = KNeighborsClassifier(1).fit(points[sample], second)
    return np.asarray(nearest.predict(points), np.bool_)


def _blocks(images: Descriptions, turned: bool) -> dict[str, Floats]:
    """What is compared. Of turned parts, only what does not depend on the angle: a few angles would pass for groups."""
    if turned:
        return {"light": images.light[:, :3], "camera": images.camera}
    return {name: getattr(images, name) for name in _FLOORS}


def _by_files(facts: Sequence[FileFacts], smallest: int) -> _Members | None:
    """Divides by camera, size or pixel format if nearly all files have one of a few frequent values."""
    for values in _file_values(facts):
        frequent = [(value, count) for value, count in Counter(values).most_common() if count >= smallest]
        if len(frequent) > 1 and sum(count for _, count in frequent) >= _COVERED * len(values):
            return np.array([value != frequent[0][0] for value in values])
    return None


def _file_values(facts: Sequence[FileFacts]) -> list[list[str]]:
    return [[fact.camera for fact in facts], [str(fact.size) for fact in facts], [fact.mode for fact in facts]]


def _kind(sides: tuple[_Rows, _Rows], images: Descriptions, maps: PolarMaps, facts: Sequence[FileFacts]) -> Kind:
    kind = kind_of(images.take(sides[0]), images.take(sides[1]))
    if kind == "product":
        return "angle" if is_rotated(maps.take(sides[0]), maps.take(sides[1])) else "product"
    return "camera" if any(_told_apart(values, sides) for values in _file_values(facts)) else kind


def _told_apart(values: Sequence[str], sides: tuple[_Rows, _Rows]) -> bool:
    """Whether nearly all files of one side have one value, and those of the other another."""
    common = [Counter(values[row] for row in side).most_common(1)[0] for side in sides]
    pure = all(count >= _PURE * len(side) for (_, count), side in zip(common, sides, strict=True))
    return pure and common[0][0] != common[1][0]
