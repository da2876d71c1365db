"""The examples in docstrings run and say what they claim."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import automl_ad

ROOT = Path(automl_ad.__file__).parent
WITH_EXAMPLES = sorted(path for path in ROOT.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_run(path: Path) -> None:
    name = ".".join(("automl_ad", *path.relative_to(ROOT).with_suffix("").parts))
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted
    assert not outcome.failed


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) >= 10
