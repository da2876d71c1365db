from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from automl_ad import training
from automl_ad.training import Budget, Progress, TrainingLog, TrainingPlan, ignore_progress, rate_at, train

RATE = 0.01


class Weight(nn.Module):
    """One number. Under a loss that is the number itself, Adam moves it down by exactly the rate of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def loss(self) -> Tensor:
        return self.value * 1


class Normed(nn.Module):
    """A small network with batch norm, and a loss on batches of its own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
        for weight in self.layers.parameters():
            nn.init.normal_(weight, generator=self.generator)

    def loss(self) -> Tensor:
        batch = torch.randn(8, 3, generator=self.generator)
        return ((self.layers(batch) - batch.sum(1, keepdim=True)) ** 2).mean()


def fit(model: Any, plan: TrainingPlan, budget: Budget | None = None, **options: Any) -> TrainingLog:
    options = {"report": ignore_progress, **options}
    return train(model, model.loss, plan, budget=budget or Budget(), **options)


def values_at_reports(plan: TrainingPlan) -> list[float]:
    """What a number under constant slope is at each report."""
    model, seen = Weight(), []
    fit(model, plan, report=lambda done: seen.append(model.value.item()))
    return seen


def in_turn(values: Sequence[float]) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A model and a loss that takes ``values`` one after another."""
    model, rest = Weight(), iter(values)
    return model, lambda: model.value * 0 + next(rest)


def ticking(monkeypatch: pytest.MonkeyPatch, loss: Callable[[], Tensor], seconds: float) -> Callable[[], Tensor]:
    """``loss`` on a clock that stands still but for it: every call takes ``seconds``, and time began at 0."""
    now = 0.0

    def slow() -> Tensor:
        nonlocal now
        now += seconds
        return loss()

    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now))
    return slow


# The weights: steps, rates, clipping, accumulation


def test_every_step_moves_at_the_constant_rate() -> None:
    assert values_at_reports(TrainingPlan(4, RATE, reports=4)) == pytest.approx([-0.01, -0.02, -0.03, -0.04], rel=1e-4)


def test_warm_up_rises_linearly_and_half_a_cosine_follows() -> None:
    """Warm-up to 1/3 and 2/3, then cos 0, 45, 90 and 135 degrees."""
    plan = TrainingPlan(6, 1.0, schedule="cosine", warmup=2)
    root = math.sqrt(0.5)
    expected = [1 / 3, 2 / 3, 1, (1 + root) / 2, 0.5, (1 - root) / 2]
    assert [rate_at(plan, step) for step in range(1, 7)] == pytest.approx(expected)


def test_warm_up_alone_ends_at_the_constant_rate() -> None:
    plan = TrainingPlan(6, 0.4, warmup=3)
    assert [rate_at(plan, step) for step in range(1, 7)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_optimiser_follows_the_schedule() -> None:
    plan = TrainingPlan(6, RATE, schedule="cosine", warmup=2, reports=6)
    values = [0.0, *values_at_reports(plan)]
    moved = [before - after for before, after in pairwise(values)]
    assert moved == pytest.approx([rate_at(plan, step) for step in range(1, 7)], rel=1e-3)


def test_each_share_gets_exactly_its_part_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, so that trainings stay as they are; a warm-up may be as long as the training."""
    made: list[torch.optim.Optimizer] = []
    build = training._optimiser
    monkeypatch.setattr(training, "_optimiser", lambda *of: made.append(build(*of)) or made[-1])
    for warmup in (0, 3, 7, 9):
        plan = TrainingPlan(7, 0.0123, schedule="cosine", warmup=warmup, shares={"slow": 1 / 3})
        pair, rates = Pair(), []

        def loss(pair: Pair = pair, rates: list[list[float]] = rates) -> Tensor:
            rates.append([group["lr"] for group in made[-1].param_groups])
            return pair.loss()

        train(pair, loss, plan, budget=Budget(), report=ignore_progress)
        assert rates == [[1 / 3 * rate_at(plan, step), rate_at(plan, step)] for step in range(1, 8)]


@pytest.mark.parametrize(
    ("half", "capable", "expected"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_half_precision_is_for_products_alone_and_where_the_machine_makes_them_fast(
    half: bool, capable: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 + 2^-10 is no bfloat16: a loss of products sees 1, the gradient of a float32 weight the whole."""
    monkeypatch.setattr(training, "_multiplies_half", lambda device: capable)
    model, batch, kinds = nn.Linear(1, 1, bias=False), torch.full((1, 1), 1 + 2.0**-10), set()
    nn.init.ones_(model.weight)

    def loss() -> Tensor:
        made = model(batch)
        kinds.add(made.dtype)
        return made.sum()

    plan = TrainingPlan(1, RATE, half=half)
    log = train(model, loss, plan, budget=Budget(), report=lambda _: kinds.add(model(batch).dtype))
    assert kinds == ({torch.bfloat16, torch.float32} if expected else {torch.float32})
    assert log.losses == ((1.0,) if expected else (1 + 2.0**-10,))
    assert model.weight.dtype == torch.float32
    assert model.weight.item() == pytest.approx(1 - RATE, rel=1e-4)


def line() -> nn.Linear:
    model = nn.Linear(5, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def squares(model: nn.Module, batch: Tensor) -> Tensor:
    loss: Tensor = (model(batch) ** 2).mean()
    return loss


def by_hand(batches: Tensor, clip: float | None, weight_decay: float) -> Tensor:
    """Weights after plain torch steps, each on the mean loss of four batches."""
    model = line()
    kind = torch.optim.AdamW if weight_decay else torch.optim.Adam
    optimiser = kind(model.parameters(), lr=RATE, weight_decay=weight_decay)
    for four in batches.split(4):
        optimiser.zero_grad()
        torch.stack([squares(model, batch) for batch in four]).mean().backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
    return model.weight.detach()


@pytest.mark.parametrize("clip", [None, 0.3], ids=["free", "clipped"])
@pytest.mark.parametrize("decay", [0.0, 0.3], ids=["adam", "adamw"])
def test_accumulated_batches_count_as_one_step_of_their_mean_gradient(decay: float, clip: float | None) -> None:
    """Batches of many scales, so that clipping meets some steps and would meet more of them in a sum."""
    generator = torch.Generator().manual_seed(0)
    batches = torch.randn(24, 6, 5, generator=generator) * torch.logspace(-2, 0, 24)[:, None, None]
    model, coming = line(), iter(batches)
    plan = TrainingPlan(6, RATE, weight_decay=decay, clip=clip, accumulate=4)
    log = train(model, lambda: squares(model, next(coming)), plan, budget=Budget(), report=ignore_progress)
    assert log.steps == 6
    torch.testing.assert_close(model.weight.detach(), by_hand(batches, clip, decay), rtol=1e-5, atol=1e-6)


def test_frozen_weights_stay() -> None:
    model = Normed()
    model.layers[0].requires_grad_(False)
    before = [layer.weight.detach().clone() for layer in (model.layers[0], model.layers[3])]
    fit(model, TrainingPlan(3, RATE, weight_decay=0.5))
    assert torch.equal(model.layers[0].weight, before[0])
    assert not torch.equal(model.layers[3].weight, before[1])


def test_gradients_are_let_go_at_the_end() -> None:
    model = Normed()
    fit(model, TrainingPlan(3, RATE))
    assert all(weight.grad is None for weight in model.parameters())


def test_devices_without_fused_steps_do_with_plain_ones() -> None:
    plan = TrainingPlan(1, RATE)
    plain, fused = (training._optimiser(nn.Linear(2, 1, device=device), plan) for device in ("meta", "cpu"))
    assert fused.defaults["fused"]
    assert not plain.defaults["fused"]


# The optimiser


class Pair(nn.Module):
    """Two numbers, each pulled down by a gradient of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Parameter(torch.zeros(()))
        self.quick = nn.Parameter(torch.zeros(()))

    def loss(self) -> Tensor:
        return self.slow + self.quick


def pair_after(plan: TrainingPlan) -> tuple[float, float]:
    pair = Pair()
    train(pair, pair.loss, plan, budget=Budget(), report=ignore_progress)
    return float(pair.slow.detach()), float(pair.quick.detach())


def test_sgd_gathers_momentum() -> None:
    """Velocities 1, 1.5 and 1.75 under a momentum of a half."""
    _, value = pair_after(TrainingPlan(3, 0.1, optimiser="sgd", momentum=0.5))
    assert value == pytest.approx(-0.1 * (1 + 1.5 + 1.75))


def test_sgd_adds_the_decay_to_the_gradient() -> None:
    """After the first step of -0.1, the second pulls with 1 + 0.5 (-0.1) = 0.95."""
    _, value = pair_after(TrainingPlan(2, 0.1, optimiser="sgd", momentum=0.0, weight_decay=0.5))
    assert value == pytest.approx(-0.1 - 0.095)


def test_parameters_get_the_share_of_the_rate_that_their_prefix_names() -> None:
    slow, quick = pair_after(TrainingPlan(4, 0.1, optimiser="sgd", momentum=0.0, shares={"slow": 0.25}))
    assert (slow, quick) == pytest.approx((-0.1, -0.4))


def test_a_share_of_nothing_leaves_parameters_alone() -> None:
    assert pair_after(TrainingPlan(3, RATE, shares={"sl": 0.0}))[0] == 0.0


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_momentum_reaches_the_optimiser(optimiser: Literal["adam", "sgd"]) -> None:
    made = training._optimiser(Pair(), TrainingPlan(1, RATE, optimiser=optimiser, momentum=0.5))
    assert made.defaults.get("momentum", made.defaults.get("betas", (0,))[0]) == 0.5


def test_gradients_of_all_shares_are_clipped_together() -> None:
    """A gradient of (1, 1) has the norm 1.41: cut to 1, both numbers move by 0.71."""
    plan = TrainingPlan(1, 1.0, optimiser="sgd", momentum=0.0, shares={"slow": 0.5}, clip=1.0)
    assert pair_after(plan) == pytest.approx((-0.5 / 2**0.5, -1 / 2**0.5), rel=1e-4)


def test_a_negative_share_is_refused() -> None:
    with pytest.raises(ValueError, match="'head' must not be negative but is -1"):
        TrainingPlan(1, RATE, shares={"head": -1})


# The average


@pytest.mark.parametrize(("decay", "third"), [(0.9, -119 / 44), (0.2, -152 / 55)])
def test_average_is_the_one_worked_out_by_hand(decay: float, third: float) -> None:
    """The number goes -1, -2, -3 (in rates); the decays are none, 2/11 and the smaller of 3/12 and the plan's.

    2/11 (-1) + 9/11 (-2) = -20/11, then 1/4 (-20/11) + 3/4 (-3) = -119/44 or 1/5 (-20/11) + 4/5 (-3) = -152/55.
    """
    seen = values_at_reports(TrainingPlan(3, RATE, average=decay, reports=3))
    assert seen == pytest.approx([-RATE, -20 / 11 * RATE, third * RATE], rel=1e-4)


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_average_of_many_steps_is_the_one_worked_out_in_double_precision(decay: float) -> None:
    """A number that wanders, whose decay rises for 80 steps or for all."""
    plan = TrainingPlan(200, RATE, optimiser="sgd", momentum=0.0, average=decay, reports=1)
    model, slopes = Weight(), torch.randn(200, generator=torch.Generator().manual_seed(0))
    coming, value, expected = iter(slopes), 0.0, 0.0
    train(model, lambda: model.value * next(coming), plan, budget=Budget(), report=ignore_progress)
    for update, slope in enumerate(slopes.tolist()):
        value -= RATE * slope
        weight = min(decay, (1 + update) / (10 + update)) if update else 0.0
        expected = weight * expected + (1 - weight) * value
    assert model.value.item() == pytest.approx(expected, abs=1e-6)
    assert abs(value - expected) > 1e-3


def test_average_stays_at_the_end() -> None:
    model = Weight()
    fit(model, TrainingPlan(3, RATE, average=0.9, reports=1))
    assert model.value.item() == pytest.approx(-119 / 44 * RATE, rel=1e-4)


def test_average_stays_when_the_budget_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Weight()
    loss, budget = ticking(monkeypatch, model.loss, 1), Budget(2.0, started=0.0)
    log = train(model, loss, TrainingPlan(100, RATE, average=0.9), budget=budget, report=ignore_progress)
    assert (log.steps, log.ended) == (2, "budget")
    assert model.value.item() == pytest.approx(-20 / 11 * RATE, rel=1e-4)


def test_report_that_raises_leaves_the_average_ready_for_use() -> None:
    model = Weight()

    def prune(done: float) -> None:
        if done == 0.5:
            raise KeyError("pruned")

    with pytest.raises(KeyError, match="pruned"):
        fit(model, TrainingPlan(4, RATE, average=0.9, reports=4), report=prune)
    assert model.value.item() == pytest.approx(-20 / 11 * RATE, rel=1e-4)
    assert not model.training


def test_averaging_leaves_the_training_itself_alone() -> None:
    """Batch norm's statistics are those of the weights that learn, at a report and at the end; the weights are not."""
    plain, averaged = Normed(), Normed()
    statistics: list[Tensor] = []
    fit(plain, TrainingPlan(20, RATE, reports=2), report=lambda _: statistics.append(plain.layers[1].running_mean * 1))
    fit(
        averaged,
        TrainingPlan(20, RATE, reports=2, average=0.9),
        report=lambda _: statistics.append(averaged.layers[1].running_mean * 1),
    )
    assert torch.equal(statistics[0], statistics[2])
    assert torch.equal(statistics[1], statistics[3])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(plain.buffers(), averaged.buffers(), strict=True))
    assert int(averaged.layers[1].num_batches_tracked) == 20
    assert not torch.equal(plain.layers[3].weight, averaged.layers[3].weight)


# Reports and what ends a training


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 40), reports=st.integers(1, 12))
def test_reports_are_spread_evenly_and_the_last_is_at_the_end(steps: int, reports: int) -> None:
    seen: list[float] = []
    log = fit(Weight(), TrainingPlan(steps, RATE, reports=reports), report=seen.append)
    at = [0, *(round(done * steps) for done in seen)]
    gaps = {later - earlier for earlier, later in pairwise(at)}
    assert len(seen) == len(log.losses) == min(steps, reports)
    assert seen[-1] == 1
    assert max(gaps) - min(gaps) <= 1
    assert (log.steps, log.ended) == (steps, "plan")


def test_model_is_in_evaluation_mode_at_reports_and_in_training_mode_at_steps() -> None:
    model, modes = Normed().eval(), []

    def loss() -> Tensor:
        modes.append(model.training)
        return model.loss()

    plan = TrainingPlan(4, RATE, reports=2)
    train(model, loss, plan, budget=Budget(), report=lambda _: modes.append(model.training))
    assert modes == [True, True, False, True, True, False]
    assert not model.training


def test_losses_are_means_between_reports() -> None:
    model, loss = in_turn([1, 3, 5, 9])
    log = train(model, loss, TrainingPlan(4, RATE, reports=2), budget=Budget(), report=ignore_progress)
    assert log.losses == (2, 7)


def test_spent_budget_ends_the_training_after_one_step() -> None:
    model, reported = Weight(), []
    log = fit(model, TrainingPlan(1000, RATE), Budget(0.0), report=reported.append)
    assert (log.steps, log.ended, log.losses) == (1, "budget", (0.0,))
    assert reported == []
    assert model.value.item() == pytest.approx(-RATE, rel=1e-4)
    assert not model.training


def test_plan_that_is_done_is_never_called_cut_short() -> None:
    assert fit(Weight(), TrainingPlan(1, RATE), Budget(0.0)).ended == "plan"


def test_training_keeps_to_its_budget() -> None:
    started = time.monotonic()
    log = fit(Weight(), TrainingPlan(10**8, RATE), Budget(0.2))
    assert 0.2 <= time.monotonic() - started < 5
    assert 0.15 <= log.seconds < 5
    assert log.ended == "budget"


def test_training_ends_once_patience_runs_out() -> None:
    """Best at the second report, no better at the third (a tie) and the fourth."""
    scores = iter([1.0, 2.0, 2.0, 1.5, 9.0])
    log = fit(Weight(), TrainingPlan(50, RATE, reports=10, patience=2), improve=lambda: next(scores))
    assert (log.steps, log.ended) == (20, "plateau")


def test_new_best_renews_patience() -> None:
    scores = iter([2.0, 1.0, 3.0, 1.0, 4.0, 1.0])
    log = fit(Weight(), TrainingPlan(6, RATE, patience=2), improve=lambda: next(scores))
    assert (log.steps, log.ended) == (6, "plan")


def test_patience_that_runs_out_at_the_last_report_cuts_nothing_short() -> None:
    log = fit(Weight(), TrainingPlan(2, RATE, reports=2, patience=1), improve=lambda: 1.0)
    assert (log.steps, log.ended) == (2, "plan")


def test_score_that_is_not_a_number_is_no_progress() -> None:
    log = fit(Weight(), TrainingPlan(60, RATE, patience=3), improve=lambda: math.nan)
    assert (log.steps, log.ended) == (30, "plateau")


def test_model_is_scored_after_the_report_with_its_averaged_weights() -> None:
    model, calls = Weight(), []

    def improve() -> float:
        calls.append((round(model.value.item() / RATE * 11), model.training))
        return 0.0

    plan = TrainingPlan(2, RATE, average=0.9, reports=1)
    fit(model, plan, report=lambda done: calls.append(("report", done)), improve=improve)
    assert calls == [("report", 1), (-20, False)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_loss_that_is_not_finite_is_named_with_its_step(bad: float, clip: float | None) -> None:
    model, loss = in_turn([1] * 12 + [bad] + [1] * 47)
    reported: list[float] = []
    with pytest.raises(FloatingPointError, match=f"the loss became {bad} at step 13"):
        train(model, loss, TrainingPlan(60, RATE, clip=clip), budget=Budget(), report=reported.append)
    assert reported == [1 / 6]


def test_loss_that_is_not_finite_is_found_when_the_budget_ends_first() -> None:
    model, loss = in_turn([math.nan])
    with pytest.raises(FloatingPointError, match=r"at step 1$"):
        train(model, loss, TrainingPlan(60, RATE), budget=Budget(0.0), report=ignore_progress)


def test_gradient_that_is_not_finite_shows_in_the_next_loss() -> None:
    """The root's slope at 0 is infinite; clipping lets it through, and the weight is lost."""
    model = Weight()
    plan = TrainingPlan(60, RATE, clip=1.0)
    with pytest.raises(FloatingPointError, match="became nan at step 2"):
        train(model, lambda: model.value.sqrt(), plan, budget=Budget(), report=ignore_progress)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"reports": 0}, {"accumulate": 0}, {"patience": 0}])
def test_counts_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} of a training must be at least 1, not 0"):
        TrainingPlan(**{"steps": 1, "rate": RATE, **wrong})  # type: ignore[arg-type]


# Watching


def test_watcher_hears_the_end_of_a_short_training_alone() -> None:
    model, loss = in_turn([1, 2, 6])
    seen: list[Progress] = []
    train(model, loss, TrainingPlan(3, RATE), budget=Budget(), report=ignore_progress, watch=seen.append)
    assert seen == [Progress(3, 3, 3.0, 0.0)]


def test_watcher_hears_the_loss_since_its_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second a step: every second step is looked at, whatever is reported in between."""
    model, loss = in_turn([1, 3, 5, 9, 4])
    slow, budget, seen = ticking(monkeypatch, loss, 0.5), Budget(2.25, started=0.0), []
    log = train(model, slow, TrainingPlan(5, RATE), budget=budget, report=ignore_progress, watch=seen.append)
    assert seen == [Progress(2, 5, 2, 1.25), Progress(4, 5, 7, 0.25), Progress(5, 5, 4, 0)]
    assert log.seconds == 2.5


def test_time_left_is_that_of_the_plan_when_nothing_limits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss = in_turn([1.0] * 4)
    slow, seen = ticking(monkeypatch, loss, 3), []
    train(model, slow, TrainingPlan(4, RATE), budget=Budget(), report=ignore_progress, watch=seen.append)
    assert [look.seconds_left for look in seen] == [9, 6, 3, 0]


def test_lost_training_ends_within_a_second_of_steps_though_no_report_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss = in_turn([1, math.nan, *[1] * 98])
    slow, steps = ticking(monkeypatch, loss, 0.3), []

    def counted() -> Tensor:
        steps.append(1)
        return slow()

    with pytest.raises(FloatingPointError, match="nan at step 2"):
        train(model, counted, TrainingPlan(100, RATE, reports=1), budget=Budget(), report=ignore_progress)
    assert len(steps) == 4


# Repeatability


@pytest.mark.parametrize("average", [None, 0.9])
def test_same_seed_gives_the_same_weights(average: float | None) -> None:
    plan = TrainingPlan(20, RATE, average=average, clip=1.0)
    first, again, other = Normed(0), Normed(0), Normed(1)
    before = torch.random.get_rng_state()
    logs = [fit(model, plan) for model in (first, again, other)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert logs[0].losses == logs[1].losses != logs[2].losses
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
