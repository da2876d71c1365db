from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from handmade import noise, on_table, table_images
from torch import Tensor, nn

from automl_ad.methods.dfr import Dfr
from automl_ad.methods.dfr.autoencoder import AutoencoderHead, Form
from automl_ad.methods.fit_memory import HOST
from automl_ad.training import Budget, Report, TrainingPlan, ignore_progress, train

CHANNELS, LATENT = 10, 3


def make_head(seed: int = 0, form: Form = "released") -> AutoencoderHead:
    torch.manual_seed(seed)
    return AutoencoderHead(CHANNELS, LATENT, torch.tensor([2, 3]), "bilinear", form)


def vectors_of_a_plane(count: int = 200) -> Tensor:
    """Vectors that two numbers describe, so that a latent of three can hold them."""
    return noise(count, 2) @ noise(2, CHANNELS, seed=1)


def run(head: AutoencoderHead, vectors: Tensor, steps: int, report: Report = ignore_progress) -> None:
    """Trains as the detector does."""
    generator = torch.Generator().manual_seed(0)
    plan = TrainingPlan(steps, rate=3e-3)
    train(head, lambda: head.loss(vectors, 64, generator), plan, budget=Budget(), report=report)


def mean_error(head: AutoencoderHead, vectors: Tensor) -> float:
    with torch.no_grad():
        return float(head.errors(vectors).mean())


def fit(seed: int = 0, budget: Budget | None = None, report: Report = ignore_progress, **settings: Any) -> Dfr:
    features = noise(8, CHANNELS, 4, 4)
    detector = on_table(Dfr, [features], seed=seed, model="autoencoder", stride=1, batch=32, **settings)
    detector.fit(table_images(range(8), (4, 4)), None, budget or Budget(), report)
    assert isinstance(detector, Dfr)
    return detector


@pytest.mark.parametrize(
    ("form", "block", "widths"),
    [("released", [nn.Linear, nn.BatchNorm1d, nn.ReLU], [10, 8, 6, 3]), ("paper", [nn.Linear, nn.ReLU], [10, 6, 6, 3])],
)
def test_layers_are_the_published_ones(form: Form, block: list[type], widths: list[int]) -> None:
    """D, (D + 2k) / 2, 2k, k and back; the paper has (D + k) / 2 = 6.5, rounded down, and no batch norm."""
    ways = {"encoder": widths, "decoder": widths[::-1]}
    for name, module in make_head(form=form).named_children():
        layers = list(module.children())
        assert [type(layer) for layer in layers] == block * 2 + [nn.Linear]
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert [linear[0].in_features, *(layer.out_features for layer in linear)] == ways[name]


@pytest.mark.parametrize(("form", "width"), [("released", (7 + 4) // 2), ("paper", (7 + 2) // 2)])
def test_odd_widths_are_rounded_down(form: Form, width: int) -> None:
    first = AutoencoderHead(7, 2, torch.tensor([1, 1]), "nearest", form).encoder[0]
    assert first.out_features == width


@pytest.mark.parametrize("form", ["released", "paper"])
def test_a_saved_state_rebuilds_its_autoencoder(form: Form) -> None:
    features = noise(8, CHANNELS, 4, 4)
    images = table_images(range(8), (4, 4))
    fitted, *empty = (on_table(Dfr, [features], model="autoencoder", stride=1, autoencoder=form) for _ in range(2))
    other = on_table(Dfr, [features], model="autoencoder", stride=1, autoencoder=OTHER[form])
    fitted.head = fit(steps=6, autoencoder=form, variance=0.5).head
    (again,) = empty
    again.load_state(fitted.state)
    assert (again.anomaly_maps(images) == fitted.anomaly_maps(images)).all()
    with pytest.raises(ValueError, match="not those of a fitted dfr"):
        other.load_state(fitted.state)


OTHER: dict[Form, Form] = {"released": "paper", "paper": "released"}


def test_a_new_autoencoder_answers_the_mean_in_both_forms() -> None:
    mean = noise(CHANNELS)
    for form in OTHER:
        head = make_head(form=form)
        torch.nn.init.zeros_(head.decoder[-1].weight)
        head.init_output(mean)
        assert mean_error(head.eval(), mean[None]) == 0


def test_the_form_without_batch_norm_learns_too() -> None:
    head, vectors = make_head(form="paper"), vectors_of_a_plane()
    before = mean_error(head, vectors)
    run(head, vectors, 600)
    assert mean_error(head, vectors) < 0.1 * before


def test_map_is_the_mean_squared_error_of_each_position() -> None:
    head = make_head().eval()
    maps = noise(2, CHANNELS, 2, 3)
    with torch.no_grad():
        found = head([maps])
        vector = maps[1, :, 0, 2]
        rebuilt = head.decoder(head.encoder(vector[None]))[0]
    assert found.shape == (2, 2, 3)
    assert float(found[1, 0, 2]) == pytest.approx(float(((rebuilt - vector) ** 2).mean()), rel=1e-5)


def test_training_learns_the_normals_and_not_the_rest() -> None:
    head, vectors = make_head().eval(), vectors_of_a_plane()
    before = mean_error(head, vectors)
    run(head, vectors, 600)
    after = mean_error(head, vectors)
    assert after < 0.1 * before
    assert mean_error(head, noise(200, CHANNELS, seed=5) * vectors.std()) > 5 * after


def test_loss_draws_as_many_vectors_as_asked_for_and_there_are() -> None:
    """Each vector is its own index in every channel, and the untrained output 0: the loss is a mean of squares."""
    head, drawn = make_head(), []
    head.errors = lambda vectors: drawn.append(vectors[:, 0].tolist()) or vectors.square().mean(1)
    vectors = torch.arange(4.0)[:, None].expand(4, CHANNELS)
    generator = torch.Generator().manual_seed(0)
    losses = [float(head.loss(vectors, batch, generator)) for batch in (2, 3, 100)]
    assert [len(rows) for rows in drawn] == [2, 3, 4]
    assert losses == pytest.approx([sum(row**2 for row in rows) / len(rows) for rows in drawn])


@pytest.mark.parametrize("steps", [5, 6, 50, 500])
def test_progress_is_reported_at_least_five_times_and_ends_at_one(steps: int) -> None:
    reported: list[float] = []
    fit(steps=steps, report=reported.append)
    assert len(reported) == min(steps, 6)
    assert reported == sorted(set(reported))
    assert reported[-1] == 1


def test_head_is_ready_for_use_at_every_report_and_learns_on_after_it() -> None:
    head, vectors, seen = make_head(), vectors_of_a_plane(), []

    def look(done: float) -> None:
        seen.append((head.training, mean_error(head, vectors), int(head.encoder[1].num_batches_tracked)))

    run(head, vectors, 60, look)
    assert not any(training for training, _, _ in seen)
    assert seen[-1][1] < seen[0][1]
    assert [count for _, _, count in seen] == [10, 20, 30, 40, 50, 60]
    assert not head.training


def test_spent_budget_ends_the_training_with_what_it_has() -> None:
    reported: list[float] = []
    detector = fit(steps=100_000, budget=Budget(0.0), report=reported.append)
    assert reported == []
    assert int(detector.state["encoder.1.num_batches_tracked"]) == 1
    assert not detector.head.training


def test_report_can_end_the_training() -> None:
    steps_made = []

    def stop(done: float) -> None:
        steps_made.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(steps=60, report=stop)
    assert steps_made == [1 / 6]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_is_an_error(bad: float) -> None:
    vectors = vectors_of_a_plane()
    vectors[:, 4] = bad
    with pytest.raises(FloatingPointError, match="the loss became nan at step 1"):
        run(make_head(), vectors, 60)


def test_seed_decides_everything() -> None:
    first, again, other = (fit(seed, steps=12).state for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["encoder.0.weight"], other["encoder.0.weight"])


def test_fit_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    fit(steps=6)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_variance_sets_the_latent_size() -> None:
    assert [int(fit(steps=5, variance=share).state["latent"]) for share in (0.05, 0.9999)] == [1, CHANNELS]


def test_vectors_are_shared_equally_among_the_images() -> None:
    features = torch.arange(8.0)[:, None, None, None].expand(8, 2, 4, 4).contiguous()
    detector = on_table(Dfr, [features], model="autoencoder", stride=1, vectors=40)
    sample = detector._sample(table_images(range(8), (4, 4)), (4, 4), HOST, torch.Generator())
    assert sample[:, 0].tolist() == [float(i) for i in range(8) for _ in range(5)]
