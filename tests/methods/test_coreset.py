from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from automl_ad.methods import coreset
from automl_ad.methods.coreset import greedy_k_center


def choose(vectors: Tensor, count: int, seed: int = 0, **options: int) -> list[int]:
    found = greedy_k_center(vectors, count, torch.Generator().manual_seed(seed), **options)
    assert found.dtype == torch.int64
    return found.tolist()


def brute_force(vectors: Tensor, count: int) -> list[int]:
    """The greedy rule from the first vector, all distances in double precision."""
    points = vectors.double().numpy()
    chosen = [0]
    while len(chosen) < count:
        distances = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(1)
        chosen.append(int(distances.argmax()))
    return chosen


def radius(vectors: Tensor, chosen: list[int]) -> float:
    """Distance of the vector that is farthest from its nearest chosen one."""
    return float(torch.cdist(vectors, vectors[chosen], compute_mode="donot_use_mm_for_euclid_dist").amin(1).max())


@pytest.fixture(scope="module")
def clustered() -> tuple[Tensor, list[set[int]]]:
    """12 000 vectors in 20 large clusters, and six clusters of three vectors far from everything."""
    common = noise(20, 8, seed=1)[torch.arange(12_000) % 20] * 5 + noise(12_000, 8, seed=2)
    rare = (noise(6, 8, seed=3) * 25).repeat_interleave(3, 0) + 0.1 * noise(18, 8, seed=4)
    order = torch.randperm(12_018, generator=torch.Generator().manual_seed(5))
    places = torch.argsort(order)[12_000:].tolist()
    return torch.cat([common, rare])[order], [set(places[i : i + 3]) for i in range(0, 18, 3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 40), st.integers(0, 10_000))
def test_small_sets_follow_the_greedy_rule(size: int, depth: int, count: int, seed: int) -> None:
    vectors = noise(size, depth, seed=seed)
    assert choose(vectors, min(count, size)) == brute_force(vectors, min(count, size))


def test_greedy_choice_by_hand() -> None:
    assert choose(torch.tensor([[0.0], [1.0], [10.0], [4.0], [6.5]]), 4) == [0, 2, 3, 4]


def test_two_stages_cover_almost_as_well_as_the_full_rule(clustered: tuple[Tensor, list[set[int]]]) -> None:
    vectors, _ = clustered
    full = radius(vectors, choose(vectors, 120, candidates=len(vectors)))
    assert radius(vectors, choose(vectors, 120, candidates=2_000)) < 1.05 * full


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_stages_find_rare_clusters_that_a_random_subset_misses(
    clustered: tuple[Tensor, list[set[int]]], seed: int
) -> None:
    vectors, rare = clustered
    assert all(cluster & set(choose(vectors, 120, seed, candidates=2_000)) for cluster in rare)
    subset = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))[:2_000]
    of_subset = {int(subset[i]) for i in choose(vectors[subset], 120)}
    assert not all(cluster & of_subset for cluster in rare)


def test_the_generator_alone_decides(clustered: tuple[Tensor, list[set[int]]]) -> None:
    vectors, _ = clustered
    first, again, other = (choose(vectors, 60, seed, candidates=500) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("count", [5, 6, 100])
def test_asking_for_all_or_more_gives_every_vector_once(count: int) -> None:
    assert sorted(choose(noise(5, 3), count)) == [0, 1, 2, 3, 4]


def test_repeated_vectors_are_taken_only_after_all_different_ones() -> None:
    vectors = noise(6, 3).repeat(4, 1)
    chosen = choose(vectors, 10)
    assert {i % 6 for i in chosen[:6]} == set(range(6))
    assert len(set(chosen)) == 10


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 120), st.integers(1, 120), st.integers(1, 60), st.booleans())
def test_two_stages_never_choose_one_vector_twice(size: int, count: int, candidates: int, same: bool) -> None:
    vectors = torch.ones(size, 3) if same else noise(size, 3, seed=size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset, "_SEEDS", 10)
        chosen = choose(vectors, count, candidates=candidates)
    assert len(set(chosen)) == len(chosen) == min(count, size)
