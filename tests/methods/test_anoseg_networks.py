"""AnoSeg's networks: the published layout at any width and size, and what the head makes of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from handmade import noise
from torch import Tensor, nn

from automl_ad.methods.anoseg.networks import (
    AnoSegHead,
    Decoder,
    Discriminator,
    Generator,
    Score,
    coordinate_channels,
    shrink,
)


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def shapes(layers: nn.Module, start: Tensor, kinds: tuple[type[nn.Module], ...]) -> list[tuple[int, int]]:
    """Channels and side of what each layer of some kinds gives."""
    found: list[tuple[int, int]] = []
    for layer in layers.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda _, __, given: found.append((given.shape[1], given.shape[2])))
    layers.eval()(start)
    return found


def head_of(score: Score = "map", with_discriminator: bool | None = None, **options: Any) -> AnoSegHead:
    """A head in evaluation mode, warmed up on noise."""
    torch.manual_seed(0)
    chosen: dict[str, Any] = {"size": 64, "width": 8, "coordinates": True} | options
    head = AnoSegHead(
        **chosen, with_discriminator=score == "gan" if with_discriminator is None else with_discriminator, score=score
    )
    with torch.no_grad():
        for seed in range(3):
            head([pictures(4, seed)])
    return head.eval()


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (64, 64)) -> Tensor:
    """Noise in 0 to 1."""
    return torch.sigmoid(noise(count, 3, *size, seed=seed))


def test_the_networks_have_the_published_size() -> None:
    with torch.device("meta"):
        generator, discriminator = Generator(256, 128), Discriminator(256, 128)
    assert millions(generator) == pytest.approx(31.8, rel=0.03)
    assert millions(generator.encoder) == pytest.approx(11.2, rel=0.03)
    assert millions(generator.rebuild) == pytest.approx(10.3, rel=0.03)
    assert millions(discriminator) == pytest.approx(12.2, rel=0.03)


def test_decoders_follow_table_6() -> None:
    found = shapes(Decoder(128, 3), torch.zeros(1, 512, 2, 2), (nn.Conv2d, nn.ConvTranspose2d))
    published = [(512, 8), (512, 16), (256, 16), (256, 32), (128, 32), (128, 64), (128, 64)]
    published += [(128, 128), (128, 128), (128, 256), (128, 256), (3, 256)]
    assert found == [(channels, side // 4) for channels, side in published]  # from 64 instead of 256 pixels


@pytest.mark.parametrize(("stride", "coarsest"), [(8, (16, 8)), (16, (32, 4)), (32, (64, 2))])
def test_a_finer_encoding_leaves_out_the_coarsest_stages(stride: int, coarsest: tuple[int, int]) -> None:
    generator = Generator(64, 16, stride=stride)
    encoded = generator.encoder(torch.zeros(1, 5, 64, 64))
    assert (encoded.shape[1], encoded.shape[2]) == coarsest
    assert generator.locate(encoded).shape == (1, 1, 64, 64)


def test_the_discriminator_follows_table_6() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Discriminator(256, 128)

        def forward(self, pairs: Tensor) -> Tensor:
            with_discriminator: Tensor = self.inner(pairs[:, :3], pairs[:, 3:])
            return with_discriminator

    whole = Whole()
    norms = [layer for layer in whole.inner.body if isinstance(layer, nn.BatchNorm2d)]
    found = shapes(whole, torch.zeros(1, 4, 256, 256), (nn.Conv2d,))
    assert found == [(64, 128), (128, 64), (256, 32), (512, 16), (512, 8), (512, 4), (128, 2), (1, 1)]
    assert len(norms) == 6  # none after the first layer


@pytest.mark.parametrize(("size", "layers"), [(64, 6), (96, 6), (128, 7), (160, 7), (256, 8)])
def test_the_discriminator_ends_at_one_number_whatever_the_size(size: int, layers: int) -> None:
    judge = Discriminator(size, 16)
    found = [layer.out_channels for layer in judge.modules() if isinstance(layer, nn.Conv2d)]
    assert len(found) == layers
    assert found[-2:] == [16, 1]
    with torch.no_grad():
        features = judge.features(pictures(3, size=(size, size)), torch.rand(3, 1, size, size))
        assert judge.last(features).shape == (3, 1, 1, 1)
        assert judge(pictures(3, size=(size, size)), torch.rand(3, 1, size, size)).shape == (3,)


def test_coordinates_by_hand() -> None:
    rows, columns = coordinate_channels(3)[0]
    assert rows.tolist() == [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]
    assert columns.tolist() == [[-1, 0, 1]] * 3
    assert coordinate_channels(5)[0, 0, :, 2].tolist() == [-1, -0.5, 0, 0.5, 1]


@pytest.mark.parametrize("coordinates", [True, False])
def test_the_encoder_sees_the_image_and_its_coordinates(coordinates: bool) -> None:
    generator, seen = Generator(64, 8, coordinates).eval(), []
    generator.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = pictures(2)
    generator(images)
    extra = [coordinate_channels(64).expand(2, -1, -1, -1)] if coordinates else []
    torch.testing.assert_close(seen[0], torch.cat([images, *extra], 1))


def test_a_settled_encoder_sees_zero_mean_and_unit_variance() -> None:
    """Else coordinates, which span all of -1 to 1, would drown a picture of little contrast."""
    generator = Generator(32, 8)
    seen: list[Tensor] = []
    generator.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    images = 0.4 + 0.05 * noise(6, 3, 32, 32) + torch.tensor([0.0, 0.1, 0.2])[:, None, None]
    generator.fit_normalisation(images)
    generator(images)
    shown, places = seen[0][:, :3], seen[0][:, 3:]
    assert shown.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert float(shown.var()) == pytest.approx(1, rel=1e-3)
    assert float(places.abs().max()) == 1
    assert {"centre", "spread"} <= generator.state_dict().keys()


def test_noise_on_a_plain_product_is_not_blown_up() -> None:
    generator = Generator(32, 8)
    generator.fit_normalisation(torch.full((2, 3, 32, 32), 0.5))
    assert float(generator.spread) == pytest.approx(0.02)


@pytest.mark.parametrize("size", [0, 40, 100])
def test_a_size_that_cannot_be_halved_five_times_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        Generator(size, 8)


@pytest.mark.parametrize("size", [64, 96])
def test_rebuilt_images_lie_in_0_to_1_and_logits_do_not(size: int) -> None:
    generator = Generator(size, 8)
    with torch.no_grad():
        rebuilt, logits = generator(pictures(4, size=(size, size)))
    assert rebuilt.shape == (4, 3, size, size)
    assert logits.shape == (4, 1, size, size)
    assert 0 < float(rebuilt.min()) < float(rebuilt.max()) < 1
    assert float(logits.min()) < 0 < float(logits.max())


def test_the_map_is_high_where_the_generator_does_not_call_an_image_normal() -> None:
    head = head_of()
    last: nn.Conv2d = head.generator.locate[-1]
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    last.bias.data.fill_(3.0)  # normal everywhere
    with torch.no_grad():
        torch.testing.assert_close(head([pictures(2)]), torch.full((2, 64, 64), -3.0))


def test_only_the_last_entry_of_the_list_is_looked_at() -> None:
    head, images = head_of(), pictures(2, seed=5)
    with torch.no_grad():
        torch.testing.assert_close(head([noise(2, 7, 3, 3), images]), head([images]))


def test_images_of_any_size_and_shape_are_brought_to_the_square() -> None:
    head, images = head_of(), pictures(2, seed=5, size=(96, 160))
    with torch.no_grad():
        found = head([images])
        assert found.shape == (2, 64, 64)
        torch.testing.assert_close(found, head([shrink(images, 64)]))


def test_shrinking_averages_and_leaves_images_of_the_right_size() -> None:
    images = pictures(2)
    torch.testing.assert_close(shrink(images, 64), images)
    checked = (torch.arange(128)[:, None] + torch.arange(128)) % 2
    grey = shrink(checked.expand(1, 3, 128, 128).float(), 32)[..., 1:-1, 1:-1]
    torch.testing.assert_close(grey, torch.full_like(grey, 0.5))


def test_the_image_score_by_hand() -> None:
    class Listed(nn.Module):
        """Features are the image's mean and the mask's mean."""

        def features(self, images: Tensor, normal: Tensor) -> Tensor:
            return torch.stack([images.mean((1, 2, 3)), normal.mean((1, 2, 3))], 1)[..., None, None]

    head, listed = head_of("gan"), Listed()
    head.discriminator = listed  # type: ignore[assignment]
    images, rebuilt = torch.zeros(2, 3, 64, 64), torch.stack([torch.zeros(3, 64, 64), torch.full((3, 64, 64), 0.5)])
    logits = torch.stack([torch.full((1, 64, 64), 100.0), torch.zeros(1, 64, 64)])
    # The second: means apart by 0.5 and masks by 0.5, (0.25 + 0.25) / 2, and pixels apart by 0.5, 0.1 * 0.25.
    torch.testing.assert_close(head.image_score(images, rebuilt, logits), torch.tensor([0.0, 0.275]))


def test_the_gan_score_adds_one_number_to_each_map() -> None:
    head, images = head_of("gan"), pictures(3, seed=5)
    with torch.no_grad():
        rebuilt, logits = head.generator(images)
        added = head([images]) + logits[:, 0]
        scores = head.image_score(images, rebuilt, logits)
    assert float(scores.min()) > 0
    assert float(scores.max() - scores.min()) > 1e-5
    torch.testing.assert_close(added, scores[:, None, None].expand(3, 64, 64), atol=1e-5, rtol=1e-4)


def test_a_discriminator_that_only_trains_the_generator_does_not_change_the_map() -> None:
    head, images = head_of("map", with_discriminator=True), pictures(2)
    with torch.no_grad():
        before = head([images])
        head.discriminator = None
        torch.testing.assert_close(head([images]), before, rtol=0, atol=0)


@pytest.mark.parametrize("score", ["map", "gan"])
def test_images_of_a_batch_do_not_meet(score: Score) -> None:
    head, images = head_of(score), pictures(4, seed=7)
    with torch.no_grad():
        alone = torch.cat([head([images[place : place + 1]]) for place in range(4)])
        torch.testing.assert_close(head([images]), alone, atol=1e-5, rtol=1e-4)


def test_coordinates_are_not_part_of_the_state() -> None:
    assert not any("places" in name for name in head_of().state_dict())


class Unlisted(nn.Module):
    """A head that takes images alone, as tracing wants."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.head([images])
        return result


@pytest.mark.parametrize("score", ["map", "gan"])
def test_a_recorded_graph_gives_the_same_maps(score: Score) -> None:
    head = Unlisted(head_of(score))
    graph = torch.export.export(head, (pictures(2, size=(96, 64)),), strict=False).module()
    images = pictures(2, seed=9, size=(96, 64))
    with torch.no_grad():
        torch.testing.assert_close(graph(images), head(images), atol=1e-5, rtol=1e-4)
