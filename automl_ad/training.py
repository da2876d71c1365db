"""The one training loop of the product: every iterative fit runs through ``train``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from diffusers.training_utils import EMAModel

Report = Callable[[float], None]
"""Called during training with the fraction done (0 to 1); may raise to end the training."""

WATCH_S = 1.0
"""Least time between two looks at a running training, in seconds."""


def ignore_progress(done: float) -> None:
    """A report for fits that nobody watches."""
    del done


@dataclass(frozen=True)
class Budget:
    """Seconds that a fit may take.

    Attributes:
        seconds: Limit, or None for no limit.
        started: Clock reading at the start, from ``time.monotonic``.
    """

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> bool:
        """Whether the limit has passed."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds left, negative once the limit has passed; infinite without a limit."""
        return math.inf if self.seconds is None else self.seconds - (time.monotonic() - self.started)


@dataclass(frozen=True)
class TrainingPlan:
    """How a model is trained.

    Attributes:
        steps: Optimiser steps, at least 1.
        rate: Highest learning rate.
        optimiser: ``adam``, which is AdamW where there is weight decay, or ``sgd``.
        momentum: Of ``sgd``; the decay of the first moment of ``adam``.
        shares: Shares of the rate, 0 or more, by prefix of a parameter's name; the others get all of it.
        schedule: What the rate does after the warm-up; ``cosine`` falls towards zero along half a wave.
        warmup: Steps over which the rate rises linearly; the step after them is the first at ``rate``.
        weight_decay: Decoupled from the gradient in AdamW, added to it in ``sgd``.
        clip: Largest norm of the gradient, or None.
        average: Decay of the exponential moving average of the weights, or None for none. After n updates the decay is
            at most (1 + n) / (10 + n), so that a short training is not held back by its first steps.
        reports: How often the fit reports, at least 1; evenly spread, the last at the end.
        accumulate: Batches, at least 1, whose gradients are averaged into one step.
        patience: Reports in a row without a new best score that end the training, or None for never.
        half: Whether the loss is computed in ``half_precision`` on the device of the model. bfloat16 has float32's
            range, so that gradients need no scaling.

    Raises:
        ValueError: A count is below 1, or a share is negative.
    """

    steps: int
    rate: float
    optimiser: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.9
    shares: Mapping[str, float] = field(default_factory=dict)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    average: float | None = None
    reports: int = 6
    accumulate: int = 1
    patience: int | None = None
    half: bool = False

    def __post_init__(self) -> None:
        counts = {"steps": self.steps, "reports": self.reports, "accumulate": self.accumulate}
        counts |= {} if self.patience is None else {"patience": self.patience}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} of a training must be at least 1, not {value}")
        for prefix, share in self.shares.items():
            if share < 0:
                raise ValueError(f"the share of the rate for {prefix!r} must not be negative but is {share}")


Ending = Literal["plan", "budget", "plateau"]


@dataclass(frozen=True)
class TrainingLog:
    """What a training did.

    Attributes:
        steps: Optimiser steps made.
        losses: Mean loss of the steps up to each report, and of those after the last report if there were any.
        seconds: Time taken, reports included.
        ended: What ended it; ``plan`` whenever all steps were made.
    """

    steps: int
    losses: tuple[float, ...]
    seconds: float
    ended: Ending


@dataclass(frozen=True)
class Progress:
    """A look at a running training.

    Attributes:
        step: Steps made.
        steps: Steps planned.
        loss: Mean loss since the last look.
        seconds_left: Estimate; 0 at the end, whatever ended it.
    """

    step: int
    steps: int
    loss: float
    seconds_left: float


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """bf16 products where the hardware makes them fast; weights and losses stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_multiplies_half(device))


def _multiplies_half(device: torch.device) -> bool:
    return device.type == "cuda" or torch.backends.cpu.get_cpu_capability() in {"AVX512", "AMX"}


def rate_at(plan: TrainingPlan, step: int) -> float:
    """The learning rate of a step, counted from 1."""
    if step <= plan.warmup:
        return plan.rate * step / (plan.warmup + 1)
    if plan.schedule == "constant":
        return plan.rate
    done = (step - 1 - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.rate * (1 + math.cos(math.pi * done)) / 2


def train(
    model: nn.Module,
    loss: Callable[[], Tensor],
    plan: TrainingPlan,
    *,
    budget: Budget,
    report: Report,
    watch: Callable[[Progress], None] | None = None,
    improve: Callable[[], float] | None = None,
) -> TrainingLog:
    """Minimises ``loss`` until the plan, the budget or a plateau ends it; at least one step is made.

    The model is in training mode during steps. At every report and at the end it is in evaluation mode and holds the
    averaged weights where the plan averages, with the buffers (such as batch norm's statistics) of the latest step. It
    also stays so when ``report`` or ``improve`` raises. The loop draws no random numbers.

    Args:
        model: Its parameters that require a gradient are trained.
        loss: Draws a batch and returns its mean loss, a scalar; called ``plan.accumulate`` times a step.
        plan: How to train.
        budget: Checked after each step.
        report: Called with the fraction of the plan that is done.
        watch: Told about every second, and at the end, how far the training is.
        improve: Scores the model right after each report, higher is better; ``plan.patience`` goes by it.

    Returns:
        What was done.

    Raises:
        FloatingPointError: A loss was not finite. Noticed within about a second of steps, and before the next report;
            the error names the step that it happened in.
    """
    started = time.monotonic()
    weights, losses, plateau = _Weights(model, plan.average), _Losses(), _Plateau(plan.patience)
    loss = _in_half(loss, model) if plan.half else loss
    optimiser = _optimiser(model, plan)
    schedule = LambdaLR(optimiser, lambda done: rate_at(plan, done + 1))
    watcher = _Watcher(watch, losses, plan, budget)
    step = 0
    ended: Ending | None = None
    while ended is None:
        step += 1
        weights.learn()
        losses.add(_step(optimiser, loss, plan))
        schedule.step()
        weights.average()
        ended = _ending(step, plan, budget)
        if _due(step, plan):
            losses.close_interval()
            weights.rest()
            report(step / plan.steps)
            if improve is not None and plateau.reached(improve()):
                ended = ended or "plateau"
        if ended is None:
            watcher.look(step)
    weights.rest()
    losses.close_interval()
    watcher.close(step)
    optimiser.zero_grad()  # a fitted model should not carry its last gradients about
    return TrainingLog(step, losses.means, time.monotonic() - started, ended)


def _in_half(loss: Callable[[], Tensor], model: nn.Module) -> Callable[[], Tensor]:
    device = next(model.parameters()).device

    def computed() -> Tensor:
        with half_precision(device):
            return loss()

    return computed


def _ending(step: int, plan: TrainingPlan, budget: Budget) -> Ending | None:
    if step == plan.steps:
        return "plan"
    return "budget" if budget.spent else None


def _due(step: int, plan: TrainingPlan) -> bool:
    return step * plan.reports // plan.steps > (step - 1) * plan.reports // plan.steps


def _optimiser(model: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    groups = _groups(model, plan)
    weights = [weight for group in groups for weight in group["params"]]
    fused = all(weight.device.type in ("cpu", "cuda") and weight.is_floating_point() for weight in weights) or None
    if plan.optimiser == "sgd":
        return torch.optim.SGD(groups, plan.rate, plan.momentum, weight_decay=plan.weight_decay, fused=fused)
    betas = (plan.momentum, 0.999)
    if plan.weight_decay:
        return torch.optim.AdamW(groups, plan.rate, betas, weight_decay=plan.weight_decay, fused=fused)
    return torch.optim.Adam(groups, plan.rate, betas, fused=fused)


def _groups(model: nn.Module, plan: TrainingPlan) -> list[dict[str, Any]]:
    """The trained parameters by their share of the rate, which stands for their rate until a schedule multiplies it."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            share = next((share for prefix, share in plan.shares.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(share, []).append(weight)
    return [{"params": weights, "lr": share} for share, weights in groups.items()]


@contextmanager
def sound_convolutions() -> Iterator[None]:
    """Leaves oneDNN out on processors with AVX2 and nothing newer.

    There the gradients of some convolutions abort the process or end in a segmentation fault (torch 2.14.1; not with
    ONEDNN_MAX_CPU_ISA=AVX). PyTorch's own kernels take about as long.
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        with torch.backends.mkldnn.flags(enabled=False):
            yield
    else:
        yield


def _step(optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor], plan: TrainingPlan) -> Tensor:
    """Makes one step and returns its loss, still on its device."""
    optimiser.zero_grad()
    parts: list[Tensor] = []
    for _ in range(plan.accumulate):
        with sound_convolutions():
            part = loss().float() / plan.accumulate
            torch.autograd.backward(part)
        parts.append(part.detach())
    if plan.clip is not None:
        nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], plan.clip)
    optimiser.step()
    return torch.stack(parts).sum()


class _Weights:
    """Decides which weights a model holds: those that learn, or at rest their average if there is one."""

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._model = model
        self._decay = decay
        self._averaged: EMAModel | None = None
        self._resting = False
        model.train()

    def learn(self) -> None:
        """Training mode and the weights that learn."""
        if self._resting:
            if self._averaged is not None:
                self._averaged.restore(self._model.parameters())
            self._model.train()
            self._resting = False

    def rest(self) -> None:
        """Evaluation mode and the averaged weights."""
        if not self._resting:
            if self._averaged is not None:
                self._averaged.store(self._model.parameters())
                self._averaged.copy_to(self._model.parameters())
            self._model.eval()
            self._resting = True

    def average(self) -> None:
        """Takes the present weights into the average; the first ones become it."""
        if self._decay is None:
            return
        if self._averaged is None:
            from diffusers.training_utils import EMAModel  # takes seconds, which other trainings need not wait

            self._averaged = EMAModel(self._model.parameters(), self._decay, foreach=True)
        self._averaged.step(self._model.parameters())


class _Losses:
    """The loss of every step; fetched only when asked for, since that waits for the device."""

    def __init__(self) -> None:
        self._fetched: list[float] = []
        self._waiting: list[Tensor] = []
        self._means: list[float] = []
        self._closed = 0

    def add(self, loss: Tensor) -> None:
        """Appends the loss of the next step."""
        self._waiting.append(loss)

    @property
    def means(self) -> tuple[float, ...]:
        """Mean loss of each interval that was closed."""
        return tuple(self._means)

    def close_interval(self) -> None:
        """Ends an interval, unless no step was made in it.

        Raises:
            FloatingPointError: A loss was not finite.
        """
        self._fetch()
        if self._closed < len(self._fetched):
            self._means.append(self.mean_after(self._closed))
            self._closed = len(self._fetched)

    def mean_after(self, step: int) -> float:
        """Mean loss of all steps after ``step``.

        Raises:
            FloatingPointError: One of them was not finite.
        """
        self._fetch()
        return fmean(self._fetched[step:])

    def _fetch(self) -> None:
        fresh: list[float] = torch.stack(self._waiting).tolist() if self._waiting else []
        self._waiting.clear()
        for value in fresh:
            self._fetched.append(value)
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss became {value} at step {len(self._fetched)}")


class _Plateau:
    """Counts scores in a row that were no new best."""

    def __init__(self, patience: int | None) -> None:
        self._patience = math.inf if patience is None else patience
        self._best = -math.inf
        self._stale = 0

    def reached(self, score: float) -> bool:
        """Takes the next score; whether patience has run out."""
        self._stale = 0 if score > self._best else self._stale + 1
        self._best = max(self._best, score)
        return self._stale >= self._patience


class _Watcher:
    """Looks at a training about once a second, watched or not: losses must be fetched now and then."""

    def __init__(
        self, watch: Callable[[Progress], None] | None, losses: _Losses, plan: TrainingPlan, budget: Budget
    ) -> None:
        self._watch = watch
        self._losses = losses
        self._plan = plan
        self._budget = budget
        self._started = self._looked = time.monotonic()
        self._seen = 0

    def look(self, step: int) -> None:
        """Tells of a training that goes on, unless it did so a moment ago."""
        now = time.monotonic()
        if now - self._looked >= WATCH_S:
            self._looked = now
            self._tell(step, self._left(step, now))

    def close(self, step: int) -> None:
        """Tells that the training is over."""
        self._tell(step, 0.0)

    def _tell(self, step: int, left: float) -> None:
        mean = self._losses.mean_after(self._seen)
        self._seen = step
        if self._watch is not None:
            self._watch(Progress(step, self._plan.steps, mean, left))

    def _left(self, step: int, now: float) -> float:
        planned = (now - self._started) / step * (self._plan.steps - step)
        return max(0.0, min(planned, self._budget.left))
