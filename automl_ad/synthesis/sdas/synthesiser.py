"""A trained model with its pool: synthetic images of good ones, at any strength."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.learning import noise_schedule
from automl_ad.synthesis.sdas.pool import ImagePool, Request
from automl_ad.synthesis.sdas.sampling import sample
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.training import Budget, half_precision

Image = npt.NDArray[np.uint8]
ProgressCallback = Callable[[int, int], None]

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

    def __call__(self, bases: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
        """Samples one image for each base.

        Args:
            bases: uint8 [B, H, W, 3].
            strengths: s >= 0 of each image: the variance of every reverse step is multiplied by 1 + s.
            seeds: Seed of each image; its noise depends only on this and the base.

        Returns:
            uint8 [B, H, W, 3].
        """
        clean = self._encoding.encode(as_planes(bases).to(self.device))
        where = self._positions.expand(len(clean), -1, -1, -1)

        def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
            with half_precision(self.device):
                output: Tensor = self._denoiser(noisy, timesteps, where)
            return output

        made = sample(
            noise_schedule(self._settings, self._encoding.max_abs),
            denoise,
            clean,
            torch.tensor(strengths, dtype=torch.float32, device=self.device),
            steps=self._settings.sampling_steps,
            start_step=self._settings.start_step,
            generators=[_generator(base, seed) for base, seed in zip(bases, seeds, strict=True)],
        )
        return np.ascontiguousarray(self._encoding.decode(made).cpu().numpy().transpose(0, 2, 3, 1))


class OutOfTimeError(Exception):
    """Missing images could not be computed in time; the message is the end of a sentence."""


class Sdas:
    """The synthetic images of one model, stored in its pool.

    Args:
        sampler: Loads the sampler for missing images.
        pool: Stores the images.
        seed: Seed of the images.
        batch: Batch size.
        budget: Time limit for sampling; images in the pool are always available.
        progress: Called with the number of missing images computed so far and in total.
    """

    def __init__(
        self,
        sampler: Callable[[], Sampler],
        pool: ImagePool,
        seed: int,
        batch: int,
        budget: Budget | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._sampler = sampler
        self._pool = pool
        self._seed = seed
        self._batch = batch
        self._budget = budget or Budget()
        self._progress = progress

    def reseeded(self, seed: int) -> Sdas:
        """The same model and pool with another seed."""
        return Sdas(self._sampler, self._pool, seed, self._batch, self._budget, self._progress)

    def fill_pool(self, images: Sequence[Image], strengths: Sequence[float]) -> ImagePool:
        """Ensures that the pool contains one image for each image and strength, and returns it.

        Raises:
            OutOfTimeError: Images are missing and the time limit has passed.
            StoreError: The pool cannot be written.
        """
        self.synthesise(images, strengths)
        return self._pool

    def synthesise(self, images: Sequence[Image], strengths: Sequence[float]) -> list[Image]:
        """One synthetic image for each image and strength, from the pool if available.

        Args:
            images: uint8 [H, W, 3] each.
            strengths: s >= 0 of each.

        Raises:
            OutOfTimeError: Images are missing and the time limit has passed.
            StoreError: The pool cannot be written.
        """
        requests = [Request(image, strength, self._seed) for image, strength in zip(images, strengths, strict=True)]
        return self._pool.get(requests, self._generate, self._batch, self._progress)

    def _generate(self, bases: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
        if self._budget.spent:
            raise OutOfTimeError("its images could not be computed within its share of the time budget")
        return self._sampler()(bases, strengths, seeds)


def as_planes(images: Image) -> Tensor:
    """Converts uint8 [N, H, W, 3] to a tensor uint8 [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _generator(base: Image, seed: int) -> torch.Generator:
    """A generator seeded by base and seed but not by strength, so that only the strength makes a difference."""
    digest = hashlib.sha256(np.ascontiguousarray(base).tobytes() + str(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
