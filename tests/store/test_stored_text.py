from __future__ import annotations

import os
from pathlib import Path

import pytest

from automl_ad.errors import InputError
from automl_ad.store.artifacts import StudyFolder, check_study_name
from automl_ad.store.database import default_url, open_engine
from automl_ad.store.stored_text import check_stored_text

BYTES = os.fsdecode(b"w\xff")


@pytest.mark.parametrize("value", ["plain", "schöne Teile", "部品", Path("/a/b"), ""])
def test_text_passes(value: str | Path) -> None:
    check_stored_text(value, "--name")


@pytest.mark.skipif(os.name == "nt", reason="file names of Windows are always text")
def test_other_bytes_are_refused_in_a_sentence_that_can_be_printed() -> None:
    for refuse in (
        lambda: check_stored_text(Path("/a") / BYTES, "--x"),
        lambda: check_study_name(BYTES),
        lambda: StudyFolder(Path("/a") / BYTES, "name"),
        lambda: default_url(Path("/a") / BYTES),
        lambda: open_engine(f"sqlite:////a/{BYTES}"),
    ):
        with pytest.raises(InputError, match=r"^--\w+ .*w\\udcff has a name that is not UTF-8") as caught:
            refuse()
        str(caught.value).encode()
