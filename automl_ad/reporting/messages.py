"""What a search's answer says of itself, as sentences for every face: how sure it is, and by what it judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_ad.reporting.params import format_members


def ensemble_message(winner: Mapping[str, Any]) -> str | None:
    """Of which trials a winning average is; None for any other winner."""
    members = (winner.get("params") or {}).get("members")
    return f"It is the average of {format_members(members)}, as one detector." if members else None


def certainty_message(answer: Mapping[str, Any]) -> str | None:
    """How sure the choice is; None where it had no rival, or an early version did not ask."""
    certainty = answer.get("certainty")
    if certainty is None or len(answer.get("certified", ())) < 2:
        return None
    default = answer.get("default_trial")
    guarded = default in answer["certified"] and default != answer["winner"]["trial"]
    rival = "the default" if guarded else "the best of the others"
    return (
        f"How sure: with a probability of {100 * certainty:.0f} % it is as good as {rival} on real defects, too, "
        "by how far proxy scores agreed with real defects on other products."
    )


def coverage_messages(coverage: Mapping[str, Any] | None) -> list[str]:
    """Which of the families asked for were not drawn, or not at every severity; nothing where all were.

    Args:
        coverage: As `automl_ad.evaluation.coverage.Coverage.facts` has it; None if nobody kept it.
    """
    if coverage is None:
        return []
    asked, drawn = coverage["families"], coverage["drawn"]
    lacking = [name for name in asked if name not in drawn]
    said = (
        f"Drawn were {len(drawn)} of the {len(asked)} families asked for, not {', '.join(lacking)} (see the warnings)."
    )
    return ([said] if lacking else []) + merged_severities_messages(coverage)


def merged_severities_messages(coverage: Mapping[str, Any]) -> list[str]:
    """One sentence on the families that are drawn at fewer severities than were asked for; none where there are none.

    Args:
        coverage: As in `coverage_messages`.
    """
    wanted = coverage["severities"]
    merged = [f"{name} at {', '.join(cells)}" for name, cells in coverage["drawn"].items() if len(cells) < len(wanted)]
    return [f"Not every severity is in reach on these images: drawn are {'; '.join(merged)}."] if merged else []


def bias_correction_message(advantage: float) -> str:
    """Why a proxy score lies below the families that it is of.

    Args:
        advantage: What was taken off it, in AUROC.
    """
    return (
        f"{100 * advantage:.1f} points are taken off the proxy score, not off those of its families: what such a "
        "candidate learned from some synthetic anomalies helps it with all of them, but less with real defects."
    )
