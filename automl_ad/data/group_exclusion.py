"""Looks up groups of images by their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from automl_ad.errors import OptionError
from automl_ad.results import ImageGroup


def named_members(groups: Collection[ImageGroup], names: Iterable[str]) -> tuple[str, ...]:
    """The images of some groups.

    Args:
        groups: The groups that there are.
        names: Names of some of them.

    Returns:
        Their paths, each once.

    Raises:
        OptionError: There is no group of a name.
    """
    by_name = {group.name: group for group in groups}
    for name in names:
        if name not in by_name:
            raise OptionError("exclude_group", f"{name} is no group of these images; {_there_are(groups)}.")
    return tuple(dict.fromkeys(path for name in names for path in by_name[name].members))


def _there_are(groups: Collection[ImageGroup]) -> str:
    if not groups:
        return "they are of one kind, so leave the option out"
    return f"give one of {', '.join(f'{group.name} ({group.images} images)' for group in groups)}"
