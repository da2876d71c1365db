"""Small files in which one process tells others how it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from automl_ad.store.artifacts import write_atomically

Note = TypeVar("Note")


def write_note(path: Path, note: object) -> None:
    """Writes a dataclass as JSON; bytes of file names that are no text become question marks.

    Raises:
        StoreError: The file cannot be written.
    """
    text = json.dumps(TypeAdapter(type(note)).dump_python(note, mode="json"), ensure_ascii=False, indent=1)
    with write_atomically(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "replace"))


def read_note(path: Path, kind: type[Note]) -> Note | None:
    """Reads what `write_note` wrote; None if it is not there or cannot be read as ``kind``."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
