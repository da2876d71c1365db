"""Says in a sentence what a group of images is, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt

from automl_ad.data.groups.descriptions import Descriptions
from automl_ad.data.groups.drift import Drift
from automl_ad.data.groups.file_facts import FileFacts
from automl_ad.data.groups.kinds import Kind

_Rows = npt.NDArray[np.int64]

_REMEDIES: dict[Kind, str] = {
    "product": "give each product or view a search of its own",
    "light": "keep the light constant, or search each light by itself",
    "camera": "use one camera with one setting, or search each by itself",
    "angle": "turn the parts alike before the picture is taken",
    "time": "find out what drifts, and use images of today's state",
}


def remedy(kind: Kind, name: str, everything: bool) -> str:
    """What to do about a group; one that is everything cannot be left out."""
    return _REMEDIES[kind] + ("" if everything else f", or leave these out with --exclude-group {name}")


def difference(kind: Kind, rows: _Rows, beside: _Rows, images: Descriptions, facts: Sequence[FileFacts]) -> str:
    """What sets a group off from the one beside it, such as ``under another light than the others``."""
    if kind == "light":
        return f"are under another light than {_others(beside)}{_measured(_light_changes(rows, beside, images))}"
    if kind == "camera":
        changes = _file_changes(rows, beside, facts) or _camera_changes(rows, beside, images)
        return f"come from another camera or setting than {_others(beside)}{_measured(changes)}"
    if kind == "angle":
        return f"show the part at another angle than {_others(beside)}"
    return f"show another product or view than {_others(beside)}"


def turned(arc: float) -> str:
    """Of parts at varying angles."""
    return f"show the part at angles that vary over {arc:.0f} degrees"


def drifted(drift: Drift, late: bool) -> str:
    """Of the images before or after a change over time."""
    day = datetime.fromtimestamp(drift.since, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    when = f"date from {day} or later" if late else f"date from before {day}"
    if drift.ratio is None:
        return f"{when}, and {drift.what} drifts over time"
    ratio, others = (drift.ratio, "earlier") if late else (1 / drift.ratio, "later")
    return f"{when}, and {drift.what} drifts over time: {ratio:.2f} times that of the {others} ones"


def _others(beside: _Rows) -> str:
    return f"{len(beside)} other{'s' if len(beside) > 1 else ''}"


def _measured(changes: Sequence[str]) -> str:
    return f" ({', '.join(changes)})" if changes else ""


def _light_changes(rows: _Rows, beside: _Rows, images: Descriptions) -> list[str]:
    names = ("brightness", "red to green", "blue to green", "left to right", "top to bottom")
    changes = images.light[rows].mean(axis=0) - images.light[beside].mean(axis=0)
    return [f"{name} {np.exp(by):.2f} times" for name, by in zip(names, changes, strict=True) if abs(by) > 0.03]


def _camera_changes(rows: _Rows, beside: _Rows, images: Descriptions) -> list[str]:
    changes = images.camera[rows].mean(axis=0) - images.camera[beside].mean(axis=0)
    named = zip(("noise", "sharpness"), changes, strict=True)
    return [f"{name} {np.exp(by):.2f} times" for name, by in named if abs(by) > 0.1]


def _file_changes(rows: _Rows, beside: _Rows, facts: Sequence[FileFacts]) -> list[str]:
    found = []
    for own, other in zip(_frequent(rows, facts), _frequent(beside, facts), strict=True):
        if own != other:
            found.append(f"{own or 'unknown'} against {other or 'unknown'}")
    return found


def _frequent(rows: _Rows, facts: Sequence[FileFacts]) -> list[str]:
    """The most frequent camera, size and pixel format."""
    values = [
        [facts[row].camera for row in rows],
        [_size(facts[row]) for row in rows],
        [facts[row].mode for row in rows],
    ]
    return [Counter(column).most_common(1)[0][0] for column in values]


def _size(fact: FileFacts) -> str:
    return f"{fact.size[0]} x {fact.size[1]} pixels" if fact.size else ""
