"""The denoising network: diffusers' U-Net with position channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.synthesis.sdas.settings import NetworkSettings

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

GROUPS = 32
COORDINATES = 2


def position_channels(mean: Tensor) -> Tensor:
    """Input channels that encode the position of every pixel on the product.

    Args:
        mean: float32 [3, H, W], the mean of the good images. For aligned parts it shows what belongs at a position;
            otherwise it is a blur that the network learns to ignore.

    Returns:
        float32 [5, H, W]: row and column from -1 at the first to 1 at the last, then the mean.
    """
    height, width = mean.shape[-2:]
    rows = torch.linspace(-1, 1, height, device=mean.device)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width, device=mean.device)[None, :].expand(height, width)
    return torch.cat([torch.stack([rows, columns]), mean])


class Denoiser(nn.Module):
    """Predicts the noise in an image or a crop of one.

    Position channels allow a network trained on crops to run on the whole image. Pixel unshuffling (a patch of 2) makes
    the first and most expensive level four times cheaper.

    Args:
        settings: Architecture of the network.
        channels: Channels of the encoded images, 1 or 3.
    """

    def __init__(self, settings: NetworkSettings, channels: int) -> None:
        super().__init__()
        self._patch = settings.patch
        self._placed = settings.placed
        folded = channels * settings.patch**2
        outputs = folded * (2 if settings.learned_variance else 1)
        position_count = COORDINATES + 3 * settings.patch**2 if settings.placed else 0
        self.network = _network(settings, folded + position_count, outputs)
        # Zero initialisation: otherwise a short training first has to unlearn the network's own noise.
        nn.init.zeros_(self.network.conv_out.weight)
        nn.init.zeros_(cast(Tensor, self.network.conv_out.bias))

    def forward(self, noisy: Tensor, timesteps: Tensor, positions: Tensor) -> Tensor:
        """Predicts the noise and, if learned, the variance.

        Args:
            noisy: float32 [B, C, H, W], about -1 to 1 plus noise.
            timesteps: int64 [B].
            positions: float32 [B, 5, H, W] of ``position_channels``; ignored unless the network is ``placed``.

        Returns:
            float32 [B, C, H, W], or [B, 2C, H, W] with learned variance.
        """
        inputs = functional.pixel_unshuffle(noisy, self._patch)
        if self._placed:
            where = functional.avg_pool2d(positions[:, :COORDINATES], self._patch)
            inputs = torch.cat([inputs, where, functional.pixel_unshuffle(positions[:, COORDINATES:], self._patch)], 1)
        output: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last), timesteps).sample
        return functional.pixel_shuffle(output.float(), self._patch)


def _network(settings: NetworkSettings, inputs: int, outputs: int) -> UNet2DModel:
    from diffusers.models.unets.unet_2d import UNet2DModel  # imported here: takes seconds

    resampling = "resnet" if settings.published_blocks else "conv"
    network: UNet2DModel = UNet2DModel(
        in_channels=inputs,
        out_channels=outputs,
        block_out_channels=settings.widths,
        layers_per_block=settings.layers,
        down_block_types=tuple(_block("Down", attends) for attends in settings.attention),
        up_block_types=tuple(_block("Up", attends) for attends in reversed(settings.attention)),
        downsample_type=resampling,
        upsample_type=resampling,
        resnet_time_scale_shift="scale_shift" if settings.published_blocks else "default",
        attention_head_dim=settings.head_channels,
        add_attention=any(settings.attention),
        norm_num_groups=_groups(settings.widths),
        attn_norm_num_groups=_groups(settings.widths),
    )
    return network


def _block(direction: str, attends: bool) -> str:
    return f"{'Attn' if attends else ''}{direction}Block2D"


def _groups(widths: tuple[int, ...]) -> int:
    """The largest number of groups up to 32 that divides all widths and leaves 4 channels or more in each."""
    return max(g for g in range(1, GROUPS + 1) if all(width % g == 0 and width // g >= 4 for width in widths))
