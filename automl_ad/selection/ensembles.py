"""Which candidates an ensemble is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.methods.ensemble import Member
from automl_ad.store.records import CandidateRecord

MAX_MEMBERS = 3
"""Members of the largest ensemble."""


def select_members(
    ranking: Sequence[CandidateRecord], member_of: Callable[[CandidateRecord], Member | None]
) -> list[tuple[CandidateRecord, Member]]:
    """The first few candidates of which no two share a method or a backbone.

    Candidates that share a method or a backbone share errors as well: on real sets, ensembles of such candidates choose
    no better than the baseline alone. Only where all candidates have one method, or one backbone, may members share it;
    a network with filters counts as another backbone. All have the working size of the first, since one graph takes one
    image.

    Args:
        ranking: Candidates, the one that is always a member first, then the best.
        member_of: Makes a member of a candidate; None for a candidate that cannot be one.
    """
    shared = _shared_by_all(ranking)
    found: list[tuple[CandidateRecord, Member]] = []
    for record in ranking:
        own = {record.method, record.backbone} - shared
        taken = {kind for other, _ in found for kind in (other.method, other.backbone)}
        fits = not found or (found[0][0].params["side"] == record.params["side"] and own and not own & taken)
        member = member_of(record) if fits else None
        found += [(record, member)] if member is not None else []
        if len(found) == MAX_MEMBERS:
            break
    return found


def _shared_by_all(ranking: Sequence[CandidateRecord]) -> set[str | None]:
    """The only method or the only backbone among candidates; having no backbone is none."""
    kinds = {record.method for record in ranking}, {record.backbone for record in ranking} - {NO_BACKBONE}
    return {name for names in kinds if len(names) == 1 for name in names}
