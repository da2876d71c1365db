"""DFR's convolutional autoencoder of 1 x 1 kernels (Shi, Yang and Qi 2021, arXiv 2012.07122), trained on vectors.

A 1 x 1 convolution processes each position separately, so training uses vectors instead of images: a random subset of
the normals' regional vectors, drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.features import Align, align
from automl_ad.methods.fit_memory import take_rows

Form = Literal["released", "paper"]


class AutoencoderHead(nn.Module):
    """Mean squared reconstruction error of each position.

    Six layers of two forms. ``released``, the authors' code: D, (D + 2k) / 2, 2k, k and back, batch norm and ReLU
    after all but the latent and the last. ``paper``, its appendix: D, (D + k) / 2, 2k, k and back, without batch norm.

    Buffers:
        grid: int64 [2], (h, w).
        latent: int64 scalar, k.
    """

    grid: Tensor
    latent: Tensor

    def __init__(self, channels: int, latent: int, grid: Tensor, mode: Align, form: Form = "released") -> None:
        super().__init__()
        self.register_buffer("grid", grid)
        self.register_buffer("latent", torch.tensor(latent))
        self._size = (int(grid[0]), int(grid[1]))
        self._mode: Align = mode
        widths = [channels, (channels + (2 if form == "released" else 1) * latent) // 2, 2 * latent, latent]
        self.encoder = _layers(widths, form)
        self.decoder = _layers(widths[::-1], form)

    @torch.no_grad()
    def init_output(self, mean: Tensor) -> None:
        """Initialises the output bias to ``mean``, so that a short training need not learn the features' offsets."""
        cast(nn.Linear, self.decoder[-1]).bias.copy_(mean)

    def errors(self, vectors: Tensor) -> Tensor:
        """float32 [n, D] to the mean squared error of each vector, [n]."""
        rebuilt: Tensor = self.decoder(self.encoder(vectors))
        return functional.mse_loss(rebuilt, vectors, reduction="none").mean(1)

    def loss(self, vectors: Tensor, batch: int, generator: torch.Generator) -> Tensor:
        """Mean error of ``batch`` of the float32 [n, D] vectors, wherever they lie, drawn with replacement."""
        rows = torch.randint(len(vectors), (min(batch, len(vectors)),), generator=generator)
        return self.errors(take_rows(vectors, rows, self.grid.device)).mean()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w]."""
        vectors = align(maps, self._size, self._mode).permute(0, 2, 3, 1)
        return self.errors(vectors.flatten(0, 2)).reshape(-1, *self._size)


def _layers(widths: Sequence[int], form: Form) -> nn.Sequential:
    """Linear layers of the given widths, with ReLU (and batch norm in the released form) after all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        normed = [nn.BatchNorm1d(outputs)] if form == "released" else []
        layers += [nn.Linear(inputs, outputs), *normed, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))
