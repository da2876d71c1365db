"""Upgrades of our own tables, run by Alembic when a database of an earlier version is opened.

Every schema is a revision in ``versions``. A database keeps its revision twice: in Alembic's own table and as a whole
number in ``automl_ad_schema``, which programs that know nothing of Alembic check as well.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from automl_ad.errors import StoreError
from automl_ad.store.database import read_only, shown_url, sqlite_path
from automl_ad.store.tables import OLDEST_SCHEMA, SCHEMA_VERSION, Base, SchemaRow

VERSION_TABLE = "automl_ad_alembic"


def create_tables(engine: Engine) -> None:
    """Creates the tables of the present schema in an empty database, in one transaction.

    Another process may do the same at the same time; one of them finds the tables there.
    """
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        if _version(connection) is None:
            connection.execute(SchemaRow.__table__.insert().values(id=1, version=SCHEMA_VERSION))  # type: ignore[attr-defined]
            command.stamp(_config(connection), "head")


def upgrade(engine: Engine) -> None:
    """Upgrades a database of an earlier schema, in one transaction; nothing happens to one of the present schema.

    Of an SQLite file, a copy is kept beside it first. When the process is ended half-way, the database is what it was.
    Of several processes that upgrade at once, one does and the others wait.

    Args:
        engine: From `database.open_engine`; the database holds our tables.

    Raises:
        StoreError: The schema is newer than this program's, too old, or the file cannot be written or copied.
    """
    with read_only(engine).connect() as connection:
        found = _version(connection)
    if found == SCHEMA_VERSION:
        return
    _require_known(engine, found)
    try:
        with engine.begin() as connection:  # on SQLite, this takes the write lock
            found = _version(connection, lock=True)
            if found == SCHEMA_VERSION:
                return
            _keep_copy(engine, int(found or 0))
            config = _config(connection)
            command.stamp(config, f"{found:04d}")
            command.upgrade(config, "head")
    except DBAPIError as error:
        if "readonly" in str(error.orig) or "read-only" in str(error.orig):
            raise StoreError(
                f"{shown_url(engine.url)} was made by an earlier version of this program and has to be upgraded, but "
                "it cannot be written to; change its permissions, or open a copy of it in another --workspace"
            ) from error
        raise


def _require_known(engine: Engine, found: int | None) -> None:
    if found is not None and OLDEST_SCHEMA <= found <= SCHEMA_VERSION:
        return
    newer = found is not None and found > SCHEMA_VERSION
    remedy = "upgrade automl-ad" if newer else "use the version that made it"
    raise StoreError(
        f"{shown_url(engine.url)} holds tables of version {found}, and this program reads versions {OLDEST_SCHEMA} to "
        f"{SCHEMA_VERSION}; {remedy}, or name another --storage"
    )


def _version(connection: Connection, lock: bool = False) -> int | None:
    """The schema of a database; with ``lock``, no other process can upgrade it until the transaction ends."""
    chosen = select(SchemaRow.version).where(SchemaRow.id == 1)
    return connection.scalar(chosen.with_for_update() if lock else chosen)


def _keep_copy(engine: Engine, version: int) -> None:
    """Copies an SQLite file as it is, unless there is a copy of this version; the write-ahead log is included."""
    source = sqlite_path(engine.url)
    if source is None:
        return
    target = source.with_name(f"{source.name}.version-{version}.bak")
    if target.exists():
        return
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(temporary)) as new,
        ):
            old.backup(new)
        os.replace(temporary, target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{target} cannot be written ({error}), and {source} is not upgraded without a copy; free the disk or make "
            "the folder writable, then run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
