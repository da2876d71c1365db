"""Upgrades of our own tables, run by Alembic when a database of an earlier version is opened.

Every schema is a revision in ``versions``. A database keeps its revision twice: in Alembic's own table and as a whole
number in ``automl_ad_schema``, which programs that know nothing of Alembic check as well.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from automl_ad.errors import StoreError
from automl_ad.store.artifacts import write_atomically
from automl_ad.store.database import is_sqlite, may_only_be_read, read_only, shown_url
from automl_ad.store.tables import OLDEST_SCHEMA, SCHEMA_VERSION, Base, SchemaRow

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "automl_ad_alembic"

_log = logging.getLogger(__name__)


def create_tables(engine: Engine) -> None:
    """Creates the tables of the present schema in an empty database, in one transaction.

    Another process may do the same at the same time; one of them finds the tables there.
    """
    from alembic import command  # slow, and not needed to open a database of the present schema

    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        if connection.scalar(select(SchemaRow.version)) is None:
            connection.execute(SchemaRow.__table__.insert().values(id=1, version=SCHEMA_VERSION))  # type: ignore[attr-defined]
            command.stamp(_config(connection), "head")


def upgrade(engine: Engine) -> None:
    """Upgrades a database of an earlier schema, in one transaction; nothing happens to one of the present schema.

    A copy of an SQLite file is kept beside it first. When the process is ended half-way, the database is what it was.
    Of several processes that upgrade at once, one does and the others wait.

    Args:
        engine: From `database.open_engine`; the database holds our tables.

    Raises:
        StoreError: The schema is newer than this program's, too old, or the file cannot be written or copied.
    """
    with read_only(engine).connect() as connection:
        if _known_version(connection) == SCHEMA_VERSION:
            return
    if may_only_be_read(engine):
        raise _unwritable(engine)
    from alembic import command

    copy: Path | None = None
    try:
        with _exclusive(engine) as connection:
            found = _known_version(connection, lock=True)
            if found == SCHEMA_VERSION:
                return  # another process was faster
            copy = _keep_copy(engine, found)
            config = _config(connection)
            command.stamp(config, f"{found:04d}")
            command.upgrade(config, "head")
    except Exception as error:
        if copy is not None:
            copy.unlink(missing_ok=True)  # the database is what it was, and repeated attempts must not fill the disk
        if isinstance(error, DBAPIError) and re.search("read-?only", str(error.orig)):
            raise _unwritable(engine) from error
        raise
    kept = "" if copy is None else f"; a copy of version {found} is kept as {copy.name}"
    _log.info("%s was upgraded from version %d to version %d%s", shown_url(engine.url), found, SCHEMA_VERSION, kept)


def _unwritable(engine: Engine) -> StoreError:
    return StoreError(
        f"{shown_url(engine.url)} was made by an earlier version of this program and has to be upgraded, but it cannot "
        "be written to; change its permissions, or open a copy of it in another --workspace"
    )


@contextmanager
def _exclusive(engine: Engine) -> Iterator[Connection]:
    """A transaction in which tables may be replaced; on SQLite, it holds the write lock from its beginning."""
    with engine.connect() as connection:
        if is_sqlite(engine.url):
            # Alembic replaces a table whose columns change, and picks refer to the one that it deletes. The setting has
            # no effect inside a transaction, and must not reach others by way of the pool.
            connection.detach()
            connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        with connection.begin():
            yield connection


def _known_version(connection: Connection, lock: bool = False) -> int:
    """The schema of a database; with ``lock``, no other process can upgrade it until the transaction ends."""
    chosen = select(SchemaRow.version).where(SchemaRow.id == 1)
    found = connection.scalar(chosen.with_for_update() if lock else chosen)
    if found is not None and OLDEST_SCHEMA <= found <= SCHEMA_VERSION:
        return found
    newer = found is not None and found > SCHEMA_VERSION
    remedy = "upgrade automl-ad" if newer else "use the version that made it"
    raise StoreError(
        f"{shown_url(connection.engine.url)} holds tables of version {found}, and this program reads versions "
        f"{OLDEST_SCHEMA} to {SCHEMA_VERSION}; {remedy}, or name another --storage"
    )


def _keep_copy(engine: Engine, version: int) -> Path | None:
    """Copies an SQLite file as its readers see it, the write-ahead log included; None for other databases."""
    if not is_sqlite(engine.url):
        return None
    with read_only(engine).connect() as reader, closing(reader.connection.cursor()) as cursor:
        *_, name = cursor.execute("PRAGMA database_list").fetchone()  # also of a file: address
        if not name:
            return None  # in memory
        source = Path(name)
        copy = _unused_name(source, version)
        try:
            with write_atomically(copy) as temporary, closing(sqlite3.connect(temporary)) as target:
                reader.connection.driver_connection.backup(target)  # type: ignore[union-attr]
                shutil.copymode(source, temporary)
        except (StoreError, sqlite3.Error) as error:
            raise StoreError(
                f"{copy} cannot be written ({error.__cause__ or error}), and {source} is not upgraded without a copy; "
                "free the disk or make the folder writable, then run the same command again"
            ) from error
        return copy


def _unused_name(source: Path, version: int) -> Path:
    """Where a new copy goes: one that is there already may hold trials that the database lacks by now."""
    names = (f"{source.name}.version-{version}{suffix}.bak" for suffix in chain([""], map("-{}".format, count(2))))
    return next(path for path in map(source.with_name, names) if not path.exists())


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
