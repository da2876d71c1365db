from __future__ import annotations

from typing import Any

from automl_ad.reporting.messages import format_members, format_params


def member(trial: int, method: str, backbone: str) -> dict[str, Any]:
    return {"trial": trial, "method": method, "settings": {"backbone": backbone, "levels": [-2]}, "spread": 2.0}


def test_members_are_named_by_their_trials() -> None:
    two = [member(3, "padim", "resnet18"), member(7, "dfr", "embedded")]
    assert format_members(two) == "trials 3 (padim on resnet18) and 7 (dfr on embedded)"
    three = format_members([*two, member(0, "patchcore", "none")])
    assert three == "trials 3 (padim on resnet18), 7 (dfr on embedded) and 0 (patchcore on none)"


def test_other_parameters_stay_as_they_are() -> None:
    plain = {"side": 64, "levels": [-2, -1]}
    assert format_params(plain) == plain
    members = [member(1, "padim", "a"), member(2, "dfr", "b")]
    assert format_params({"side": 64, "members": members}) == {
        "side": 64,
        "members": "trials 1 (padim on a) and 2 (dfr on b)",
    }
