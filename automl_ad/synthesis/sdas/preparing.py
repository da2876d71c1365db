"""From good pictures to a synthesiser that passed its gate, within a time limit; or the reason why not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock

from automl_ad.errors import StoreError
from automl_ad.formatting import format_duration
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas import gate
from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.synthesis.sdas.model_file import ModelFile
from automl_ad.synthesis.sdas.pool import PicturePool
from automl_ad.synthesis.sdas.synthesiser import Sampler, Sdas, batch_on
from automl_ad.training import Budget, Progress, TrainingPlan

MIN_IMAGES = 12
"""Fewer pictures do not teach what is normal; a study of 20 images learns from so many."""
FLATTEST = 1.0
"""Standard deviation in grey levels below which the pictures show nothing."""
LEAST_S = 60.0
"""No machine trains a model in less: with less time left nothing is even measured."""
MEASURED = 3
"""Training steps that tell how long a training takes."""
RETRY_RATE = 0.25
"""Share of the learning rate for the one restart after a training that diverged."""
EXTENSION = 0.5
"""Share of the steps, and of the learning rate, of each extension of a training that did not pass the gate."""

_NO_MORE = 1000
"""Rounds recorded for a model that is not worth another."""


@dataclass(frozen=True)
class Outcome:
    """A synthesiser, or why there is none.

    Attributes:
        sdas: The synthesiser; None if it was switched off.
        reason: Why it was, as the end of a sentence.
        facts: What training and gate measured, for the report.
        sheet: The pictures that the gate judged, as one picture file; None if it judged none.
        warnings: What else the user should know, in sentences.
    """

    sdas: Sdas | None
    reason: str | None
    facts: Mapping[str, Any]
    sheet: Path | None = None
    warnings: Sequence[str] = ()


class _UnusableError(Exception):
    """SDAS cannot be used; the message is the end of the sentence."""


def prepare(commission: SdasJob) -> Outcome:
    """Loads the model of these pictures, or trains it and puts it to the gate.

    A model that passed once is used again without training; one that failed is trained further while its settings and
    the time limit allow, and else stays switched off.

    Raises:
        StoreError: The cache cannot be written.
    """
    model = ModelFile(commission.home, commission.identity)
    try:
        _require_usable(commission)
        with _alone(commission.home):
            model.reload()
            if not model.passed:
                _train_until_passed(commission, model)
        return _ready(commission, model)
    except _UnusableError as fault:
        return Outcome(None, str(fault), model.facts, model.sheet)
    except (MemoryError, torch.cuda.OutOfMemoryError):
        return Outcome(None, "its training needs more memory than this device has", model.facts, model.sheet)


def _require_usable(commission: SdasJob) -> None:
    count = len(commission.fit)
    if count < MIN_IMAGES:
        raise _UnusableError(f"it learns from {MIN_IMAGES} or more good images but has {count}")
    if float(np.std(commission.fit, axis=(1, 2)).max()) < FLATTEST:
        raise _UnusableError("every good image is of one flat colour, so there is nothing to learn")
    divisor = commission.settings.network.divisor
    if any(side % divisor for side in commission.fit.shape[1:3]):
        raise _UnusableError(f"its network needs image sides that are multiples of {divisor}")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Two studies on the same pictures must not both train; the second waits and finds the model."""
    lock = FileLock(home / ".training.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise StoreError(f"{home} cannot be written ({error.strerror}); choose another --workspace.") from error
    try:
        yield
    finally:
        lock.release()


def _ready(commission: SdasJob, model: ModelFile) -> Outcome:
    @cache
    def sampler() -> Sampler:
        denoiser = commission.denoiser()
        model.load(denoiser)
        return commission.sampler(denoiser)

    def watch(done: int, total: int) -> None:
        commission.tell("Making synthetic pictures", done, total, None)

    pool = PicturePool.open(commission.home, {**commission.identity, "weights": model.digest})
    sdas = Sdas(sampler, pool, commission.seed, batch_on(commission.device), commission.budget, watch)
    return Outcome(sdas, None, model.facts, model.sheet, pool.warnings)


def _train_until_passed(commission: SdasJob, model: ModelFile) -> None:
    """One round of training, and extensions while the gate refuses and time is left."""
    pace: tuple[float, float] | None = None
    while not model.passed:
        if model.rounds > commission.settings.extensions:
            raise _UnusableError(str(model.facts["fault"]))
        step_s, pictures_s = pace = pace or _measure(commission, model)
        plan = _plan(commission, model.rounds)
        _require_time(commission, model, step_s * plan.steps + pictures_s)
        _one_round(commission, model, plan, Budget(commission.budget.left - pictures_s))


def _plan(commission: SdasJob, rounds: int) -> TrainingPlan:
    settings = commission.settings
    return settings.plan() if rounds == 0 else settings.plan(EXTENSION, settings.rate * EXTENSION)


def _require_time(commission: SdasJob, model: ModelFile, seconds: float) -> None:
    if seconds > commission.budget.left:
        if model.rounds:
            raise _UnusableError(str(model.facts["fault"]))
        left = format_duration(max(0.0, commission.budget.left))
        raise _UnusableError(
            f"it needs {format_duration(seconds)} or more on this machine and its share of the time budget leaves "
            f"{left}; a longer --time-budget carries it"
        )


def _one_round(commission: SdasJob, model: ModelFile, plan: TrainingPlan, budget: Budget) -> None:
    """Trains, or trains further, and asks the gate."""
    denoiser, facts = _taught(commission, model, plan, budget)
    commission.tell("Judging synthetic pictures", 0, 1, None)
    begin = time.monotonic()
    drawn = _gate_pictures(commission, commission.sampler(denoiser))
    seconds = (time.monotonic() - begin) / gate.PICTURES
    foreground = Foreground.fit(commission.fit)
    verdict = gate.examine(drawn, commission.bases, foreground, commission.judge(), commission.seed)
    facts |= {"rounds": model.rounds + 1, "seconds_a_picture": seconds, **verdict.facts}
    model.save(denoiser, facts, drawn)


def _taught(
    commission: SdasJob, model: ModelFile, plan: TrainingPlan, budget: Budget
) -> tuple[Denoiser, dict[str, Any]]:
    """A network after one more round of training, and what all rounds so far measured."""
    before, begin = model.facts, time.monotonic()
    steps = int(before.get("steps", 0))

    def watch(progress: Progress) -> None:
        message = f"Training SDAS, loss {progress.loss:.3f}"
        commission.tell(message, progress.step, progress.steps, progress.seconds_left)

    for rate in (plan.rate, plan.rate * RETRY_RATE):
        denoiser = commission.denoiser()
        if before:
            model.load(denoiser)
        try:
            log = commission.teach(denoiser, replace(plan, rate=rate), commission.seed + steps, budget, watch)
        except FloatingPointError:
            continue
        return denoiser, {
            "steps": steps + log.steps,
            "training_s": float(before.get("training_s", 0.0)) + time.monotonic() - begin,
            "losses": [*before.get("losses", ()), *log.losses],
            "rate": rate,
        }
    model.give_up("its training diverged twice, the second time at a quarter of the learning rate", _NO_MORE)
    raise _UnusableError(str(model.facts["fault"]))


def _gate_pictures(commission: SdasJob, sampler: Sampler) -> dict[float, list[npt.NDArray[np.uint8]]]:
    """By strength, one picture of each of the gate's bases."""
    bases, batch = commission.bases[: gate.BASES], batch_on(commission.device)
    drawn = {}
    for strength in gate.STRENGTHS:
        chunks = [bases[start : start + batch] for start in range(0, len(bases), batch)]
        made = [sampler(chunk, [strength] * len(chunk), [commission.seed] * len(chunk)) for chunk in chunks]
        drawn[strength] = list(np.concatenate(made))
    return drawn


def _measure(commission: SdasJob, model: ModelFile) -> tuple[float, float]:
    """Seconds that a training step takes here, and all pictures together; gives up once they cannot fit."""
    _require_time(commission, model, LEAST_S)
    plan, denoiser = _plan(commission, model.rounds), commission.denoiser()
    commission.teach(denoiser, replace(plan, steps=1), 0, Budget())
    step_s = commission.teach(denoiser, replace(plan, steps=MEASURED), 0, Budget()).seconds / MEASURED
    _require_time(commission, model, step_s * plan.steps)
    bases = commission.bases[: batch_on(commission.device)]
    begin = time.monotonic()
    commission.sampler(denoiser)(bases, [0.0] * len(bases), [0] * len(bases))
    picture_s = (time.monotonic() - begin) / len(bases)
    return step_s, picture_s * (commission.pictures + gate.PICTURES)
