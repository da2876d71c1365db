"""Every method on drawn images: what it must find, and what must not change it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from handmade import VARIANTS, draw_discs, fitted, plant_squares, variant
from PIL import Image

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.demo_parts import draw_demo_set
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.metrics import image_auroc, pixel_auroc, resize_maps
from automl_ad.methods.features import FeatureDetector
from automl_ad.training import Budget

SQUARE = 20


@pytest.fixture(scope="module")
def flanges(tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.uint8]:
    """Twelve drawn flanges of 128 pixels."""
    folder = draw_demo_set(tmp_path_factory.mktemp("demo") / "set", train=12, good=1, defective=1, side=128)
    files = sorted((folder / "train" / "good").iterdir())
    return np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])


TRAINED = {"steps": 1500, "rate": 3e-3}
"""The autoencoder needs this many steps to learn the offsets of the fixed filters."""


def prepare(name: str, seed: int = 0, **changes: float) -> FeatureDetector:
    return variant(name, FeatureExtractor(EmbeddedBackbone()), seed, **changes)


def learnt(name: str, images: npt.NDArray[np.uint8]) -> FeatureDetector:
    """A detector that had all the training it needs."""
    detector: FeatureDetector = fitted(prepare(name, **TRAINED if "auto" in name else {}), ImageSet.of(images))
    return detector


def localisation(detector: FeatureDetector, images: npt.NDArray[np.uint8]) -> float:
    """Pixel AUROC of squares planted into the images that the detector was fitted on."""
    spoilt, masks = plant_squares(images, SQUARE)
    maps = detector.anomaly_maps(ImageSet.of(spoilt))
    return pixel_auroc(resize_maps(maps, masks.shape[1:]), masks)


@pytest.mark.parametrize("name", VARIANTS)
def test_squares_on_flanges_are_found(flanges: npt.NDArray[np.uint8], name: str) -> None:
    detector = learnt(name, flanges)
    assert localisation(detector, flanges) > 0.95
    spoilt, _ = plant_squares(flanges, SQUARE)
    scores = [detector.anomaly_maps(ImageSet.of(images)).max((1, 2)) for images in (flanges, spoilt)]
    assert image_auroc(np.concatenate(scores), np.repeat([0, 1], len(flanges))) > 0.9


@pytest.mark.parametrize("name", VARIANTS)
def test_squares_on_discs_of_a_rectangular_image_are_found(name: str) -> None:
    discs = draw_discs(12, (96, 128))
    assert localisation(learnt(name, discs), discs) > 0.95


def test_an_autoencoder_finds_squares_in_either_precision(precision: str) -> None:
    assert localisation(learnt("dfr_autoencoder", draw_discs(12)), draw_discs(12)) > 0.95, precision


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_maps_are_finite_single_precision_and_follow_the_shape(name: str, size: tuple[int, int]) -> None:
    detector = fitted(prepare(name), ImageSet.of(draw_discs(6, size)))
    maps = detector.anomaly_maps(ImageSet.of(draw_discs(9, size, seed=1)))
    step = 8 if name.startswith("dfr") else 4
    assert maps.shape == (9, size[0] // step, size[1] // step)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_same_seed_same_map(name: str) -> None:
    normals, others = ImageSet.of(draw_discs(6)), ImageSet.of(draw_discs(2, seed=1))
    first, again = (fitted(prepare(name, seed=3), normals).anomaly_maps(others) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ["padim", "dfr_image_pca", "dfr_pca"])
def test_order_of_the_normals_does_not_matter(name: str) -> None:
    normals, others = draw_discs(12), ImageSet.of(draw_discs(2, seed=1))
    forward, backward = (fitted(prepare(name), ImageSet.of(n)).anomaly_maps(others) for n in (normals, normals[::-1]))
    np.testing.assert_allclose(forward, backward, rtol=0.01, atol=1e-3 * forward.max())


@pytest.mark.parametrize("name", VARIANTS)
def test_images_that_are_all_equal_give_finite_maps(name: str) -> None:
    normals = ImageSet.of(np.full((5, 3, 64, 64), 128, np.uint8))
    detector = fitted(prepare(name), normals)
    assert np.isfinite(detector.anomaly_maps(normals)).all()
    assert np.isfinite(detector.anomaly_maps(ImageSet.of(draw_discs(2, (64, 64))))).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_fit_ends_with_full_progress(name: str) -> None:
    reported: list[float] = []
    prepare(name).fit(ImageSet.of(draw_discs(4)), None, Budget(), reported.append)
    assert reported[-1] == 1
    assert len(reported) >= (5 if name == "dfr_autoencoder" else 1)


def test_parts_that_move_are_no_anomaly_for_a_memory_of_patches() -> None:
    """A part moved by a quarter of the picture is new to a Gaussian for every position, and not to a memory."""
    normals = draw_discs(12, (96, 96))
    moved = np.roll(normals[:4], 24, axis=-1)
    ratios = {}
    for name in ("padim", "patchcore"):
        detector = fitted(prepare(name), ImageSet.of(normals))
        usual, new = (detector.anomaly_maps(ImageSet.of(images)).mean() for images in (normals[:4], moved))
        ratios[name] = new / usual
    assert ratios["padim"] > 2 * ratios["patchcore"]
