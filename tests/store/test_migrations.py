"""Databases of earlier schemas are upgraded when they are opened, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, inspect, make_url, text

from automl_ad.errors import StoreError
from automl_ad.store import migrations
from automl_ad.store.database import open_engine
from automl_ad.store.records import PickRecord
from automl_ad.store.repository import Repository
from automl_ad.store.tables import SCHEMA_VERSION

SCHEMA_2 = """
CREATE TABLE automl_ad_schema (id INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TABLE automl_ad_studies (
  id INTEGER NOT NULL, name TEXT NOT NULL, created_at DATETIME NOT NULL, settings JSON NOT NULL, meaning JSON NOT NULL,
  images TEXT NOT NULL, fingerprint TEXT NOT NULL, suite_hash TEXT, splits JSON NOT NULL, warnings JSON NOT NULL,
  answer JSON, changes INTEGER NOT NULL, PRIMARY KEY (id), UNIQUE (name)
);
CREATE TABLE automl_ad_candidates (
  study_id INTEGER NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, method TEXT NOT NULL, backbone TEXT,
  params JSON NOT NULL, rule TEXT, proxy_score FLOAT, interval_low FLOAT, interval_high FLOAT, families JSON NOT NULL,
  cells JSON NOT NULL, latency_ms FLOAT, size_mb FLOAT, peak_mb FLOAT, fit_s FLOAT, total_s FLOAT, reason TEXT,
  artifact TEXT, configuration_hash TEXT, certify JSON, started_at DATETIME, ended_at DATETIME, worker TEXT,
  PRIMARY KEY (study_id, number), CHECK (state IN ('running', 'complete', 'pruned', 'failed')),
  FOREIGN KEY(study_id) REFERENCES automl_ad_studies (id)
);
CREATE INDEX automl_ad_candidates_by_state ON automl_ad_candidates (study_id, state);
CREATE INDEX ix_automl_ad_candidates_configuration_hash ON automl_ad_candidates (configuration_hash);
CREATE TABLE automl_ad_picks (
  id INTEGER NOT NULL, study_id INTEGER NOT NULL, number INTEGER, note TEXT NOT NULL, who TEXT NOT NULL,
  at DATETIME NOT NULL, PRIMARY KEY (id),
  FOREIGN KEY(study_id, number) REFERENCES automl_ad_candidates (study_id, number),
  FOREIGN KEY(study_id) REFERENCES automl_ad_studies (id)
);
INSERT INTO automl_ad_schema VALUES (1, 2);
INSERT INTO automl_ad_studies
  (name, created_at, settings, meaning, images, fingerprint, splits, warnings, changes) VALUES
  ('parts', '2026-03-01 12:00:00.000000', '{}', '{}', '/data', 'abab', '{}', '[]', 3);
"""
"""What version 0.1.0 created, on SQLite."""
CELLS = {
    "cells": {"texture/0.7": 0.6, "speck/0.7": 0.7},
    "located": {"texture/0.7": 0.5, "speck/0.7": 0.9},
    "rules": {"max": 0.65, "top1%": 0.66},
    "home": ["sdas", "texture"],
    "advantage": 0.1,
}
TRIALS = [
    (0, "complete", CELLS, {"value": 0.72, "cells": {"texture/0.7": 0.61}}),
    (1, "complete", {"cells": {"texture/0.7": 0.4}, "rules": {"max": 0.4}}, None),  # of an early version
    (2, "failed", {}, None),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of schema 2 with trials and a pick."""
    path = tmp_path / "automl_ad.db"
    make_schema_2(f"sqlite:///{path}", SCHEMA_2)
    return path


def make_schema_2(url: str, statements: str) -> None:
    """Creates the tables of schema 2 with trials and a pick."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.exec_driver_sql(statement)
        for number, state, cells, certify in TRIALS:
            row = {"n": number, "s": state, "cells": json.dumps(cells), "certify": certify and json.dumps(certify)}
            columns = "study_id, number, state, method, params, families, cells, certify"
            values = "1, :n, :s, 'padim', '{}', '{}', :cells, :certify"
            connection.execute(text(f"INSERT INTO automl_ad_candidates ({columns}) VALUES ({values})"), row)
        pick = "1, 0, 'fast', 'Ada', '2026-03-02 12:00:00.000000'"
        connection.exec_driver_sql(f"INSERT INTO automl_ad_picks (study_id, number, note, who, at) VALUES ({pick})")
    engine.dispose()


def opened(path: Path) -> Repository:
    return Repository(open_engine(f"sqlite:///{path}"))


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT version FROM automl_ad_schema").fetchone()[0])


def described(url: str) -> dict[str, list[str]]:
    """All tables with their columns, keys, indices and checks."""
    inspector = inspect(open_engine(url))
    readers = (
        inspector.get_columns,
        inspector.get_foreign_keys,
        inspector.get_indexes,
        inspector.get_unique_constraints,
        inspector.get_check_constraints,
        lambda table: [inspector.get_pk_constraint(table)],
    )
    return {
        table: sorted(str({key: str(value) for key, value in item.items()}) for read in readers for item in read(table))
        for table in inspector.get_table_names()
    }


def copy_of(path: Path) -> Path:
    return path.with_name("automl_ad.db.version-2.bak")


def test_trials_keep_all_that_was_known_of_them(path: Path) -> None:
    whole, early, failed = opened(path).candidates("parts")
    assert whole.image_auroc == CELLS["cells"]
    assert whole.localisation_auroc == CELLS["located"]
    assert whole.aggregations == CELLS["rules"]
    assert (whole.learned_from, whole.advantage) == ({"sdas", "texture"}, 0.1)
    assert (whole.holdout_score, whole.holdout_auroc) == (0.72, {"texture/0.7": 0.61})
    assert (early.image_auroc, early.localisation_auroc) == ({"texture/0.7": 0.4}, {})
    assert (early.learned_from, early.advantage, early.holdout_score, early.holdout_auroc) == (set(), 0, None, {})
    assert (failed.state, failed.image_auroc) == ("failed", {})


def test_studies_and_picks_stay(path: Path) -> None:
    repository = opened(path)
    assert repository.get_study("parts").fingerprint == "abab"
    assert [(pick.number, pick.note) for pick in repository.picks("parts")] == [(0, "fast")]
    repository.add_pick("parts", PickRecord(number=1))  # foreign keys still hold
    assert repository.revision("parts").changes == 4


def test_the_copy_is_what_the_file_was(path: Path) -> None:
    opened(path)
    assert version_of(path) == SCHEMA_VERSION
    assert version_of(copy_of(path)) == 2
    with sqlite3.connect(copy_of(path)) as connection:
        assert connection.execute("SELECT count(*) FROM automl_ad_candidates").fetchone() == (3,)
    assert sorted(item.name for item in path.parent.iterdir() if "tmp" in item.name) == []


def test_what_is_only_in_the_write_ahead_log_is_copied_too(path: Path) -> None:
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("UPDATE automl_ad_studies SET fingerprint = 'cdcd'")
    writer.commit()  # no checkpoint while the connection is open
    opened(path)
    with sqlite3.connect(copy_of(path)) as connection:
        assert connection.execute("SELECT fingerprint FROM automl_ad_studies").fetchone() == ("cdcd",)
    writer.close()


def test_a_copy_that_exists_is_not_overwritten(path: Path) -> None:
    """It may be of an upgrade long ago; what the database holds by now has a copy of its own."""
    copy_of(path).write_text("mine")
    assert len(opened(path).candidates("parts")) == 3
    assert copy_of(path).read_text() == "mine"
    assert version_of(path.with_name("automl_ad.db.version-2-2.bak")) == 2


def test_a_copy_is_kept_whatever_the_url_and_as_private_as_the_file(path: Path) -> None:
    path.chmod(0o600)
    Repository(open_engine(f"sqlite:///file:{path}?uri=true"))
    assert version_of(copy_of(path)) == 2
    assert copy_of(path).stat().st_mode & 0o777 == 0o600


def test_the_upgrade_and_its_copy_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "automl_ad.store"):
        opened(path)
        opened(path)
    assert caplog.messages == [
        f"{path} was upgraded from version 2 to version 3; a copy of version 2 is kept as automl_ad.db.version-2.bak"
    ]


def test_an_upgraded_database_is_as_a_new_one(path: Path, tmp_path: Path) -> None:
    opened(path), opened(tmp_path / "new.db")
    assert described(f"sqlite:///{path}") == described(f"sqlite:///{tmp_path}/new.db")
    assert opened(path).candidates("parts") == opened(path).candidates("parts")  # opened again, nothing happens


def test_a_newer_schema_is_refused_in_one_sentence(path: Path) -> None:
    opened(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE automl_ad_schema SET version = 7")
    with pytest.raises(StoreError, match=r"holds tables of version 7, .* versions 2 to 3; upgrade automl-ad, or"):
        opened(path)


def test_an_older_schema_than_the_oldest_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE automl_ad_schema SET version = 1")
    with pytest.raises(StoreError, match=r"holds tables of version 1, .* use the version that made it"):
        opened(path)
    assert not copy_of(path).exists()


def test_a_fault_half_way_leaves_the_database_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.batch_alter_table", broken)
        with pytest.raises(RuntimeError, match="power cut"):
            opened(path)
    with sqlite3.connect(path) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(automl_ad_candidates)")}
    assert version_of(path) == 2
    assert "cells" in columns
    assert "image_auroc" not in columns
    assert list(path.parent.glob("*.bak*")) == []  # nothing was upgraded, and there may be many attempts
    assert opened(path).candidate("parts", 0).image_auroc == CELLS["cells"]


def killed_at(url: str, statement: str) -> None:
    """Opens a database in a process that is killed when it comes to a statement."""
    code = f"""
        import os, signal, sqlalchemy
        from automl_ad.store.database import open_engine
        from automl_ad.store.repository import Repository

        @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
        def kill(connection, cursor, statement, *_):
            if statement.strip().startswith({statement!r}):
                os.kill(os.getpid(), signal.SIGKILL)

        Repository(open_engine({url!r}))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "statement", ["UPDATE automl_ad_candidates", "DROP TABLE automl_ad_candidates", "UPDATE automl_ad_schema"]
)
def test_a_process_that_is_killed_half_way_leaves_the_database_as_it_was(path: Path, statement: str) -> None:
    killed_at(f"sqlite:///{path}", statement)
    assert version_of(path) == 2
    assert opened(path).candidate("parts", 0).image_auroc == CELLS["cells"]


def upgraded_at_once(url: str) -> list[str]:
    """How many trials each of three processes finds that open a database at the same time."""
    code = f"""
        import sys
        from automl_ad.store.database import open_engine
        from automl_ad.store.repository import Repository
        print("ready", flush=True)
        sys.stdin.readline()
        print(len(Repository(open_engine({url!r})).candidates("parts")))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [process.communicate(timeout=60) for process in running]
    assert [(err, process.returncode) for (_, err), process in zip(found, running, strict=True)] == [("", 0)] * 3
    return [out for out, _ in found]


def test_processes_that_upgrade_at_once_end_well(path: Path) -> None:
    assert upgraded_at_once(f"sqlite:///{path}") == ["3\n"] * 3
    assert version_of(path) == SCHEMA_VERSION
    assert len(list(path.parent.glob("*.bak"))) == 1  # one process upgraded


@pytest.fixture
def unwritable(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Repository]:
    """Opens the database as a user who may only read it; root may write everywhere, so SQLite is asked to refuse."""
    engine = open_engine(f"sqlite:///{path}")

    def refuse(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    event.listen(engine, "connect", refuse)
    engine.dispose()
    return lambda: Repository(engine)


def test_a_file_that_may_only_be_read_is_named_with_the_remedy(
    path: Path, unwritable: Callable[[], Repository]
) -> None:
    with pytest.raises(StoreError, match=r"\.db was made by an earlier version .* has to be upgraded, .* cannot be"):
        unwritable()
    assert version_of(path) == 2


def test_one_of_the_present_schema_that_may_only_be_read_can_be_read(path: Path) -> None:
    opened(path)
    engine = open_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA query_only = ON"))
    engine.dispose()
    assert len(Repository(engine).candidates("parts")) == 3


def test_without_room_for_a_copy_nothing_is_upgraded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=r"\.bak cannot be written .* is not upgraded without a copy; free the"):
        opened(path)
    assert version_of(path) == 2
    assert [item.name for item in path.parent.iterdir() if ".bak" in item.name] == []


def test_every_schema_has_a_revision() -> None:
    names = sorted(item.stem for item in (Path(migrations.__file__).parent / "versions").glob("v*.py"))
    assert names[-1] == f"v{SCHEMA_VERSION:04d}"


SCHEMA_2_POSTGRESQL = re.sub(r"(schema|studies|picks) \(\s*id INTEGER", r"\1 (id SERIAL", SCHEMA_2).replace(
    "DATETIME", "TIMESTAMP WITHOUT TIME ZONE"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a PostgreSQL server that ends with the tests of this module."""
    pytest.importorskip("psycopg")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or next(map(str, reversed(programs)), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp())  # the path of a socket must be short
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # root may not run the server
    if user:
        shutil.chown(folder, "nobody")

    def run(program: str, *arguments: str) -> None:
        command = [str(Path(initdb).with_name(program)), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60, **user)  # type: ignore[call-overload]

    try:
        run("initdb", "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8")
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-F -k {folder} -c listen_addresses=''", "start")
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def new_database(server: str) -> Callable[[str], str]:
    """Makes an empty database of a name on the server and returns its URL."""

    def make(name: str) -> str:
        with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return make_url(server).set(database=name).render_as_string()

    return make


def test_postgresql_is_upgraded_by_one_of_several_processes(new_database: Callable[[str], str]) -> None:
    old, new = new_database("old"), new_database("new")
    make_schema_2(old, SCHEMA_2_POSTGRESQL)
    assert upgraded_at_once(old) == ["3\n"] * 3
    Repository(open_engine(new))
    assert described(old) == described(new)
    repository = Repository(open_engine(old))
    whole, early, _ = repository.candidates("parts")
    assert (whole.image_auroc, whole.learned_from) == (CELLS["cells"], {"sdas", "texture"})
    assert (early.localisation_auroc, early.holdout_score) == ({}, None)
    assert [pick.number for pick in repository.picks("parts")] == [0]


def test_postgresql_is_as_it_was_after_a_process_is_killed_half_way(new_database: Callable[[str], str]) -> None:
    url = new_database("old")
    make_schema_2(url, SCHEMA_2_POSTGRESQL)
    before = described(url)
    killed_at(url, "UPDATE automl_ad_schema")
    assert described(url) == before
    assert Repository(open_engine(url)).candidate("parts", 0).image_auroc == CELLS["cells"]
