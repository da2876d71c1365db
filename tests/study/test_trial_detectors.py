"""From a trial to a fitted detector."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.methods.dfr import Dfr, DfrSettings
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.records import CandidateRecord
from automl_ad.study.detectors import STATE, OutOfFold, refit, remove_states, restore_state, save_state
from automl_ad.training import Budget, ignore_progress

NORMALS = ImageSet.of(np.random.default_rng(0).integers(0, 256, (6, 3, 64, 64), np.uint8))


def dfr(**settings: Any) -> Dfr:
    chosen = {"steps": 3, "vectors": 600, "batch": 64, "stride": 8} | settings
    return Dfr(DfrSettings(backbone="embedded", levels=(-4, -3), **chosen), FeatureExtractor(EmbeddedBackbone()))


def fitted(**settings: Any) -> Dfr:
    detector = dfr(**settings)
    detector.fit(NORMALS, None, Budget(), ignore_progress)
    return detector


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path, "parts")


def test_a_restored_detector_answers_as_the_trained_one(folder: StudyFolder) -> None:
    trained, restored = fitted(), dfr()
    save_state(trained, folder, 3)
    assert restore_state(restored, folder, 3)
    np.testing.assert_array_equal(restored.anomaly_maps(NORMALS), trained.anomaly_maps(NORMALS))


def test_closed_forms_are_not_kept(folder: StudyFolder) -> None:
    save_state(fitted(model="pca"), folder, 0)
    assert not folder.root.exists()
    assert not restore_state(dfr(model="pca"), folder, 0)


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_what_does_not_suit_is_as_good_as_nothing(folder: StudyFolder, content: bytes | None) -> None:
    save_state(fitted(), folder, 1)
    if content is None:
        from safetensors.torch import save

        content = save({"other": torch.zeros(2)})
    (folder.trial(1) / STATE).write_bytes(content)
    assert not restore_state(dfr(), folder, 1)


def test_only_the_states_of_the_best_stay(folder: StudyFolder) -> None:
    trained = fitted()
    for number in (0, 2, 5):
        save_state(trained, folder, number)
    (folder.trial(0) / "scores.npz").write_bytes(b"")
    remove_states(folder, {2, 4})
    assert [path.parent.name for path in folder.trials.glob(f"*/{STATE}")] == ["2"]
    assert (folder.trial(0) / "scores.npz").is_file()
    remove_states(StudyFolder(folder.workspace, "nothing yet"), set())


SIDE = 32


class Remembering:
    """Knows by its brightness which images it was fitted to, and scores them 0; others get their brightness."""

    def __init__(self, normals: ImageSet) -> None:
        self.seen = set(normals.pixels[:, 0, 0, 0].tolist())

    def anomaly_maps(self, images: ImageSet) -> np.ndarray:
        marks = images.pixels[:, 0, 0, 0]
        values = np.array([0 if mark in self.seen else mark for mark in marks.tolist()], np.float32)
        return np.broadcast_to(values[:, None, None], (len(values), 4, 4)).copy()


def bright(values: list[int]) -> ImageSet:
    return ImageSet.of(np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 3, SIDE, SIDE)))


def run(values: list[int], groups: list[int], folds: int) -> tuple[OutOfFold, list[int]]:
    sizes: list[int] = []

    def fit(normals: ImageSet) -> Any:
        sizes.append(len(normals))
        return Remembering(normals)

    return OutOfFold.of(fit, bright(values), groups, ScoreAggregation("max"), folds), sizes


def test_no_image_is_scored_by_a_detector_that_saw_it() -> None:
    found, sizes = run([10, 20, 30, 40, 50], [0, 1, 2, 3, 4], 5)
    assert found.maps[:, 0, 0].tolist() == [10, 20, 30, 40, 50]
    assert found.calibration.scores.tolist() == [10, 20, 30, 40, 50]
    assert sizes == [4] * 5


def test_near_duplicates_stay_together_and_count_once_with_the_highest() -> None:
    found, sizes = run([10, 20, 30, 40, 50, 60], [0, 1, 0, 2, 1, 3], 3)
    assert found.maps[:, 0, 0].tolist() == [10, 20, 30, 40, 50, 60]
    assert found.rows.tolist() == [2, 4, 3, 5]
    assert found.calibration.scores.tolist() == [30, 50, 40, 60]
    assert len(sizes) == 3


def test_no_more_folds_than_groups() -> None:
    _, sizes = run([10, 20, 30, 40], [0, 0, 1, 1], 5)
    assert sizes == [2, 2]


def test_one_group_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="n_splits"):
        run([10, 20], [0, 0], 5)


WINNER = CandidateRecord(
    number=3,
    state="complete",
    method="padim",
    params={"side": 32, "levels": [-1], "backbone": "embedded"},
    rule="max",
)


class Seeing:
    """Maps of the brightness of an image, ten higher where it was not fitted to that image."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def anomaly_maps(self, images: ImageSet) -> npt.NDArray[np.float32]:
        marks = images.pixels[:, 0, 0, 0].astype(np.float32)
        unseen = ~np.isin(marks, self.seen)
        return np.tile((marks + 10 * unseen)[:, None, None], (1, 4, 4)).astype(np.float32)


@pytest.fixture
def context() -> Any:
    """Six good images, of which the last two are near-duplicates."""
    pixels = np.arange(1, 7, dtype=np.uint8)[:, None, None, None] + np.zeros((6, 3, 32, 32), np.uint8)
    normals = SimpleNamespace(groups=(0, 1, 2, 3, 4, 4))
    data = SimpleNamespace(normals=normals, at=lambda side: SimpleNamespace(normals=ImageSet.of(pixels)))

    def fit(detector: Seeing, images: ImageSet) -> None:
        detector.seen = images.pixels[:, 0, 0, 0].tolist()

    return SimpleNamespace(data=data, build=lambda configuration: Seeing(), fit=fit)


def test_it_sees_all_normals_and_is_calibrated_on_such_as_it_did_not_see(context: Any) -> None:
    found = refit(context, WINNER, folds=5)
    assert found.detector.seen == [1, 2, 3, 4, 5, 6]  # type: ignore[attr-defined]
    assert found.rule.name == "max"
    assert found.rows.tolist() == [0, 1, 2, 3, 5]  # of two near-duplicates the one that scores higher
    assert sorted(found.calibration.scores) == [11, 12, 13, 14, 16]
    assert found.map_range == pytest.approx((13.5, 16), abs=0.01)


@pytest.mark.parametrize(("folds", "fits"), [(3, 4), (5, 6), (50, 6)])
def test_it_tells_of_every_fit(context: Any, folds: int, fits: int) -> None:
    """No more folds than groups, and one fit to all."""
    told: list[tuple[int, int]] = []
    refit(context, WINNER, folds, lambda done, total: told.append((done, total)))
    assert told == [(done, fits) for done in range(fits)]
