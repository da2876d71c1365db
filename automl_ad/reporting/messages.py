"""Sentences about a search's answer, the same in the console and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl_ad.results import CoverageResult, SearchOutcome, WinnerResult


def ensemble_message(winner: WinnerResult) -> str | None:
    """The members of a winning ensemble; None for any other winner."""
    members = winner.params.get("members")
    return f"It is an ensemble of {format_members(members)}, exported as one detector." if members else None


def certainty_message(outcome: SearchOutcome) -> str | None:
    """The probability that the choice is right; None where it had no rival, or an early version did not estimate it."""
    if outcome.certainty is None or len(outcome.certified) < 2:
        return None
    baseline = outcome.default_trial
    against_baseline = baseline in outcome.certified and baseline != outcome.winner.trial
    rival = "the baseline" if against_baseline else "the best other candidate"
    percent = f"{100 * outcome.certainty:.0f} %"
    return (
        f"Probability that it is at least as good as {rival} on real defects: {percent}, estimated "
        "from how well proxy scores agreed with real defects on other products."
    )


def coverage_messages(coverage: CoverageResult | None) -> list[str]:
    """Which of the requested families were not drawn, or not at every severity; nothing where all were.

    Args:
        coverage: Of the proxy suite; None for studies of early versions.
    """
    if coverage is None:
        return []
    asked, drawn = coverage.families, coverage.drawn
    lacking = [name for name in asked if name not in drawn]
    sentence = (
        f"{len(drawn)} of the {len(asked)} requested families were drawn, not {', '.join(lacking)} (see the warnings)."
    )
    return ([sentence] if lacking else []) + merged_severities_messages(coverage)


def merged_severities_messages(coverage: CoverageResult) -> list[str]:
    """One sentence on the families that are drawn at fewer severities than requested; none where there are none."""
    wanted = coverage.severities
    merged = [f"{name} at {', '.join(cells)}" for name, cells in coverage.drawn.items() if len(cells) < len(wanted)]
    return [f"Not every severity is in reach on these images; drawn are {'; '.join(merged)}."] if merged else []


def format_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by name, the members of an ensemble as one phrase that names their trials."""
    return {name: format_members(value) if name == "members" else value for name, value in params.items()}


def format_members(members: Sequence[Mapping[str, Any]]) -> str:
    """The member trials of an ensemble, such as ``trials 3 (padim on resnet18) and 7 (patchcore on resnet18)``."""
    names = [f"{member['trial']} ({member['method']} on {member['settings']['backbone']})" for member in members]
    return f"trials {', '.join(names[:-1])} and {names[-1]}"
