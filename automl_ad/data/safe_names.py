"""Sanitises untrusted file names: valid on any file system and inside their folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from automl_ad.errors import InputError

_LONGEST = 120
"""Maximum bytes of a path component: file systems allow 255, and a number may be appended."""
_DEEPEST = 12
_DEVICES = re.compile(r"(CON|NUL|PRN|AUX|(COM|LPT)[1-9])(\..*)?", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")


def safe_path(name: str) -> PurePosixPath:
    """A relative path that is valid on any file system, with the folders of ``name``.

    >>> str(safe_path("parts/a?.png"))
    'parts/a_.png'

    Raises:
        InputError: The name is absolute, contains ``..``, is empty or too deep.
    """
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or _DRIVE.match(parts[0]) or ".." in parts:
        raise InputError(f"{quoted(name)} points outside of its folder; pack the images again, with plain names.")
    kept = [safe_part(part) for part in parts if part not in ("", ".")]
    if not 0 < len(kept) <= _DEEPEST:
        raise InputError(f"{quoted(name)} has no name or lies more than {_DEEPEST} folders deep; pack it less deep.")
    return PurePosixPath(*kept)


def safe_part(name: str) -> str:
    """One path component without characters that some system refuses; never empty, hidden or too long."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    text = "".join("_" if letter in '/\\:*?"<>|' or not letter.isprintable() else letter for letter in text)
    text = text.strip(". ") or "_"
    stem, dot, suffix = text.rpartition(".")
    ending = f"{dot}{suffix}" if stem and len(suffix) < 10 else ""
    body = text.removesuffix(ending).encode()[: _LONGEST - len(ending.encode())].decode("utf-8", "ignore")
    if not ending:  # truncation may leave an invalid last character
        body = body.rstrip(". ")
    return f"_{body}{ending}" if _DEVICES.fullmatch(text) else f"{body}{ending}"


def unique(paths: Iterable[PurePosixPath], taken: Iterable[str] = ()) -> list[PurePosixPath]:
    """Makes paths unique on case-insensitive file systems, by appending a number to later ones.

    Args:
        paths: Relative paths.
        taken: Names that exist already.
    """
    wanted = list(paths)
    used = {_key(folder) for path in wanted for folder in path.parents} | {name.casefold() for name in taken}
    found = []
    for path in wanted:
        free, number = path, 1
        while _key(free) in used:
            number += 1
            free = path.with_name(f"{path.stem}_{number}{path.suffix}")
        used.add(_key(free))
        found.append(free)
    return found


def quoted(name: str) -> str:
    """A name for use in messages: quoted, on one line, truncated.

    >>> print(quoted("a.png"))
    'a.png'
    """
    return ascii(name if len(name) <= 100 else f"{name[:97]}...")


def _key(path: PurePosixPath) -> str:
    return str(path).casefold()
