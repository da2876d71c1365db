"""RealNet's reconstruction networks: published sizes, and their parts by hand."""

from __future__ import annotations

import math

import pytest
import torch
from handmade import noise
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.realnet.reconstruction import (
    FeatureUNet,
    LightReconstruction,
    ResidualBlock,
    SelfAttention,
    groups_for,
)

pytestmark = pytest.mark.usefixtures("gradients_as_in_trainings")


def stirred(network: nn.Module) -> nn.Module:
    """The network with small random weights everywhere, also where it starts at zero."""
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        spread = 1 / math.sqrt(max(1, weight[0].numel()))
        weight.data = torch.randn(weight.shape, generator=generator) * spread
    return network.eval()


@pytest.mark.parametrize(("channels", "millions"), [(256, 51.8), (512, 207.3)])
def test_the_network_has_the_published_size(channels: int, millions: float) -> None:
    with torch.device("meta"):
        network = FeatureUNet(channels)
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_groups_by_hand() -> None:
    assert [groups_for(channels) for channels in (1, 7, 14, 32, 48, 256)] == [1, 1, 2, 16, 16, 32]


def test_the_last_layer_starts_without_weight() -> None:
    """Whatever comes in, the output of a fresh network is one constant a channel."""
    network = FeatureUNet(16)
    rebuilt = network(noise(2, 16, 8, 8))
    torch.testing.assert_close(rebuilt, rebuilt[:1, :, :1, :1].expand_as(rebuilt))


@pytest.mark.parametrize("channels", [14, 16, 64])
@pytest.mark.parametrize("size", [(8, 8), (4, 12)])
def test_shape_stays(channels: int, size: tuple[int, int]) -> None:
    features = noise(2, channels, *size)
    for network in (FeatureUNet(channels), LightReconstruction(channels, 32)):
        assert network(features).shape == features.shape


@pytest.mark.parametrize("network", [FeatureUNet(16), LightReconstruction(16, 32)])
def test_images_of_a_batch_do_not_meet(network: nn.Module) -> None:
    network = stirred(network)
    images = noise(3, 16, 8, 8)
    together = network(images)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert float((together[0] - together[1]).detach().abs().max()) > 0.1


@pytest.mark.parametrize("network", [FeatureUNet(16), LightReconstruction(16, 64)])
def test_every_weight_matters(network: nn.Module) -> None:
    network = stirred(network)
    (network(noise(2, 16, 8, 8)) * noise(2, 16, 8, 8, seed=1)).sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert float(weight.grad.abs().max()) > 1e-6, name


def test_attention_is_below_full_resolution_only() -> None:
    network = FeatureUNet(16)
    widths = {module.norm.num_channels for module in network.modules() if isinstance(module, SelfAttention)}
    assert widths == {16, 32}  # not 8, the width at full resolution
    assert sum(isinstance(module, SelfAttention) for module in network.modules()) == 2 + 2 + 1 + 3 + 3


def attention_by_hand(attention: SelfAttention, image: Tensor, heads: int) -> Tensor:
    """Softmax attention of one image [C, h, w], head by head and query by query."""
    channels, height, width = image.shape
    points = attention.norm(image[None])[0].reshape(channels, -1)
    inward, outward = attention.inward.weight[:, :, 0, 0], attention.outward.weight[:, :, 0, 0]
    projected = inward @ points + attention.inward.bias[:, None]
    query, key, value = (part.reshape(heads, channels // heads, -1) for part in projected.split(channels))
    mixed = torch.zeros(heads, channels // heads, height * width)
    for head in range(heads):
        for place in range(height * width):
            scores = (query[head, :, place, None] * key[head]).sum(0) / math.sqrt(channels // heads)
            shares = scores.exp() / scores.exp().sum()
            mixed[head, :, place] = (value[head] * shares).sum(1)
    result = outward @ mixed.reshape(channels, -1) + attention.outward.bias[:, None]
    return image + result.reshape(channels, height, width)


@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (64, 1), (128, 2)])
def test_attention_equals_a_softmax_written_out(channels: int, heads: int) -> None:
    attention = stirred(SelfAttention(channels))
    images = noise(2, channels, 3, 4)
    with torch.no_grad():
        by_hand = torch.stack([attention_by_hand(attention, image, heads) for image in images])
        torch.testing.assert_close(attention(images), by_hand, atol=1e-4, rtol=1e-4)


def test_a_residual_block_by_hand() -> None:
    block = stirred(ResidualBlock(4, 6))
    image = noise(1, 4, 5, 5)
    norm, conv, project = block.body[0], block.body[3], block.shortcut[1]
    groups = image.reshape(1, 2, 2 * 5 * 5)
    normed = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    normed = normed.reshape(image.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]
    active = normed * torch.sigmoid(normed)
    by_hand = functional.conv2d(active, conv.weight, conv.bias, padding=1) + project(image)
    torch.testing.assert_close(block(image), by_hand, atol=1e-5, rtol=1e-4)


def test_a_block_that_halves_averages_two_by_two_on_both_paths() -> None:
    block = ResidualBlock(4, 4, "down")
    image = noise(1, 4, 6, 8)
    nn.init.zeros_(block.body[3].weight)
    nn.init.zeros_(block.body[3].bias)
    means = image.reshape(1, 4, 3, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(block(image), means)


def test_a_block_that_doubles_has_transposed_convolutions_on_both_paths() -> None:
    block = ResidualBlock(4, 4, "up")
    assert block(noise(1, 4, 3, 5)).shape == (1, 4, 6, 10)
    nn.init.zeros_(block.body[3].weight)
    nn.init.zeros_(block.body[3].bias)
    image = noise(1, 4, 3, 5)
    torch.testing.assert_close(block(image), block.shortcut[0](image))


def test_nothing_gets_past_the_bottleneck_of_the_light_network() -> None:
    """Its first layer holds 64 numbers of an image of 128: what these do not tell, the network cannot copy through."""
    network = stirred(LightReconstruction(2, 4))
    first: nn.Module = network.body[0]
    units = torch.eye(128).reshape(128, 2, 8, 8)
    with torch.no_grad():
        seen = (first(units) - first(torch.zeros(1, 2, 8, 8))).reshape(128, 64)
        unseen = torch.linalg.svd(seen.T.double())[2][-1].float().reshape(1, 2, 8, 8)
        image = noise(1, 2, 8, 8)
        torch.testing.assert_close(network(image + 10 * unseen), network(image), atol=1e-3, rtol=1e-3)
        assert float((network(image + 10 * noise(1, 2, 8, 8, seed=1)) - network(image)).abs().max()) > 0.1


def test_output_is_zero_before_training() -> None:
    assert float(FeatureUNet(16)(torch.randn(1, 16, 8, 8)).detach().abs().max()) == 0
