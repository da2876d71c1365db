"""Audit of an image folder: problems that affect a search, with advice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.data.choosing_rendering import suited_rendering
from automl_ad.data.fingerprint import near_duplicate_groups
from automl_ad.data.folder import without
from automl_ad.data.grey_levels import few_levels, levels_used
from automl_ad.data.group_exclusion import named_members
from automl_ad.data.groups import find_groups
from automl_ad.data.layouts import read_dataset
from automl_ad.data.masks import two_valued
from automl_ad.data.preprocessing import Preprocessing, working_size
from automl_ad.data.reading import ImageInfo, probe
from automl_ad.data.rendering import Rendering
from automl_ad.data.splits import ADVISED_IMAGES, MIN_IMAGES
from automl_ad.data.suspects import find_suspects
from automl_ad.data.transparency import composed_on, transparency_of
from automl_ad.errors import InputError
from automl_ad.formatting import first_few
from automl_ad.results import AuditResult, FileError, SuspectFile

SMALLEST_SIDE = 32
"""Smallest useful image side in pixels."""

_ASPECT_TOLERANCE = 1.1
_NAMED_FILES = 3


def audit(images: Path, exclude: Collection[str] = (), exclude_group: Collection[str] = ()) -> AuditResult:
    """Checks a folder of good images for problems that affect a search.

    Args:
        images: The folder.
        exclude: Images to leave out: paths relative to ``images``, in POSIX form.
        exclude_group: Groups to leave out as well, by the names that the audit without this argument gives them.

    Raises:
        InputError: There is no such folder or no good image in it; see `automl_ad.data.layouts`.
        OptionError: There is no such group.
    """
    if exclude_group:
        exclude = names_without_groups(images, exclude, exclude_group)
    dataset = read_dataset(images)
    good = dataset.good()
    aside = dataset.left_aside(good)
    infos, unreadable = _probe_all(without(good, images, exclude))
    rendering = suited_rendering(list(infos))
    pixels, faults = _load_all(infos, rendering)
    unreadable += [FileError(path=str(path), error=reason) for path, reason in faults]
    broken = {path for path, _ in faults}
    loaded = [path for path in infos if path not in broken]
    masks = set(two_valued(pixels, loaded))
    aside.add_all("two-valued", (loaded[row] for row in sorted(masks)))
    kept = [row for row in range(len(loaded)) if row not in masks]
    pixels, readable = pixels[kept], {loaded[row]: infos[loaded[row]] for row in kept}
    report = _report(readable, pixels, unreadable).model_copy(update=_rendered(readable, pixels, rendering))
    report = report.model_copy(update={"layout": dataset.summary(), "left_aside": aside.summary()})
    return report.model_copy(update={"advice": tuple(_advice(report, readable))})


def names_without_groups(images: Path, exclude: Collection[str], exclude_group: Collection[str]) -> tuple[str, ...]:
    """Adds the members of groups to the images that are left out.

    Args:
        images: The folder.
        exclude: Images that are left out anyway, as of `audit`; groups are those of the other images.
        exclude_group: Names of groups.

    Returns:
        Unique paths relative to ``images`` in POSIX form, sorted.

    Raises:
        InputError: There is no such folder or no image in it.
        OptionError: There is no such group, or nothing else is left.
    """
    members = named_members(audit(images, exclude).groups, exclude_group)
    return tuple(sorted({*exclude, *(Path(path).relative_to(images).as_posix() for path in members)}))


def _probe_all(paths: Sequence[Path]) -> tuple[dict[Path, ImageInfo], list[FileError]]:
    infos, unreadable = {}, []
    for path in paths:
        found = _probe(path)
        if isinstance(found, ImageInfo):
            infos[path] = found
        else:
            unreadable.append(found)
    return infos, unreadable


def _probe(path: Path) -> ImageInfo | FileError:
    try:
        return probe(path)
    except InputError as fault:
        return FileError(path=str(path), error=str(fault))


def _load_all(
    infos: dict[Path, ImageInfo], rendering: Rendering
) -> tuple[npt.NDArray[np.uint8], list[tuple[Path, str]]]:
    sizes = [(info.height, info.width) for info in infos.values()]
    height, width = working_size(sizes) if sizes else (SMALLEST_SIDE, SMALLEST_SIDE)
    return Preprocessing(**dict(rendering), height=height, width=width).load_all(list(infos))


def _rendered(infos: dict[Path, ImageInfo], pixels: npt.NDArray[np.uint8], rendering: Rendering) -> dict[str, Any]:
    """How stored pixels became 8-bit ones, as fields of the report."""
    deep = any(info.bit_depth > 8 for info in infos.values())
    transparent = len(transparency_of(list(infos), (rendering.black_level, rendering.white_level)).files)
    return {
        "grey_levels": levels_used(pixels) if len(pixels) else None,
        "black_level": rendering.black_level if deep else None,
        "white_level": rendering.white_level if deep else None,
        "transparent": transparent,
        "background": rendering.background if transparent else None,
    }


def _report(infos: dict[Path, ImageInfo], pixels: npt.NDArray[np.uint8], unreadable: list[FileError]) -> AuditResult:
    paths = [str(path) for path in infos]
    copies = near_duplicate_groups(pixels)
    return AuditResult(
        images=len(paths),
        unreadable=tuple(unreadable),
        sizes=_counted(f"{info.height}x{info.width}" for info in infos.values()),
        modes=_counted(info.mode for info in infos.values()),
        duplicates=_duplicates(paths, copies),
        suspects=tuple(SuspectFile(path=paths[s.index], score=round(s.score, 2)) for s in find_suspects(pixels)),
        groups=find_groups(pixels, list(infos), copies),
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _duplicates(paths: Sequence[str], groups: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    members: dict[int, list[str]] = {}
    for path, group in zip(paths, groups, strict=True):
        members.setdefault(group, []).append(path)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def _advice(report: AuditResult, infos: dict[Path, ImageInfo]) -> list[str]:
    sentences = [
        _on_unreadable(report),
        _on_number(report),
        _on_duplicates(report),
        _on_small(infos),
        _on_sizes(report, infos),
        _on_modes(report),
        _on_levels(report),
        _on_transparency(report),
        _on_suspects(report),
        *_on_groups(report),
    ]
    return [sentence for sentence in sentences if sentence]


def _on_unreadable(report: AuditResult) -> str:
    if not report.unreadable:
        return ""
    names = first_few([item.path for item in report.unreadable])
    return f"unreadable and left out: {len(report.unreadable)} ({names}); replace or remove them."


def _on_number(report: AuditResult) -> str:
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
            f"there are {report.distinct} distinct images: a search works but its result is uncertain, "
            f"so add more if you can, {ADVISED_IMAGES} or more."
        )
    return ""


def _on_duplicates(report: AuditResult) -> str:
    if not report.duplicates or report.all_identical:
        return ""
    extra = report.images - report.distinct
    names = first_few(report.duplicates[0])
    return f"near-duplicates of other images: {extra} (such as {names}); they count once, so remove them."


def _on_small(infos: dict[Path, ImageInfo]) -> str:
    small = [str(path) for path, info in infos.items() if min(info.height, info.width) < SMALLEST_SIDE]
    if not small:
        return ""
    return (
        f"smaller than {SMALLEST_SIDE} pixels a side: {len(small)} ({first_few(small)}); "
        "replace them with full-size images or remove them."
    )


def _on_sizes(report: AuditResult, infos: dict[Path, ImageInfo]) -> str:
    if len(report.sizes) < 2:
        return ""
    aspects = [info.width / info.height for info in infos.values()]
    if max(aspects) > _ASPECT_TOLERANCE * min(aspects):
        return (
            f"the images have {len(report.sizes)} sizes with different proportions: all will be stretched to one "
            "rectangle, so crop them alike or use one folder per view."
        )
    return f"the images have {len(report.sizes)} sizes: all will be scaled to one, so take them at one magnification."


def _on_modes(report: AuditResult) -> str:
    if len(report.modes) < 2:
        return ""
    listed = ", ".join(f"{count} {mode}" for mode, count in report.modes.items())
    return f"the images have different pixel formats ({listed}): make sure that they come from one camera and setting."


def _on_levels(report: AuditResult) -> str:
    if report.grey_levels is None or not few_levels(report.grey_levels):
        return ""
    return (
        f"the images use only {report.grey_levels} of 256 grey levels, so faint defects may be lost in rounding: give "
        "images with more contrast, such as the camera's own 16-bit files, or a better exposure."
    )


def _on_transparency(report: AuditResult) -> str:
    if not report.transparent or report.background is None:
        return ""
    sentence = composed_on(report.transparent, report.images, report.background)
    if report.transparent < report.images:
        return f"{sentence}, the others are as they are: cut all of them out, or none."
    return f"{sentence}; new images must be cut out alike."


def _on_suspects(report: AuditResult) -> str:
    if not report.suspects:
        return ""
    names = first_few([item.path for item in report.suspects])
    return (
        f"unlike the others: {len(report.suspects)} ({names}); "
        "look at them and remove those that show a defect or another product."
    )


def _on_groups(report: AuditResult) -> list[str]:
    return [
        f"group {group.name}: {group.sentence} (such as {', '.join(group.examples[:_NAMED_FILES])}); {group.remedy}."
        for group in report.groups
    ]
