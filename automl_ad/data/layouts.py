"""Recognises good images, defective images and masks in the folder layouts that people have.

What is recognised: MVTec AD and its relatives (AD 2, LOCO AD, BTAD, MPDD, VisA in that form), VisA as distributed and
tables like its own, Real-IAD's JSON, Kolektor 1 and 2, DAGM and others that are labelled by masks alone, folders named
OK and NG, normal and abnormal, and the like, with or without train and test parts, and plain folders of good images.
What could mean two things is refused, with the folder to name instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from automl_ad.data.annotations import AnnotationTable, find_annotations
from automl_ad.data.dataset import PLAIN, Dataset, Item, name_below
from automl_ad.data.labelled import GOOD, UNSORTED
from automl_ad.data.listing import Listing, list_folder
from automl_ad.data.mask_pairs import Pairing, pair_masks
from automl_ad.data.masks import is_empty_mask, looks_like_mask
from automl_ad.data.roles import Part, Role, is_label_word, is_named_as_mask, mask_bases, only_part, role_of
from automl_ad.errors import InputError
from automl_ad.formatting import first_few

_SAMPLED = 3
_OPPOSITES = frozenset({"positive", "negative", "positives", "negatives", "pos", "neg"})
_NAMED = 3


@dataclass(frozen=True)
class Place:
    """Where an image lies, and what the names of its folders say.

    Attributes:
        path: The file.
        folders: Names of its folders below the data set, outermost first.
    """

    path: Path
    folders: tuple[str, ...]

    @property
    def roles(self) -> list[Role]:
        """The role of each folder."""
        return [role_of(name) for name in self.folders]

    @property
    def part(self) -> Part | None:
        """The part of the data set."""
        return next((role.part for role in self.roles if role.part is not None), None)

    @property
    def defective(self) -> bool | None:
        """False for good, True for defective, None if no folder says; the innermost that does decides."""
        return next((role.defective for role in reversed(self.roles) if role.defective is not None), None)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The folders before the first that has a role."""
        return self.folders[: next((i for i, role in enumerate(self.roles) if role.says_something), len(self.folders))]

    def above_label(self) -> tuple[str, ...]:
        """The folders above the innermost that says good or defective."""
        said = [index for index, role in enumerate(self.roles) if role.defective is not None]
        return self.folders[: said[-1]] if said else self.folders

    def type_of_defect(self) -> str:
        """Name of the kind of defect: the folder in the one that says defective, or that one itself."""
        inner = [
            name
            for name, role in zip(
                self.folders[len(self.above_label()) :], self.roles[len(self.above_label()) :], strict=True
            )
            if not role.container
        ]
        return inner[min(1, len(inner) - 1)] if inner else UNSORTED


def read_dataset(root: Path) -> Dataset:
    """Understands a folder; what is good and what is defective in it is asked of the result.

    Raises:
        InputError: There is no such folder, it may not be read, or it could mean several things.
    """
    check_folder(root)
    listing = list_folder(root)
    table = find_annotations(root, listing.tables)
    if table is not None:
        return _from_table(listing, table)
    pictures, masks = separate_masks(listing)
    places = [Place(path, path.relative_to(root).parts[:-1]) for path in pictures]
    _refuse_mixed(root, places)
    if any(place.defective is False for place in places):
        return _by_folders(listing, places, masks)
    if any(place.defective for place in places):
        _refuse_unsaid(listing, places)
        return _by_folders(listing, places, masks)
    pairing = pair_masks([(path, root) for path in pictures], [(mask, root) for mask in masks], False)
    if pairing.masks:
        return _by_masks(listing, places, pairing)
    _refuse_unlabelled(root, places)
    items = tuple(Item(place.path, None, GOOD) for place in places)
    return Dataset(root, PLAIN, items, listing, tuple(masks))


def check_folder(root: Path) -> None:
    """Refuses what is no folder.

    Raises:
        InputError: It is a file or does not exist.
    """
    if root.is_file():
        raise InputError(f"{root} is a file: give the folder that holds the good images.")
    if not root.is_dir():
        raise InputError(f"{root} does not exist: give the folder that holds the good images.")


def separate_masks(listing: Listing) -> tuple[list[Path], list[Path]]:
    """Tells pictures from masks: by their folders, by their names beside pictures, and in doubt by their values.

    Returns:
        Pictures and masks, each in the order of the listing.
    """
    in_mask_folder = _in_mask_folders(listing)
    rest = [path for path in listing.images if path not in in_mask_folder]
    beside = {(path.parent, path.stem.casefold()) for path in rest}
    masks = {path for path in rest if _names_partner(path, beside)} | _twins(rest)
    lone = [path for path in rest if path not in masks and is_named_as_mask(path.stem)]
    others = [path for path in rest if path not in masks and path not in lone]
    if others or any(looks_like_mask(path) for path in lone[:_SAMPLED]):
        # Where nothing but such names is there, and the images are no masks, the product is called so.
        masks |= {path for path in lone if not is_label_word(path.stem) or looks_like_mask(path)}
    masks |= in_mask_folder
    return [path for path in listing.images if path not in masks], [path for path in listing.images if path in masks]


def _in_mask_folders(listing: Listing) -> set[Path]:
    found: set[Path] = set()
    verdicts: dict[tuple[str, ...], bool] = {}
    for path in listing.images:
        folders = path.relative_to(listing.root).parts[:-1]
        index = next((i for i, name in enumerate(folders) if role_of(name).mask), None)
        if index is None:
            continue
        folder = folders[: index + 1]
        if folder not in verdicts:
            inside = [each for each in listing.images if each.relative_to(listing.root).parts[: index + 1] == folder]
            verdicts[folder] = not is_label_word(folders[index]) or any(map(looks_like_mask, inside[:_SAMPLED]))
        if verdicts[folder]:
            found.add(path)
    return found


def _names_partner(path: Path, stems: set[tuple[Path, str]]) -> bool:
    return any((path.parent, base.casefold()) in stems for base in mask_bases(path.stem))


def _twins(paths: Sequence[Path]) -> set[Path]:
    """Masks that have the name of a picture beside them, with another ending."""
    by_name: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        by_name.setdefault((path.parent, path.stem.casefold()), []).append(path)
    found: set[Path] = set()
    for same in by_name.values():
        flat = [path for path in same if looks_like_mask(path)] if len(same) > 1 else []
        if len(flat) < len(same):
            found.update(flat)
    return found


def _from_table(listing: Listing, table: AnnotationTable) -> Dataset:
    rows = {row.image: row for row in table.rows}
    _refuse_several(listing.root, [Place(path, path.relative_to(listing.root).parts[:-1]) for path in rows])
    items = []
    for path in listing.images:
        row = rows.get(path)
        if row is not None:
            masks = tuple(mask for mask in row.masks if mask.is_file())
            items.append(Item(path, row.part, GOOD if row.defect is None else row.defect, masks))
    lost = [str(mask) for row in table.rows for mask in row.masks if not mask.is_file()]
    notes = [*_missing(table, "images", table.missing), *_missing(table, "masks", lost)]
    return Dataset(listing.root, table.layout, tuple(items), listing, notes=tuple(notes))


def _missing(table: AnnotationTable, what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = ", ..." if len(names) > _NAMED else ""
    return [f"{table.source} lists {len(names)} {what} that do not exist ({', '.join(names[:_NAMED])}{more})."]


def _by_folders(listing: Listing, places: Sequence[Place], masks: Sequence[Path]) -> Dataset:
    root = listing.root
    prefix = _one_prefix(root, places)
    own = only_part(Path(os.path.abspath(root)).name)
    all_good = _train_is_good(places)
    beside_good = {place.above_label() for place in places if place.defective is False}
    items = []
    for place in places:
        inside = place.folders[: len(prefix)] == prefix
        assumed = GOOD if all_good and place.part == "train" else _defect_of(place, beside_good)
        defect = assumed if inside else None
        items.append(Item(place.path, place.part or own, defect))
    pairing = pair_masks(
        [(item.path, root) for item in items if item.defect is not None], [(mask, root) for mask in masks]
    )
    paired = tuple(replace(item, masks=pairing.masks.get(item.path, ())) for item in items)
    return Dataset(root, _layout_name(paired, places), paired, listing, pairing.unmatched)


def _defect_of(place: Place, beside_good: set[tuple[str, ...]]) -> str | None:
    """`GOOD`, the type of defect, or None: folders beside one of good images hold a type of defect each."""
    if place.defective is not None:
        return place.type_of_defect() if place.defective else GOOD
    for above in sorted(beside_good, key=len, reverse=True):
        rest = place.folders[len(above) :]
        if place.folders[: len(above)] == above and rest and not role_of(rest[0]).says_something:
            return rest[0]
    if place.part == "test":
        after = place.folders[next(i for i, role in enumerate(place.roles) if role.part is not None) + 1 :]
        named = [name for name in after if not role_of(name).says_something]
        return named[0] if named else None
    return None


def _refuse_unsaid(listing: Listing, places: Sequence[Place]) -> None:
    """Refuses defects beside images of which nothing is said."""
    unsaid = [place for place in places if place.defective is None]
    if unsaid and not _train_is_good(places):
        bad = next(place for place in places if place.defective)
        raise InputError(
            f"{listing.root} holds images of defects ({name_below(listing.root, bad.path.parent)}) beside others that "
            f"no folder calls good: {_advice(listing.root, unsaid)}"
        )


def _train_is_good(places: Sequence[Place]) -> bool:
    """Whether the train part holds good images alone: it has no labels, while the test part has."""
    train = [place for place in places if place.part == "train"]
    tested = any(place.part == "test" and place.defective is not None for place in places)
    named = any(place.defective is not None or any(role.kind for role in place.roles) for place in train)
    return bool(train) and tested and not named


def _by_masks(listing: Listing, places: Sequence[Place], pairing: Pairing) -> Dataset:
    """Labels by masks alone: an image whose masks mark nothing is good."""
    _refuse_several(listing.root, places)
    bare = [place for place in places if place.path not in pairing.masks]
    some = next(iter(pairing.masks.values()))[0]
    inside = some.parent.parent == next(iter(pairing.masks)).parent and role_of(some.parent.name).mask
    if bare and not inside:
        raise InputError(
            f"{listing.root} holds {len(bare)} images without a mask (such as {name_below(listing.root, bare[0].path)})"
            f" beside {len(pairing.masks)} with one, and nothing says whether they are good: "
            f"{_advice(listing.root, bare)}"
        )
    types = _types_by_folder(places, pairing)
    items = tuple(
        Item(place.path, place.part, types.get(place.path, GOOD), pairing.masks.get(place.path, ())) for place in places
    )
    name = "DAGM" if inside else _name_by_masks(some)
    return Dataset(listing.root, name, items, listing, pairing.unmatched)


def _types_by_folder(places: Sequence[Place], pairing: Pairing) -> dict[Path, str]:
    """The type of defect of every image with a mask that marks something."""
    bad = [place for place in places if not all(is_empty_mask(mask) for mask in pairing.masks.get(place.path, ()))]
    named = {
        place.path: next((name for name in place.folders if not role_of(name).says_something), UNSORTED)
        for place in bad
    }
    # Where every part has a folder of its own, the folders are no types.
    few = len(set(named.values())) <= max(1, len(named) // 2)
    return {path: name if few else UNSORTED for path, name in named.items()}


def _name_by_masks(mask: Path) -> str:
    stem = mask.stem.lower()
    if stem.endswith("_gt"):
        return "Kolektor 2"
    return "Kolektor" if stem.endswith("_label") else "images with masks"


def _layout_name(items: Sequence[Item], places: Sequence[Place]) -> str:
    folders = {name.lower() for place in places for name in place.folders}
    per_picture = any(mask.parent.name == item.path.stem for item in items for mask in item.masks)
    if "test_public" in folders:
        return "MVTec AD 2"
    if per_picture:
        return "MVTec LOCO AD"
    if {"ok", "ko"} <= folders:
        return "BTAD"
    if {"data", "images", "normal", "anomaly"} <= folders:
        return "VisA"
    if any(item.part is not None for item in items):
        return "MVTec AD" if "good" in folders else "good and defective folders with train and test parts"
    return "good and defective folders"


def _one_prefix(root: Path, places: Sequence[Place]) -> tuple[str, ...]:
    prefixes = sorted({place.prefix for place in places if place.defective is False})
    if len(prefixes) > 1:
        names = [str(root.joinpath(*prefix)) for prefix in prefixes]
        raise _several(root, names)
    return prefixes[0] if prefixes else ()


def _refuse_several(root: Path, places: Iterable[Place]) -> None:
    """Refuses the images of several products: folders without a role that hold folders with one."""
    prefixes = {place.prefix for place in places if len(place.prefix) < len(place.folders)}
    if len(prefixes) > 1 and () not in prefixes:
        raise _several(root, [str(root.joinpath(*prefix)) for prefix in sorted(prefixes)])


def _several(root: Path, names: Sequence[str]) -> InputError:
    return InputError(
        f"{root} holds several data sets ({first_few(names)}): give one of them, as each product needs "
        "a detector of its own."
    )


def _refuse_mixed(root: Path, places: Iterable[Place]) -> None:
    for place in places:
        for index, role in enumerate(place.roles):
            if role.mixed:
                folder = root.joinpath(*place.folders[: index + 1])
                raise InputError(
                    f"{folder} is named after good and defective images at once: give a folder of good images only."
                )


def _refuse_unlabelled(root: Path, places: Sequence[Place]) -> None:
    """Refuses a folder that looks labelled but in which nothing is called good."""
    kinds = sorted({name for place in places for name in place.folders if role_of(name).kind})
    if kinds:
        raise InputError(
            f"{root} has folders that are named after defects ({', '.join(kinds[:_NAMED])}) and none that is called "
            "good: give the folder that holds the good images."
        )
    opposite = {name.casefold(): name for place in places for name in place.folders if name.casefold() in _OPPOSITES}
    if len(opposite) > 1:
        raise InputError(
            f"{root} has folders named {' and '.join(sorted(opposite.values()))}, and either can be the one of good "
            "images: give that one."
        )
    if any(place.part == "test" for place in places):
        raise InputError(
            f"{root} has a test part, and nothing says which of its images are good: "
            f"{_advice(root, [place for place in places if place.part != 'test'])}"
        )
    said = {role_of(place.path.stem).defective: place.path for place in places}
    if False in said and True in said:
        raise InputError(
            f"{root} holds good and defective images by their names ({said[False].name}, {said[True].name}): put the "
            "good ones into a folder of their own and give that."
        )


def _advice(root: Path, places: Sequence[Place]) -> str:
    """What to name instead: the folder that holds these images, where it is not the root itself."""
    outer = sorted({place.folders[0] for place in places if place.folders})
    if outer and all(place.folders for place in places):
        return f"give the folder of good images, such as {root / outer[0]}."
    return "put the good images into a folder named good, or give a folder that holds nothing else."
