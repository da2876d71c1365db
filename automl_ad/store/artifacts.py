"""Files of a study in the workspace; a file is there complete or not at all, whenever the program is stopped."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import tokenize
import uuid
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from automl_ad.errors import InputError, StoreError
from automl_ad.store.plain_json import plain
from automl_ad.store.stored_text import check_stored_text

Record = TypeVar("Record", bound="SourcedRecord")
Note = TypeVar("Note")
_MAX_NAME = 100
_MAX_NAME_BYTES = 240  # File systems stop at 255 bytes, which 100 characters of some scripts exceed.
_DEVICES = re.compile(r"(CON|NUL|PRN|AUX|(COM|LPT)[1-9]) *(\..*)?", re.IGNORECASE)  # On Windows, with any extension.
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.[^.]+)?")  # The names that write_atomically makes.

_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

# What numpy lets through for damaged archives; TypeError and AttributeError when the file holds one bare array.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def check_study_name(name: str) -> str:
    """Returns a name that can be a folder's on any system, unchanged.

    Raises:
        InputError: The name is empty, too long, not UTF-8, starts or ends with a dot, holds a separator or control
            character, or is a device's on Windows.
    """
    check_stored_text(name, "--name")
    if not name or len(name) > _MAX_NAME or len(name.encode()) > _MAX_NAME_BYTES:
        raise InputError(f"--name must have 1 to {_MAX_NAME} characters but has {len(name)}; choose a shorter one")
    if name.startswith(".") or name.endswith(".") or name != name.strip():
        raise InputError(f"--name {name!r} must not start or end with a dot or a space; choose another")
    if any(character in '/\\:*?"<>|' or not character.isprintable() for character in name):
        raise InputError(f"--name {name!r} holds a character that folders cannot have; use letters, digits, - and _")
    if _DEVICES.fullmatch(name):
        raise InputError(f"--name {name!r} is what Windows calls a device, so no folder can have it; choose another")
    return name


@dataclass(frozen=True)
class StudyFolder:
    """Where a study keeps its files; nothing is created until something is written.

    Attributes:
        workspace: The workspace folder.
        name: The study's name.
    """

    workspace: Path
    name: str

    def __post_init__(self) -> None:
        check_stored_text(self.workspace, "--workspace")
        check_study_name(self.name)

    @property
    def root(self) -> Path:
        """The study's own folder."""
        return self.workspace / "studies" / self.name

    @property
    def suite(self) -> Path:
        """The proxy suite."""
        return self.root / "suite"

    @property
    def trials(self) -> Path:
        """One folder a trial."""
        return self.root / "trials"

    def trial(self, number: int) -> Path:
        """The folder of one trial."""
        return self.trials / str(number)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, and moves it there when the block ends well.

    Folders are created as needed. When the block fails, the temporary file is removed and what was at ``path`` stays.

    Raises:
        StoreError: The folder cannot be created or written to, or the disk is full.
    """
    # The suffix is kept because some writers choose the format by it or append their own.
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}); free the disk or choose another --workspace"
        ) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    # Where even this fails, the fault that came first is the one to report.
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def remove_leftovers(folder: Path) -> None:
    """Deletes, in ``folder`` and below it, the temporary files of writers that were killed.

    To be called only while nobody else writes there: the files of a writer at work look the same. A file that cannot be
    deleted is left.
    """
    for here, _, names in os.walk(folder):
        for name in filter(_TEMPORARY.fullmatch, names):
            _remove(Path(here, name))


def create_folder(folder: Path) -> None:
    """Creates a folder and those above it, unless it exists.

    Raises:
        StoreError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be created ({error.strerror}); choose another --workspace") from error


def save_arrays(path: Path, **arrays: Any) -> None:
    """Writes named arrays, or what numpy makes arrays of, to an ``.npz`` file, uncompressed.

    Raises:
        ValueError: The path does not end in ``.npz`` or an array holds Python objects, which would need pickle.
        StoreError: The file cannot be written.
    """
    if path.suffix != ".npz":
        raise ValueError(f"arrays are stored in .npz files but got {path.name}")
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects; store numbers only")
    with write_atomically(path) as temporary:
        np.savez(temporary, **arrays)


def keep_arrays(path: Path, **arrays: Any) -> None:
    """Writes arrays as `save_arrays` does, for later calls to find; where the place may only be read, none are kept.

    Raises:
        StoreError: The disk is full.
    """
    try:
        save_arrays(path, **arrays)
    except StoreError as error:
        if getattr(error.__cause__, "errno", None) not in _READ_ONLY:
            raise


def is_writable(folder: Path) -> bool:
    """Whether files can be created in a folder that exists."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads all arrays of an ``.npz`` file; never unpickles.

    Raises:
        StoreError: The file is missing, damaged or not an ``.npz`` file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, keys sorted; NaN and infinity become null.

    Raises:
        TypeError: A value or a key has no JSON form.
        StoreError: The file cannot be written.
    """
    text = json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with write_atomically(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        StoreError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


class SourcedRecord(ABC):
    """What is kept in one JSON file and holds for one source alone: the digest of what it depends on."""

    file: ClassVar[str]
    """Name of the file."""

    @abstractmethod
    def _content(self) -> Mapping[str, Any]:
        """All of it as JSON-able values; the key ``source`` is taken."""

    @classmethod
    @abstractmethod
    def _of_content(cls: type[Record], content: Mapping[str, Any]) -> Record:
        """The reverse of ``_content``; may raise KeyError, TypeError, ValueError or AttributeError on damage."""

    def save(self, folder: Path, source: str) -> None:
        """Writes it into a folder.

        Raises:
            StoreError: The file cannot be written.
        """
        write_json(folder / self.file, {"source": source, **self._content()})

    @classmethod
    def load(cls: type[Record], folder: Path, source: str) -> Record | None:
        """Reads what ``save`` wrote; None if there is no file, or one of another source.

        Raises:
            StoreError: The file is damaged.
        """
        path = folder / cls.file
        if not path.is_file():
            return None
        content = read_json(path)
        try:
            return cls._of_content(content) if content["source"] == source else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path} is damaged; start the study under another --name.") from error


def _unreadable(path: Path, error: Exception) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path} is missing; run the search again to make it anew")
    return StoreError(f"{path} cannot be read ({type(error).__name__}); delete it and run the search again")


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
