"""Parameters of a trial as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by name, those of an average's members as one phrase that names their trials."""
    return {name: format_members(value) if name == "members" else value for name, value in params.items()}


def format_members(members: Sequence[Mapping[str, Any]]) -> str:
    """The trials that an average is of, such as ``trials 3 (padim on resnet18) and 7 (patchcore on resnet18)``."""
    names = [f"{member['trial']} ({member['method']} on {member['settings']['backbone']})" for member in members]
    return f"trials {', '.join(names[:-1])} and {names[-1]}"
