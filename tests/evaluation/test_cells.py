"""Anomalies of several suites, counted together."""

from __future__ import annotations

import pytest

from automl_ad.evaluation.cells import Cells, cell_family, family_weights, joined

PROXY = Cells(("texture/0.7", "texture/0.7", "cutpaste/0.7"), (0, 2, 1))
CERTIFY = Cells(("cutpaste/0.7", "texture/0.7"), (1, 0))


def test_cells_are_named_in_the_order_drawn_and_know_their_anomalies() -> None:
    mixed = Cells(("b/1", "a/1", "b/1"), (0, 0, 1))
    assert mixed.cell_names == ("b/1", "a/1")
    assert mixed.members("b/1").tolist() == [0, 2]
    assert mixed.members("a/1").tolist() == [1]
    assert mixed.members("c/1").tolist() == []


def test_joined_suites_keep_cells_of_their_own() -> None:
    both = joined([PROXY, CERTIFY], ["proxy", "certify"], [3, 2])
    assert both.cells == (
        "texture/0.7/proxy",
        "texture/0.7/proxy",
        "cutpaste/0.7/proxy",
        "cutpaste/0.7/certify",
        "texture/0.7/certify",
    )
    assert [cell_family(cell) for cell in both.cell_names] == ["texture", "cutpaste", "cutpaste", "texture"]
    assert both.members("texture/0.7/certify").tolist() == [4]


def test_bases_count_on_through_the_normals_of_all() -> None:
    assert joined([PROXY, CERTIFY], ["proxy", "certify"], [3, 2]).bases == (0, 2, 1, 4, 3)
    assert joined([CERTIFY, PROXY, CERTIFY], ["a", "b", "c"], [2, 3, 2]).bases == (1, 0, 2, 4, 3, 6, 5)


def test_every_suite_needs_a_name() -> None:
    with pytest.raises(ValueError, match="zip"):
        joined([PROXY, CERTIFY], ["proxy"], [3, 2])


def test_families_weigh_alike_however_many_their_cells_are() -> None:
    cells = ["texture/0.7", "texture/0.85/certify", "poisson/0.7", "speck/0.95"]
    assert family_weights(cells).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 3, 1 / 3])
    assert family_weights(["texture/0.7"]).tolist() == [1.0]
