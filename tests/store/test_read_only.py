"""Databases and workspaces that may only be read, as on a shared drive."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from automl_ad.store.database import open_engine
from automl_ad.store.records import CandidateRecord, StudyRecord
from automl_ad.store.repository import Repository

if sys.platform != "linux" and (os.name == "nt" or os.geteuid() == 0):
    pytest.skip("permissions cannot be taken away from this user", allow_module_level=True)

_PR_CAPBSET_DROP, _CAPABILITIES = 24, (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads and writes


def _obey_permissions() -> None:
    library = ctypes.CDLL(None)
    for capability in _CAPABILITIES:
        library.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def reading(code: str, folder: Path) -> str:
    """What ``code`` prints with ``FOLDER`` as a folder that this user may only read."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chmod(Path(place, name), 0o444)
        os.chmod(place, 0o555)
    script = f"from pathlib import Path\nFOLDER = Path({str(folder)!r})\n{textwrap.dedent(code)}"
    root = os.geteuid() == 0
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=_obey_permissions if root else None,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A workspace with one study of one trial, complete and closed."""
    made = tmp_path / "a place"
    engine = open_engine(f"sqlite:///{made / 'automl_ad.db'}")
    repository = Repository(engine)
    repository.create_study(StudyRecord(name="parts", settings={}, meaning={}, images="", fingerprint=""))
    repository.save_candidate("parts", CandidateRecord(number=0, state="failed", method="padim", reason="a test"))
    engine.dispose()
    yield made
    for place, _, _ in os.walk(made):
        os.chmod(place, 0o755)


LISTING = """
    from automl_ad.errors import StoreError
    from automl_ad.store.database import open_engine
    from automl_ad.store.repository import Repository
    try:
        repository = Repository(open_engine(f"sqlite:///{FOLDER / 'automl_ad.db'}", must_exist=True))
        print(*[record.reason for record in repository.candidates("parts")])
        repository.set_warnings("parts", ["x"])
    except StoreError as error:
        print(error)
"""


def test_it_can_be_read_and_writing_is_refused(workspace: Path) -> None:
    before = sorted(workspace.iterdir())
    first, second = reading(LISTING, workspace).splitlines()
    assert first == "a test"
    assert second.startswith(f"{workspace / 'automl_ad.db'} cannot be written to")
    assert sorted(workspace.iterdir()) == before


def test_what_another_process_is_writing_is_seen(workspace: Path) -> None:
    """Its write-ahead log has an index that may be read."""
    writer = Repository(open_engine(f"sqlite:///{workspace / 'automl_ad.db'}"))
    writer.save_candidate("parts", CandidateRecord(number=1, state="failed", method="padim", reason="just now"))
    assert (workspace / "automl_ad.db-wal").stat().st_size
    assert reading(LISTING, workspace).splitlines()[0] == "a test just now"


def test_a_log_without_an_index_is_not_passed_over(workspace: Path) -> None:
    writer = sqlite3.connect(workspace / "automl_ad.db")
    writer.execute("UPDATE automl_ad_studies SET fingerprint = 'new'")
    writer.commit()
    log = (workspace / "automl_ad.db-wal").read_bytes()
    writer.close()
    (workspace / "automl_ad.db-wal").write_bytes(log)
    said = reading(LISTING, workspace)
    assert said.startswith(f"{workspace / 'automl_ad.db'} has an unfinished write-ahead log")
    assert "--workspace" in said


def test_an_earlier_schema_is_named_and_left_alone(workspace: Path) -> None:
    with sqlite3.connect(workspace / "automl_ad.db") as connection:
        connection.execute("UPDATE automl_ad_schema SET version = version - 1")
    connection.close()
    said = reading(LISTING, workspace)
    assert "was made by an earlier version of this program and has to be upgraded, but it cannot be written to" in said
    assert [path.name for path in workspace.glob("*.bak")] == []


def test_features_that_cannot_be_kept_go_to_a_temporary_folder(tmp_path: Path) -> None:
    code = """
        import numpy as np
        from automl_ad.backbones.cache import FeatureCache
        from automl_ad.store.artifacts import keep_arrays
        cache = FeatureCache(FOLDER / "features", may_be_read_only=True)
        path = cache.path("images", "weights", 0)
        with cache.write([path], 2) as (writer,):
            writer.append(np.ones((2, 1, 1, 1), np.float16))
        print(path.is_relative_to(FOLDER), cache.open(path).read(np.arange(2)).sum())
        keep_arrays(FOLDER / "kept.npz", a=np.ones(2))
        del cache
        print(path.exists(), list(FOLDER.iterdir()))
    """
    folder = tmp_path / "ro"
    folder.mkdir()
    assert reading(code, folder).splitlines() == ["False 2.0", "False []"]
    os.chmod(folder, 0o755)
