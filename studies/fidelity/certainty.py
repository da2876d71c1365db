"""How sure the search said it was, and how often it was right: by lines that it learned from the other sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from choices import decision
from facts import Facts
from leads import lead_models

BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Edges of the probabilities that are judged together."""
Claim = tuple[float, float]
"""The probability that one candidate is at least as good as another on real defects, and whether it is."""


def certainties(all_facts: Sequence[Facts]) -> dict[str, Any]:
    """The winner beside its rival in every study, and beside every other finalist, by how sure the search was.

    Returns:
        ``rival``: one row; ``finalists``: a row for each bin of probabilities that is not empty. Rows have ``said``
        (mean probability), ``right`` (how often it was as good) and ``count``.
    """
    rival: list[Claim] = []
    finalists: list[Claim] = []
    for facts in all_facts:
        others = facts.others(all_facts)
        found, real = decision(facts, lead_models=lead_models(others) if others else None), facts.real_aurocs
        if found.rival is not None:
            rival.append((found.certainty, float(real[found.winner] >= real[found.rival])))
        for place, chance in found.chances.items():
            finalists.append((1 - chance, float(real[found.winner] >= real[place])))
    return {"rival": list(_rows(rival, (0.0, 1.0))), "finalists": list(_rows(finalists, BINS))}


def _rows(claims: Sequence[Claim], edges: Sequence[float]) -> Iterator[dict[str, float]]:
    said, right = np.array(claims).reshape(-1, 2).T
    for low, high in pairwise(edges):
        chosen = (said >= low) & ((said < high) | (high == edges[-1]))
        if chosen.any():
            means = {"said": float(said[chosen].mean()), "right": float(right[chosen].mean())}
            yield {"from": low, "to": high, **means, "count": int(chosen.sum())}
