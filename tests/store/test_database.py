from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from automl_ad.errors import StoreError
from automl_ad.store import database
from automl_ad.store.database import default_url, open_engine, optuna_storage, read_only, sqlite_file, without_password


def url_of(path):
    return f"sqlite:///{path}"


def pragma(engine, name):
    with read_only(engine).connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def count_up(url, times):
    """Reads a number, then writes it plus one: the transaction that plain SQLite settings cannot run in parallel."""
    engine = open_engine(url)
    for _ in range(times):
        with engine.begin() as connection:
            value = connection.execute(text("SELECT value FROM counter")).scalar_one()
            connection.execute(text("UPDATE counter SET value = :next"), {"next": value + 1})


def run_trials(url, times):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="shared", storage=optuna_storage(url), load_if_exists=True)
    for _ in range(times):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))


def in_processes(count, target, *args):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=args) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


class TestEngine:
    def test_settings(self, tmp_path):
        engine = open_engine(url_of(tmp_path / "a.db"))
        assert pragma(engine, "journal_mode") == "wal"
        assert pragma(engine, "foreign_keys") == 1
        assert pragma(engine, "synchronous") == 1
        assert pragma(engine, "busy_timeout") == 60_000

    def test_creates_the_folder_of_a_new_file(self, tmp_path):
        workspace = tmp_path / "new workspace" / "deeper"
        open_engine(default_url(workspace))
        assert (workspace / "automl_ad.db").is_file()

    def test_parallel_read_then_write_loses_nothing(self, tmp_path):
        url = url_of(tmp_path / "a.db")
        with open_engine(url).begin() as connection:
            connection.execute(text("CREATE TABLE counter (value INTEGER)"))
            connection.execute(text("INSERT INTO counter VALUES (0)"))
        assert in_processes(4, count_up, url, 50) == [0, 0, 0, 0]
        with read_only(open_engine(url)).connect() as connection:
            assert connection.execute(text("SELECT value FROM counter")).scalar_one() == 200

    def test_a_reader_takes_no_lock_and_waits_for_none(self, tmp_path, monkeypatch):
        monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
        engine = open_engine(url_of(tmp_path / "a.db"))
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (value INTEGER)"))
        with read_only(engine).connect() as reader, engine.begin() as writer:
            assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
            writer.execute(text("INSERT INTO t VALUES (1)"))
            # One transaction, one view of the data.
            assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
        with read_only(engine).connect() as reader:
            assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 1

    def test_table_creation_rolls_back_with_its_transaction(self, tmp_path):
        engine = open_engine(url_of(tmp_path / "a.db"))
        with engine.connect() as connection:
            connection.execute(text("CREATE TABLE t (value INTEGER)"))
            connection.rollback()
            assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one() == 0

    def test_memory_database(self):
        with open_engine("sqlite://").begin() as connection:
            connection.execute(text("CREATE TABLE t (value INTEGER)"))


class TestFaults:
    def test_not_a_database(self, tmp_path):
        path = tmp_path / "notes.db"
        path.write_text("these are my notes, not a database, and they are long enough to have a header " * 20)
        for opener in (open_engine, optuna_storage):
            with pytest.raises(StoreError, match=r"notes\.db is not an SQLite database; move it away"):
                opener(url_of(path))

    def test_a_folder_in_place_of_the_file(self, tmp_path):
        with pytest.raises(StoreError, match="cannot be opened; check"):
            open_engine(url_of(tmp_path))

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"cannot be created .* choose another --workspace"):
            open_engine(url_of(tmp_path / "file" / "a.db"))

    def test_locked_by_another_process(self, tmp_path, monkeypatch):
        monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
        url = url_of(tmp_path / "a.db")
        engine = open_engine(url)
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"a\.db stayed locked"), database.store_errors(engine.url), engine.begin():
            pass
        other.close()

    def test_must_exist_creates_nothing(self, tmp_path):
        with pytest.raises(StoreError, match="does not exist; run a search first"):
            open_engine(default_url(tmp_path / "nowhere"), must_exist=True)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("url", ["results.db", "", "no such scheme://x", "oracle9://host/name"])
    def test_malformed_addresses(self, url):
        with pytest.raises(StoreError, match="--storage"):
            open_engine(url)

    def test_a_password_is_never_shown(self):
        with pytest.raises(StoreError) as caught:
            open_engine("nosuchdialect://user:secret@host/name")
        assert "secret" not in str(caught.value)

    def test_violated_constraints_are_left_to_the_caller(self, tmp_path):
        from sqlalchemy.exc import IntegrityError

        engine = open_engine(url_of(tmp_path / "a.db"))
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (value INTEGER NOT NULL)"))
            with pytest.raises(IntegrityError), database.store_errors(engine.url):
                connection.execute(text("INSERT INTO t VALUES (NULL)"))


class TestOptuna:
    def test_full_life_of_a_study_beside_other_tables(self, tmp_path):
        import optuna

        url = url_of(tmp_path / "a.db")
        storage = optuna_storage(url)
        study = optuna.create_study(study_name="s", storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        again = optuna.load_study(study_name="s", storage=optuna_storage(url))
        assert [trial.value for trial in again.trials] == [trial.value for trial in study.trials]
        optuna.delete_study(study_name="s", storage=storage)
        assert optuna.get_all_study_names(storage) == []

    def test_its_engine_has_our_settings(self, tmp_path):
        engine = optuna_storage(url_of(tmp_path / "a.db")).engine
        assert pragma(engine, "journal_mode") == "wal"
        assert pragma(engine, "foreign_keys") == 1
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            other = sqlite3.connect(tmp_path / "a.db", timeout=0, isolation_level=None)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.close()

    def test_opening_does_not_wait_for_itself(self, tmp_path):
        start = time.monotonic()
        optuna_storage(url_of(tmp_path / "a.db"))
        assert time.monotonic() - start < 20

    def test_processes_that_start_together_on_a_new_file(self, tmp_path):
        import optuna

        url = url_of(tmp_path / "a.db")
        assert in_processes(4, run_trials, url, 5) == [0, 0, 0, 0]
        trials = optuna.load_study(study_name="shared", storage=optuna_storage(url)).trials
        assert sorted(trial.number for trial in trials) == list(range(20))
        assert all(trial.state.is_finished() for trial in trials)

    def test_tables_of_another_version(self, tmp_path):
        url = url_of(tmp_path / "a.db")
        with optuna_storage(url).engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'v99.0.0.a'"))
        with pytest.raises(StoreError, match=r"a\.db holds Optuna tables of another version"):
            optuna_storage(url)


def test_importing_the_store_is_light():
    code = (
        "import sys, automl_ad.store.repository, automl_ad.store.artifacts;"
        "assert not {'torch', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_shown_url_has_no_password() -> None:
    shown = without_password("sqlite:///a/b.db")
    assert shown == "sqlite:///a/b.db"
    assert "secret" not in without_password("postgresql://user:secret@host/name")


def test_the_file_of_a_url(tmp_path: Path) -> None:
    assert sqlite_file(f"sqlite:///{tmp_path}/x.db") == tmp_path / "x.db"
    assert sqlite_file("sqlite://") is None
    assert sqlite_file("postgresql://host/name") is None
