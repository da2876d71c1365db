"""Divides images into two groups if there is a clear gap between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from automl_ad.data.groups.descriptions import Floats

_NEIGHBOURS = 4
_AXES = (1, 2, 3, 5)
_CLEAR_ON_A_LINE, _CLEAR = 6.0, 3.0
"""Least ratio of a gap to the spacing inside of the groups. Of samples of one population (normal, uniform, log-normal,
t or on a ring, of 12 to 300) 1 % reach 4 on a line and 2 in several dimensions."""
_INNER_QUANTILE = 0.8
_TINY = 1e-9


@dataclass(frozen=True)
class Split:
    """A division into two groups.

    Attributes:
        second: bool [N], the members of the second group.
        clarity: Gap between the groups over the spacing inside of them, relative to what counts as clear; at least 1.
    """

    second: npt.NDArray[np.bool_]
    clarity: float


def find_split(points: Floats, smallest: int, floor: float) -> Split | None:
    """The clearest division of points into two groups, or None if there is no clear one.

    On the first 1, 2, 3 and 5 principal axes, points are linked by a minimum spanning tree over their mutual
    reachability distances (as of HDBSCAN: a few points between two groups do not join them). The longest links are cut
    until two groups have ``smallest`` members; the gap is the last link cut. It is clear if it is several times the
    links inside of the groups.

    Args:
        points: [N, D].
        smallest: Members that a group must have at least, 3 or more.
        floor: Distances below this have no meaning; the spacing inside of groups counts as at least this.
    """
    found = [_on_axes(axes, smallest, floor) for axes in _projections(points)]
    return max((split for split in found if split), key=lambda split: split.clarity, default=None)


def _projections(points: Floats) -> list[Floats]:
    most = min(*points.shape, _AXES[-1])
    if np.max(np.ptp(points, axis=0)) < _TINY:
        return []
    axes = PCA(most, svd_solver="full").fit_transform(points)
    return [axes[:, :number] for number in _AXES if number <= most]


def _on_axes(points: Floats, smallest: int, floor: float) -> Split | None:
    distances = cdist(points, points)
    groups = _first_groups(_links(distances, min(_NEIGHBOURS, smallest - 1)), smallest)
    if groups is None:
        return None
    labels, gap, spacing = groups
    clear = _CLEAR_ON_A_LINE if points.shape[1] == 1 else _CLEAR
    clarity = gap / max(spacing, floor) / clear
    return Split(_completed(labels, distances), clarity) if clarity >= 1 else None


def _links(distances: Floats, neighbours: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Ends [N - 1, 2] and lengths of the links of a minimum spanning tree, longest first."""
    reach = np.partition(distances, neighbours, axis=1)[:, neighbours]
    mutual = np.maximum(distances, np.maximum(reach[:, None], reach[None, :]))
    # A length of 0 would mean that there is no link.
    tree = minimum_spanning_tree(mutual + _TINY).tocoo()
    order = np.argsort(-tree.data, kind="stable")
    return np.stack([tree.row, tree.col], axis=1)[order].astype(np.int64), tree.data[order]


def _first_groups(
    links: tuple[npt.NDArray[np.int64], Floats], smallest: int
) -> tuple[npt.NDArray[np.int64], float, float] | None:
    """Cuts links until two groups are large enough.

    Returns:
        Label of each point, 0 and 1 for the groups and -1 for points in neither; length of the last link cut; larger of
        the two groups' inner spacings. None if there is one group at most.
    """
    ends, lengths = links
    count = len(ends) + 1
    for cut in range(1, count):
        kept = ends[cut:]
        graph = csr_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(count, count))
        _, parts = connected_components(graph, directed=False)
        sizes = np.bincount(parts)
        large = np.flatnonzero(sizes >= smallest)
        if len(large) == 2:
            spacings = [np.quantile(lengths[cut:][parts[kept[:, 0]] == part], _INNER_QUANTILE) for part in large]
            labels = np.select([parts == large[0], parts == large[1]], [0, 1], -1)
            return labels, float(lengths[cut - 1]), float(max(spacings))
        if np.max(sizes) < 2 * smallest:
            return None
    return None


def _completed(labels: npt.NDArray[np.int64], distances: Floats) -> npt.NDArray[np.bool_]:
    """Gives points in neither group to that of the nearest member."""
    members = np.flatnonzero(labels >= 0)
    nearest = members[distances[:, members].argmin(axis=1)]
    return np.asarray(np.where(labels >= 0, labels, labels[nearest]) == 1)
