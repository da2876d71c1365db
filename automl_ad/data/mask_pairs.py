"""Pairs masks with pictures, by their paths: never by order, never by a bare name that several pictures share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl_ad.data.roles import Part, mask_bases, role_of
from automl_ad.errors import InputError

Folders = tuple[str, ...]
_Key = tuple[Folders, str]


@dataclass(frozen=True)
class Pairing:
    """What belongs together.

    Attributes:
        masks: Masks of each picture that has any.
        unmatched: Masks without a picture.
    """

    masks: Mapping[Path, tuple[Path, ...]]
    unmatched: tuple[Path, ...]


def pair_masks(
    images: Iterable[tuple[Path, Path]], masks: Iterable[tuple[Path, Path]], ambiguous_is_error: bool = True
) -> Pairing:
    """Finds each mask's picture.

    Folders that only say what they hold (``test``, ``images``, ``ground_truth``) are passed over; what is left of
    the paths must agree: ``ground_truth/hole/000_mask.png`` belongs to ``test/hole/000.png``. A mask may be named as
    its picture, with an addition such as ``_mask``, ``_GT`` or ``_label``, also numbered, or lie with others in a
    folder that is named as the picture. Where masks lie in fewer folders than pictures, the name alone decides if it is
    unique.

    Args:
        images: Pictures, each with the folder that its path counts from.
        masks: Masks, likewise.
        ambiguous_is_error: Whether a mask that could belong to several pictures is an error or counts as unmatched.

    Raises:
        InputError: A mask could belong to several pictures.
    """
    known: dict[_Key, list[tuple[Part | None, Path]]] = {}
    by_stem: dict[str, list[tuple[Folders, Part | None, Path]]] = {}
    for path, root in images:
        folders, part = _reduced(path, root)
        known.setdefault((folders, path.stem.casefold()), []).append((part, path))
        by_stem.setdefault(path.stem.casefold(), []).append((folders, part, path))
    found: dict[Path, list[Path]] = {}
    unmatched = []
    for mask, root in masks:
        owners = _owners(mask, root, known, by_stem)
        if len(owners) > 1 and ambiguous_is_error:
            raise InputError(
                f"{mask} could be the mask of {owners[0]} or of {owners[1]}: put masks into folders that are named as "
                "those of the images."
            )
        if len(owners) == 1:
            found.setdefault(owners[0], []).append(mask)
        else:
            unmatched.append(mask)
    return Pairing({image: tuple(sorted(each)) for image, each in found.items()}, tuple(unmatched))


def _owners(
    mask: Path,
    root: Path,
    known: Mapping[_Key, Sequence[tuple[Part | None, Path]]],
    by_stem: Mapping[str, Sequence[tuple[Folders, Part | None, Path]]],
) -> list[Path]:
    folders, part = _reduced(mask, root)
    names = [mask.stem, *mask_bases(mask.stem)]
    for name in names:
        if exact := _of_part(known.get((folders, name.casefold()), ()), part):
            return exact
    if folders and (inside := _of_part(known.get((folders[:-1], folders[-1]), ()), part)):
        return inside
    for name in names:
        near = [
            (other, path)
            for held, other, path in by_stem.get(name.casefold(), ())
            if held[len(held) - len(folders) :] == folders
        ]
        if loose := _of_part(near, part):
            return loose
    return []


def _of_part(found: Sequence[tuple[Part | None, Path]], part: Part | None) -> list[Path]:
    """Those of the same part of the data set; masks that lie outside of its parts belong to the test part first."""
    same = [path for other, path in found if other == part or part is None or other is None]
    tested = [path for other, path in found if other == "test"]
    return tested if part is None and tested else same


def _reduced(path: Path, root: Path) -> tuple[Folders, Part | None]:
    """The folders of a path that tell pictures apart, in lower case, and the part of the data set."""
    names = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else path.parts[:-1]
    roles = [role_of(name) for name in names]
    parts = [role.part for role in roles if role.part is not None]
    kept = tuple(
        name.casefold()
        for name, role in zip(names, roles, strict=True)
        if not (role.container or role.mask or (role.part is not None and role.defective is None))
    )
    return kept, parts[0] if parts else None
