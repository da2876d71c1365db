"""Divides images into groups, again and again until none shows a clear gap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier

from automl_ad.data.groups.descriptions import Descriptions, Floats
from automl_ad.data.groups.file_facts import FileFacts
from automl_ad.data.groups.kinds import Kind, is_moved, kind_of
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
    if len(part.rows) < 2 * smallest:
        return [part]
    for second in _divisions(images.take(part.rows), here, part.arc is not None, smallest):
        sides = part.rows[~second], part.rows[second]
        kind = _kind(sides, images, maps, facts)
        if kind is not None:
            parts = [Part(side, kind, beside) for side, beside in (sides, sides[::-1])]
            return [found for side in parts for found in _divided(side, images, maps, facts, smallest)]
    return [part]


def _divisions(images: Descriptions, facts: Sequence[FileFacts], turned: bool, smallest: int) -> Iterator[_Members]:
    """Members of the second group: by the clearest gap first, and by what the files say last."""
    sample = np.linspace(0, len(facts) - 1, min(len(facts), _MOST_COMPARED)).astype(np.int64)
    fewest = max(3, smallest * len(sample) // len(facts))
    found = []
    for name, points in _blocks(images, turned).items():
        split = find_split(points[sample], fewest, _FLOORS[name])
        if split is not None:
            found.append((split.clarity, points, split.second))
    for _, points, second in sorted(found, key=lambda item: -item[0]):
        if len(sample) == len(facts):
            yield second
        else:
            yield np.asarray(KNeighborsClassifier(1).fit(points[sample], second).predict(points), np.bool_)
    by_files = _by_files(facts, smallest)
    if by_files is not None:
        yield by_files


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


def _kind(sides: tuple[_Rows, _Rows], images: Descriptions, maps: PolarMaps, facts: Sequence[FileFacts]) -> Kind | None:
    """What sets two groups apart; None if that is only where the part lies."""
    kind = kind_of(images.take(sides[0]), images.take(sides[1]))
    if kind == "product":
        if is_moved(images.take(sides[0]), images.take(sides[1])):
            return None
        return "angle" if is_rotated(maps.take(sides[0]), maps.take(sides[1])) else "product"
    return "camera" if any(_told_apart(values, sides) for values in _file_values(facts)) else kind


def _told_apart(values: Sequence[str], sides: tuple[_Rows, _Rows]) -> bool:
    """Whether nearly all files of one side have one value, and those of the other another."""
    common = [Counter(values[row] for row in side).most_common(1)[0] for side in sides]
    pure = all(count >= _PURE * len(side) for (_, count), side in zip(common, sides, strict=True))
    return pure and common[0][0] != common[1][0]
