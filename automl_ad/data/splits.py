"""Splits images into train, validation and hold-out parts, by content hashes only."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from automl_ad.errors import InputError

MIN_IMAGES = 12
"""Minimum number of distinct images for a search."""

ADVISED_IMAGES = 30
"""Number of distinct images from which the result of a search is reliable."""

_SMALLEST_SHARE = 3
_VALIDATION_SHARE, _MOST_VALIDATION = 0.25, 64
_HOLDOUT_SHARE, _MOST_HOLDOUT = 0.15, 48
_OVERSIZED = 20


STORED_SPLITS = {"fit": "train", "proxy": "validation", "certify": "holdout"}
"""Maps the names of splits in databases and files to the attributes of `Splits`."""


@dataclass(frozen=True)
class Splits:
    """Ascending indices of images; every image is in exactly one part, near-duplicates in the same.

    Attributes:
        train: Train part, to which detectors are fitted.
        validation: Validation part, on which trials are scored.
        holdout: Hold-out part, on which the best trials are checked again.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    holdout: tuple[int, ...]


def split(hashes: Sequence[str], groups: Sequence[int], seed: int) -> Splits:
    """Splits images about 60 / 25 / 15 into train, validation and hold-out.

    Counted in groups of near-duplicates, validation and hold-out get at least 3 and at most 64 and 48; the rest is for
    training. A group with more than a twentieth of all images goes to the train part if possible, so that one image
    saved many times does not dominate the scores.

    Args:
        hashes: Content hash of each image. The result does not depend on order or file names.
        groups: Near-duplicate group of each image, as from `near_duplicate_groups`.
        seed: Random seed of the split.

    Raises:
        InputError: Fewer than `MIN_IMAGES` groups.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    check_enough(len(members), len(hashes))
    ordered = sorted(members.values(), key=lambda indices: _rank(indices, hashes, seed))
    holdout = _share(len(ordered), _HOLDOUT_SHARE, _MOST_HOLDOUT)
    validation = holdout + _share(len(ordered), _VALIDATION_SHARE, _MOST_VALIDATION)
    return Splits(_flat(ordered[validation:]), _flat(ordered[holdout:validation]), _flat(ordered[:holdout]))


def check_enough(distinct: int, images: int) -> None:
    """Refuses sets that are too small for a search.

    Raises:
        InputError: ``distinct`` groups of near-duplicates among ``images`` are fewer than `MIN_IMAGES`.
    """
    if distinct < MIN_IMAGES:
        raise InputError(
            f"there are only {distinct} distinct images among {images} (near-duplicates count once): "
            f"give at least {MIN_IMAGES}, better {ADVISED_IMAGES} or more."
        )


def _rank(indices: Sequence[int], hashes: Sequence[str], seed: int) -> tuple[bool, str]:
    smallest = min(hashes[i] for i in indices)
    shuffled = hashlib.sha256(f"{seed}:{smallest}".encode()).hexdigest()
    return len(indices) * _OVERSIZED > len(hashes), shuffled


def _share(groups: int, fraction: float, most: int) -> int:
    return min(max(round(groups * fraction), _SMALLEST_SHARE), most)


def _flat(groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted(index for group in groups for index in group))
