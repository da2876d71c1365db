"""Labels that a data set keeps in a table, not in folder names: CSV files as of VisA, JSON files as of Real-IAD."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from automl_ad.data.roles import Part, role_of

_MOST_BYTES = 256 << 20
_IMAGE_KEYS = ("image", "image_path", "file", "filename", "file_name", "path", "img")
_LABEL_KEYS = ("label", "anomaly_class", "class", "target", "defect")
_MASK_KEYS = ("mask", "mask_path")
_PART_KEYS = ("split", "set", "part", "subset")


@dataclass(frozen=True)
class Annotated:
    """One row of a table.

    Attributes:
        image: The image file, which exists.
        part: Part of the data set, if the table says so.
        defect: Type of the defect; None for a good image.
        masks: Files of its masks, as listed; they may be missing.
    """

    image: Path
    part: Part | None
    defect: str | None
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class AnnotationTable:
    """The rows of one table that belong to a folder.

    Attributes:
        source: The file.
        layout: Name of the layout.
        rows: One row an image.
        missing: Images that it lists but that do not exist.
    """

    source: Path
    layout: str
    rows: tuple[Annotated, ...]
    missing: tuple[str, ...]


def find_annotations(root: Path, tables: Sequence[Path]) -> AnnotationTable | None:
    """The table that labels the images of ``root``, if there is one.

    Args:
        root: Folder of the data set, or of one product in it.
        tables: CSV and JSON files in the folder. Tables of a collection, which lie beside or above the folder of one
            product (``split_csv/1cls.csv`` of VisA, ``realiad_jsons/<product>.json`` of Real-IAD), are looked for.
    """
    for table in _above(root):
        found = _read(root, table)
        if found is not None and found.rows:
            return found
    inside = [found for table in tables if (found := _read(root, table)) is not None and found.rows]
    if not inside:
        return None
    rows = {row.image: row for found in inside for row in found.rows}  # one table a product, or a split on top of it
    return replace(
        inside[0], rows=tuple(rows.values()), missing=tuple(name for found in inside for name in found.missing)
    )


def _above(root: Path) -> Iterator[Path]:
    name = root.absolute().name
    for place in (root.absolute().parent, root.absolute().parent.parent):
        for pattern in ("split_csv/1cls.csv", f"{name}.json", f"*json*/{name}.json", f"*json*/*json*/{name}.json"):
            yield from sorted(place.glob(pattern))


def _read(root: Path, table: Path) -> AnnotationTable | None:
    try:
        if table.stat().st_size > _MOST_BYTES:
            return None
        rows = _json_rows(table) if table.suffix.lower() == ".json" else _csv_rows(table)
    except (OSError, ValueError, csv.Error, RecursionError):
        return None  # not a table of ours
    labelled = [row for row in rows if _keys(row)]
    if not labelled:
        return None
    good = [row for row in labelled if role_of(_text(row, _LABEL_KEYS)).defective is False]
    if not good:
        return None  # without one word for good, its labels cannot be told apart
    found, missing = [], []
    for row in labelled:
        image = _located(root, table, _text(row, _IMAGE_KEYS), str(row.get("_prefix", "")))
        if image is None:
            missing.append(_text(row, _IMAGE_KEYS))
        elif image.is_relative_to(os.path.abspath(root)):
            found.append(_annotated(root, table, row, root / image.relative_to(os.path.abspath(root))))
    name = "Real-IAD" if table.suffix.lower() == ".json" else "VisA"
    return AnnotationTable(table, name, tuple(found), tuple(missing))


def _csv_rows(table: Path) -> list[Mapping[str, Any]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        return [
            {
                str(key).strip().lower(): (value or "").strip()
                for key, value in row.items()
                if isinstance(value, str | None)
            }
            for row in csv.DictReader(file)
        ]


def _json_rows(table: Path) -> list[Mapping[str, Any]]:
    content = json.loads(table.read_text(encoding="utf-8"))
    if not isinstance(content, Mapping):
        return []
    meta = content.get("meta")
    prefix = meta.get("prefix", "") if isinstance(meta, Mapping) else ""
    return [
        {**row, "split": part, "_prefix": prefix} for part in ("train", "test") for row in _mappings(content.get(part))
    ]


def _mappings(rows: Any) -> Iterable[Mapping[str, Any]]:
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _keys(row: Mapping[str, Any]) -> bool:
    return bool(_text(row, _IMAGE_KEYS) and _text(row, _LABEL_KEYS))


def _text(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    return next((str(row[key]) for key in keys if row.get(key) not in (None, "")), "")


def _annotated(root: Path, table: Path, row: Mapping[str, Any], image: Path) -> Annotated:
    label = _text(row, _LABEL_KEYS)
    prefix = str(row.get("_prefix", ""))
    listed = [name.strip() for name in _text(row, _MASK_KEYS).split(",") if name.strip()]
    masks = [_located(root, table, name, prefix) or root.absolute() / name for name in listed]
    good = role_of(label).defective is False
    return Annotated(image, role_of(_text(row, _PART_KEYS)).part, None if good else label, tuple(masks))


def _located(root: Path, table: Path, name: str, prefix: str) -> Path | None:
    """The file that a table means by a path relative to itself, to the data set or to the collection."""
    places = [table.absolute().parent, root.absolute(), *root.absolute().parents[:2]]
    for place in dict.fromkeys(places):
        for relative in dict.fromkeys((name, f"{prefix}{name}", f"{prefix}/{name}")):
            found = Path(os.path.abspath(place / relative.lstrip("/")))
            if found.is_file():
                return found
    return None
