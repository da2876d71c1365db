"""A diffusion model that trains in a moment, and small parts for it to learn."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.settings import NetworkSettings, SdasSettings

Images = npt.NDArray[np.uint8]

NETWORK = NetworkSettings(patch=2, widths=(16, 16), attention=(False, False))
TINY = SdasSettings(network=NETWORK, crop=32, batch=4, steps=8, rate=1e-3, start_step=100)


def draw_parts(count: int, side: int = 32, seed: int = 0) -> Images:
    """Reddish discs with a bore on a grey ground; uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(seed)
    images = np.full((count, side, side, 3), 70, np.uint8)
    for image in images:
        middle = (side // 2 + int(rng.integers(-2, 3)), side // 2 + int(rng.integers(-2, 3)))
        cv2.circle(image, middle, side * 3 // 8, (200, 150, 120), -1, cv2.LINE_AA)
        cv2.circle(image, middle, side // 10, (60, 60, 65), -1, cv2.LINE_AA)
    noisy = images + rng.normal(0, 4, images.shape) + rng.normal(0, 3, (count, 1, 1, 1))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def odd_denoiser(seed: int = 0, network: NetworkSettings = NETWORK, channels: int = 3, oddity: float = 0.1) -> Denoiser:
    """One that has not learned anything, but whose output depends on all that it sees unless ``oddity`` is 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(network, channels)
        nn.init.normal_(denoiser.network.conv_out.weight, std=oddity)
    return denoiser.eval()


def altered(denoiser: Denoiser, amount: float) -> Denoiser:
    """The same one with ``amount`` added to all its weights."""
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight += amount
    return denoiser
