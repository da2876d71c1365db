"""What the settings model says of a search option, and how the command line and the dashboard read it from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from automl_ad.errors import OptionError


@dataclass(frozen=True)
class Option:
    """Makes a field of a model a search option; stands in the field's annotation.

    Attributes:
        panel: Group in the help of the command line.
        metavar: What stands for the value in the help of the command line.
        label: Name in the dashboard, without the unit.
        unit: What the dashboard adds to the label: the unit of the value, or how it is written.
        flag: The command line's name of the option, where it is not the field's name with dashes.
        parsed_from: Type that the command line hands over, where the model parses the value.
        must_exist: Whether the value is a path that must be there.
        default: What happens without the option, where that is no value of the model.
    """

    panel: str
    metavar: str | None = None
    label: str = ""
    unit: str = ""
    flag: str = ""
    parsed_from: Any = None
    must_exist: bool = False
    default: str = ""


@dataclass(frozen=True)
class SearchOption:
    """One option of a search, as the model describes it.

    Attributes:
        name: Name in Python.
        help: What it is, in one or two sentences.
        default: Value without the option; None where the preset decides.
        kind: Type that the command line hands over.
        shown: How it is shown.
        varies: Whether each preset has a value of its own.
        former: Earlier name that is still read, if any.
        least: Smallest value, or None.
        above: Number that the value must exceed, or None.
    """

    name: str
    help: str
    default: Any
    kind: Any
    shown: Option
    varies: bool
    former: str | None
    least: float | None
    above: float | None

    @property
    def flag(self) -> str:
        """The option on the command line, such as ``--max-size-mb``."""
        return self.shown.flag or as_flag(self.name)

    @property
    def label(self) -> str:
        """The option in the dashboard, such as ``Maximum size, MB``."""
        return f"{self.shown.label or self.name}{', ' if self.shown.unit else ''}{self.shown.unit}"

    @property
    def when_absent(self) -> str:
        """What is used without the option; empty where that is nothing."""
        text = "of the preset" if self.varies else "" if self.default is None else str(self.default)
        return self.shown.default or text

    @property
    def bounds(self) -> str:
        """Its range in words: ``at least 1``; empty where there is none."""
        return _at_least(self.least) if self.least is not None else _above(self.above) if self.above is not None else ""


def search_options(model: type[BaseModel], preset: type[BaseModel] | None = None) -> dict[str, SearchOption]:
    """The fields of a model that are search options, by name.

    Args:
        model: The model; options are the fields that have an `Option` in their annotation.
        preset: Model of the fields that have another default in each preset.
    """
    by_preset = preset.model_fields if preset else {}
    found = {}
    for name, field in model.model_fields.items():
        shown = next((extra for extra in field.metadata if isinstance(extra, Option)), None)
        if shown is not None:
            found[name] = _search_option(name, field, shown, varies=name in by_preset)
    return found


def _search_option(name: str, field: FieldInfo, shown: Option, *, varies: bool) -> SearchOption:
    bounds = {type(bound): bound for bound in field.metadata}
    least, above = bounds.get(Ge), bounds.get(Gt)
    return SearchOption(
        name=name,
        help=field.description or "",
        default=None if varies else field.default,
        kind=shown.parsed_from or field.annotation,
        shown=shown,
        varies=varies,
        former=field.alias,
        least=least.ge if isinstance(least, Ge) else None,  # type: ignore[arg-type]
        above=above.gt if isinstance(above, Gt) else None,  # type: ignore[arg-type]
    )


def as_flag(name: str) -> str:
    """A name in Python as the command line spells it."""
    return f"--{name.replace('_', '-')}"


def refusal(error: ValidationError) -> OptionError:
    """The one sentence that says which option a model refused, and why."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        return OptionError(name, "is not known; leave it out or check its spelling.")
    given = first["input"]
    return OptionError(name, f"cannot be {str(given) if isinstance(given, Path) else given!r}: {_remedy(first)}.")


def _remedy(fault: Mapping[str, Any]) -> str:
    limits = fault.get("ctx", {})
    match fault["type"]:
        case "greater_than_equal":
            return f"give a value of {_at_least(limits['ge'])}"
        case "less_than_equal":
            return f"give a value of {_at_most(limits['le'])}"
        case "greater_than":
            return f"give a value {_above(limits['gt'])}"
        case "finite_number":
            return "give a finite number"
        case "too_short":
            return f"give at least {limits['min_length']}"
        case "too_long":
            return f"give at most {limits['max_length']}"
        case "literal_error":
            return f"choose among {limits['expected'].replace(' or ', ', ').replace(chr(39), '')}"
        case "value_error":
            return str(limits["error"])
        case _:
            message: str = fault["msg"]
            return f"{message[:1].lower()}{message[1:]}; give another value"


def _at_least(number: float) -> str:
    return f"at least {number:g}"


def _at_most(number: float) -> str:
    return f"at most {number:.10g}"


def _above(number: float) -> str:
    return f"above {number:g}"
