from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from automl_ad.backbones.embedded import CONTRAST_FLOOR, MEAN_GAIN, ORIENTATIONS, EmbeddedBackbone, gabor_bank
from automl_ad.errors import InputError

MEANS = slice(ORIENTATIONS + 3, ORIENTATIONS + 6)


def grating(
    wavelength: float, angle: float = 0.0, phase: float = 0.0, amplitude: float = 0.4, side: int = 256
) -> Tensor:
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    wave = torch.cos(2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    return (0.5 + amplitude * wave).expand(1, 3, -1, -1)


def energies(image: Tensor) -> Tensor:
    """Logarithmic energies in the middle of the image: [levels, orientations]."""
    maps = EmbeddedBackbone()(image)
    return torch.stack([m[0, :ORIENTATIONS, m.shape[2] // 2, m.shape[3] // 2] for m in maps])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_filters_have_no_response_to_brightness() -> None:
    assert gabor_bank().sum((1, 2, 3)).abs().max() < 1e-6


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.9, 0.3, 0.1)])
def test_constant_image_has_means_and_nothing_else(colour: tuple[float, float, float]) -> None:
    image = torch.tensor(colour)[None, :, None, None].expand(1, 3, 64, 64)
    red, green, blue = colour
    expected = MEAN_GAIN * torch.tensor([sum(colour) / 3, red - green, (red + green) / 2 - blue])
    for level in EmbeddedBackbone()(image):
        contrast = level[0, : MEANS.start].exp() - CONTRAST_FLOOR
        assert contrast.abs().max() < 1e-5
        torch.testing.assert_close(level[0, MEANS], expected[:, None, None].expand(3, *level.shape[2:]))


@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_energy_peaks_at_the_orientation_of_a_grating(orientation: int) -> None:
    answer = energies(grating(4.0, orientation * math.pi / ORIENTATIONS))[0]
    assert int(answer.argmax()) == orientation


@pytest.mark.parametrize("octave", range(4))
def test_energy_peaks_at_the_octave_of_a_grating(octave: int) -> None:
    assert int(energies(grating(4.0 * 2**octave))[:, 0].argmax()) == octave


def test_energy_of_a_grating_is_half_its_amplitude() -> None:
    assert float(energies(grating(4.0, amplitude=0.4))[0, 0]) == pytest.approx(math.log(0.2 + CONTRAST_FLOOR), abs=0.01)


def test_energy_does_not_depend_on_phase() -> None:
    at_phases = torch.stack([energies(grating(4.0, phase=phase))[0, 0] for phase in (0.0, 0.7, 1.6, 2.9)])
    assert at_phases.max() - at_phases.min() < 0.01


def test_one_cell_equals_the_definition() -> None:
    image = noise(1, 3, 64, 64)
    row, column = 7, 9
    found = EmbeddedBackbone()(image, [-4])[0][0, :, row, column].numpy()
    red, green, blue = image[0].numpy().astype(np.float64)
    planes = np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue])
    ys, xs = (4 * row + 0.5, 4 * row + 2.5), (4 * column + 0.5, 4 * column + 2.5)
    samples = [reference_sample(planes, y, x) for y in ys for x in xs]
    np.testing.assert_allclose(found, np.mean(samples, 0), atol=1e-5)


def reference_sample(planes: npt.NDArray[np.float64], y: float, x: float) -> npt.NDArray[np.float64]:
    """Gabor magnitudes and local statistics around one point between pixels, from the formulas."""
    wavelength, sigma = 4.0, 0.56 * 4.0
    v, u = np.mgrid[-5.5:6.5, -5.5:6.5]
    patch = planes[0, int(y - 5.5) : int(y + 6.5), int(x - 5.5) : int(x + 6.5)]
    envelope = np.exp(-(u**2 + v**2) / (2 * sigma**2))
    envelope /= envelope.sum()
    magnitudes = []
    for k in range(8):
        along = u * np.cos(k * np.pi / 8) + v * np.sin(k * np.pi / 8)
        carrier = np.exp(2j * np.pi * along / wavelength)
        magnitudes.append(abs(np.sum(envelope * (carrier - np.sum(envelope * carrier)) * patch)))
    window = planes[:, int(y - 2.5) : int(y + 3.5), int(x - 2.5) : int(x + 3.5)].reshape(3, -1)
    contrasts = np.log(np.concatenate([magnitudes, window.std(1)]) + 0.01)
    return np.concatenate([contrasts, 4.0 * window.mean(1)])


@pytest.mark.parametrize("level", [-4, -3, -2])
def test_translation_by_the_stride_moves_the_map(level: int) -> None:
    backbone = EmbeddedBackbone()
    stride = backbone.strides[backbone.levels.index(level)]
    image = noise(1, 3, 288, 288)
    here = backbone(image[..., :256, :256], [level])[0]
    there = backbone(image[..., stride : stride + 256, :256], [level])[0]
    torch.testing.assert_close(here[..., 4:-3, 3:-3], there[..., 3:-4, 3:-3], atol=1e-5, rtol=0)


def test_mirrored_image_has_mirrored_features() -> None:
    backbone, image = EmbeddedBackbone(), noise(1, 3, 64, 96)
    mirrored_orientations = [(ORIENTATIONS - k) % ORIENTATIONS for k in range(ORIENTATIONS)]
    order = mirrored_orientations + list(range(ORIENTATIONS, ORIENTATIONS + 6))
    for level, mirrored in zip(backbone(image), backbone(image.flip(-1)), strict=True):
        torch.testing.assert_close(level[:, order].flip(-1), mirrored, atol=1e-5, rtol=0)


def test_features_do_not_depend_on_precision_or_memory_format() -> None:
    image = noise(2, 3, 64, 64)
    single = EmbeddedBackbone()(image)
    double = EmbeddedBackbone().double()(image.double())
    last = EmbeddedBackbone().to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    for a, b, c in zip(single, double, last, strict=True):
        torch.testing.assert_close(a, b.float(), atol=1e-5, rtol=0)
        torch.testing.assert_close(a, c, atol=1e-5, rtol=0)


@pytest.mark.parametrize("contrast", [1e-2, 1e-4])
def test_weak_contrasts_on_a_bright_ground_are_not_rounding(contrast: float) -> None:
    image = 0.9 + contrast * noise(1, 3, 64, 64)
    for single, double in zip(EmbeddedBackbone()(image), EmbeddedBackbone().double()(image.double()), strict=True):
        torch.testing.assert_close(single, double.float(), atol=3e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (96, 32)])
@pytest.mark.parametrize("pattern", ["black", "white", "checks", "noise"])
def test_every_value_is_finite_and_shapes_follow_strides(size: tuple[int, int], pattern: str) -> None:
    y, x = np.mgrid[: size[0], : size[1]]
    plane = {"black": 0 * y, "white": 0 * y + 1, "checks": (x + y) % 2}.get(pattern)
    image = noise(1, 3, *size) if plane is None else torch.from_numpy(plane).float().expand(1, 3, *size)
    backbone = EmbeddedBackbone()
    for level, channels, stride in zip(backbone(image), backbone.channels, backbone.strides, strict=True):
        assert level.shape == (1, channels, size[0] // stride, size[1] // stride)
        assert torch.isfinite(level).all()


def test_levels_come_in_the_order_asked_for() -> None:
    backbone, image = EmbeddedBackbone(), noise(1, 3, 64, 64)
    every = backbone(image)
    for found, index in zip(backbone(image, [-1, -3, -1]), [3, 1, 3], strict=True):
        assert torch.equal(found, every[index])
    assert backbone.describe([-1, -4]) == ([14, 14], [32, 4])


def test_unknown_level_is_refused() -> None:
    with pytest.raises(InputError, match="no level -5"):
        EmbeddedBackbone()(noise(1, 3, 32, 32), [-5])


def test_nothing_to_store_and_nothing_to_train() -> None:
    backbone = EmbeddedBackbone()
    assert backbone.tensors([-1]) == {}
    assert not list(backbone.parameters())
    assert not backbone.train().training
