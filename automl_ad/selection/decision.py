"""Which of the finalists wins: the one that is expected to do best on real defects."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from automl_ad.selection.lead_model import IDENTITY_LEADS, LeadModel, LeadModels

Floats = npt.NDArray[np.float64]

EQUAL = 0.001
"""Expected image AUROC on real defects within which two candidates are as good as each other: no gain to speak of."""
CLEARLY_FASTER = 2.0
"""How many times faster than the best such a candidate must be to be preferred to it: less is timing noise."""
SURE = 0.7
"""Probability of being truly better from which on a candidate of its own may replace the default.

Likewise whoever leads by a few real defects the winner. What the lead of a single candidate is worth varies from
product to product: learned from all real sets but one, they break even at leads of 5 to 13 points, averages at 2 to 4
(docs/benchmarks.md).
"""
TIED = 0.25
"""Probability of being truly better than the winner from which on a finalist counts as tied with it."""


@dataclass(frozen=True)
class Finalist:
    """A candidate that was checked again, on the proxy and the certify images together.

    Attributes:
        number: Trial number.
        value: Its mean over families, 0 to 1, less its advantage (`DetectorSettings.advantage`).
        draws: The same in bootstrap samples of images and families, float64 [B]; paired between finalists.
        latency_ms: For one image.
    """

    number: int
    value: float
    draws: Floats
    latency_ms: float


@dataclass(frozen=True)
class Decision:
    """The outcome of a search.

    Attributes:
        winner: Trial number.
        tied: Trial numbers of the winner and of those that may well be better, the likeliest first.
        default_kept: Whether the winner is the default, since no gain to speak of is expected of any other, or none
            that is sure enough.
        chances: By trial number, the probability, 0 to 1, that on real defects another finalist is at least as good as
            the winner; the likeliest first.
        rival: Trial number of the default or, where that wins or is not usable, of the best of the others; None for a
            single finalist.
        certainty: Probability, 0 to 1, that on real defects the winner is at least as good as the rival; 1 without.
        why: Sentences for the user.
    """

    winner: int
    tied: tuple[int, ...]
    default_kept: bool
    chances: Mapping[int, float]
    rival: int | None
    certainty: float
    why: tuple[str, ...]


def decide(
    finalists: Sequence[Finalist], default: int | None, averages: Collection[int], lead_models: LeadModels
) -> Decision:
    """Chooses among finalists by what is expected of them on real defects.

    The default guards the choice: it stays unless a gain over it is expected, of a candidate of its own with some
    certainty, and leads are trusted no further than they were found again on real defects of other products. Where it
    is not usable, the leader wins.

    Args:
        finalists: At least one, in the order of the proxy ranking.
        default: Trial number of the training-free default, if it is usable.
        averages: Trial numbers of averages that hold the default.
        outlooks: What leads are worth.
    """
    board = _Board(finalists, default, averages, lead_models)
    best = board.best([finalist for finalist in finalists if board.may_win(finalist)])
    winner = _fastest(best, board)
    chances, rival = _chances(winner, board), _rival(winner, board)
    tied = (winner.number, *(number for number, chance in chances.items() if chance >= TIED))
    return Decision(
        winner=winner.number,
        tied=tied,
        default_kept=winner is board.guard,
        chances=chances,
        rival=None if rival is None else rival.number,
        certainty=1.0 if rival is None else board.better(winner, rival),
        why=(_first_reason(winner, best, board), *_more_reasons(winner, board, tied)),
    )


class _Board:
    """The finalists, and what is expected of each."""

    def __init__(
        self, finalists: Sequence[Finalist], default: int | None, averages: Collection[int], lead_models: LeadModels
    ) -> None:
        self.finalists = finalists
        self.guard = next((finalist for finalist in finalists if finalist.number == default), None)
        self.leader = max(finalists, key=lambda finalist: round(finalist.value, 6))
        self._averages = averages
        self.lead_models = lead_models

    def hedges(self, finalist: Finalist) -> bool:
        """Whether it is an average that holds the default."""
        return finalist.number in self._averages

    def lead_model(self, finalist: Finalist) -> LeadModel:
        """What its leads are worth."""
        if finalist is self.guard:
            return IDENTITY_LEADS
        return self.lead_models.average if self.hedges(finalist) and self.guard else self.lead_models.single

    def lead(self, finalist: Finalist) -> float:
        """By how much it leads the default in the final check; where there is none, the leader."""
        return finalist.value - (self.guard or self.leader).value

    def gain(self, finalist: Finalist) -> float:
        """What is expected of it beside the default, in real image AUROC; without a default, how far it leads."""
        lead = self.lead(finalist)
        return lead if self.guard is None else float(self.lead_model(finalist).gain(np.float64(lead)))

    def may_win(self, finalist: Finalist) -> bool:
        """Whether it may replace the default, which a candidate of its own does on better grounds than an average."""
        if self.guard is None or finalist is self.guard or self.hedges(finalist):
            return True
        return self.better(finalist, self.guard) >= SURE

    def best(self, finalists: Sequence[Finalist]) -> Finalist:
        """Of whom most is expected among some, at least one; the default if that is no gain to speak of."""
        return max(finalists, key=lambda each: round(self.gain(each) + EQUAL * (each is self.guard), 6))

    def better(self, one: Finalist, other: Finalist) -> float:
        """Probability that on real defects ``one`` is at least as good as ``other``."""
        reference = (self.guard or self.leader).draws
        gains = [self.lead_model(each).gain(each.draws - reference) for each in (one, other)]
        spread = float(np.hypot(self.lead_model(one).spread, self.lead_model(other).spread))
        return float(np.mean(stats.norm.cdf((gains[0] - gains[1]) / spread)))


def _fastest(best: Finalist, board: _Board) -> Finalist:
    """The fastest of whom as much is expected for all that matters, if it is faster by more than timing noise.

    The default is not given up for speed.
    """
    if best is board.guard:
        return best
    enough = board.gain(best) - EQUAL if board.guard is None else max(board.gain(best) - EQUAL, EQUAL)
    quick = [
        finalist
        for finalist in board.finalists
        if finalist.latency_ms * CLEARLY_FASTER <= best.latency_ms
        and board.gain(finalist) >= enough
        and board.may_win(finalist)
    ]
    return min(quick, key=lambda finalist: finalist.latency_ms, default=best)


def _chances(winner: Finalist, board: _Board) -> dict[int, float]:
    """How likely each of the others is truly as good as the winner, the likeliest first."""
    found = {each.number: board.better(each, winner) for each in board.finalists if each is not winner}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _rival(winner: Finalist, board: _Board) -> Finalist | None:
    """Whom the winner is held against: the default, or the best of the others."""
    if board.guard is not None and board.guard is not winner:
        return board.guard
    others = [finalist for finalist in board.finalists if finalist is not winner]
    return board.best(others) if others else None


def _first_reason(winner: Finalist, best: Finalist, board: _Board) -> str:
    name, leader = f"Trial {winner.number}", board.leader
    if winner is board.guard:
        name += ", the training-free default,"
    if winner is not best:
        return (
            f"{name} is expected to be as good as the best (trial {best.number}) within {100 * EQUAL:g} points on real "
            f"defects and needs {winner.latency_ms:.0f} ms instead of {best.latency_ms:.0f} ms an image."
        )
    if round(winner.value, 6) == round(leader.value, 6):
        return f"{name} leads in the final check (proxy score {winner.value:.3f})."
    stays = "stays" if winner is board.guard else "is the safer choice"
    return (
        f"{name} {stays}: trial {leader.number} leads in the final check ({leader.value:.3f} against "
        f"{winner.value:.3f}), but {_doubt(leader, winner, board)}."
    )


def _doubt(leader: Finalist, winner: Finalist, board: _Board) -> str:
    """Why the leader of the final check did not win."""
    if board.guard is not None and not board.may_win(leader) and board.gain(leader) >= EQUAL:
        percent = int(100 * board.better(leader, board.guard))  # rounded down: it is less than what is asked
        return (
            f"that it is truly better than the default has a probability of {percent} %, and {100 * SURE:.0f} % are "
            "asked of a single candidate, since the worth of such leads varies from product to product"
        )
    if winner is board.guard:
        return "on real defects of other products such leads came to nothing"
    return "leads of single candidates are worth less on real defects than those of averages"


def _more_reasons(winner: Finalist, board: _Board, tied: Sequence[int]) -> Iterator[str]:
    guard = board.guard
    if guard is None:
        yield "No default could stand guard: it failed or exceeds a limit."
    elif winner is not guard:
        yield (
            f"It leads the training-free default, trial {guard.number} ({guard.value:.3f}), by "
            f"{100 * board.lead(winner):.1f} points; by what such leads were worth on real defects of other products, "
            f"a gain of {100 * board.gain(winner):.1f} points is expected."
        )
    if guard is not None and len(board.finalists) > 1 and not board.lead_models.telling:
        yield (
            "With the built-in filters alone no lead was worth anything on real sets; with a network leads were. "
            "`automl-ad doctor` says how to give it weights."
        )
    if guard is not None and board.hedges(winner):
        yield "It averages the default with the best others: where one of them errs, the rest outvote it."
    if len(tied) > 1:
        yield f"{len(tied)} candidates are tied: each of the others may well be better on real defects."


def limitations(families: Mapping[str, float], home: Collection[str] = ()) -> list[str]:
    """What the choice could not know, in sentences.

    Args:
        families: Scores of the winner by family.
        home: Families that some finalist learned from.
    """
    learned = [name for name in families if name in home]
    kinds = f"Some of the best candidates learned from anomalies of {' and '.join(learned)}"
    if len(learned) == len(families):
        in_family = f"{kinds}, and there were no others to compare them on: their scores are too high."
    else:
        in_family = f"{kinds}: these did not count when the best were compared."
    return [
        f"Only synthetic anomalies of {len(families)} families ({', '.join(families)}) were seen, no real defect.",
        *([in_family] if learned else []),
        "Logical defects were not simulated: a wrong, misplaced or absent component, a wrong count or order.",
        "Nor were good parts that will look different (light, dirt, position, another batch): on two of eight real "
        "sets these, not the defects, decided which candidate was best.",
        "The proxy score ranks candidates; it does not predict the share of real defects found.",
    ]
