from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from handmade import EMBEDDED_LEVELS, VARIANTS, draw_discs, fitted, noise, variant
from torch import Tensor, nn

from automl_ad.backbones.cache import FeatureCache
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import InputError
from automl_ad.methods.features import FeatureDetector, align, suggest_families
from automl_ad.methods.padim import Padim, PadimSettings
from automl_ad.methods.space import BackboneSpace, Space

NORMALS = ImageSet.of(draw_discs(10))
OTHERS = ImageSet.of(draw_discs(5, seed=1))


def ramp(height: int, width: int) -> Tensor:
    """float32 [1, 1, height, width] that counts up from zero, row by row."""
    return torch.arange(float(height * width)).reshape(1, 1, height, width)


@pytest.fixture(scope="module")
def ready() -> dict[str, FeatureDetector]:
    """Every method and model, fitted on the drawn discs."""
    extractor = FeatureExtractor(EmbeddedBackbone())
    return {name: fitted(variant(name, extractor), NORMALS) for name in VARIANTS}


def test_finer_levels_are_averaged_over_each_cell() -> None:
    assert align([ramp(4, 4)], (2, 2)).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert align([ramp(2, 6)], (1, 2)).tolist() == [[[[4.0, 7.0]]]]


def test_finer_levels_of_odd_size_are_averaged_over_overlapping_cells() -> None:
    """Cells of 5 in 2 are the elements 0 to 2 and 2 to 4."""
    assert align([ramp(1, 5)], (1, 2)).tolist() == [[[[1.0, 3.0]]]]
    assert align([ramp(5, 1)], (2, 1)).tolist() == [[[[1.0], [3.0]]]]


def test_coarser_levels_are_interpolated_between_cell_centres() -> None:
    level = torch.tensor([[[[0.0, 4.0]]]])
    assert align([level], (1, 4)).tolist() == [[[[0.0, 1.0, 3.0, 4.0]]]]
    assert align([level], (1, 4), "nearest").tolist() == [[[[0.0, 0.0, 4.0, 4.0]]]]


def test_nearest_repeats_cells_of_odd_sizes() -> None:
    assert align([ramp(1, 2)], (1, 5), "nearest").tolist() == [[[[0.0, 0.0, 0.0, 1.0, 1.0]]]]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_levels_on_the_grid_pass_unchanged_and_channels_keep_their_order(mode: str) -> None:
    here, finer, coarser = noise(2, 3, 4, 6), torch.ones(2, 2, 8, 12), torch.full((2, 1, 2, 3), 7.0)
    found = align([here, finer, coarser], (4, 6), mode)  # type: ignore[arg-type]  # parametrised
    assert found.shape == (2, 6, 4, 6)
    assert torch.equal(found[:, :3], here)
    assert torch.equal(found[:, 3:5], torch.ones(2, 2, 4, 6))
    assert torch.equal(found[:, 5], torch.full((2, 4, 6), 7.0))


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(3, 5), (7, 7), (16, 2), (1, 1)])
def test_constant_levels_stay_constant_on_any_grid(mode: str, size: tuple[int, int]) -> None:
    found = align([torch.full((1, 1, 6, 4), 2.5)], size, mode)  # type: ignore[arg-type]  # parametrised
    torch.testing.assert_close(found, torch.full((1, 1, *size), 2.5))


@pytest.mark.parametrize("name", VARIANTS)
def test_one_module_gives_the_same_maps(ready: dict[str, FeatureDetector], name: str) -> None:
    images = torch.from_numpy(OTHERS.pixels).float() / 255
    module = ready[name].to_module()
    with torch.no_grad():
        torch.testing.assert_close(module(images), ready[name].anomaly_map(images), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ready[name].anomaly_maps(OTHERS), module(images).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_state_restores_the_maps(ready: dict[str, FeatureDetector], name: str) -> None:
    copied = {key: value.clone() for key, value in ready[name].state.items()}
    restored = variant(name, FeatureExtractor(EmbeddedBackbone()), seed=9)
    restored.load_state(copied)
    np.testing.assert_array_equal(restored.anomaly_maps(OTHERS), ready[name].anomaly_maps(OTHERS))


@pytest.mark.parametrize("name", VARIANTS)
def test_state_holds_no_backbone_and_plain_tensors(ready: dict[str, FeatureDetector], name: str) -> None:
    for key, value in ready[name].state.items():
        assert "backbone" not in key
        assert value.device.type == "cpu"
        assert value.is_contiguous()
        assert not value.requires_grad


@pytest.mark.parametrize("name", VARIANTS)
def test_state_of_something_else_is_an_error_and_changes_nothing(ready: dict[str, FeatureDetector], name: str) -> None:
    detector = ready[name]
    own, before = detector.state, detector.anomaly_maps(OTHERS)
    strangers = [ready[other].state for other in VARIANTS if set(ready[other].state) != set(own)]
    needed = [key for key in own if not key.endswith("num_batches_tracked")]  # a counter that inference ignores
    lacking = [{key: value for key, value in own.items() if key != gone} for gone in needed]
    for state in [{}, own | {"extra": torch.zeros(1)}, *strangers, *lacking]:
        with pytest.raises(ValueError, match=f"not those of a fitted {detector.name}"):
            detector.load_state(state)
    np.testing.assert_array_equal(detector.anomaly_maps(OTHERS), before)


def test_autoencoder_of_other_widths_is_an_error(ready: dict[str, FeatureDetector]) -> None:
    detector = ready["dfr_autoencoder"]
    own = detector.state
    with pytest.raises(ValueError, match="not those of a fitted dfr"):
        detector.load_state(own | {"latent": own["latent"] + 1})


@pytest.mark.parametrize("name", VARIANTS)
def test_cache_changes_maps_no_more_than_half_precision_does(name: str, tmp_path: Path) -> None:
    plain = FeatureExtractor(EmbeddedBackbone())
    cached = FeatureExtractor(EmbeddedBackbone(), cache=FeatureCache(tmp_path))
    first = fitted(variant(name, plain), NORMALS)
    state, expected = first.state, first.anomaly_maps(OTHERS)
    second = variant(name, cached)
    second.load_state(state)
    for _ in ("computed", "read back"):
        found = second.anomaly_maps(OTHERS)
        assert np.abs(found - expected).max() < 0.02 * expected.max()
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", ["padim", "dfr_image_pca", "dfr_pca"])
def test_fit_on_cached_features_agrees(ready: dict[str, FeatureDetector], name: str, tmp_path: Path) -> None:
    cached = FeatureExtractor(EmbeddedBackbone(), cache=FeatureCache(tmp_path))
    found = fitted(variant(name, cached), NORMALS).anomaly_maps(OTHERS).ravel()
    assert np.corrcoef(found, ready[name].anomaly_maps(OTHERS).ravel())[0, 1] > 0.99


def test_absent_level_is_an_error() -> None:
    with pytest.raises(InputError, match="no level -9"):
        Padim(PadimSettings(backbone="embedded", levels=(-9,)), FeatureExtractor(EmbeddedBackbone()))


def test_maps_do_not_depend_on_the_batch(ready: dict[str, FeatureDetector]) -> None:
    for detector in ready.values():
        alone = np.concatenate([detector.anomaly_maps(OTHERS.take([i])) for i in range(len(OTHERS))])
        np.testing.assert_allclose(detector.anomaly_maps(OTHERS), alone, rtol=1e-3, atol=1e-4)
        assert detector.settings.levels == EMBEDDED_LEVELS


class LastEntry(nn.Module):
    """Mean over channels of the last entry of the list."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[-1].mean(1)


class Onlooker(Padim):
    """A detector whose head sees the image and nothing else."""

    uses_images = True
    head: nn.Module


def test_a_head_that_sees_images_gets_them_last() -> None:
    onlooker = Onlooker(PadimSettings(backbone="embedded", levels=(-1,)), FeatureExtractor(EmbeddedBackbone()))
    onlooker.head = LastEntry()
    images = torch.from_numpy(next(OTHERS.batches(len(OTHERS))))
    for maps in (
        onlooker.anomaly_map(images),
        onlooker.to_module()(images),
        torch.from_numpy(onlooker.anomaly_maps(OTHERS)),
    ):
        torch.testing.assert_close(maps, images.mean(1))


@pytest.mark.parametrize(
    ("sources", "offered"),
    [(("texture",), ("texture",)), (("texture", "sdas"), ("texture", "sdas", "both")), (("sdas",), ("sdas",))],
)
def test_anomalies_are_offered_one_kind_at_a_time_or_both(sources: tuple[str, ...], offered: tuple[str, ...]) -> None:
    space = Space((BackboneSpace("any", (-1,), (8,)),), "quick", sources=sources)
    trial = optuna.trial.FixedTrial({"mine.families": offered[-1]})
    assert suggest_families(trial, "mine", space) == offered[-1]
    (choices,) = trial.distributions.values()
    assert isinstance(choices, optuna.distributions.CategoricalDistribution)
    assert choices.choices == offered
