"""From good images to a synthesiser that passed its gate, within a time limit; or the reason why not."""

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
from automl_ad.synthesis.sdas.pool import ImagePool
from automl_ad.synthesis.sdas.synthesiser import Sampler, Sdas, batch_on
from automl_ad.training import Budget, Progress, TrainingPlan

MIN_IMAGES = 12
"""Fewer images do not teach what is normal; a study of 20 images learns from so many."""
MIN_DEVIATION = 1.0
"""Standard deviation in grey levels below which the images show nothing."""
MIN_SECONDS = 60.0
"""No machine trains a model in less: with less time left nothing is even measured."""
TIMED_STEPS = 3
"""Training steps that tell how long a training takes."""
RETRY_RATE = 0.25
"""Share of the learning rate for the one restart after a training that diverged."""
EXTENSION = 0.5
"""Share of the steps, and of the learning rate, of each extension of a training that did not pass the gate."""

_FINAL_ROUND = 1000
"""Rounds recorded for a model that is not worth another."""


@dataclass(frozen=True)
class Outcome:
    """A synthesiser, or why there is none.

    Attributes:
        sdas: The synthesiser; None if it was switched off.
        reason: Why it was, as the end of a sentence.
        facts: What training and gate measured, for the report.
        sheet: The images that the gate judged, as one image file; None if it judged none.
        warnings: What else the user should know, in sentences.
    """

    sdas: Sdas | None
    reason: str | None
    facts: Mapping[str, Any]
    sheet: Path | None = None
    warnings: Sequence[str] = ()


class _UnusableError(Exception):
    """SDAS cannot be used; the message is the end of the sentence."""


def prepare(job: SdasJob) -> Outcome:
    """Loads the model of these images, or trains it and puts it to the gate.

    A model that passed once is used again without training; one that failed is trained further while its settings and
    the time limit allow, and else stays switched off.

    Raises:
        StoreError: The cache cannot be written.
    """
    model = ModelFile(job.folder, job.identity)
    try:
        _require_usable(job)
        with _exclusive(job.folder):
            model.reload()
            if not model.passed:
                _train_until_passed(job, model)
        return _ready(job, model)
    except _UnusableError as fault:
        return Outcome(None, str(fault), model.facts, model.sheet)
    except (MemoryError, torch.cuda.OutOfMemoryError):
        return Outcome(None, "its training needs more memory than this device has", model.facts, model.sheet)


def _require_usable(job: SdasJob) -> None:
    count = len(job.train_images)
    if count < MIN_IMAGES:
        raise _UnusableError(f"it learns from {MIN_IMAGES} or more good images but has {count}")
    if float(np.std(job.train_images, axis=(1, 2)).max()) < MIN_DEVIATION:
        raise _UnusableError("every good image is of one flat colour, so there is nothing to learn")
    divisor = job.settings.network.divisor
    if any(side % divisor for side in job.train_images.shape[1:3]):
        raise _UnusableError(f"its network needs image sides that are multiples of {divisor}")


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Two studies on the same images must not both train; the second waits and finds the model."""
    lock = FileLock(folder / ".training.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror}); choose another --workspace.") from error
    try:
        yield
    finally:
        lock.release()


def _ready(job: SdasJob, model: ModelFile) -> Outcome:
    @cache
    def sampler() -> Sampler:
        denoiser = job.denoiser()
        model.load(denoiser)
        return job.sampler(denoiser)

    def watch(done: int, total: int) -> None:
        job.progress("Making synthetic images", done, total, None)

    pool = ImagePool.open(job.folder, {**job.identity, "weights": model.digest})
    sdas = Sdas(sampler, pool, job.seed, batch_on(job.device), job.budget, watch)
    return Outcome(sdas, None, model.facts, model.sheet, pool.warnings)


def _train_until_passed(job: SdasJob, model: ModelFile) -> None:
    """One round of training, and extensions while the gate refuses and time is left."""
    pace: tuple[float, float] | None = None
    while not model.passed:
        if model.rounds > job.settings.extensions:
            raise _UnusableError(str(model.facts["fault"]))
        step_s, images_s = pace = pace or _measure(job, model)
        plan = _plan(job, model.rounds)
        _require_time(job, model, step_s * plan.steps + images_s)
        _one_round(job, model, plan, Budget(job.budget.left - images_s))


def _plan(job: SdasJob, rounds: int) -> TrainingPlan:
    settings = job.settings
    return settings.plan() if rounds == 0 else settings.plan(EXTENSION, settings.rate * EXTENSION)


def _require_time(job: SdasJob, model: ModelFile, seconds: float) -> None:
    if seconds > job.budget.left:
        if model.rounds:
            raise _UnusableError(str(model.facts["fault"]))
        left = format_duration(max(0.0, job.budget.left))
        raise _UnusableError(
            f"it needs {format_duration(seconds)} or more on this machine and its share of the time budget leaves "
            f"{left}; a longer --time-budget carries it"
        )


def _one_round(job: SdasJob, model: ModelFile, plan: TrainingPlan, budget: Budget) -> None:
    """Trains, or trains further, and asks the gate."""
    denoiser, facts = _trained(job, model, plan, budget)
    job.progress("Judging synthetic images", 0, 1, None)
    begin = time.monotonic()
    drawn = _gate_images(job, job.sampler(denoiser))
    seconds = (time.monotonic() - begin) / gate.IMAGES
    foreground = Foreground.fit(job.train_images)
    result = gate.run_gate(drawn, job.bases, foreground, job.reference(), job.seed)
    facts |= {"rounds": model.rounds + 1, "seconds_a_picture": seconds, **result.facts}
    model.save(denoiser, facts, drawn)


def _trained(job: SdasJob, model: ModelFile, plan: TrainingPlan, budget: Budget) -> tuple[Denoiser, dict[str, Any]]:
    """A network after one more round of training, and what all rounds so far measured."""
    before, begin = model.facts, time.monotonic()
    steps = int(before.get("steps", 0))

    def watch(progress: Progress) -> None:
        message = f"Training SDAS, loss {progress.loss:.3f}"
        job.progress(message, progress.step, progress.steps, progress.seconds_left)

    for rate in (plan.rate, plan.rate * RETRY_RATE):
        denoiser = job.denoiser()
        if before:
            model.load(denoiser)
        try:
            log = job.train(denoiser, replace(plan, rate=rate), job.seed + steps, budget, watch)
        except FloatingPointError:
            continue
        return denoiser, {
            "steps": steps + log.steps,
            "training_s": float(before.get("training_s", 0.0)) + time.monotonic() - begin,
            "losses": [*before.get("losses", ()), *log.losses],
            "rate": rate,
        }
    model.record_failure("its training diverged twice, the second time at a quarter of the learning rate", _FINAL_ROUND)
    raise _UnusableError(str(model.facts["fault"]))


def _gate_images(job: SdasJob, sampler: Sampler) -> dict[float, list[npt.NDArray[np.uint8]]]:
    """By strength, one image of each of the gate's bases."""
    bases, batch = job.bases[: gate.BASES], batch_on(job.device)
    drawn = {}
    for strength in gate.STRENGTHS:
        chunks = [bases[start : start + batch] for start in range(0, len(bases), batch)]
        made = [sampler(chunk, [strength] * len(chunk), [job.seed] * len(chunk)) for chunk in chunks]
        drawn[strength] = list(np.concatenate(made))
    return drawn


def _measure(job: SdasJob, model: ModelFile) -> tuple[float, float]:
    """Seconds that a training step takes here, and all images together; gives up once they cannot fit."""
    _require_time(job, model, MIN_SECONDS)
    plan, denoiser = _plan(job, model.rounds), job.denoiser()
    job.train(denoiser, replace(plan, steps=1), 0, Budget())
    step_s = job.train(denoiser, replace(plan, steps=TIMED_STEPS), 0, Budget()).seconds / TIMED_STEPS
    _require_time(job, model, step_s * plan.steps)
    bases = job.bases[: batch_on(job.device)]
    begin = time.monotonic()
    job.sampler(denoiser)(bases, [0.0] * len(bases), [0] * len(bases))
    image_s = (time.monotonic() - begin) / len(bases)
    return step_s, image_s * (job.image_count + gate.IMAGES)
