"""A folder of images, understood: what is good, what is defective, which masks belong to what, what was not read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from automl_ad.data.labelled import GOOD, LabelledImage
from automl_ad.data.left_aside import LeftAsideFiles, left_aside_sentence
from automl_ad.data.listing import Listing, suffix_names
from automl_ad.data.roles import Part, only_defective, role_of
from automl_ad.errors import InputError
from automl_ad.formatting import first_few
from automl_ad.results import LayoutResult

_Found = TypeVar("_Found")
PLAIN = "plain folder"


@dataclass(frozen=True)
class Item:
    """One image and what its place says.

    Attributes:
        path: The file.
        part: Part of the data set; None where it has no parts.
        defect: `GOOD`, a type of defect, or None if it is not known which.
        masks: Its masks.
    """

    path: Path
    part: Part | None
    defect: str | None
    masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A folder, understood.

    Attributes:
        root: The folder.
        name: Name of the layout.
        items: Its images, sorted by path.
        listing: What lies in the folder.
        unmatched_masks: Masks that belong to no image.
        notes: Sentences on what does not fit.
    """

    root: Path
    name: str
    items: tuple[Item, ...] = field(repr=False)
    listing: Listing = field(repr=False)
    unmatched_masks: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def good(self) -> list[Path]:
        """The good images to learn from: those of the train part, or all where there are no parts.

        Raises:
            InputError: There are none, only ones of a test or validation part, or the folder is named after defects.
        """
        if self.name == PLAIN:
            self._refuse_by_own_name()
        good = [item for item in self.items if item.defect == GOOD]
        chosen = [item.path for item in good if item.part == "train"] or [i.path for i in good if i.part is None]
        if chosen:
            return chosen
        if good:
            raise InputError(
                f"{self.root} looks like the test part of a data set, without good images to train on: give a folder "
                "of good images only."
            )
        if not self.items:
            aside = left_aside_sentence(self.listing.left_aside.summary())
            raise InputError(
                f"{self.root} holds no images: put files ending in {suffix_names()} there.{aside and ' ' + aside}"
            )
        raise InputError(
            f"{self.root} holds no images that are known to be good ({self.name}): give the folder that holds them."
        )

    def labelled(self) -> list[LabelledImage]:
        """The images to be judged, good ones first: those of the test part, or all where there are no parts.

        Raises:
            InputError: There are no good ones or no defective ones.
        """
        for part in ("test", None, "validation", "train"):
            bad = [item for item in self.items if item.part == part and item.defect not in (GOOD, None)]
            if bad:
                break
        else:
            raise InputError(
                f"{self.root} holds no images that are known to be defective: put good ones into test/good and others "
                "into test/<name of the defect>, or give --good DIR and --defects DIR."
            )
        good = self._good_beside(part)
        if not good:
            raise InputError(
                f"{self.root} holds no good images to compare the defects with: put some into a folder good beside "
                f"{self._folders(item.path for item in bad)}, or give --good DIR and --defects DIR."
            )
        return [LabelledImage(item.path, item.defect != GOOD, str(item.defect), item.masks) for item in (*good, *bad)]

    def good_is_judged_and_learned(self) -> bool:
        """Whether the good images to be judged are those that a search of this folder learns from."""
        learned, judged = set(self._or_none(self.good)), self._or_none(self.labelled)
        return any(image.path in learned for image in judged)

    def summary(self) -> LayoutResult:
        """What the folder was taken for."""
        good, judged = self._or_none(self.good), self._or_none(self.labelled)
        bad = [image for image in judged if image.anomalous]
        tested = [image.path for image in judged if not image.anomalous]
        masks = [mask for item in self.items for mask in item.masks]
        said = [f"{len(good)} good images to learn from{self._in(good)}"]
        if judged:
            said.append(f"{len(tested)} good{self._in(tested)} and {len(bad)} defective ones to be judged"
                        f"{self._in(image.path for image in bad)}")  # fmt: skip
        if masks:
            said.append(f"{len(masks)} masks{self._in(masks)}")
        return LayoutResult(
            name=self.name,
            good=len(good),
            test_good=len(tested),
            test_defective=dict(sorted(Counter(image.defect for image in bad).items())),
            masks=len(masks),
            sentence=f"Taken for: {self.name}, {', '.join(said)}.",
        )

    def left_aside(self, used: Iterable[Path]) -> LeftAsideFiles:
        """What is not read of the folder if only ``used`` is: images and masks."""
        kept, aside = set(used), self.listing.left_aside.copy()
        placed = {item.path: item for item in self.items}
        masks = {mask for item in self.items for mask in item.masks} | set(self.unmatched_masks)
        for path in self.listing.images:
            if path not in kept:
                aside.add("mask" if path in masks else _why_left(placed.get(path)), path)
        for path in kept:
            aside.add_pages(path)
        return aside

    def _good_beside(self, part: Part | None) -> list[Item]:
        for wanted in dict.fromkeys((part, "validation", None)):
            good = [item for item in self.items if item.part == wanted and item.defect == GOOD]
            if good:
                return good
        return []

    def _refuse_by_own_name(self) -> None:
        name = Path(os.path.abspath(self.root)).name
        if self.items and (only_defective(name) or role_of(name).mask):
            raise InputError(
                f"{self.root} is named after {'masks' if role_of(name).mask else 'defects'}, not after good images: "
                "give the folder that holds the good ones, or rename this one if they are good."
            )

    def _in(self, paths: Iterable[Path]) -> str:
        folders = self._folders(paths)
        return f" ({folders})" if folders else ""

    def _folders(self, paths: Iterable[Path]) -> str:
        """The folders of files, relative to the root, the first few."""
        found = list(dict.fromkeys(path.parent for path in paths))
        names = [name_below(self.root, folder) for folder in found if folder != self.root]
        return first_few(names)

    @staticmethod
    def _or_none(read: Callable[[], list[_Found]]) -> list[_Found]:
        try:
            return read()
        except InputError:
            return []


def name_below(root: Path, path: Path) -> str:
    """A path for a sentence: relative to ``root`` where it lies in it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)


def _why_left(item: Item | None) -> str:
    if item is None:
        return "elsewhere"
    if item.defect is None:
        return "no label"
    return "other part" if item.defect == GOOD else "defective"
