"""What a job is to do, as its file says it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from automl_ad.bundle.precision import Precision
from automl_ad.errors import InputError
from automl_ad.store.artifacts import check_study_name
from automl_ad.store.records import utc_now
from automl_ad.study.settings import StudySettings

JobKind = Literal["search", "export", "try"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SearchTask(_Section):
    """Search a study, or go on with it."""

    kind: Literal["search"] = "search"
    settings: StudySettings


class ExportTask(_Section):
    """Write the bundle of one trial; ``images`` is where the good images are, if they were moved."""

    kind: Literal["export"] = "export"
    trial: int
    precision: Precision
    images: Path | None = None


class TryTask(_Section):
    """Let some trials judge images of the user's own; ``images`` is where the good ones are, if they were moved."""

    kind: Literal["try"] = "try"
    trials: tuple[int, ...] = Field(min_length=1)
    pictures: Path
    images: Path | None = None


Task = Annotated[SearchTask | ExportTask | TryTask, Field(discriminator="kind")]


def _folder_name(name: str) -> str:
    try:
        return check_study_name(name)
    except InputError as error:
        raise ValueError(str(error)) from error


class JobSpecification(_Section):
    """What one job is to do.

    The database is not named here, since its URL may hold a password: the job's process gets it by its environment.

    Attributes:
        study: Name of the study.
        task: What to do with it.
        at: When it was asked for, aware, UTC.
    """

    study: Annotated[str, AfterValidator(_folder_name)]
    task: Task
    at: datetime = Field(default_factory=utc_now)
