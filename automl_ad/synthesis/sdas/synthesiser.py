"""A trained model with its pool: synthetic pictures of good ones, at any strength, each made once."""

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
from automl_ad.synthesis.sdas.pool import PicturePool, Request
from automl_ad.synthesis.sdas.sampling import sample
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.training import Budget, half_precision

Image = npt.NDArray[np.uint8]
Watch = Callable[[int, int], None]

_BATCH = {"cpu": 4, "cuda": 64}


def batch_on(device: torch.device) -> int:
    """Pictures that a device makes best at once."""
    return _BATCH[device.type]


class Sampler:
    """Makes pictures with a trained model.

    Args:
        denoiser: The model, on its device.
        settings: Of the model.
        encoding: What it sees of the pictures.
        place: float32 [5, H, W], where on the product every pixel lies.
    """

    def __init__(self, denoiser: Denoiser, settings: SdasSettings, encoding: Encoding, place: Tensor) -> None:
        self._denoiser = denoiser.eval()
        self._settings = settings
        self._encoding = encoding
        self._place = place

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self._denoiser.parameters()).device

    def __call__(self, bases: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
        """Makes one picture of each base.

        Args:
            bases: uint8 [B, H, W, 3].
            strengths: s >= 0 of each picture: the variance of every reverse step is multiplied by 1 + s.
            seeds: Of the noise of each picture, which depends on nothing else.

        Returns:
            uint8 [B, H, W, 3].
        """
        clean = self._encoding.encode(as_planes(bases).to(self.device))
        where = self._place.expand(len(clean), -1, -1, -1)

        def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
            with half_precision(self.device):
                output: Tensor = self._denoiser(noisy, timesteps, where)
            return output

        made = sample(
            noise_schedule(self._settings, self._encoding.reach),
            denoise,
            clean,
            torch.tensor(strengths, dtype=torch.float32, device=self.device),
            steps=self._settings.sampling_steps,
            start_step=self._settings.start_step,
            generators=[_generator(base, seed) for base, seed in zip(bases, seeds, strict=True)],
        )
        return np.ascontiguousarray(self._encoding.decode(made).cpu().numpy().transpose(0, 2, 3, 1))


class OutOfTimeError(Exception):
    """Pictures that are not in the pool could not be made in time; the message is the end of a sentence."""


class Sdas:
    """The pictures of one model, kept in its pool.

    Args:
        sampler: Loads what makes missing pictures.
        pool: Keeps what was made.
        seed: Names the pictures that are wanted: another seed gives other ones.
        batch: Pictures made at once.
        budget: Time for making pictures; those in the pool can always be had.
        watch: Told how many of the missing pictures are made.
    """

    def __init__(
        self,
        sampler: Callable[[], Sampler],
        pool: PicturePool,
        seed: int,
        batch: int,
        budget: Budget | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._sampler = sampler
        self._pool = pool
        self._seed = seed
        self._batch = batch
        self._budget = budget or Budget()
        self._watch = watch

    def reseeded(self, seed: int) -> Sdas:
        """The same model and pool, for other pictures."""
        return Sdas(self._sampler, self._pool, seed, self._batch, self._budget, self._watch)

    def stock(self, images: Sequence[Image], strengths: Sequence[float]) -> PicturePool:
        """The pool, with a picture of each image at each one's strength; see ``PoolSource``.

        Raises:
            OutOfTimeError: Pictures are missing and the time for making them has passed.
            StoreError: The pool cannot be written.
        """
        self.pictures(images, strengths)
        return self._pool

    def pictures(self, images: Sequence[Image], strengths: Sequence[float]) -> list[Image]:
        """One picture of each image at each one's strength, from the pool where it has them.

        Args:
            images: uint8 [H, W, 3] each.
            strengths: s >= 0 of each.

        Raises:
            OutOfTimeError: Pictures are missing and the time for making them has passed.
            StoreError: The pool cannot be written.
        """
        requests = [Request(image, strength, self._seed) for image, strength in zip(images, strengths, strict=True)]
        return self._pool.get(requests, self._generate, self._batch, self._watch)

    def _generate(self, bases: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
        if self._budget.spent:
            raise OutOfTimeError("its pictures could not be made in the time that it may take")
        return self._sampler()(bases, strengths, seeds)


def as_planes(images: Image) -> Tensor:
    """uint8 [N, H, W, 3] as a tensor uint8 [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _generator(base: Image, seed: int) -> torch.Generator:
    """Noise of its own for every base, the same at every strength, so that strength alone makes the difference."""
    digest = hashlib.sha256(np.ascontiguousarray(base).tobytes() + str(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
