"""The audit of an image folder, made once for each content, and small images of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import streamlit as st

from automl_ad.data.audit import audit
from automl_ad.data.folder import find_images
from automl_ad.data.reading import read_image, white_level_of
from automl_ad.errors import InputError
from automl_ad.reporting.thumbnails import ThumbnailCache, encoded, shrunk
from automl_ad.results import AuditResult
from parts import state

SIDE = 320
"""Longest side of a small image in pixels."""


def audited(folder: Path, exclude: tuple[str, ...] = ()) -> AuditResult:
    """What is unusual about a folder; a folder whose files did not change is not looked at twice.

    Args:
        folder: Folder of good images.
        exclude: Images left out, relative to it.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    return _audited(str(folder), exclude, _content(folder))


def small_picture(path: Path) -> bytes | None:
    """A JPEG of a file for the page; None where it cannot be read any more."""
    try:
        facts = path.stat()
        key = f"file/{path}/{facts.st_size}/{facts.st_mtime_ns}/{SIDE}"
        return ThumbnailCache(state.workspace() / "cache" / "thumbnails").get(key, lambda: _encoded(path))
    except (InputError, OSError):
        return None


def _encoded(path: Path) -> bytes:
    return encoded(shrunk(read_image(path, white_level_of([path])), SIDE), SIDE)


@st.cache_data(show_spinner="Looking at the images …", max_entries=8)
def _audited(folder: str, exclude: tuple[str, ...], content: str) -> AuditResult:
    del content  # only tells one state of the folder from another
    return audit(Path(folder), exclude)


def _content(folder: Path) -> str:
    """Names the files with their sizes and times: cheap to take at every look, other after every change."""
    facts = [(path, path.stat()) for path in find_images(folder)]
    text = "|".join(f"{path}:{fact.st_size}:{fact.st_mtime_ns}" for path, fact in facts)
    return hashlib.sha256(text.encode()).hexdigest()
