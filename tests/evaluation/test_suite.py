from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.evaluation import suite as suite_module
from automl_ad.evaluation.suite import (
    NORMALS,
    Suite,
    draw_suite,
    keep_normals,
    load_suite,
    resize_suite,
    save_suite,
    thinned,
)
from automl_ad.store.artifacts import load_arrays
from automl_ad.synthesis.base import AnomalyFamily, Context

SEVERITIES = {"texture": {0.7: 0.2, 0.95: 0.6}, "cutpaste": {0.7: 0.5}}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(120, 15, (5, 64, 96, 3)), 0, 255).astype(np.uint8)


def draw(images: np.ndarray, seed: int = 0, per_family: int = 14) -> Suite:
    return draw_suite(Context(images), SEVERITIES, per_family, np.random.default_rng(seed))


def test_every_cell_has_its_number_and_its_mask(images: np.ndarray) -> None:
    suite = draw(images)
    assert suite.cell_names == ("texture/0.7", "texture/0.95", "cutpaste/0.7")
    assert [len(suite.members(cell)) for cell in suite.cell_names] == [7, 7, 14]
    assert suite.masks.any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("per_family", "counts"), [(8, [4, 4, 8]), (7, [3, 3, 7]), (2, [1, 1, 2]), (1, [1, 1, 1]), (0, [1, 1, 1])]
)
def test_every_family_has_as_many_however_few_its_cells_are(
    images: np.ndarray, per_family: int, counts: list[int]
) -> None:
    suite = draw(images, per_family=per_family)
    assert [len(suite.members(cell)) for cell in suite.cell_names] == counts


def test_only_masked_pixels_differ_from_the_base(images: np.ndarray) -> None:
    suite = draw(images)
    for anomaly, mask, base in zip(suite.anomalies.pixels, suite.masks, suite.bases, strict=True):
        changed = (anomaly.transpose(1, 2, 0) != images[base]).any(axis=2)
        assert not changed[~mask].any()


def test_no_base_serves_twice_before_all_served_once(images: np.ndarray) -> None:
    suite = draw(images)
    for cell in suite.cell_names:
        bases = [suite.bases[row] for row in suite.members(cell)]
        assert sorted(bases[:5]) == [0, 1, 2, 3, 4]


class OnBright(AnomalyFamily):
    """Draws on images whose first pixel is bright."""

    name = "bright"

    def attempt(self, image, inside, severity, rng):  # type: ignore[no-untyped-def]
        mask = np.zeros(image.shape[:2], np.bool_)
        mask[5, 5] = True
        return (np.where(mask[..., None], 255 - image, image), mask) if image[0, 0, 0] >= 128 else None


@pytest.mark.parametrize(("bright", "stand_ins"), [(2, 0), (1, 3), (0, 7)])
def test_where_nothing_comes_of_a_base_another_takes_its_place(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch, bright: int, stand_ins: int
) -> None:
    """Three times as many bases are tried as anomalies are wanted; only then plain spots fill the cell."""
    monkeypatch.setattr(suite_module, "create_family", lambda _, context: OnBright(context))
    normals = images.copy()
    normals[:, 0, 0] = 0
    normals[:bright, 0, 0] = 255
    suite = draw_suite(Context(normals), {"bright": {0.8: 0.5}}, 7, np.random.default_rng(0))
    assert suite.cells == ("bright/0.8",) * 7
    own = [mask.sum() == 1 and base < bright for mask, base in zip(suite.masks, suite.bases, strict=True)]
    assert own.count(False) == stand_ins
    assert suite.masks.any(axis=(1, 2)).all()


def test_the_seed_decides_the_hash(images: np.ndarray) -> None:
    assert draw(images).digest == draw(images).digest
    assert draw(images).digest != draw(images, seed=1).digest


def test_what_was_saved_comes_back(images: np.ndarray, tmp_path: Path) -> None:
    suite = draw(images)
    save_suite(suite, ImageSet.of(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), tmp_path, "here")
    loaded = load_suite(tmp_path, "here")
    assert loaded is not None
    assert loaded.digest == suite.digest
    np.testing.assert_array_equal(loaded.masks, suite.masks)
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] > 4 * 160


def test_an_altered_suite_is_refused(images: np.ndarray, tmp_path: Path) -> None:
    suite = draw(images)
    save_suite(suite, suite.anomalies, tmp_path, "here")
    other = draw(images, seed=1)
    save_suite(other, other.anomalies, tmp_path / "other", "here")
    (tmp_path / "suite.npz").write_bytes((tmp_path / "other" / "suite.npz").read_bytes())
    with pytest.raises(StoreError, match="altered"):
        load_suite(tmp_path, "here")


def test_a_suite_of_another_source_does_not_serve(images: np.ndarray, tmp_path: Path) -> None:
    assert load_suite(tmp_path, "here") is None
    suite = draw(images)
    save_suite(suite, suite.anomalies, tmp_path, "elsewhere")
    assert load_suite(tmp_path, "here") is None


def test_a_smaller_size_keeps_every_mask(images: np.ndarray) -> None:
    suite = draw(images)
    small = resize_suite(suite, (32, 64))
    assert small.anomalies.size == (32, 64)
    assert small.masks.any(axis=(1, 2)).all()
    assert small.cells == suite.cells
    assert resize_suite(suite, (64, 96)) is suite


def test_thinning_keeps_each_cells_share(images: np.ndarray) -> None:
    suite = draw(images)
    few = thinned(suite, 3)
    assert [len(few.members(cell)) for cell in few.cell_names] == [3, 3, 5]
    rows = suite.members("texture/0.95")[::3]
    np.testing.assert_array_equal(few.anomalies.pixels[few.members("texture/0.95")], suite.anomalies.pixels[rows])


def test_the_normals_are_kept_beside_the_suite_and_renewed_only_when_they_change(
    images: np.ndarray, tmp_path: Path
) -> None:
    normals = ImageSet.of(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    keep_normals(normals, tmp_path)
    written = (tmp_path / NORMALS).stat().st_mtime_ns
    keep_normals(normals, tmp_path)
    assert (tmp_path / NORMALS).stat().st_mtime_ns == written
    np.testing.assert_array_equal(load_arrays(tmp_path / NORMALS)["images"], normals.pixels)
    fewer = normals.take([3, 1])
    keep_normals(fewer, tmp_path)
    np.testing.assert_array_equal(load_arrays(tmp_path / NORMALS)["images"], fewer.pixels)
