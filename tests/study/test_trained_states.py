"""What is kept of trained detectors, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.dfr import Dfr, DfrSettings
from automl_ad.store.artifacts import StudyFolder
from automl_ad.study.trained_states import FILE, remove_states, restore_state, save_state
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
    (folder.trial(1) / FILE).write_bytes(content)
    assert not restore_state(dfr(), folder, 1)


def test_only_the_states_of_the_best_stay(folder: StudyFolder) -> None:
    trained = fitted()
    for number in (0, 2, 5):
        save_state(trained, folder, number)
    (folder.trial(0) / "scores.npz").write_bytes(b"")
    remove_states(folder, {2, 4})
    assert [path.parent.name for path in folder.trials.glob(f"*/{FILE}")] == ["2"]
    assert (folder.trial(0) / "scores.npz").is_file()
    remove_states(StudyFolder(folder.workspace, "nothing yet"), set())
