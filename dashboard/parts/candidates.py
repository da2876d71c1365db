"""Candidates of which a reader chooses some to look at: their names in one line, and a first proposal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from automl_ad.formatting import milliseconds, score
from parts.address import MOST_CHOSEN, choose_trials, chosen_trials
from parts.trial_charts import scored_rows
from parts.trial_frame import marks
from parts.wording import candidate

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

_MOST_OFFERED = 200
"""A list of thousands of options helps nobody and slows the page; the others are chosen on the page Trials."""
_KEY = "chosen_candidates"


def proposal(rows: Sequence[TrialRow]) -> list[int]:
    """Trials worth a look side by side: the leader, the baseline, and the best of another method.

    Args:
        rows: Of a study, ranked.
    """
    complete = scored_rows(rows)
    if not complete:
        return []
    leader = next((row for row in complete if row.winner), complete[0])
    default = next((row for row in complete if row.default), leader)
    other = next((row for row in complete if row.method not in (leader.method, default.method)), None)
    wanted = [row.number for row in (leader, default, other) if row is not None]
    # Where these are fewer than three, as when the baseline leads, the best ranked fill up.
    return list(dict.fromkeys([*wanted, *(row.number for row in complete)]))[: max(3, len(set(wanted)))]


def in_one_line(row: TrialRow) -> str:
    """A candidate as an option of a list: "13: padim on resnet18, proxy score 0.912, 12.3 ms (tied)"."""
    marked = marks(row)
    costs = f"proxy score {score(row.proxy_score)}, {milliseconds(row.latency_ms)}"
    return f"{row.number}: {candidate(row.method, row.backbone)}, {costs}{f' ({marked})' if marked else ''}"


def offered(rows: Sequence[TrialRow], besides: Sequence[int] = ()) -> dict[int, TrialRow]:
    """Complete trials to choose from, the best first.

    Args:
        rows: Of a study, ranked.
        besides: Trials that are offered wherever they stand.
    """
    complete = scored_rows(rows)
    marked = [row for row in complete[_MOST_OFFERED:] if row.number in besides or marks(row)]
    return {row.number: row for row in complete[:_MOST_OFFERED] + marked}


def choose_several(rows: Sequence[TrialRow], label: str, default: Sequence[int]) -> list[int]:
    """Lets the reader choose up to four candidates; the choice stays in the address.

    Args:
        rows: Of a study, ranked.
        label: Of the list.
        default: Chosen where the address says nothing.
    """
    known = offered(rows, chosen_trials())
    if _KEY not in st.session_state:
        st.session_state[_KEY] = [number for number in chosen_trials() if number in known] or list(default)
    else:  # taken along from another page with this list, which would start empty here
        st.session_state[_KEY] = st.session_state[_KEY]
    numbers = st.multiselect(
        label,
        list(known),
        max_selections=MOST_CHOSEN,
        format_func=lambda number: in_one_line(known[number]),
        key=_KEY,
        placeholder="up to four candidates",
    )
    if numbers:
        choose_trials(numbers)
    return list(numbers)
