"""The one door to our tables: small methods that take and return records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Engine, Row, Select, func, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from automl_ad.errors import StudyError
from automl_ad.formatting import number_ranges
from automl_ad.store.database import read_only, store_errors
from automl_ad.store.migrations import create_tables, upgrade
from automl_ad.store.records import CandidateRecord, PickRecord, Revision, StudyRecord
from automl_ad.store.tables import Base, CandidateRow, PickRow, SchemaRow, StudyRow

Record = TypeVar("Record", StudyRecord, CandidateRecord, PickRecord)

_CANDIDATE = [item.name for item in fields(CandidateRecord)]
# Columns instead of mapped objects: a table of thousands is read while people wait, and objects cost as much again.
_CANDIDATE_COLUMNS = [getattr(CandidateRow, name) for name in _CANDIDATE]


class Repository:
    """Studies, candidates and picks of one database.

    Each method is one transaction; those that only look take no write lock, so that polling disturbs nobody. Every
    method raises `StoreError` when the database fails, and `StudyError` when a study or trial does not exist.
    """

    def __init__(self, engine: Engine) -> None:
        """Creates the tables where they are missing, and upgrades those of an earlier version.

        Args:
            engine: From `database.open_engine`.

        Raises:
            StoreError: The tables are of a newer version, or cannot be upgraded.
        """
        self._engine = engine
        self._reader = read_only(engine)
        with store_errors(engine.url):
            if inspect(self._reader).has_table(SchemaRow.__tablename__):
                upgrade(engine)
            else:
                create_tables(engine)
                upgrade(engine)  # another process, of another version, may have been faster

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
        with self._changing(name) as (_, row):
            row.suite_hash = suite_hash

    def set_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        """Replaces the settings by those of the newest run.

        Budgets, limits and devices may change between runs, and so may the folder that holds the images.
        """
        with self._changing(name) as (_, row):
            row.settings = dict(settings)
            row.images = str(settings.get("images", row.images))

    def set_warnings(self, name: str, warnings: Sequence[str]) -> None:
        """Replaces the study's warnings."""
        with self._changing(name) as (_, row):
            row.warnings = list(warnings)

    def set_answer(self, name: str, answer: Mapping[str, Any] | None) -> None:
        """Replaces the outcome of the search; None takes it back, as when a search is resumed."""
        with self._changing(name) as (_, row):
            row.answer = None if answer is None else dict(answer)

    def save_candidate(self, study: str, candidate: CandidateRecord) -> None:
        """Adds a trial, or replaces all that was known of the trial of this number."""
        with self._writing() as session:
            identity = _identity(session, study).id
            last = session.scalar(_highest(identity))
            if last is not None and candidate.number <= last:
                _count_change(session, identity)  # readers that ask for what comes after the last would miss it
            session.merge(CandidateRow(study_id=identity, **asdict(candidate)))

    def set_holdout(self, study: str, number: int, score: float, image_auroc: Mapping[str, float]) -> None:
        """Records the outcome of the hold-out check for a trial, and leaves the rest of it alone.

        Args:
            study: Name of the study.
            number: Trial number.
            score: Proxy score on the proxy and hold-out suites together.
            image_auroc: By cell of the hold-out suite.
        """
        with self._changing(study) as (session, row):
            _check_number(session, study, number)
            trial = session.get_one(CandidateRow, (row.id, number))
            trial.holdout_score, trial.holdout_auroc = score, dict(image_auroc)

    def clear_holdout(self, study: str) -> None:
        """Removes all outcomes of the hold-out check, before they are computed again."""
        with self._changing(study) as (session, row):
            own = update(CandidateRow).where(CandidateRow.study_id == row.id)
            session.execute(own.values(holdout_score=None, holdout_auroc={}))

    def candidates(self, study: str, since: int | None = None) -> list[CandidateRecord]:
        """The study's trials in the order of their numbers.

        Args:
            study: Name of the study.
            since: Only trials of a higher number than this.
        """
        with self._reading() as session:
            chosen = _candidates(session, study)
            if since is not None:
                chosen = chosen.where(CandidateRow.number > since)
            return [_candidate(row) for row in session.execute(chosen)]

    def candidate(self, study: str, number: int) -> CandidateRecord:
        """One trial; `StudyError` says which numbers exist when it does not."""
        with self._reading() as session:
            _check_number(session, study, number)
            return _candidate(session.execute(_candidates(session, study).where(CandidateRow.number == number)).one())

    def find_configuration(self, study: str, configuration_hash: str) -> CandidateRecord | None:
        """The first complete trial of an equal configuration, or None."""
        with self._reading() as session:
            equal = _candidates(session, study).where(CandidateRow.configuration_hash == configuration_hash)
            row = session.execute(equal.where(CandidateRow.state == "complete").limit(1)).one_or_none()
            return None if row is None else _candidate(row)

    def counts(self, study: str, without: str | None = None) -> dict[str, int]:
        """How many trials are in each state; states without trials are left out.

        Args:
            study: Name of the study.
            without: A method whose trials do not count.
        """
        with self._reading() as session:
            counted = select(CandidateRow.state, func.count().label("trials")).group_by(CandidateRow.state)
            counted = counted.where(CandidateRow.study_id == _identity(session, study).id)
            if without is not None:
                counted = counted.where(CandidateRow.method != without)
            return {row.state: row.trials for row in session.execute(counted)}

    def revision(self, study: str) -> Revision:
        """What a reader compares to learn whether anything is new; no JSON is read for it."""
        with self._reading() as session:
            row = _identity(session, study)
            return Revision(session.scalar(_highest(row.id)), row.changes)

    def add_pick(self, study: str, pick: PickRecord) -> None:
        """Records a user's choice; earlier picks stay on record."""
        with self._changing(study) as (session, row):
            if pick.number is not None:
                _check_number(session, study, pick.number)
            session.add(PickRow(study_id=row.id, **asdict(pick)))

    def picks(self, study: str) -> list[PickRecord]:
        """The study's picks and withdrawals, oldest first."""
        with self._reading() as session:
            chosen = select(PickRow).where(PickRow.study_id == _identity(session, study).id).order_by(PickRow.id)
            return [_record(PickRecord, row) for row in session.scalars(chosen)]

    def newest_pick(self, study: str) -> PickRecord | None:
        """The pick that counts; None if there is none, or the newest was taken back."""
        newest = next(reversed(self.picks(study)), None)
        return None if newest is None or newest.number is None else newest

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with store_errors(self._engine.url), Session(self._reader) as session, session.begin():
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with store_errors(self._engine.url), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _changing(self, study: str) -> Iterator[tuple[Session, StudyRow]]:
        """A transaction that changes what readers may have seen of a study."""
        with self._writing() as session:
            row = _study_row(session, study)
            _count_change(session, row.id)
            yield session, row


def _record(kind: type[Record], row: Base) -> Record:
    """Copies the columns that share a name with the record's fields."""
    return kind(**{item.name: getattr(row, item.name) for item in fields(kind)})


def _study_row(session: Session, name: str) -> StudyRow:
    row = session.scalar(select(StudyRow).where(StudyRow.name == name))
    return row or _refuse_study(session, name)


def _identity(session: Session, name: str) -> Row[int, int]:
    """``id`` and ``changes`` of a study, without the JSON of its row."""
    row = session.execute(select(StudyRow.id, StudyRow.changes).where(StudyRow.name == name)).one_or_none()
    return row or _refuse_study(session, name)


def _refuse_study(session: Session, name: str) -> NoReturn:
    names = list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
    known = f"the studies here are {', '.join(names)}" if names else "there is no study here yet"
    raise StudyError(f"there is no study called {name!r}; {known}")


def _count_change(session: Session, identity: int) -> None:
    session.execute(update(StudyRow).where(StudyRow.id == identity).values(changes=StudyRow.changes + 1))


def _candidates(session: Session, study: str) -> Select[Any]:
    own = CandidateRow.study_id == _identity(session, study).id
    return select(*_CANDIDATE_COLUMNS).where(own).order_by(CandidateRow.number)


def _candidate(row: Row[Any]) -> CandidateRecord:
    return CandidateRecord(**dict(zip(_CANDIDATE, row, strict=True)))


def _highest(study: int) -> Select[int | None]:
    return select(func.max(CandidateRow.number)).where(CandidateRow.study_id == study)


def _check_number(session: Session, study: str, number: int) -> None:
    own = CandidateRow.study_id == _identity(session, study).id
    if session.scalar(select(CandidateRow.number).where(own, CandidateRow.number == number)) is None:
        numbers = list(session.scalars(select(CandidateRow.number).where(own).order_by(CandidateRow.number)))
        verb = "s are" if len(numbers) > 1 else " is"
        known = f"its trial{verb} {number_ranges(numbers)}" if numbers else "it has no trials yet"
        raise StudyError(f"study {study!r} has no trial {number}; {known}")
