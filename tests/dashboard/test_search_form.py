from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from automl_ad.errors import InputError
from parts.search_form import _images, preset_in_words


def _archive(parts: Path, *extra: tuple[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted((parts / "train" / "good").iterdir())[:3]:
            archive.write(path, f"good/{path.name}")
        for name, content in extra:
            archive.writestr(name, content)
    file.seek(0)
    file.name = "line 3.zip"
    return file


def test_an_upload_is_unpacked_below_the_workspace_and_names_the_study(workspace: Path, parts: Path) -> None:
    folder, name = _images({"archive": _archive(parts, ("notes.txt", b"x")), "name": ""})
    assert name == "line 3"
    assert folder.is_relative_to(workspace / "uploads")
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3


def test_a_second_upload_of_the_same_name_is_apart_from_the_first(workspace: Path, parts: Path) -> None:
    first, second = (_images({"archive": _archive(parts), "name": "a"})[0] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden"])
def test_no_name_leads_an_upload_out_of_its_folder(workspace: Path, parts: Path, name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        _images({"archive": _archive(parts), "name": name})
    assert not workspace.exists()


def test_no_file_is_told(workspace: Path) -> None:
    with pytest.raises(InputError, match="zip file is missing"):
        _images({"archive": None, "name": "a"})


def test_presets_say_what_they_cost() -> None:
    assert preset_in_words("quick") == "quick: 5 min, at most 30 trials"
    assert preset_in_words("thorough") == "thorough: 8 h, at most 400 trials"
