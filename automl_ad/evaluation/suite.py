"""The proxy suite: validation images and synthetic anomalies that every candidate of a study is scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import reduce
from automl_ad.errors import StoreError
from automl_ad.evaluation.cells import Celled
from automl_ad.evaluation.severity import ignore_count
from automl_ad.store.artifacts import load_arrays, read_json, save_arrays, write_json
from automl_ad.synthesis.base import AnomalyFamily, Context
from automl_ad.synthesis.contact_sheet import contact_sheet, write_png
from automl_ad.synthesis.registry import create_family

Masks = npt.NDArray[np.bool_]
NORMALS = "normals.npz"
_SHEET_PER_CELL = 4
_MAX_ATTEMPTS = 3
"""Mean number of bases tried per anomaly before a plain spot is drawn instead."""


@dataclass(frozen=True)
class Suite(Celled):
    """Synthetic anomalies that candidates are scored on; the normal side is passed apart.

    Attributes:
        anomalies: The images, cell after cell.
        masks: bool [M, H, W], True where an anomaly was drawn.
        cells: For each anomaly, its family and severity, such as ``texture/0.85``.
        bases: For each anomaly, the index of the normal that it was drawn on.
        digest: Hash of all fields above.
    """

    anomalies: ImageSet
    masks: Masks
    cells: tuple[str, ...]
    bases: tuple[int, ...]
    digest: str


def draw_suite(
    context: Context,
    severities: Mapping[str, Mapping[float, float]],
    per_family: int,
    rng: np.random.Generator,
    tell: Callable[[int], None] = ignore_count,
) -> Suite:
    """Draws anomalies of every family and severity on the context's normals.

    All families get the same number of anomalies, whatever their number of cells. Every cell uses the bases in an order
    of its own, and no base twice before all have been used.

    Args:
        context: What families draw with; anomalies are drawn on its normals.
        severities: Strength to draw with, by family and severity (see ``Coverage``).
        per_family: Number of anomalies of each family, split evenly among its severities; at least one per severity.
        rng: Source of all randomness.
        tell: Called with the number of anomalies of each cell once it is drawn.
    """
    images, masks, cells, bases = [], [], [], []
    for name, strengths in severities.items():
        family, per_cell = create_family(name, context), max(1, per_family // len(strengths))
        for severity, strength in strengths.items():
            order = np.concatenate([rng.permutation(len(context.normals)) for _ in range(per_cell)])
            for base, image, mask in _drawn(family, order, strength, per_cell, rng):
                images.append(image.transpose(2, 0, 1))
                masks.append(mask)
                cells.append(f"{name}/{severity:g}")
                bases.append(base)
            tell(per_cell)
    return _suite(np.stack(images), np.stack(masks), cells, bases)


def _drawn(
    family: AnomalyFamily, order: npt.NDArray[np.int64], strength: float, count: int, rng: np.random.Generator
) -> list[tuple[int, npt.NDArray[np.uint8], Masks]]:
    """``count`` anomalies with their bases; if an attempt fails, the next base in ``order`` is used."""
    normals = family.context.normals
    family.prepare(list(normals[order[:count]]), [strength] * count)
    found = []
    for base in order[: _MAX_ATTEMPTS * count]:
        drawn = family.try_draw(normals[base], strength, rng)
        found += [] if drawn is None else [(int(base), *drawn)]
        if len(found) == count:
            return found
    plain = order[: count - len(found)]
    return found + [(int(base), *family.draw(normals[base], strength, rng)) for base in plain]


def save_suite(suite: Suite, normals: ImageSet, folder: Path, source: str) -> None:
    """Writes the suite, its manifest and a contact sheet into ``folder``.

    Args:
        suite: The suite.
        normals: Its normal side, for the contact sheet.
        folder: Destination; created if needed.
        source: Digest of everything that the drawing depended on, checked by ``load_suite``.
    """
    save_arrays(folder / "suite.npz", images=suite.anomalies.pixels, masks=np.packbits(suite.masks, axis=None))
    write_png(folder / "contact_sheet.png", _sheet(suite, normals))
    content = {"digest": suite.digest, "cells": list(suite.cells), "bases": list(suite.bases)}
    write_json(folder / "suite.json", content | {"normals": len(normals), "source": source})


def keep_normals(normals: ImageSet, folder: Path) -> None:
    """Writes the normal side of a suite beside it, so that it can be shown if the user's folder has moved.

    Nothing is written if the same images are already stored.

    Args:
        normals: The images, uint8 [n, 3, H, W], in the order of the scores.
        folder: Folder of the suite.

    Raises:
        StoreError: The file cannot be written.
    """
    path = folder / NORMALS
    if not path.is_file() or str(load_arrays(path)["key"]) != normals.key:
        save_arrays(path, images=normals.pixels, key=np.array(normals.key))


def load_suite(folder: Path, source: str) -> Suite | None:
    """Reads what ``save_suite`` wrote; None if there is no suite, or one of another ``source``.

    Raises:
        StoreError: A file is missing or the content does not match its hash.
    """
    if not (folder / "suite.json").is_file():
        return None
    content = read_json(folder / "suite.json")
    if content["source"] != source:
        return None
    arrays = load_arrays(folder / "suite.npz")
    images = arrays["images"]
    shape = (images.shape[0], images.shape[2], images.shape[3])
    masks = np.unpackbits(arrays["masks"], count=int(np.prod(shape))).astype(bool).reshape(shape)
    suite = _suite(images, masks, content["cells"], content["bases"])
    if suite.digest != content["digest"]:
        raise StoreError(f"Proxy suite {folder} was altered after it was drawn; start the study under another --name.")
    return suite


def thinned(suite: Suite, step: int) -> Suite:
    """Every ``step``-th anomaly of every cell."""
    kept = np.sort(np.concatenate([suite.members(cell)[::step] for cell in suite.cell_names]))
    chosen = [int(row) for row in kept]
    cells, bases = tuple(suite.cells[row] for row in chosen), tuple(suite.bases[row] for row in chosen)
    return Suite(suite.anomalies.take(chosen), suite.masks[kept], cells, bases, f"{suite.digest}/{step}")


def resize_suite(suite: Suite, size: tuple[int, int]) -> Suite:
    """The suite at another working size; a mask covers every pixel that it overlaps."""
    if suite.anomalies.size == size:
        return suite
    masks = np.stack(
        [cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) for mask in suite.masks]
    )
    return _suite(resize_images(suite.anomalies, size).pixels, masks > 0, suite.cells, suite.bases)


def resize_images(images: ImageSet, size: tuple[int, int]) -> ImageSet:
    """Images reduced to a smaller working size by area averages."""
    if images.size == size:
        return images
    planes = [reduce(image.transpose(1, 2, 0), size) for image in images.pixels]
    return ImageSet.of(np.stack(planes).transpose(0, 3, 1, 2))


def _suite(images: npt.NDArray[np.uint8], masks: Masks, cells: Sequence[str], bases: Sequence[int]) -> Suite:
    anomalies = ImageSet.of(images)
    digest = hashlib.sha256(anomalies.key.encode())
    digest.update(np.packbits(masks).data)
    digest.update(repr((tuple(cells), tuple(bases))).encode())
    return Suite(anomalies, masks, tuple(cells), tuple(bases), digest.hexdigest())


def _sheet(suite: Suite, normals: ImageSet) -> npt.NDArray[np.uint8]:
    """A row of normals, then a row of examples of each cell."""
    shown = list(range(min(_SHEET_PER_CELL, len(normals))))
    images = [normals.pixels[i].transpose(1, 2, 0) for i in shown]
    masks: list[Masks | None] = [None] * len(shown)
    captions = ["normal"] * len(shown)
    for cell in suite.cell_names:
        for index in suite.members(cell)[:_SHEET_PER_CELL]:
            images.append(suite.anomalies.pixels[index].transpose(1, 2, 0))
            masks.append(suite.masks[index])
            captions.append(cell)
    return contact_sheet(images, masks, captions, columns=_SHEET_PER_CELL, cell=160)
