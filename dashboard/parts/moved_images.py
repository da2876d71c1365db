"""Asks where the good images of a study are, when their folder is no longer where the search read them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from parts.access import checked_folder
from parts.wording import as_code


def moved_images_field(study: str, folder: Path) -> str:
    """Draws the field, if the folder is missing.

    Args:
        study: Name of the study.
        folder: Where the search read its images.

    Returns:
        What was entered; empty where nothing was, or nothing has to be.
    """
    if folder.is_dir():
        return ""
    st.warning(
        f"The folder of good images, {as_code(folder)}, does not exist. If it was moved, name its new place below; its "
        "contents are compared with what the search read."
    )
    return st.text_input("Folder of the good images", key=f"moved_images_{study}", placeholder=str(folder)).strip()


def moved_images(given: str) -> dict[str, Path]:
    """What a job is told of the folder that was entered: nothing where the images were not moved.

    Raises:
        InputError: It does not exist, or may not be named.
    """
    return {"images": checked_folder(given, "The folder of good images")} if given else {}
