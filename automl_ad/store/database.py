"""Opens the one database of a workspace, for our own tables and for Optuna's.

SQLite needs three things together before several processes can read and write one file without lock errors: a
write-ahead log, ``BEGIN IMMEDIATE`` (a transaction that reads first and writes later cannot wait for the lock once
someone else has written), and a long busy timeout. Any one of them alone still fails.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from automl_ad.errors import StoreError
from automl_ad.store.artifacts import create_folder
from automl_ad.store.stored_text import check_stored_text

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

BUSY_SECONDS = 60.0
"""How long a connection waits for another one's lock."""

_READ_ONLY = "automl_ad_read_only"
_FOR_READING = "automl_ad_for_reading"
_FILE_NAME = "automl_ad.db"
_CREATION_ATTEMPTS = 20


def default_url(workspace: Path) -> str:
    """The URL of the SQLite file that a workspace uses when no other storage is named.

    Raises:
        InputError: The workspace's path is not UTF-8.
    """
    check_stored_text(workspace, "--workspace")
    return URL.create("sqlite", database=str(workspace / _FILE_NAME)).render_as_string()


def open_engine(url: str, *, must_exist: bool = False) -> Engine:
    """Opens a database and checks that it answers.

    Every transaction on the returned engine takes SQLite's write lock when it begins; wrap it in `read_only` for
    transactions that only look. Other databases keep their own settings.

    Args:
        url: SQLAlchemy URL, such as ``sqlite:///folder/file.db`` or ``postgresql://user:password@host/name``.
        must_exist: Refuse an SQLite file that is not there, instead of creating it and its folder. One that may only
            be read is opened for reading.

    Returns:
        The engine, one per process: it must not be carried over a fork.

    Raises:
        InputError: The URL is not UTF-8.
        StoreError: The URL is malformed, its driver is missing, or the database cannot be opened.
    """
    check_stored_text(url, "--storage")
    parsed = _parse(url)
    if is_sqlite(parsed):
        _prepare_file(parsed, must_exist)
    with store_errors(parsed):
        engine = _create(parsed)
        try:
            _check(engine)
        except DBAPIError as error:
            path = sqlite_path(parsed)
            if not must_exist or path is None or not _UNWRITABLE.search(str(error.orig)):
                raise
            engine.dispose()
            engine = _create_reader(parsed, path)
            _check(engine)
    return engine


def read_only(engine: Engine) -> Engine:
    """The same engine and pool for transactions that only read: they take no lock and disturb no writer."""
    return engine.execution_options(**{_READ_ONLY: True})


def may_only_be_read(engine: Engine) -> bool:
    """Whether an engine from `open_engine` is on an SQLite file that this user may not write to."""
    return bool(engine.get_execution_options().get(_FOR_READING, False))


def is_sqlite(url: URL) -> bool:
    """Whether the URL names an SQLite database."""
    return url.get_backend_name() == "sqlite"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases and for one in memory."""
    parsed = _parse(url)
    return sqlite_path(parsed)


def without_password(url: str) -> str:
    """A URL that may be shown and kept."""
    return _parse(url).render_as_string(hide_password=True)


def optuna_storage(url: str) -> RDBStorage:
    """Optuna's storage on the same database, with the same connection settings.

    Args:
        url: As for `open_engine`.

    Raises:
        StoreError: The database cannot be opened, or was made by an Optuna version that this one cannot read.
    """
    open_engine(url).dispose()  # Gives our own errors, and the write-ahead log, before Optuna sees the file.
    parsed = _parse(url)
    attempt = 1
    while (storage := _try_storage(parsed, last_try=attempt == _CREATION_ATTEMPTS)) is None:
        time.sleep(0.02 * attempt)
        attempt += 1
    if is_sqlite(parsed):
        event.listen(storage.engine, "begin", _begin)
    return storage


@contextmanager
def store_errors(url: URL) -> Iterator[None]:
    """Turns a database's faults inside the block into a `StoreError` that names the database and the remedy.

    Violated constraints pass through: they are for the caller to judge.
    """
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StoreError(_explain(url, str(error.orig))) from error


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise StoreError(
            f"--storage {url!r} is not a database URL; give one such as sqlite:///folder/file.db"
        ) from error


def _create(url: URL) -> Engine:
    try:
        engine = create_engine(url, **_engine_arguments(url))
    except (ArgumentError, ImportError) as error:
        raise StoreError(
            f"--storage {shown_url(url)} needs a database driver that is not installed ({error}); install it or use "
            "SQLite"
        ) from error
    if is_sqlite(url):
        event.listen(engine, "begin", _begin)
    return engine


def _check(engine: Engine) -> None:
    with read_only(engine).connect() as connection:
        connection.exec_driver_sql("SELECT 1")


_UNWRITABLE = re.compile("read-?only|unable to open")


def _create_reader(url: URL, path: Path) -> Engine:
    """An engine on an SQLite file that may only be read; its connections are opened anew for each transaction."""
    engine = create_engine(url, creator=lambda: _connect_to_read(path), poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    return engine.execution_options(**{_FOR_READING: True})


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Opens a file that may only be read.

    SQLite needs the index of the write-ahead log, a file beside the database. Where it is missing and cannot be
    created, nobody writes to the database, which may then be read as a file that never changes.

    Raises:
        StoreError: There is a write-ahead log without an index, whose transactions would be missed.
        sqlite3.Error: The file cannot be read.
    """
    try:
        return _opened_to_read(path, "?mode=ro")
    except sqlite3.OperationalError as error:
        if not _UNWRITABLE.search(str(error)):
            raise
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"{path} has an unfinished write-ahead log, and its folder may only be read; copy both files to a folder "
            "that you may write to, and name that as --workspace"
        )
    return _opened_to_read(path, "?mode=ro&immutable=1")


def _opened_to_read(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path.absolute().as_uri() + options,
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _engine_arguments(url: URL) -> dict[str, Any]:
    if not is_sqlite(url):
        return {"pool_pre_ping": True}
    # No implicit BEGIN by the driver: the listener below chooses the kind of transaction.
    return {"connect_args": {"factory": _TunedConnection, "timeout": BUSY_SECONDS, "isolation_level": None}}


class _TunedConnection(sqlite3.Connection):
    """An SQLite connection with our settings.

    A connection factory rather than a SQLAlchemy event: Optuna creates its own engine and uses it in its constructor,
    before a listener could be attached.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self._use_write_ahead_log(time.monotonic() + BUSY_SECONDS)
            self.execute("PRAGMA synchronous = NORMAL")
            self.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            self.close()
            raise

    def _use_write_ahead_log(self, deadline: float) -> None:
        # The switch needs the file for itself and does not always wait for the busy timeout.
        while not self._switched(last_try=time.monotonic() > deadline):
            time.sleep(0.02)

    def _switched(self, last_try: bool) -> bool:
        try:
            self.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if last_try or "locked" not in str(error):
                raise
            return False
        return True


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _try_storage(url: URL, last_try: bool) -> RDBStorage | None:
    """Lets Optuna create or check its tables; None when another process got in between with the same table or row.

    The constructor opens a second connection while the first is inside a transaction, so it would wait for itself
    under ``BEGIN IMMEDIATE``. It runs in autocommit instead, which is safe to repeat.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=_engine_arguments(url))
    except (SQLAlchemyError, StorageInternalError) as error:
        if last_try:
            raise StoreError(_explain(url, str(error))) from error
        return None
    except RuntimeError as error:
        raise StoreError(f"{shown_url(url)} holds Optuna tables of another version: {error}") from error


def _prepare_file(url: URL, must_exist: bool) -> None:
    path = sqlite_path(url)
    if path is None:
        return
    if must_exist and not path.exists():
        raise StoreError(f"{path} does not exist; run a search first, or name the right --workspace or --storage")
    create_folder(path.parent)


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite URL; None for other databases, one in memory or a ``file:`` address."""
    if not is_sqlite(url):
        return None
    name = url.database
    return None if not name or name == ":memory:" or name.startswith("file:") else Path(name)


def shown_url(url: URL) -> str:
    """The file or URL of a database, as messages show it."""
    return str(sqlite_path(url) or url.render_as_string(hide_password=True))


_REMEDIES = {
    "not a database": "is not an SQLite database; move it away or name another --storage",
    "malformed": "is damaged; restore it from a copy or name another --storage",
    "locked": "stayed locked by another process; end that process, then run the same command again",
    "unable to open": "cannot be opened; check that it is a file in a folder you may write to, or change --storage",
    "readonly": "cannot be written to; change its permissions or name another --workspace",
    "is full": "cannot grow because the disk is full; free some space, then run the same command again",
}


def _explain(url: URL, fault: str) -> str:
    for sign, remedy in _REMEDIES.items():
        if sign in fault:
            return f"{shown_url(url)} {remedy}"
    return f"{shown_url(url)} cannot be used ({fault.strip().splitlines()[0]}); check the --storage URL"
