from __future__ import annotations

from typing import Any

from automl_ad.store.params import members_in_words, params_in_words


def member(trial: int, method: str, backbone: str) -> dict[str, Any]:
    return {"trial": trial, "method": method, "settings": {"backbone": backbone, "levels": [-2]}, "spread": 2.0}


def test_members_are_named_by_their_trials() -> None:
    two = [member(3, "padim", "resnet18"), member(7, "dfr", "embedded")]
    assert members_in_words(two) == "trials 3 (padim on resnet18) and 7 (dfr on embedded)"
    three = members_in_words([*two, member(0, "patchcore", "none")])
    assert three == "trials 3 (padim on resnet18), 7 (dfr on embedded) and 0 (patchcore on none)"


def test_other_parameters_stay_as_they_are() -> None:
    plain = {"side": 64, "levels": [-2, -1]}
    assert params_in_words(plain) == plain
    members = [member(1, "padim", "a"), member(2, "dfr", "b")]
    assert params_in_words({"side": 64, "members": members}) == {
        "side": 64,
        "members": "trials 1 (padim on a) and 2 (dfr on b)",
    }
