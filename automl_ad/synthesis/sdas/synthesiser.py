"""A trained model with its pool: synthetic images of good ones, at any strength."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.learning import noise_schedule
from automl_ad.synthesis.sdas.pool import ImageKey, ImagePool, Request
from automl_ad.synthesis.sdas.sampling import sample, sample_variants
from automl_ad.synthesis.sdas.scale import StrengthScale
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.training import Budget, half_precision

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

Image = npt.NDArray[np.uint8]
ProgressCallback = Callable[[int, int], None]

_AT_ONCE = 256
"""Images held in memory while a pool is filled."""
_BATCH = {"cpu": 4, "cuda": 64}


def batch_on(device: torch.device) -> int:
    """Best batch size of a device."""
    return _BATCH[device.type]


class Sampler:
    """Samples images from a trained model.

    Args:
        denoiser: The model, on its device.
        settings: Settings of the model.
        encoding: Encoding of the images.
        positions: float32 [5, H, W], see ``position_channels``.
    """

    def __init__(self, denoiser: Denoiser, settings: SdasSettings, encoding: Encoding, positions: Tensor) -> None:
        self._denoiser = denoiser.eval()
        self._settings = settings
        self._encoding = encoding
        self._positions = positions

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self._denoiser.parameters()).device

    def __call__(self, bases: Image, added: Sequence[float], seeds: Sequence[int]) -> Image:
        """Makes one anomalous image of each base; see ``SdasSettings.perturbed_from``.

        Args:
            bases: uint8 [B, H, W, 3].
            added: Added variance s >= 0 of each image.
            seeds: Seed of each image; its noise depends only on this and the base.

        Returns:
            uint8 [B, H, W, 3].
        """
        if self._settings.perturbed_from is None:
            return self._sampled(bases, added, seeds)
        hashes = [_digest(base, seed) for base, seed in zip(bases, seeds, strict=True)]
        first = {digest: place for place, digest in reversed(list(enumerate(hashes)))}
        places = sorted(first.values())  # images of one base and seed share the chain that leads to the base
        made = sample_variants(
            self._schedule,
            self._denoise,
            self._encoded(bases[places]),
            _as_tensor(added),
            [places.index(first[digest]) for digest in hashes],
            steps=self._settings.variant_steps,
            perturbed_from=self._settings.perturbed_from,
            generators=[_generator(hashes[place]) for place in places],
        )
        return self._decoded(made)

    def normals(self, bases: Image, seeds: Sequence[int]) -> Image:
        """Samples a good image of each base: what the model takes for the product.

        Args:
            bases: uint8 [B, H, W, 3].
            seeds: Seed of each image.

        Returns:
            uint8 [B, H, W, 3].
        """
        return self._sampled(bases, [0.0] * len(bases), seeds)

    def _sampled(self, bases: Image, added: Sequence[float], seeds: Sequence[int]) -> Image:
        made = sample(
            self._schedule,
            self._denoise,
            self._encoded(bases),
            _as_tensor(added),
            steps=self._settings.sampling_steps,
            start_step=self._settings.start_step,
            generators=[_generator(_digest(base, seed)) for base, seed in zip(bases, seeds, strict=True)],
        )
        return self._decoded(made)

    @property
    def _schedule(self) -> DDPMScheduler:
        return noise_schedule(self._settings, self._encoding.max_abs)

    def _denoise(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        with half_precision(self.device):
            output: Tensor = self._denoiser(noisy, timesteps, self._positions.expand(len(noisy), -1, -1, -1))
        return output

    def _encoded(self, images: Image) -> Tensor:
        return self._encoding.encode(as_planes(images).to(self.device))

    def _decoded(self, made: Tensor) -> Image:
        return np.ascontiguousarray(self._encoding.decode(made).cpu().numpy().transpose(0, 2, 3, 1))


class OutOfTimeError(Exception):
    """Missing images could not be computed in time; the message is the end of a sentence."""


class Sdas:
    """The synthetic images of one model, stored in its pool.

    Args:
        sampler: Loads the sampler for missing images.
        pool: Stores the images.
        scale: What strengths mean.
        seed: Seed of the images.
        batch: Batch size.
        budget: Time limit for sampling; images in the pool are always available.
        progress: Called with the number of missing images computed so far and in total.
    """

    def __init__(
        self,
        sampler: Callable[[], Sampler],
        pool: ImagePool,
        scale: StrengthScale,
        seed: int,
        batch: int,
        budget: Budget | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._sampler = sampler
        self._pool = pool
        self._scale = scale
        self._seed = seed
        self._batch = batch
        self._budget = budget or Budget()
        self._progress = progress

    def reseeded(self, seed: int) -> Sdas:
        """The same model and pool with another seed."""
        return Sdas(self._sampler, self._pool, self._scale, seed, self._batch, self._budget, self._progress)

    def added_variance(self, strength: float) -> float:
        """s of a strength; see ``StrengthScale``."""
        return self._scale.added_variance(strength)

    def fill_pool(self, images: Sequence[Image], strengths: Sequence[float]) -> ImagePool:
        """Ensures that the pool contains one image for each image and strength, and returns it.

        Raises:
            OutOfTimeError: Images are missing and the time limit has passed.
            StoreError: The pool cannot be written.
        """
        requests = sorted(self._requests(images, strengths), key=_by_base)
        progress = _WholeProgress(self._progress, len(requests))
        for start in range(0, len(requests), _AT_ONCE):  # thousands, of which only the disk holds all
            part = requests[start : start + _AT_ONCE]
            self._pool.get(part, self._generate, self._batch, progress.of_part(start + len(part)))
        progress.close()
        return self._pool

    def synthesise(self, images: Sequence[Image], strengths: Sequence[float]) -> list[Image]:
        """One synthetic image for each image and strength, from the pool if available.

        Args:
            images: uint8 [H, W, 3] each.
            strengths: Of each, in 0 to 1; see ``StrengthScale``.

        Raises:
            OutOfTimeError: Images are missing and the time limit has passed.
            StoreError: The pool cannot be written.
        """
        requests = self._requests(images, strengths)
        order = sorted(range(len(requests)), key=lambda place: _by_base(requests[place]))
        made = self._pool.get([requests[place] for place in order], self._generate, self._batch, self._progress)
        return [image for _, image in sorted(zip(order, made, strict=True), key=itemgetter(0))]

    def _requests(self, images: Sequence[Image], strengths: Sequence[float]) -> list[Request]:
        return [Request(image, strength, self._seed) for image, strength in zip(images, strengths, strict=True)]

    def _generate(self, bases: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
        if self._budget.spent:
            raise OutOfTimeError("its images could not be computed within its share of the time budget")
        return self._sampler()(bases, [self.added_variance(strength) for strength in strengths], seeds)


def _by_base(request: Request) -> ImageKey:
    """Sorts those of one base into one batch, as they share the chain that leads to the base."""
    return request.key


class _WholeProgress:
    """Tells of the parts of a pool as of the whole; images that are there already count as done.

    Args:
        told: Called with the number done and the number of all; None if nobody listens.
        count: The number of all.
    """

    def __init__(self, told: ProgressCallback | None, count: int) -> None:
        self._told = told
        self._count = count
        self._latest: int | None = None

    def of_part(self, end: int) -> ProgressCallback:
        """The progress of a part that ends at place ``end``; it is told how many are made of how many that lacked."""
        return partial(self._tell, end)

    def close(self) -> None:
        """Tells that all are done, if anything was told and the last parts lacked nothing."""
        if self._latest is not None and self._latest < self._count:
            self._tell(self._count, 0, 0)

    def _tell(self, end: int, done: int, lacking: int) -> None:
        self._latest = end - lacking + done
        if self._told is not None:
            self._told(self._latest, self._count)


def as_planes(images: Image) -> Tensor:
    """Converts uint8 [N, H, W, 3] to a tensor uint8 [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _as_tensor(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def _digest(base: Image, seed: int) -> bytes:
    """Of base and seed but not of strength, so that only the strength makes a difference."""
    return hashlib.sha256(np.ascontiguousarray(base).tobytes() + str(seed).encode()).digest()


def _generator(digest: bytes) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
