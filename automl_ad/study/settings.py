"""What a user asks of a search, and the presets that fill in the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from automl_ad.errors import InputError
from automl_ad.formatting import parse_duration
from automl_ad.methods.registry import detector_class
from automl_ad.methods.space import Effort
from automl_ad.synthesis.registry import FAMILY_NAMES

PRESETS = ("quick", "balanced", "thorough", "faithful")
SEVERITIES = (0.7, 0.85, 0.95)
"""Mean image AUROC of the reference panel on each severity: from hard to see to easy, but never hopeless or trivial."""


class StudyFile(BaseModel):
    """A preset, or a study file of the user's own (``--study``).

    Attributes:
        effort: How far methods go in one fit.
        trials: Most candidates tried.
        time_budget: Seconds for the whole search; text such as ``10m`` is understood.
        backbones: Backbones wanted, the default first; those without weights at hand are left out.
        methods: Methods searched.
        sides: Sides of the squares that have the areas of the working sizes, in pixels.
        families: Families of synthetic anomalies in the proxy suite.
        severities: Severities of each family: image AUROC that the reference panel reaches on it, 0.5 to 1.
        per_cell: Synthetic anomalies of one family and severity.
        certified: Best candidates in the final check, which averages and the default join.
        folds: Folds that give the normals their out-of-fold scores.
        average: Whether averages of the default and the best that differ from it compete, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    effort: Effort = "quick"
    trials: int = Field(default=30, ge=1)
    time_budget: float = Field(default=300.0, gt=0)
    backbones: tuple[str, ...] = Field(default=("resnet18", "embedded"), min_length=1)
    methods: tuple[str, ...] = Field(default=("padim", "patchcore", "dfr"), min_length=1)  # those that fit the budget
    sides: tuple[int, ...] = Field(default=(256,), min_length=1)
    families: tuple[str, ...] = Field(default=FAMILY_NAMES, min_length=1)
    severities: tuple[float, ...] = Field(default=SEVERITIES, min_length=1)
    per_cell: int = Field(default=12, ge=4)
    certified: int = Field(default=6, ge=1)
    folds: int = Field(default=5, ge=2)
    average: bool = True

    @field_validator("backbones", "methods")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("each can be named at most once")
        return names

    @field_validator("families")
    @classmethod
    def _known_families(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in FAMILY_NAMES]
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"families are {', '.join(FAMILY_NAMES)}, each at most once")
        return names

    @field_validator("severities")
    @classmethod
    def _severities_in_range(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(values)) != list(values) or not all(0.5 < value < 1 for value in values):
            raise ValueError("severities are image AUROCs above 0.5 and below 1, ascending")
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
        weights_dir: Folder of weight files.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        max_latency_ms: Candidates slower than this, for one image on this device, cannot win.
        max_size_mb: Candidates larger than this cannot win.
        texture_dir: Folder of texture images for the family ``texture``.
        seed: Drives splits, synthesis, sampler and initialisation.
        exclude: Images that are left out: paths relative to ``images``, in POSIX form.
    """

    images: Path
    preset: str = "quick"
    explicit_backbones: bool = False
    weights_dir: Path | None = None
    device: str = "auto"
    max_latency_ms: float | None = Field(default=None, gt=0)
    max_size_mb: float | None = Field(default=None, gt=0)
    texture_dir: Path | None = None
    seed: int = Field(default=0, ge=0)
    exclude: tuple[str, ...] = ()

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


File = TypeVar("File", bound=StudyFile)


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
            f"Study file {path} cannot be read as YAML ({_first_line(error)}); mend it or use --preset."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"Study file {path} holds no settings; see the presets for the form.")
    return _validated(StudyFile, content, f"Study file {path}")


def preset_path(name: str) -> Path:
    """The file of preset ``name``: inside the installed package, or beside it in a source tree.

    Raises:
        InputError: No such preset.
    """
    if name not in PRESETS:
        raise InputError(
            f"Preset {name!r} (--preset) does not exist; choose among {', '.join(PRESETS)} or use --study FILE."
        )
    package = Path(__file__).resolve().parent.parent
    installed = package / "studies" / f"{name}.yaml"
    return installed if installed.is_file() else package.parent / "studies" / f"{name}.yaml"


def build_settings(
    images: Path, *, preset: str = "quick", study_file: Path | None = None, **options: Any
) -> StudySettings:
    """Settings from a preset or study file, overruled by the options that are not None.

    Raises:
        InputError: An option or setting is unknown or out of range; the message names it.
    """
    base = load_study_file(study_file or preset_path(preset))
    given = {key: value for key, value in options.items() if value is not None}
    if "image_size" in given:
        given["sides"] = (given.pop("image_size"),)
    fields = base.model_dump() | given
    fields |= {
        "images": images.absolute(),
        "preset": str(study_file or preset),
        "explicit_backbones": "backbones" in given,
    }
    settings = _validated(StudySettings, fields, "Option")
    for method in settings.methods:
        detector_class(method)
    return settings


def changed_settings(settings: StudySettings, **options: Any) -> StudySettings:
    """The settings with the options that are not None in place of theirs.

    Raises:
        InputError: An option is out of range; the message names it.
    """
    given = {key: value for key, value in options.items() if value is not None}
    return _validated(StudySettings, settings.model_dump() | given, "Option")


def _validated(model: type[File], fields: Mapping[str, Any], where: str) -> File:
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        option = f"--{name.split('.')[0].replace('_', '-')}" if where == "Option" else name
        raise InputError(
            f"{where} {option} cannot be {first['input']!r}: {first['msg']}; give another value."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
