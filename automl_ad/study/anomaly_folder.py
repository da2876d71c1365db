"""A folder of synthetic anomalies with their masks: complete, or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.errors import InputError, StoreError
from automl_ad.store.artifacts import write_json
from automl_ad.synthesis.contact_sheet import contact_sheet, write_png

IMAGES, MASKS = "images", "masks"
SHEET, RECORD = "contact_sheet.png", "anomalies.json"
SHOWN = 64
"""Anomalies on the contact sheet."""


def check_output(output: Path, images: Path) -> None:
    """Refuses to write among other files; worth asking before a long training.

    Args:
        output: The folder to be.
        images: The folder of good images.

    Raises:
        InputError: Something lies at ``output``, or it is inside ``images``.
    """
    place, pictures = Path(os.path.realpath(output)), Path(os.path.realpath(images))
    if pictures == place or pictures in place.parents:
        raise InputError(
            f"--output {output} lies inside {images}, where the anomalies would be taken for good images next time; "
            "choose a folder outside of it."
        )
    try:
        if not place.exists():
            return
        if not place.is_dir():
            raise InputError(f"--output {output} is a file; give a new name.")
        if any(place.iterdir()):
            raise InputError(f"--output {output} exists and is not empty; choose a new name or remove it first.")
    except OSError as error:
        raise _unwritable(output, error) from error


class AnomalyFolder:
    """Numbers and writes anomalies.

    Args:
        output: The folder, with room made for images and masks.
        count: How many anomalies it will hold.
    """

    def __init__(self, output: Path, count: int) -> None:
        self._output = output
        self._digits = max(4, len(str(count - 1)))
        self._anomalies: list[dict[str, Any]] = []
        self._shown: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]] = []

    @classmethod
    @contextmanager
    def create(cls, output: Path, count: int) -> Iterator[AnomalyFolder]:
        """Makes the folder; when the block fails, all that was written is removed again.

        Raises:
            InputError: It cannot be made.
        """
        made = _make(output)
        try:
            yield cls(output, count)
        except BaseException:
            _remove(output, made)
            raise

    def add(self, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], base: Path) -> None:
        """Writes one anomaly.

        Args:
            image: uint8 [H, W, 3], RGB.
            mask: bool [H, W], True = anomalous; 255 in the file.
            base: File of the good image that it was drawn on.

        Raises:
            InputError: It cannot be written.
        """
        name = f"{len(self._anomalies):0{self._digits}d}.png"
        with self._blaming_output():
            write_png(self._output / IMAGES / name, image)
            write_png(self._output / MASKS / name, mask.astype(np.uint8) * np.uint8(255))
        entry = {"image": f"{IMAGES}/{name}", "mask": f"{MASKS}/{name}", "base": str(base), "area": float(mask.mean())}
        self._anomalies.append(entry)
        if len(self._shown) < SHOWN:
            self._shown.append((image, mask))

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the contact sheet and, last, the record, in which paths are relative to the folder.

        Args:
            facts: What else the record tells.

        Returns:
            The record with paths that can be opened from here, and the folder as ``output``.

        Raises:
            InputError: They cannot be written.
        """
        images, masks = zip(*self._shown, strict=True)
        captions = [Path(entry["image"]).stem for entry in self._anomalies[: len(images)]]
        record = {**facts, "contact_sheet": SHEET, "anomalies": self._anomalies}
        with self._blaming_output():
            write_png(self._output / SHEET, contact_sheet(images, masks, captions))
            write_json(self._output / RECORD, record)
        anomalies = [entry | {key: self._path(entry[key]) for key in ("image", "mask")} for entry in self._anomalies]
        found = {"output": str(self._output), "contact_sheet": self._path(SHEET), "anomalies": anomalies}
        return {**facts, **found}

    def _path(self, name: str) -> str:
        return str(self._output / name)

    @contextmanager
    def _blaming_output(self) -> Iterator[None]:
        """The store's writers blame the workspace, which has no part in this."""
        try:
            yield
        except StoreError as fault:
            raise _unwritable(self._output, fault.__cause__ or fault) from fault


def _make(output: Path) -> list[Path]:
    """Makes the folder, unless it is there, and those inside it; returns what it made, all of it or nothing."""
    made: list[Path] = []
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for folder in (output, output / IMAGES, output / MASKS):
            if folder != output or not output.is_dir():
                folder.mkdir()
                made.append(folder)
    except OSError as error:
        _remove_empty(made)
        raise _unwritable(output, error) from error
    return made


def _remove(output: Path, made: Sequence[Path]) -> None:
    """Removes what this module writes, and the folders that it made."""
    for name in (IMAGES, MASKS):
        shutil.rmtree(output / name, ignore_errors=True)
    with suppress(OSError):
        for name in (RECORD, SHEET):
            (output / name).unlink(missing_ok=True)
    _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def _unwritable(output: Path, error: BaseException) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"--output {output} cannot be written ({reason}); choose a writable place with enough room.")
