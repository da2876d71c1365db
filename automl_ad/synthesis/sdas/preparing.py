"""Loads or trains the SDAS model of a set of images within a time limit, and runs its quality gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from automl_ad.synthesis.sdas.scale import StrengthScale
from automl_ad.synthesis.sdas.synthesiser import Sampler, Sdas, batch_on
from automl_ad.training import Budget, Progress, TrainingPlan

Image = npt.NDArray[np.uint8]
MIN_IMAGES = 12
"""Minimum number of training images; a study of 20 images has so many in its train part."""
MIN_DEVIATION = 1.0
"""Standard deviation in grey levels below which images count as uniform."""
MIN_SECONDS = 60.0
"""Minimum remaining time; with less, not even the speed is measured."""
TIMED_STEPS = 3
"""Training steps used to estimate the duration of a training."""
RETRY_RATE = 0.25
"""Factor on the learning rate for the one restart after a diverged training."""
EXTENSION = 0.5
"""Factor on the steps and the learning rate of each extension of a training that did not pass the gate."""

_FINAL_ROUND = 1000
"""Number of rounds recorded for a model that is not to be trained again."""


@dataclass(frozen=True)
class Outcome:
    """A synthesiser, or the reason why there is none.

    Attributes:
        sdas: The synthesiser; None if unusable.
        reason: Why it is unusable, as the end of a sentence.
        facts: Measurements of training and gate, for the report.
        sheet: Contact sheet of the gate's images; None if the gate did not run.
        warnings: Further sentences for the user.
    """

    sdas: Sdas | None
    reason: str | None
    facts: Mapping[str, Any]
    sheet: Path | None = None
    warnings: Sequence[str] = ()


class _UnusableError(Exception):
    """SDAS cannot be used; the message is the end of a sentence."""


def prepare(job: SdasJob) -> Outcome:
    """Loads the model of these images, or trains it and runs the gate.

    A model that passed is reused without training; one that failed is trained further while its settings and the time
    limit allow, and otherwise stays unusable.

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
        raise _UnusableError(f"it needs {MIN_IMAGES} or more good training images but has {count}")
    if float(np.std(job.train_images, axis=(1, 2)).max()) < MIN_DEVIATION:
        raise _UnusableError("every good image is of one uniform colour, so there is nothing to learn")
    divisor = job.settings.network.divisor
    if any(side % divisor for side in job.train_images.shape[1:3]):
        raise _UnusableError(f"its network needs image sides that are multiples of {divisor}")


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Locks the folder, so that a second study on the same images waits and then loads the model."""
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

    pool = ImagePool.open(job.folder, {**job.identity, "weights": model.digest, "scale": model.facts["scale"]})
    scale = StrengthScale(**model.facts["scale"])
    sdas = Sdas(sampler, pool, scale, job.seed, batch_on(job.device), job.budget, watch)
    return Outcome(sdas, None, model.facts, model.sheet, pool.warnings)


def _train_until_passed(job: SdasJob, model: ModelFile) -> None:
    """One round of training, and extensions while the gate rejects the model and time is left."""
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
            f"it needs {format_duration(seconds)} or more on this machine but its share of the time budget is "
            f"{left}; use a longer --time-budget"
        )


def _one_round(job: SdasJob, model: ModelFile, plan: TrainingPlan, budget: Budget) -> None:
    """Trains the model, or trains it further, and runs the gate."""
    denoiser, facts = _trained(job, model, plan, budget)
    job.progress("Checking synthetic images", 0, 1, None)
    drawing = _GateDrawing(job, job.sampler(denoiser))
    foreground, settings = Foreground.fit(job.train_images), job.settings
    result = gate.run_gate(
        drawing.normals(), drawing.anomalies, settings.scale, drawing.bases, foreground, job.reference(), job.seed
    )
    facts |= {"rounds": model.rounds + 1, "seconds_a_picture": drawing.seconds_each, **result.facts}
    model.save(denoiser, facts, result.drawn)


def _trained(job: SdasJob, model: ModelFile, plan: TrainingPlan, budget: Budget) -> tuple[Denoiser, dict[str, Any]]:
    """A network after one more round of training, and the measurements of all rounds so far."""
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


class _GateDrawing:
    """Draws the gate's images in batches and measures how long one takes."""

    def __init__(self, job: SdasJob, sampler: Sampler) -> None:
        self.bases = job.bases[: gate.BASES]
        self._batch = batch_on(job.device)
        self._seed = job.seed
        self._sampler = sampler
        self._seconds, self._count = 0.0, 0

    @property
    def seconds_each(self) -> float:
        """Seconds for one anomalous image."""
        return self._seconds / max(1, self._count)

    def normals(self) -> list[Image]:
        """A good image of each base."""
        return self._drawn(self._sampler.normals)

    def anomalies(self, added: float) -> list[Image]:
        """An anomalous image of each base with an added variance s."""
        begin = time.monotonic()
        made = self._drawn(lambda bases, seeds: self._sampler(bases, [added] * len(bases), seeds))
        self._seconds += time.monotonic() - begin
        self._count += len(made)
        return made

    def _drawn(self, draw: Callable[[Image, Sequence[int]], Image]) -> list[Image]:
        chunks = [self.bases[start : start + self._batch] for start in range(0, len(self.bases), self._batch)]
        return list(np.concatenate([draw(chunk, [self._seed] * len(chunk)) for chunk in chunks]))


def _measure(job: SdasJob, model: ModelFile) -> tuple[float, float]:
    """Estimated seconds of a training step and of all sampling; raises as soon as the time is insufficient."""
    _require_time(job, model, MIN_SECONDS)
    plan, denoiser = _plan(job, model.rounds), job.denoiser()
    job.train(denoiser, replace(plan, steps=1), 0, Budget())
    step_s = job.train(denoiser, replace(plan, steps=TIMED_STEPS), 0, Budget()).seconds / TIMED_STEPS
    _require_time(job, model, step_s * plan.steps)
    # Two images of each base, as in a suite: they share the chain that leads to the base.
    bases = np.repeat(job.bases[: max(1, batch_on(job.device) // 2)], 2, axis=0)
    begin = time.monotonic()
    job.sampler(denoiser)(bases, [0.0] * len(bases), [0] * len(bases))
    image_s = (time.monotonic() - begin) / len(bases)
    return step_s, image_s * (job.image_count + gate.IMAGES)
