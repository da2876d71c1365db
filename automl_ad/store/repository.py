"""The one door to our tables: small methods that take and return records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, TypeVar

from sqlalchemy import Engine, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from automl_ad.errors import StoreError, StudyError
from automl_ad.store.database import read_only, store_errors
from automl_ad.store.records import CandidateRecord, PickRecord, StudyRecord
from automl_ad.store.tables import SCHEMA_VERSION, Base, CandidateRow, PickRow, SchemaRow, StudyRow

Record = TypeVar("Record", StudyRecord, CandidateRecord, PickRecord)


class Repository:
    """Studies, candidates and picks of one database.

    Each method is one transaction; those that only look take no write lock, so that polling disturbs nobody. Every
    method raises `StoreError` when the database fails, and `StudyError` when a study or trial does not exist.
    """

    def __init__(self, engine: Engine) -> None:
        """Creates the tables where they are missing.

        Args:
            engine: From `database.open_engine`.

        Raises:
            StoreError: The tables were made by another version of this program.
        """
        self._engine = engine
        self._reader = read_only(engine)
        with store_errors(engine.url):
            if not inspect(self._reader).has_table(SchemaRow.__tablename__):
                self._create_tables()
            self._check_version()

    def create_study(self, study: StudyRecord) -> StudyRecord:
        """Adds a study and returns it as stored.

        Raises:
            StudyError: A study of this name exists.
        """
        try:
            with self._writing() as session:
                session.add(StudyRow(**asdict(study)))
        except IntegrityError as error:
            raise StudyError(f"a study called {study.name!r} exists already; choose another --name") from error
        return self.get_study(study.name)

    def find_study(self, name: str) -> StudyRecord | None:
        """The study of this name, or None."""
        with self._reading() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            return None if row is None else _record(StudyRecord, row)

    def get_study(self, name: str) -> StudyRecord:
        """The study of this name; `StudyError` names those that exist when it does not."""
        with self._reading() as session:
            return _record(StudyRecord, _study_row(session, name))

    def list_studies(self) -> list[StudyRecord]:
        """All studies, oldest first."""
        with self._reading() as session:
            return [_record(StudyRecord, row) for row in session.scalars(select(StudyRow).order_by(StudyRow.id))]

    def set_suite(self, name: str, suite_hash: str) -> None:
        """Records the hash of the proxy suite that the study uses from now on."""
        with self._writing() as session:
            _study_row(session, name).suite_hash = suite_hash

    def set_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        """Replaces the settings by those of the newest run: budgets, limits and devices may change between runs."""
        with self._writing() as session:
            _study_row(session, name).settings = dict(settings)

    def set_warnings(self, name: str, warnings: Sequence[str]) -> None:
        """Replaces the study's warnings."""
        with self._writing() as session:
            _study_row(session, name).warnings = list(warnings)

    def set_answer(self, name: str, answer: Mapping[str, Any] | None) -> None:
        """Replaces the outcome of the search; None takes it back, as when a search is resumed."""
        with self._writing() as session:
            _study_row(session, name).answer = None if answer is None else dict(answer)

    def save_candidate(self, study: str, candidate: CandidateRecord) -> None:
        """Adds a trial, or replaces all that was known of the trial of this number."""
        with self._writing() as session:
            session.merge(CandidateRow(study_id=_study_row(session, study).id, **asdict(candidate)))

    def set_certify(self, study: str, number: int, certify: Mapping[str, Any] | None) -> None:
        """Records how a trial fared on the certify set, and leaves the rest of it alone."""
        with self._writing() as session:
            _candidate_row(session, study, number).certify = None if certify is None else dict(certify)

    def candidates(self, study: str) -> list[CandidateRecord]:
        """The study's trials in the order of their numbers."""
        with self._reading() as session:
            return [_record(CandidateRecord, row) for row in _candidate_rows(session, study)]

    def candidate(self, study: str, number: int) -> CandidateRecord:
        """One trial; `StudyError` says which numbers exist when it does not."""
        with self._reading() as session:
            return _record(CandidateRecord, _candidate_row(session, study, number))

    def find_configuration(self, study: str, configuration_hash: str) -> CandidateRecord | None:
        """The first complete trial of an equal configuration, or None."""
        with self._reading() as session:
            for row in _candidate_rows(session, study):
                if row.configuration_hash == configuration_hash and row.state == "complete":
                    return _record(CandidateRecord, row)
        return None

    def add_pick(self, study: str, pick: PickRecord) -> None:
        """Records a user's choice; earlier picks stay on record."""
        with self._writing() as session:
            row = _candidate_row(session, study, pick.number)
            session.add(PickRow(study_id=row.study_id, **asdict(pick)))

    def picks(self, study: str) -> list[PickRecord]:
        """The study's picks, oldest first."""
        with self._reading() as session:
            chosen = select(PickRow).where(PickRow.study_id == _study_row(session, study).id).order_by(PickRow.id)
            return [_record(PickRecord, row) for row in session.scalars(chosen)]

    def newest_pick(self, study: str) -> PickRecord | None:
        """The pick that counts, or None."""
        return next(reversed(self.picks(study)), None)

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with store_errors(self._engine.url), Session(self._reader) as session, session.begin():
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with store_errors(self._engine.url), Session(self._engine) as session, session.begin():
            yield session

    def _create_tables(self) -> None:
        # One transaction: nobody ever sees the tables without their version.
        with Session(self._engine) as session, session.begin():
            Base.metadata.create_all(session.connection())
            if session.get(SchemaRow, 1) is None:
                session.add(SchemaRow(id=1, version=SCHEMA_VERSION))

    def _check_version(self) -> None:
        with Session(self._reader) as session:
            row = session.get(SchemaRow, 1)
            found = None if row is None else row.version
        if found != SCHEMA_VERSION:
            shown = self._engine.url.render_as_string(hide_password=True)
            raise StoreError(
                f"{shown} holds tables of version {found}, this program reads version {SCHEMA_VERSION}; "
                "use the program that made it, or name another --storage"
            )


def _record(kind: type[Record], row: Base) -> Record:
    """Copies the columns that share a name with the record's fields."""
    return kind(**{item.name: getattr(row, item.name) for item in fields(kind)})


def _study_row(session: Session, name: str) -> StudyRow:
    row = session.scalar(select(StudyRow).where(StudyRow.name == name))
    if row is None:
        names = list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
        known = f"the studies here are {', '.join(names)}" if names else "there is no study here yet"
        raise StudyError(f"there is no study called {name!r}; {known}")
    return row


def _candidate_rows(session: Session, study: str) -> list[CandidateRow]:
    own = select(CandidateRow).where(CandidateRow.study_id == _study_row(session, study).id)
    return list(session.scalars(own.order_by(CandidateRow.number)))


def _candidate_row(session: Session, study: str, number: int) -> CandidateRow:
    rows = {row.number: row for row in _candidate_rows(session, study)}
    if number not in rows:
        known = f"its trials are {min(rows)} to {max(rows)}" if rows else "it has no trials yet"
        raise StudyError(f"study {study!r} has no trial {number}; {known}")
    return rows[number]
