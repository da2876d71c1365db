"""DFR's convolutional autoencoder of 1 x 1 kernels (Shi, Yang and Qi 2021, arXiv 2012.07122), trained on vectors.

A 1 x 1 convolution sees one position at a time, so training needs vectors and no images: a random subset of the
normals' regional vectors, drawn once, stands for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.features import Align, align


class AutoencoderHead(nn.Module):
    """Mean squared reconstruction error of each position.

    The layers follow the authors' released code: D, (D + 2k) / 2, 2k, k and back, batch norm and ReLU after all but
    the latent and the last.

    Buffers:
        grid: int64 [2], (h, w).
        latent: int64 scalar, k.
    """

    grid: Tensor
    latent: Tensor

    def __init__(self, channels: int, latent: int, grid: Tensor, mode: Align) -> None:
        super().__init__()
        self.register_buffer("grid", grid)
        self.register_buffer("latent", torch.tensor(latent))
        self._size = (int(grid[0]), int(grid[1]))
        self._mode: Align = mode
        middle = (channels + 2 * latent) // 2
        self.encoder = nn.Sequential(
            *_block(channels, middle), *_block(middle, 2 * latent), nn.Linear(2 * latent, latent)
        )
        self.decoder = nn.Sequential(
            *_block(latent, 2 * latent), *_block(2 * latent, middle), nn.Linear(middle, channels)
        )

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Makes the untrained output ``mean``: a short training must not be spent on finding the features' offsets."""
        cast(nn.Linear, self.decoder[-1]).bias.copy_(mean)

    def errors(self, vectors: Tensor) -> Tensor:
        """float32 [n, D] to the mean squared error of each vector, [n]."""
        rebuilt: Tensor = self.decoder(self.encoder(vectors))
        return functional.mse_loss(rebuilt, vectors, reduction="none").mean(1)

    def loss(self, vectors: Tensor, batch: int, generator: torch.Generator) -> Tensor:
        """Mean error of ``batch`` of the float32 [n, D] vectors, drawn with replacement."""
        rows = torch.randint(len(vectors), (min(batch, len(vectors)),), generator=generator).to(vectors.device)
        return self.errors(vectors[rows]).mean()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w]."""
        vectors = align(maps, self._size, self._mode).permute(0, 2, 3, 1)
        return self.errors(vectors.flatten(0, 2)).reshape(-1, *self._size)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
