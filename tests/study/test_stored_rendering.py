from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from automl_ad.data.rendering import Rendering
from automl_ad.data.study_images import read_study_images
from automl_ad.store.records import StudyRecord
from automl_ad.study.settings import requested_settings
from automl_ad.study.stored_rendering import renderer_of


@pytest.fixture(scope="module")
def thermal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thermal")
    for i in range(14):
        noise = np.random.default_rng(i).integers(51_000, 52_200, (64, 64)).astype(np.uint16)
        cv2.imwrite(str(folder / f"{i:02}.png"), noise)
    return folder


def record(**meaning: object) -> StudyRecord:
    return StudyRecord(name="a", settings={}, meaning=meaning, images="a", fingerprint="b", splits={})


def test_a_new_study_chooses_and_keeps_its_levels(thermal: Path) -> None:
    settings = requested_settings(thermal, image_size=64)
    new = read_study_images(settings, renderer_of(None))
    assert 50_000 < new.rendering.black_level < 51_000 < 52_000 < new.rendering.white_level < 53_000
    kept = record(rendering=new.rendering.model_dump(mode="json"))
    again = read_study_images(settings, renderer_of(kept))
    assert again.rendering == new.rendering
    np.testing.assert_array_equal(again.images.pixels, new.images.pixels)


def test_what_a_study_kept_counts_more_than_what_would_be_chosen_now(thermal: Path) -> None:
    kept = Rendering(black_level=7, white_level=60_000)
    renderer = renderer_of(record(rendering=kept.model_dump()))
    assert read_study_images(requested_settings(thermal, image_size=64), renderer).rendering == kept


def test_a_study_of_an_earlier_version_goes_on_at_full_scale(thermal: Path) -> None:
    images = read_study_images(requested_settings(thermal, image_size=64), renderer_of(record(seed=0)))
    assert images.rendering == Rendering(white_level=65_535)
    assert len(np.unique(images.images.pixels)) < 8
    assert any("of 256 grey levels" in warning for warning in images.warnings)
