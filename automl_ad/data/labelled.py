"""Labelled test images, good and defective, with masks if available."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl_ad.data.folder import list_images
from automl_ad.errors import InputError

GOOD = "good"
"""Defect type of images without a defect, and the name of their folder in MVTec layout."""

_UNSORTED = "defect"


@dataclass(frozen=True)
class LabelledImage:
    """One image with ground truth.

    Attributes:
        path: The image file.
        anomalous: Whether it shows a defect.
        defect: Type of the defect, ``good`` for none.
        mask: File with the defective pixels in white, if there is one.
    """

    path: Path
    anomalous: bool
    defect: str
    mask: Path | None


def labelled_images(dataset: Path) -> list[LabelledImage]:
    """Lists the test images of a data set in MVTec layout, good ones first.

    Masks are ``ground_truth/<defect>/<stem>_mask.*`` or ``<stem>.*`` and are paired by name, never by order.

    Raises:
        InputError: No ``test`` folder, no good or no defective images in it, or masks that match no image.
    """
    test = dataset / "test"
    if not test.is_dir():
        raise InputError(
            f"{dataset} has no folder named test: give a data set in MVTec layout (test/good, test/<defect>)."
        )
    good = _good_images(test / GOOD)
    bad = [image for kind in _sub_folders(test) if kind.name != GOOD for image in _defective(dataset, kind)]
    if not bad:
        raise InputError(f"{test} holds no defective images: put them in test/<name of the defect>.")
    return good + bad


def labelled_from_folders(good: Path, defects: Path) -> list[LabelledImage]:
    """Lists labelled images from two folders, good ones first, without masks.

    Args:
        good: Folder of images without a defect.
        defects: Folder of images with defects; its sub-folders are the types, images outside of these have type
            ``defect``.

    Raises:
        InputError: A folder is missing or holds no images.
    """
    bad = [LabelledImage(path, True, _type_below(defects, path), None) for path in _images_in(defects)]
    if not bad:
        raise InputError(f"{defects} holds no images: give a folder of defective images as --defects.")
    return _good_images(good) + bad


def _good_images(folder: Path) -> list[LabelledImage]:
    paths = _images_in(folder)
    if not paths:
        raise InputError(f"{folder} holds no images: put good images there, as defects are compared with them.")
    return [LabelledImage(path, False, GOOD, None) for path in paths]


def _defective(dataset: Path, kind: Path) -> list[LabelledImage]:
    images = list_images(kind)
    folder = dataset / "ground_truth" / kind.name
    masks = {path.stem: path for path in _images_in(folder)}
    pairs = [(path, masks.get(f"{path.stem}_mask", masks.get(path.stem))) for path in images]
    if images and masks and all(mask is None for _, mask in pairs):
        raise InputError(f"{folder} holds no mask named after an image of {kind}: name them <image name>_mask.png.")
    return [LabelledImage(path, True, kind.name, mask) for path, mask in pairs]


def _images_in(folder: Path) -> list[Path]:
    return list_images(folder) if folder.is_dir() else []


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _type_below(root: Path, path: Path) -> str:
    parents = path.relative_to(root).parts[:-1]
    return parents[0] if parents else _UNSORTED
