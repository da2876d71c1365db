"""Paths and names that a database can hold: text, whereas file systems allow names of any bytes."""

from __future__ import annotations

from os import PathLike, fspath

from automl_ad.errors import InputError


def check_stored_text(value: str | PathLike[str], named: str) -> None:
    """Refuses a path or name with bytes that are not UTF-8, which Python keeps as lone surrogates.

    Args:
        value: The path or name.
        named: What it is, as a sentence about it begins.

    Raises:
        InputError: It cannot be encoded as UTF-8; the sentence shows these bytes escaped.
    """
    text = fspath(value)
    shown = text.encode("utf-8", "backslashreplace").decode()
    if shown != text:
        raise InputError(
            f"{named} {shown} has a name that is not UTF-8, which the database cannot hold; "
            "rename it, or give another one."
        )
