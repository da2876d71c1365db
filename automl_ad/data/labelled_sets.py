"""Reads sets of labelled images, and refuses those on which figures would be wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from automl_ad.data.dataset import PLAIN, Dataset, name_below
from automl_ad.data.fingerprint import content_hash
from automl_ad.data.labelled import GOOD, UNSORTED, LabelledImage
from automl_ad.data.layouts import read_dataset, separate_masks
from automl_ad.data.left_aside import merged
from automl_ad.data.listing import list_folder
from automl_ad.data.mask_pairs import pair_masks
from automl_ad.data.masks import is_empty_mask
from automl_ad.data.roles import only_part, role_of
from automl_ad.errors import InputError
from automl_ad.formatting import first_few
from automl_ad.results import LayoutResult, LeftAside

_MASKS_HELP = "save it again, name the values that mark with --mask-value, or move the image to the good ones"


@dataclass(frozen=True)
class LabelledSet:
    """Labelled images and what is to be said of them.

    Attributes:
        images: Good ones first.
        layout: What the folder was taken for, if one was read.
        left_aside: What was not read.
        warnings: Sentences on what weakens the figures.
        mask_values: The values that mark in masks; every value but 0 when empty.
    """

    images: tuple[LabelledImage, ...]
    layout: LayoutResult | None = None
    left_aside: tuple[LeftAside, ...] = ()
    warnings: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()


def labelled_images(dataset: Path) -> list[LabelledImage]:
    """The images of `read_labelled` alone, without a look at the masks.

    Raises:
        InputError: The folder holds no good or no defective images, or could mean several things.
    """
    return _understood(dataset).labelled()


def read_labelled(dataset: Path, mask_values: Collection[int] = (), *, masks: bool = True) -> LabelledSet:
    """Reads the labelled images of a data set in any of the layouts of `automl_ad.data.layouts`.

    Args:
        dataset: Its folder; of one with parts, the test part is read.
        mask_values: The values that mark in masks; every value but 0 when empty.
        masks: Whether the masks matter, and so are looked at.

    Raises:
        InputError: There are no good or no defective images, an image is both, a mask of a defective image marks
            nothing, a mask of a good one marks something, or a mask belongs to no image while images lack theirs.
    """
    understood = _understood(dataset)
    images = tuple(understood.labelled())
    values = tuple(sorted(mask_values))
    warnings = [*understood.notes, *_copies(images)]
    if understood.good_is_judged_and_learned():
        warnings.append(
            f"{dataset} has no test part: a study of this folder learns from the good images that are judged here, and "
            "then the figures are too good."
        )
    if masks:
        warnings += check_masks(dataset, images, understood.unmatched_masks, values)
    used = [*(image.path for image in images), *(mask for image in images for mask in image.masks)]
    return LabelledSet(images, understood.summary(), understood.left_aside(used).summary(), tuple(warnings), values)


def read_labelled_folders(
    good: Path, defects: Path, masks: Path | None = None, mask_values: Collection[int] = ()
) -> LabelledSet:
    """Reads labelled images from two folders.

    Args:
        good: Folder of images without a defect.
        defects: Folder of images with defects; its sub-folders are the types, images outside of these have type
            ``defect``. Masks may lie beside the images.
        masks: Folder of masks, named as the images, in sub-folders as they are.
        mask_values: As for `read_labelled`.

    Raises:
        InputError: As for `read_labelled`, or a folder is missing or empty.
    """
    values = tuple(sorted(mask_values))
    normals = _good_folder(good)
    for folder, option in ((defects, "--defects"), (masks, "--masks")):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} ({option}) is no folder: check the path.")
    listing = list_folder(defects)
    pictures, beside = separate_masks(listing)
    if not pictures:
        raise InputError(f"{defects} holds no images: give a folder of defective images as --defects.")
    apart = None if masks is None else list_folder(masks)
    given = [(path, defects) for path in beside]
    if apart is not None:
        given += [(path, apart.root) for path in apart.images]
    pairing = pair_masks([(path, defects) for path in pictures], given)
    images = (
        *(LabelledImage(path, False, GOOD) for path in normals.good()),
        *(LabelledImage(path, True, _type_below(defects, path), pairing.masks.get(path, ())) for path in pictures),
    )
    warnings = [*_copies(images), *check_masks(masks or defects, images, pairing.unmatched, values)]
    aside = merged(
        normals.left_aside(image.path for image in images).summary(),
        listing.left_aside.summary(),
        apart.left_aside.summary() if apart else (),
    )
    return LabelledSet(images, _layout_of(good, defects, images), aside, tuple(warnings), values)


def check_masks(
    place: Path, images: Sequence[LabelledImage], unmatched: Sequence[Path], values: Collection[int]
) -> list[str]:
    """Checks that masks and labels agree.

    Returns:
        Sentences on images without masks, where others have some.

    Raises:
        InputError: See `read_labelled`.
    """
    for image in images:
        empty = [mask for mask in image.masks if is_empty_mask(mask, values)]
        if image.anomalous and image.masks and len(empty) == len(image.masks):
            raise InputError(f"{empty[0]} marks nothing, but its image {image.path} is defective: {_MASKS_HELP}.")
        if not image.anomalous and len(empty) < len(image.masks):
            marked = next(mask for mask in image.masks if mask not in empty)
            raise InputError(f"{marked} marks a defect, but its image {image.path} counts as good: move the image.")
    bad = [image for image in images if image.anomalous]
    bare = [image.path for image in bad if not image.masks]
    if unmatched and bare:
        raise InputError(
            f"{len(unmatched)} masks belong to no image ({_some(place, unmatched)}) while {len(bare)} defective images "
            f"have none ({_some(place, bare)}): name masks as their images, such as <image>_mask.png, or remove them."
        )
    found = []
    if unmatched:
        found.append(f"{len(unmatched)} masks belong to no image that is judged: {_some(place, unmatched)}.")
    if bare and len(bare) < len(bad):
        found.append(
            f"{len(bare)} of {len(bad)} defective images have no mask and do not count for pixel metrics: "
            f"{_some(place, bare)}."
        )
    return found


def _understood(dataset: Path) -> Dataset:
    """The data set; the test part of one whose masks lie beside it is understood with its masks."""
    name = Path(os.path.abspath(dataset))
    if only_part(name.name) == "test" and dataset.is_dir() and any(map(_holds_masks, name.parent.iterdir())):
        whole = read_dataset(name.parent)
        kept = tuple(item for item in whole.items if item.path.is_relative_to(name))
        return replace(whole, root=name, items=kept, listing=list_folder(name))
    return read_dataset(dataset)


def _holds_masks(folder: Path) -> bool:
    return folder.is_dir() and role_of(folder.name).mask


def _good_folder(good: Path) -> Dataset:
    found = read_dataset(good)
    if not found.items:
        raise InputError(f"{good} holds no images: put good images there, as defects are compared with them.")
    if found.name != PLAIN:
        raise InputError(f"{good} (--good) holds more than good images ({found.name}): give the folder of these alone.")
    return found


def _type_below(root: Path, path: Path) -> str:
    named = [name for name in path.relative_to(root).parts[:-1] if not role_of(name).container]
    return named[0] if named else UNSORTED


def _layout_of(good: Path, defects: Path, images: Sequence[LabelledImage]) -> LayoutResult:
    types = Counter(image.defect for image in images if image.anomalous)
    normal = len(images) - types.total()
    return LayoutResult(
        name="two folders",
        test_good=normal,
        test_defective=dict(sorted(types.items())),
        masks=sum(len(image.masks) for image in images),
        sentence=f"Taken for: {normal} good images ({good}) and {types.total()} defective ones ({defects}) to be "
        "judged.",
    )


def _copies(images: Sequence[LabelledImage]) -> list[str]:
    """Refuses an image that is good and defective; counts those that are judged several times."""
    first: dict[str, LabelledImage] = {}
    copies = 0
    for image in images:
        try:
            known = first.setdefault(content_hash(image.path), image)
        except OSError:
            continue  # reading it will say why
        if known.anomalous != image.anomalous:
            raise InputError(
                f"{known.path} and {image.path} are the same image, once good and once defective: remove one."
            )
        copies += known is not image
    return [f"{copies} images are copies of others and are judged each time."] if copies else []


def _some(place: Path, paths: Sequence[Path]) -> str:
    return first_few([name_below(place, path) for path in paths])
