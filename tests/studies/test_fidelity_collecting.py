from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import collecting
import pytest
from facts import Facts

from automl_ad.errors import InputError
from automl_ad.store.records import CandidateRecord

BEGUN = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script itself."""
    path = Path(collecting.__file__).parent / "__main__.py"
    spec = importlib.util.spec_from_file_location("fidelity_command", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(number: int, method: str = "padim", start: float = 0, end: float = 0) -> CandidateRecord:
    times = {"started_at": BEGUN + timedelta(seconds=start), "ended_at": BEGUN + timedelta(seconds=end)}
    return CandidateRecord(number=number, state="complete", method=method, **times)


def test_ensembles_of_an_earlier_run_do_not_compete() -> None:
    records = [record(0), record(4), record(7, "average"), record(9, "average")]
    assert [each.number for each in collecting._competing(records, [0, 9])] == [0, 4, 9]


def test_times_run_from_the_start_of_the_study_to_its_trials() -> None:
    """A trial that never began, and an ensemble that a later run formed, do not count."""
    records = [record(0, start=30, end=50), record(1, start=50, end=90), record(2, "average", start=900, end=990)]
    records.append(replace(record(3), started_at=None, ended_at=None))
    repository = SimpleNamespace(
        find_study=lambda name: SimpleNamespace(created_at=BEGUN), candidates=lambda name: records
    )
    study: Any = SimpleNamespace(name="bolts", repository=repository)
    assert collecting._seconds(study) == {"search": 90.0, "suite": 30.0}


def test_sets_are_folders_with_good_training_images(command: ModuleType, tmp_path: Path) -> None:
    for name in ("nuts/train/good", "bolts/train/good", "notes/train"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "README.md").touch()
    assert command._sets_in(tmp_path) == ["bolts", "nuts"]


def test_a_set_that_cannot_be_searched_costs_the_others_nothing(
    command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Facts:
        raise InputError("bolts has too few good images.")

    monkeypatch.setattr(command, "collect", refuse)
    said = command._collected("bolts", 0, argparse.Namespace(data=tmp_path), tmp_path)
    assert said == "left out: bolts has too few good images."
    assert not list(tmp_path.iterdir())


def test_without_a_finished_study_it_says_so(
    command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["fidelity", str(tmp_path), "--output", str(tmp_path / "out"), "--judge-only"])
    with pytest.raises(SystemExit, match="holds no finished study"):
        command.main()
