"""The final check of the best few: the proxy and certify suites together, and what some of them learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.evaluation.suite import Suite
from automl_ad.evaluation.suite_scores import BOOTSTRAP_DRAWS, SuiteScores
from automl_ad.selection.holdout import by_need, learned_families, shortlist
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.records import CandidateRecord
from automl_ad.study import holdout
from automl_ad.study.holdout import HoldoutCheck, holdout_path
from automl_ad.study.trial import SCORES

CELLS = ("texture/0.7",) * 2 + ("poisson/0.7",) * 2
TOP = 9.0
"""Above all normals."""
PROXY = SuiteScores({"max": np.array([1.0, 2.0])}, {"max": np.array([TOP, TOP, 1.5, 0])}, np.array([TOP, TOP, 2.5, 0]))
CERTIFY = SuiteScores({"max": np.array([3.0, 4.0])}, {"max": np.array([TOP, TOP, 3.5, 0])}, np.array([TOP, TOP, 0, 0]))
"""Among all four normals, textures reach 1 in all that counts. Poisson reaches (0.25 + 0) / 2 as an image and
(0.5 + 0) / 2 located in the proxy suite, (0.75 + 0) / 2 and 0 in the certify suite."""
TEXTURE, POISSON = 1.0, np.mean([(0.125 + 0.25) / 2, (0.375 + 0) / 2])


def record(number: int = 3, **fields: Any) -> CandidateRecord:
    params = {"side": 32, "levels": [-1], "backbone": "embedded"}
    known: dict[str, Any] = {"method": "padim", "params": params, "rule": "max", "latency_ms": 12.0}
    return CandidateRecord(number=number, state="complete", **(known | fields))


def suite_of(pixel: int, digest: str, cells: tuple[str, ...] = CELLS) -> Suite:
    images = ImageSet.of(np.full((len(cells), 3, 32, 32), pixel, np.uint8))
    return Suite(images, np.ones((len(cells), 32, 32), np.bool_), cells, (0, 1) * (len(cells) // 2), digest)


@pytest.fixture
def context(tmp_path: Path) -> Any:
    """As much of a bench as the final check needs: it can fit nothing."""
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] + np.zeros((4, 3, 32, 32), np.uint8)
    normals = SimpleNamespace(splits=SimpleNamespace(validation=(0, 1), holdout=(2, 3)))
    suites = {"proxy": suite_of(50, "proxy"), "holdout": suite_of(60, "0123456789abcdef-and-more")}
    views = SimpleNamespace(normals=ImageSet.of(pixels), **suites)
    data = SimpleNamespace(normals=normals, at=lambda side: views, **suites)
    return SimpleNamespace(data=data, seed=5, folder=StudyFolder(tmp_path, "parts"))


def keep(context: Any, number: int, proxy: SuiteScores = PROXY, certify: SuiteScores = CERTIFY) -> CandidateRecord:
    """A candidate that was certified before."""
    proxy.save(context.folder.trial(number) / SCORES)
    certify.save(holdout_path(context, number, 32))
    return record(number)


def solving(family: str) -> tuple[SuiteScores, SuiteScores]:
    """Scores of a candidate that finds all anomalies of one family, and none of the other."""
    found = np.array([TOP if cell.startswith(family) else -TOP for cell in CELLS])
    proxy, certify = (SuiteScores(each.normals, {"max": found}, found) for each in (PROXY, CERTIFY))
    return proxy, certify


class TestFinalCheck:
    def test_every_anomaly_is_held_against_the_normals_of_both_suites(self, context: Any) -> None:
        finalist, cells = HoldoutCheck(context, ()).finalist(keep(context, 3))
        assert (finalist.number, finalist.latency_ms) == (3, 12.0)
        assert finalist.value == pytest.approx((TEXTURE + POISSON) / 2)
        assert len(finalist.draws) == BOOTSTRAP_DRAWS
        assert np.mean(finalist.draws) == pytest.approx(finalist.value, abs=0.03)
        # What is told of cells is of the certify suite and its own normals: 3.5 is above one of two, 0 above none.
        assert cells == {"texture/0.7": 1.0, "poisson/0.7": 0.25}

    @pytest.mark.parametrize(
        ("home", "value"),
        [
            ({"texture"}, POISSON),
            ({"poisson"}, TEXTURE),
            ({"sdas"}, (TEXTURE + POISSON) / 2),
            ({"texture", "poisson"}, (TEXTURE + POISSON) / 2),
        ],
    )
    def test_families_learned_from_count_neither_in_the_value_nor_in_its_draws(
        self, context: Any, home: set[str], value: float
    ) -> None:
        finalist, cells = HoldoutCheck(context, home).finalist(keep(context, 3))
        assert finalist.value == pytest.approx(value)
        assert np.mean(finalist.draws) == pytest.approx(value, abs=0.03)
        assert cells.keys() == {"texture/0.7", "poisson/0.7"}

    def test_finalists_are_compared_on_one_ground(self, context: Any) -> None:
        """Their draws are paired: who scores alike has the same draws, whoever of them learned from a family."""
        check = HoldoutCheck(context, {"texture"})
        one, other = (
            check.finalist(replace(keep(context, number), learned_from=frozenset(home)))[0]
            for number, home in enumerate((["texture"], []))
        )
        np.testing.assert_array_equal(one.draws, other.draws)

    def test_an_advantage_is_taken_off_the_value_and_its_draws(self, context: Any) -> None:
        check, candidate = HoldoutCheck(context, ()), keep(context, 3)
        plain, _ = check.finalist(candidate)
        less, cells = check.finalist(replace(candidate, advantage=0.1))
        assert less.value == pytest.approx(plain.value - 0.1)
        np.testing.assert_allclose(less.draws, plain.draws - 0.1)
        assert cells == {"texture/0.7": 1.0, "poisson/0.7": 0.25}

    def test_it_repeats_with_the_seed_of_the_study(self, context: Any) -> None:
        candidate = keep(context, 3)
        first, again = (HoldoutCheck(context, ()).finalist(candidate)[0] for _ in range(2))
        context.seed = 6
        other = HoldoutCheck(context, ()).finalist(candidate)[0]
        np.testing.assert_array_equal(first.draws, again.draws)
        assert not np.array_equal(first.draws, other.draws)
        assert first.value == other.value

    def test_families_are_a_sample_too(self, context: Any) -> None:
        """No resampling of images changes this candidate; of two families drawn, none, one or both are textures."""
        finalist, _ = HoldoutCheck(context, ()).finalist(keep(context, 3, *solving("texture")))
        assert set(finalist.draws) == {0.0, 0.5, 1.0}
        assert np.mean(finalist.draws == 0.5) == pytest.approx(0.5, abs=0.1)
        assert finalist.value == 0.5

    def test_the_weights_of_families_sum_to_one_and_are_paired(self, context: Any) -> None:
        check = HoldoutCheck(context, ())
        textures, poisson = (
            check.finalist(keep(context, number, *solving(name)))[0]
            for number, name in enumerate(("texture", "poisson"))
        )
        np.testing.assert_allclose(textures.draws + poisson.draws, 1, atol=1e-12)
        perfect, _ = check.finalist(keep(context, 2, *solving("")))
        np.testing.assert_allclose(perfect.draws, 1, atol=1e-12)

    def test_a_family_counts_once_however_many_its_cells_are(self, context: Any) -> None:
        cells = ("texture/0.7", "texture/0.7", "texture/0.9", "texture/0.9", "poisson/0.7", "poisson/0.7")
        for purpose in ("proxy", "holdout"):
            setattr(context.data, purpose, suite_of(0, "0123456789abcdef", cells))
        found = np.array([TOP] * 4 + [-TOP] * 2)
        proxy, certify = (SuiteScores(each.normals, {"max": found}, found) for each in (PROXY, CERTIFY))
        finalist, _ = HoldoutCheck(context, ()).finalist(keep(context, 3, proxy, certify))
        np.testing.assert_allclose(np.unique(finalist.draws.round(12)), [0, 0.5, 1])
        assert finalist.value == pytest.approx(0.5)

    def test_lost_scores_are_a_fault_of_the_candidate_and_damaged_ones_of_the_store(self, context: Any) -> None:
        candidate = keep(context, 3)
        kept = context.folder.trial(3) / SCORES
        kept.write_bytes(b"damaged")
        with pytest.raises(StoreError, match=r"scores\.npz cannot be read"):
            HoldoutCheck(context, ()).finalist(candidate)
        kept.unlink()
        with pytest.raises(FileNotFoundError, match=r"scores\.npz is missing"):
            HoldoutCheck(context, ()).finalist(candidate)

    def test_a_candidate_certified_before_is_not_fitted_again(
        self, context: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[npt.NDArray[np.uint8]] = []

        def maps(images: ImageSet) -> npt.NDArray[np.float32]:
            asked.append(images.pixels[:, 0, 0, 0])
            return images.pixels[:, 0, :2, :2].astype(np.float32)

        fitted: list[int] = []
        detector = SimpleNamespace(anomaly_maps=maps)
        monkeypatch.setattr(holdout, "trial_detector", lambda _, found: fitted.append(found.number) or detector)
        PROXY.save(context.folder.trial(7) / SCORES)
        context.data.normals.splits.holdout = (3, 1)
        values = [HoldoutCheck(context, home).finalist(record(7))[0].value for home in ((), {"poisson"})]
        # Only poisson in the proxy suite is not solved: (0.5 + 0) / 2 as an image, (0.75 + 0) / 2 located.
        assert values == pytest.approx([(1 + 1 + 1 + (0.25 + 0.375) / 2) / 4, 1])
        assert fitted == [7]
        assert [pixels.tolist() for pixels in asked] == [[3, 1], [60] * 4]
        kept = SuiteScores.load(holdout_path(context, 7, 32))
        assert kept.normals["max"].tolist() == [3, 1]
        assert kept.anomalies["max"].tolist() == kept.localisation.tolist() == [60] * 4


def ranking(*methods: str) -> list[tuple[CandidateRecord, float]]:
    """Candidates 10, 11, ... in the order of a ranking, and after them the default, 0."""
    records = [record(10 + place, method=method) for place, method in enumerate(methods)]
    return [(found, 1 - 0.1 * place) for place, found in enumerate([*records, record(0)])]


@pytest.mark.parametrize(
    ("methods", "count", "default", "averages", "expected"),
    [
        (("padim", "dfr", "padim"), 2, 0, [], [10, 11, 0]),
        (("padim", "dfr", "padim"), 2, 99, [], [10, 11]),
        (("average", "padim", "dfr", "padim"), 2, 99, [10], [10, 11, 12]),
        (("padim", "dfr", "average", "padim", "average"), 1, 0, [12, 14], [10, 12, 14, 0]),
        (("average", "padim", "average"), 1, 0, [12], [11, 12, 0]),
        (("padim",), 5, 0, [], [10, 0]),
    ],
)
def test_the_best_few_are_joined_by_the_default_and_by_the_averages_that_compete(
    methods: tuple[str, ...], count: int, default: int, averages: list[int], expected: list[int]
) -> None:
    assert [found.number for found in shortlist(ranking(*methods), count, default, averages)] == expected


def test_what_some_learned_from_is_what_any_of_them_did() -> None:
    texture, both = (record(learned_from=frozenset(names)) for names in (["texture"], ["sdas", "texture"]))
    assert learned_families([record(), texture]) == {"texture"}
    assert learned_families([both, record(learned_from=frozenset({"cutpaste"}))]) == {"texture", "sdas", "cutpaste"}
    assert learned_families([record(), record(number=4)]) == frozenset()
    assert learned_families([]) == frozenset()


def test_leader_and_baseline_are_checked_first_and_ensembles_before_the_others() -> None:
    chosen = [record for record, _ in ranking("padim", "dfr", "average")]
    assert [record.number for record in by_need(chosen, 0)] == [10, 0, 12, 11]
    assert [record.number for record in by_need(chosen, 10)] == [10, 12, 11, 0]
