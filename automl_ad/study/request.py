"""What a caller asks of a search, made into settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from automl_ad.data.folder import excluded_names
from automl_ad.errors import InputError
from automl_ad.formatting import parse_duration
from automl_ad.study.settings import StudySettings, build_settings


def requested_settings(
    images: Path,
    *,
    study_file: str | Path | None = None,
    time_budget: float | str | None = None,
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    weights_dir: str | Path | None = None,
    texture_dir: str | Path | None = None,
    exclude: Iterable[str | Path] = (),
    workers: int = 1,
    **options: Any,
) -> StudySettings:
    """Settings from the options of `automl_ad.api.search`, which describes them.

    Raises:
        InputError: An option cannot be used; the message names it.
    """
    if workers != 1:
        raise InputError(f"--workers {workers} is not supported in this release; run with --workers 1.")
    return build_settings(
        images,
        study_file=Path(study_file) if study_file else None,
        time_budget=None if time_budget is None else parse_duration(time_budget),
        methods=_names(methods, "--methods"),
        backbones=_names(backbones, "--backbones"),
        weights_dir=absolute(weights_dir),
        texture_dir=absolute(texture_dir),
        exclude=excluded_names(images, exclude),
        **options,
    )


def absolute(path: str | Path | None) -> Path | None:
    """A path that means the same in every folder."""
    return None if path is None else Path(path).absolute()


def _names(given: Sequence[str] | None, option: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not names:
        raise InputError(f"{option} names nothing; give at least one name, separated by commas.")
    return names
