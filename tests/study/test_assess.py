from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from automl_ad.store.records import CandidateRecord
from automl_ad.study.assess import labelled_floor, labelled_halves, summarise

LABELS = np.array([False, False, False, False, True, True, True, True])
PERFECT = [0, 1, 2, 3, 4, 5, 6, 7]
HALF = [4, 5, 6, 7, 4, 5, 6, 7]
INVERSE = [7, 6, 5, 4, 3, 2, 1, 0]


def candidate(number: int, proxy: float) -> CandidateRecord:
    return CandidateRecord(number=number, state="complete", method="padim", proxy_score=proxy, rule="max")


def test_figures_by_hand() -> None:
    records = [candidate(0, 0.6), candidate(3, 0.9), candidate(7, 0.7)]
    result = summarise(
        "parts", records, np.array([HALF, PERFECT, INVERSE], float), LABELS, selected=7, baseline=0, seed=0
    )
    assert [trial.image_auroc for trial in result.trials] == [1.0, 0.5, 0.0]
    assert (result.best_trial, result.selected, result.selected_auroc) == (3, 7, 0.0)
    assert result.regret == 100.0
    assert result.default_regret == 50.0
    assert result.random_regret == pytest.approx(50.0)
    assert result.spearman == pytest.approx(0.5)
    assert result.kendall == pytest.approx(1 / 3)
    assert (result.images.good, result.images.defect) == (4, 4)


def test_a_perfect_choice_has_no_regret() -> None:
    records = [candidate(0, 0.9), candidate(1, 0.1)]
    result = summarise("parts", records, np.array([PERFECT, INVERSE], float), LABELS, selected=0, baseline=0, seed=0)
    assert (result.regret, result.spearman) == (0.0, pytest.approx(1.0))


def test_a_choice_that_did_not_finish_has_no_regret_figure() -> None:
    result = summarise("parts", [candidate(0, 0.9)], np.array([PERFECT], float), LABELS, selected=5, baseline=5, seed=0)
    assert result.regret is None
    assert result.default_regret is None


def test_candidates_that_all_train_are_compared_with_no_baseline() -> None:
    records = [candidate(0, 0.9), candidate(1, 0.1)]
    result = summarise("parts", records, np.array([PERFECT, INVERSE], float), LABELS, selected=1, baseline=None, seed=0)
    assert (result.regret, result.default_regret) == (100.0, None)


def test_candidates_are_compared_on_halves_of_the_images() -> None:
    """Perfect and inverse scores stay so on any half; a half without one of the kinds tells nothing."""
    scores = np.array([PERFECT, INVERSE, [0] * 8], float)
    for halves in islice(labelled_halves(scores, LABELS, np.random.default_rng(0)), 5):
        assert [each.tolist() for each in halves] == [[1.0, 0.0, 0.5]] * 2
    few = np.array([True] + [False] * 7)
    seen, judged = next(labelled_halves(scores, few, np.random.default_rng(0)))
    assert (seen.tolist(), judged.tolist()) == ([0.5] * 3, [0.0, 1.0, 0.5])


def test_the_floor_is_nothing_when_labels_tell_all_and_more_when_they_are_noise() -> None:
    rng = np.random.default_rng(0)
    clear = np.array([PERFECT, INVERSE], float)
    assert labelled_floor(clear, LABELS, rng) == 0.0
    labels = np.r_[np.zeros(20, bool), np.ones(20, bool)]
    noise = rng.normal(size=(10, 40)) + 1.0 * labels
    floor = labelled_floor(noise, labels, rng)
    assert 2.0 < floor < 30.0


def test_the_floor_repeats_with_its_seed() -> None:
    noise = np.random.default_rng(1).normal(size=(4, 8))
    first = labelled_floor(noise, LABELS, np.random.default_rng(5))
    assert first == labelled_floor(noise, LABELS, np.random.default_rng(5))
