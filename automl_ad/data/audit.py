"""What is odd about an image folder, and what to do about it before a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from automl_ad.data.fingerprint import near_duplicate_groups
from automl_ad.data.folder import find_images, without
from automl_ad.data.preprocessing import Preprocessing, working_size
from automl_ad.data.reading import ImageInfo, probe, white_level_of
from automl_ad.data.splits import ADVISED_IMAGES, MIN_IMAGES
from automl_ad.data.suspects import find_suspects
from automl_ad.errors import InputError

SMALLEST_SIDE = 32
"""Images with a shorter side, in pixels, show too little to learn from."""

_ASPECT_TOLERANCE = 1.1
_NAMED_FILES = 3


class Unreadable(BaseModel):
    """A file that is no usable image, and why."""

    model_config = ConfigDict(frozen=True)

    path: str
    error: str


class SuspectFile(BaseModel):
    """A file that may show a defect or another product; see `automl_ad.data.suspects.Suspect` for the score."""

    model_config = ConfigDict(frozen=True)

    path: str
    score: float


class AuditReport(BaseModel):
    """The answer of ``automl-ad audit``.

    Attributes:
        images: Number of readable images.
        unreadable: The files that are not.
        sizes: Number of images of each ``HxW``, most frequent first.
        modes: Number of images of each pixel format, most frequent first.
        duplicates: Groups of two or more paths that show the same picture.
        suspects: Images that look unlike the others, worst first.
        advice: Sentences for the user; empty if nothing is odd.
    """

    model_config = ConfigDict(frozen=True)

    images: int
    unreadable: list[Unreadable]
    sizes: dict[str, int]
    modes: dict[str, int]
    duplicates: list[list[str]]
    suspects: list[SuspectFile]
    advice: list[str]

    @property
    def all_identical(self) -> bool:
        """Whether every readable image shows the same picture, which leaves nothing to learn."""
        return self.images > 1 and [len(group) for group in self.duplicates] == [self.images]

    @property
    def distinct(self) -> int:
        """Number of images when near-duplicates count once."""
        return self.images - sum(len(group) - 1 for group in self.duplicates)


def audit(images: Path, exclude: Collection[str] = ()) -> AuditReport:
    """Looks at a folder of good images for whatever may spoil a search.

    Args:
        images: The folder.
        exclude: Images to leave out: paths relative to ``images``, in POSIX form.

    Raises:
        InputError: There is no such folder or no image in it; see `find_images`.
    """
    infos, unreadable = _probe_all(without(find_images(images), images, exclude))
    pixels, faults = _load_all(infos)
    unreadable += [Unreadable(path=str(path), error=reason) for path, reason in faults]
    broken = {path for path, _ in faults}
    readable = {path: info for path, info in infos.items() if path not in broken}
    report = _report(readable, pixels, unreadable)
    return report.model_copy(update={"advice": _advice(report, readable)})


def _probe_all(paths: Sequence[Path]) -> tuple[dict[Path, ImageInfo], list[Unreadable]]:
    infos, unreadable = {}, []
    for path in paths:
        found = _probe(path)
        if isinstance(found, ImageInfo):
            infos[path] = found
        else:
            unreadable.append(found)
    return infos, unreadable


def _probe(path: Path) -> ImageInfo | Unreadable:
    try:
        return probe(path)
    except InputError as fault:
        return Unreadable(path=str(path), error=str(fault))


def _load_all(infos: dict[Path, ImageInfo]) -> tuple[npt.NDArray[np.uint8], list[tuple[Path, str]]]:
    paths = list(infos)
    sizes = [(info.height, info.width) for info in infos.values()]
    height, width = working_size(sizes) if sizes else (SMALLEST_SIDE, SMALLEST_SIDE)
    return Preprocessing(height=height, width=width, white_level=white_level_of(paths)).load_all(paths)


def _report(infos: dict[Path, ImageInfo], pixels: npt.NDArray[np.uint8], unreadable: list[Unreadable]) -> AuditReport:
    paths = [str(path) for path in infos]
    return AuditReport(
        images=len(paths),
        unreadable=unreadable,
        sizes=_counted(f"{info.height}x{info.width}" for info in infos.values()),
        modes=_counted(info.mode for info in infos.values()),
        duplicates=_duplicates(paths, near_duplicate_groups(pixels)),
        suspects=[SuspectFile(path=paths[s.index], score=round(s.score, 2)) for s in find_suspects(pixels)],
        advice=[],
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _duplicates(paths: Sequence[str], groups: Sequence[int]) -> list[list[str]]:
    members: dict[int, list[str]] = {}
    for path, group in zip(paths, groups, strict=True):
        members.setdefault(group, []).append(path)
    return [group for group in members.values() if len(group) > 1]


def _advice(report: AuditReport, infos: dict[Path, ImageInfo]) -> list[str]:
    sentences = [
        _on_unreadable(report),
        _on_number(report),
        _on_duplicates(report),
        _on_small(infos),
        _on_sizes(report, infos),
        _on_modes(report),
        _on_suspects(report),
    ]
    return [sentence for sentence in sentences if sentence]


def _on_unreadable(report: AuditReport) -> str:
    if not report.unreadable:
        return ""
    names = _named([item.path for item in report.unreadable])
    return f"unreadable and left out: {len(report.unreadable)} ({names}); replace or remove them."


def _on_number(report: AuditReport) -> str:
    if report.all_identical:
        return (
            "all images are identical: a detector learns from the differences between good parts, so give other images."
        )
    if report.distinct < MIN_IMAGES:
        return (
            f"there are {report.distinct} distinct images, too few for a search: "
            f"give at least {MIN_IMAGES}, better {ADVISED_IMAGES} or more."
        )
    if report.distinct < ADVISED_IMAGES:
        return (
            f"there are {report.distinct} distinct images: a search works but its answer is uncertain, "
            f"so add more if you can, {ADVISED_IMAGES} or above."
        )
    return ""


def _on_duplicates(report: AuditReport) -> str:
    if not report.duplicates or report.all_identical:
        return ""
    extra = report.images - report.distinct
    names = _named(report.duplicates[0])
    return f"repeats of a picture that is there already: {extra} (such as {names}); they count once, so remove them."


def _on_small(infos: dict[Path, ImageInfo]) -> str:
    small = [str(path) for path, info in infos.items() if min(info.height, info.width) < SMALLEST_SIDE]
    if not small:
        return ""
    return (
        f"smaller than {SMALLEST_SIDE} pixels a side: {len(small)} ({_named(small)}); "
        "replace them with full-size images or remove them."
    )


def _on_sizes(report: AuditReport, infos: dict[Path, ImageInfo]) -> str:
    if len(report.sizes) < 2:
        return ""
    aspects = [info.width / info.height for info in infos.values()]
    if max(aspects) > _ASPECT_TOLERANCE * min(aspects):
        return (
            f"the images have {len(report.sizes)} sizes with different proportions: all will be stretched to one "
            "rectangle, so crop them alike or split them into one folder a view."
        )
    return (
        f"the images have {len(report.sizes)} sizes: all will be scaled to one, so best take them at one magnification."
    )


def _on_modes(report: AuditReport) -> str:
    if len(report.modes) < 2:
        return ""
    listed = ", ".join(f"{count} {mode}" for mode, count in report.modes.items())
    return f"the images have different pixel formats ({listed}): make sure that they come from one camera and setting."


def _on_suspects(report: AuditReport) -> str:
    if not report.suspects:
        return ""
    names = _named([item.path for item in report.suspects])
    return (
        f"unlike the others: {len(report.suspects)} ({names}); "
        "look at them and remove those that show a defect or another product."
    )


def _named(paths: Sequence[str]) -> str:
    rest = len(paths) - _NAMED_FILES
    return ", ".join(paths[:_NAMED_FILES]) + (f" and {rest} more" if rest > 0 else "")
