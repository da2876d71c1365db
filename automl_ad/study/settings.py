"""The settings of a search: every option's type, default, bounds and help text, and the presets that fill in the rest.

The command line, `automl_ad.api.search`, the dashboard's form and the study files take their options from here. Nothing
slow is imported, so that the command line prints its help at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from automl_ad.backbones.names import EMBEDDED, INSTALLED_NETWORK
from automl_ad.errors import InputError, OptionError
from automl_ad.formatting import parse_duration
from automl_ad.methods.names import METHODS
from automl_ad.methods.space import Effort
from automl_ad.store.stored_text import check_stored_text
from automl_ad.study.options import Option, as_flag, refusal, search_options
from automl_ad.synthesis.names import FAMILY_NAMES

Preset = Literal["quick", "balanced", "thorough", "faithful"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
SEVERITIES = (0.7, 0.85, 0.95)
"""Mean image AUROC of the reference panel on each severity: from hard to see to easy, but never hopeless or trivial."""
LARGEST_SIDE = 4096
"""Largest working size: the side, in pixels, of the square that has its area."""
MOST_TRIALS = 100_000
_DEVICE = re.compile(r"auto|(cpu|cuda)(:[0-9]+)?")
_STUDY, _BUDGET, _SPACE, _LIMITS, _RUN = "Study", "Preset and budget", "Search space", "Limits of the winner", "Run"


class StudyFile(BaseModel):
    """What a preset or a study file of the user's own (``--study``) sets; what it leaves out has these defaults."""

    # `average` and `certified` are the earlier names of two settings. Stored settings keep them, so that a workspace
    # has one spelling; a study file may use either.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True,
        loc_by_alias=False,
    )  # fmt: skip

    effort: Effort = Field(default="quick", description="How long methods may train in one trial.")
    trials: Annotated[int, Option(_BUDGET, "N", "Maximum number of trials")] = Field(
        default=30, ge=1, le=MOST_TRIALS, description="Maximum number of trials."
    )
    time_budget: Annotated[float, Option(_BUDGET, "TIME", "Time budget", parsed_from=str)] = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="Time for the whole search: seconds, or text such as 90s, 10m or 1.5h.",
    )
    backbones: Annotated[
        tuple[str, ...], Option(_SPACE, "a,b", "Backbones", "separated by commas", parsed_from=str)
    ] = Field(
        default=("resnet18", INSTALLED_NETWORK, EMBEDDED),
        min_length=1,
        description="Backbones to search: timm names such as resnet18, or embedded, which needs no weights.",
    )
    methods: Annotated[tuple[str, ...], Option(_SPACE, "a,b", "Methods", parsed_from=str)] = Field(
        default=("padim", "patchcore", "dfr"), min_length=1, description=f"Methods to search: {', '.join(METHODS)}."
    )
    sides: tuple[Annotated[int, Field(ge=32, le=LARGEST_SIDE)], ...] = Field(
        default=(256,),
        min_length=1,
        max_length=10,
        description="Sides of the squares that have the areas of the working sizes, pixels.",
    )
    families: tuple[str, ...] = Field(
        default=FAMILY_NAMES, min_length=1, description="Families of synthetic anomalies in the proxy suite."
    )
    severities: tuple[float, ...] = Field(
        default=SEVERITIES,
        min_length=1,
        description="Severities of each family: image AUROC that the reference panel reaches on it, 0.5 to 1.",
    )
    per_cell: int = Field(default=12, ge=4, le=1000, description="Synthetic anomalies of one family and severity.")
    holdout_candidates: int = Field(
        default=6,
        ge=1,
        le=100,
        alias="certified",
        description="Best candidates in the hold-out check, beside ensembles and baseline.",
    )
    folds: int = Field(default=5, ge=2, le=100, description="Folds that give the normals their out-of-fold scores.")
    ensemble: Annotated[bool, Option(_SPACE, label="Ensembles")] = Field(
        default=True,
        alias="average",
        description="Whether ensembles of the baseline and the best other candidates compete.",
    )

    @field_validator("backbones", "methods", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        return value

    @field_validator("backbones", "methods")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("each can be named at most once")
        return names

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not set(names) <= set(METHODS):
            raise ValueError(f"choose among {', '.join(METHODS)}")
        return names

    @field_validator("families")
    @classmethod
    def _known_families(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not set(names) <= set(FAMILY_NAMES) or len(set(names)) < len(names):
            raise ValueError(f"choose among {', '.join(FAMILY_NAMES)}, each at most once")
        return names

    @field_validator("severities")
    @classmethod
    def _severities_in_range(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(values)) != list(values) or not all(0.5 < value < 1 for value in values):
            raise ValueError("give image AUROCs above 0.5 and below 1, ascending")
        return values

    @field_validator("time_budget", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value


class StudySettings(StudyFile):
    """Everything that defines one search.

    Attributes:
        images: Folder of good images, absolute.
        preset: Name of the preset, or path of the study file.
        explicit_backbones: Whether the user named the backbones: then each must be had.
        exclude: Images that are left out: paths relative to ``images``, in POSIX form.
    """

    images: Path
    preset: str = "quick"
    explicit_backbones: bool = False
    weights_dir: Annotated[
        Path | None, Option(_SPACE, "DIR", "Folder of backbone weights", must_exist=True, default="AUTOML_AD_WEIGHTS")
    ] = Field(default=None, description="Folder of backbone weights, files <timm name>.safetensors.")
    texture_dir: Annotated[Path | None, Option(_SPACE, "DIR", "Folder of textures", must_exist=True)] = Field(
        default=None, description="Folder of texture images for the family texture of synthetic anomalies."
    )
    exclude: Annotated[
        tuple[str, ...], Option(_SPACE, "FILE", "Images left out", parsed_from=list[Path], default="none")
    ] = Field(default=(), description="Images to leave out, by their paths, also relative to the folder of images.")
    max_latency_ms: Annotated[float | None, Option(_LIMITS, "X", "Maximum latency", "ms per image")] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Candidates that take more milliseconds per image on this device cannot win.",
    )
    max_size_mb: Annotated[float | None, Option(_LIMITS, "X", "Maximum size", "MB")] = Field(
        default=None, gt=0, allow_inf_nan=False, description="Candidates of more megabytes cannot win."
    )
    device: Annotated[str, Option(_RUN, "DEVICE", "Device")] = Field(
        default="auto", description="Device: cpu, cuda:N, or auto, which takes a GPU if there is one."
    )
    seed: Annotated[int, Option(_RUN, "N", "Seed")] = Field(
        default=0, ge=0, description="Seed of splits, synthesis, sampler and initialisation."
    )

    @field_validator("exclude", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return tuple(map(os.fspath, value)) if isinstance(value, list | tuple) else value

    @field_validator("device")
    @classmethod
    def _known_device(cls, name: str) -> str:
        if not _DEVICE.fullmatch(name):
            raise ValueError("give auto, cpu or cuda:N")
        return name

    def meaning(self, backbones: Mapping[str, str], fingerprint: str) -> dict[str, Any]:
        """What a trial's numbers depend on; a study is only resumed when all of it is unchanged.

        Budgets, devices and limits may change between runs of one study; the images may not.

        Args:
            backbones: Tag of the weights by backbone name.
            fingerprint: Digest of the images.
        """
        fields = ("effort", "methods", "sides", "families", "severities", "per_cell", "seed")
        chosen = self.model_dump(mode="json", include=set(fields))
        return chosen | {
            "images": fingerprint,
            "backbones": dict(backbones),
            "texture_dir": str(self.texture_dir) if self.texture_dir else None,
        }


class RunOptions(BaseModel):
    """The options of a search that are no settings of its study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str | None, Option(_STUDY, "NAME", "Name of the study", default="name of the folder")] = Field(
        default=None, description="Name of the study."
    )
    workspace: Annotated[
        Path | None,
        Option(_STUDY, "DIR", "Workspace", default="AUTOML_AD_WORKSPACE, else ./automl_ad_workspace"),
    ] = Field(default=None, description="Folder of studies and caches.")
    storage: Annotated[str | None, Option(_STUDY, "URL", "Database", default="an SQLite file in the workspace")] = (
        Field(default=None, description="Database URL.")
    )
    preset: Annotated[Preset, Option(_BUDGET, "|".join(PRESETS), "Preset", parsed_from=str)] = Field(
        default="quick", description="Settings to start from; other options take precedence."
    )
    study_file: Annotated[Path | None, Option(_BUDGET, "FILE.yaml", "Study file", flag="--study", must_exist=True)] = (
        Field(default=None, description="Study file: YAML file of settings instead of a preset.")
    )
    image_size: Annotated[int | None, Option(_SPACE, "N", "Image size", "pixels", default="of the preset")] = Field(
        default=None,
        ge=32,
        le=LARGEST_SIDE,
        description="Working size: side, in pixels, of the square that has its area.",
    )
    workers: Annotated[int, Option(_RUN, "N", "Processes")] = Field(
        default=1, description="Processes; this release supports 1."
    )
    exclude_group: Annotated[
        tuple[str, ...], Option(_SPACE, "NAME", "Groups left out", parsed_from=list[str], default="none")
    ] = Field(default=(), description="Groups of images to leave out, by the names that `audit` gives them.")
    defects: Annotated[Path | None, Option(_RUN, "DIR", "Folder of real defects", must_exist=True)] = Field(
        default=None,
        description="Folder of 1 to 20 images of real defects, which the search never reads; they re-rank its finished "
        "trials, in an answer of its own.",
    )

    @field_validator("workers")
    @classmethod
    def _supported(cls, number: int) -> int:
        if number != 1:
            raise ValueError("this release supports 1")
        return number


_FOUND = search_options(RunOptions) | search_options(StudySettings, preset=StudyFile)
SEARCH_OPTIONS = dict(
    sorted(_FOUND.items(), key=lambda item: (_STUDY, _BUDGET, _SPACE, _LIMITS, _RUN).index(item[1].shown.panel))
)
"""Every option of a search by its name in Python, in the order in which the command line lists them."""

Model = TypeVar("Model", bound=BaseModel)


def load_study_file(path: Path) -> StudyFile:
    """Reads a preset or study file.

    Raises:
        InputError: The file is missing, not YAML, or a setting in it is unknown or out of range.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"Study file {path} cannot be read as YAML ({_first_line(error)}); correct it or use --preset."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"Study file {path} holds no settings; see the presets for the form.")
    try:
        return _validated(StudyFile, content)
    except OptionError as error:
        raise InputError(f"Study file {path}: {error}") from error


def preset_path(name: str) -> Path:
    """The file of a preset, one of `PRESETS`: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "studies" / f"{name}.yaml"
    return installed if installed.is_file() else package.parent / "studies" / f"{name}.yaml"


def checked_options(**options: Any) -> dict[str, Any]:
    """Reads options of a search without a look at its images or presets.

    Args:
        **options: Any of `SEARCH_OPTIONS` or other settings, also as text where the command line takes text; those that
            are None count as left out.

    Returns:
        Those that were given, in the model's types.

    Raises:
        OptionError: One is unknown or out of range, or names a path that does not exist.
    """
    given = {name: value for name, value in options.items() if value is not None}
    run = _validated(RunOptions, {name: given.pop(name) for name in RunOptions.model_fields if name in given})
    settings = _validated(StudySettings, given | {"images": Path()})
    checked = {name: getattr(run, name) for name in run.model_fields_set}
    checked |= {name: getattr(settings, name) for name in settings.model_fields_set - {"images"}}
    for name, value in checked.items():
        if name in SEARCH_OPTIONS and SEARCH_OPTIONS[name].shown.must_exist and not value.exists():
            raise OptionError(name, f"{value} does not exist; check the path.")
    return checked


def requested_settings(images: Path, **options: Any) -> StudySettings:
    """Settings from a preset or study file and the options that take precedence.

    Args:
        images: Folder of good images.
        **options: As of `checked_options`.

    Raises:
        InputError: An option or setting is unknown or out of range, or the folder's path is not UTF-8; the message
            names it.
    """
    check_stored_text(images.absolute(), "The folder of images")
    given = checked_options(**options)
    source = given.get("study_file") or preset_path(given.get("preset", "quick"))
    fields = load_study_file(source).model_dump(by_alias=False)
    fields |= {name: value for name, value in given.items() if name in StudySettings.model_fields}
    if "image_size" in given:
        fields["sides"] = (given["image_size"],)
    for name in ("weights_dir", "texture_dir"):
        if name in given:
            fields[name] = given[name].absolute()
    if given.get("exclude"):
        from automl_ad.data.folder import excluded_names

        fields["exclude"] = excluded_names(images, given["exclude"])
    if given.get("exclude_group"):
        from automl_ad.data.audit import names_without_groups

        fields["exclude"] = names_without_groups(images, fields.get("exclude", ()), given["exclude_group"])
    fields |= {
        "images": images.absolute(),
        "preset": str(given.get("study_file") or given.get("preset", "quick")),
        "explicit_backbones": "backbones" in given,
    }
    return _validated(StudySettings, fields)


def changed_settings(settings: StudySettings, **options: Any) -> StudySettings:
    """The settings with the options that are not None in place of theirs.

    Raises:
        OptionError: An option is out of range.
    """
    given = {key: value for key, value in options.items() if value is not None}
    return _validated(StudySettings, settings.model_dump(by_alias=False) | given)


def option_flag(name: str) -> str:
    """How the command line spells an option that an `OptionError` names."""
    return SEARCH_OPTIONS[name].flag if name in SEARCH_OPTIONS else as_flag(name)


def option_label(name: str) -> str:
    """How the dashboard spells an option that an `OptionError` names."""
    return SEARCH_OPTIONS[name].shown.label if name in SEARCH_OPTIONS else name


def _validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    try:
        return model(**fields)
    except ValidationError as error:
        raise refusal(error) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
