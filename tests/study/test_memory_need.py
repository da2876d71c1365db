"""Memory is estimated before it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from automl_ad.api import search, synthesize
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.errors import InputError, NotEnoughMemoryError
from automl_ad.memory import GIB
from automl_ad.methods.padim import Padim, PadimSettings
from automl_ad.study import memory_need
from automl_ad.study.memory_need import largest_side, require_memory, search_need, synthesis_need
from automl_ad.study.settings import load_study_file, requested_settings


def test_the_need_grows_with_images_size_and_suite(parts: Path) -> None:
    need = search_need(requested_settings(parts))
    assert need(10, 256**2) < need(1000, 256**2) < need(1000, 512**2)
    assert need(10, 256**2) < search_need(requested_settings(parts, per_cell=100))(10, 256**2)
    assert need(24, 256**2) < 1.5 * GIB  # a search at the usual size fits into any machine
    assert synthesis_need(24, 4096**2) < need(24, 4096**2)


def test_the_sentence_tells_need_room_and_the_size_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_need, "free_bytes", lambda: 2 * GIB)
    check = require_memory(lambda images, pixels: images * pixels * 100, "The search")
    check(10, (1024, 1024))
    with pytest.raises(
        NotEnoughMemoryError,
        match=r"^The search needs about 7\.8 GB of memory for 20 images at the working size 2048 x 2048, "
        r"but 2\.0 GB are free; --image-size 1024 fits\.$",
    ):
        check(20, (2048, 2048))


def test_where_no_size_fits_other_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_need, "free_bytes", lambda: 5)
    with pytest.raises(NotEnoughMemoryError, match="end other programs or give fewer images"):
        require_memory(lambda images, pixels: 10.0, "The search")(20, (64, 64))
    monkeypatch.setattr(memory_need, "free_bytes", lambda: None)
    require_memory(lambda images, pixels: 1e30, "The search")(20, (64, 64))


def test_the_largest_side_that_fits_is_a_multiple_of_the_stride() -> None:
    assert largest_side(lambda images, pixels: pixels, 1, 1000, 300**2) == 288
    assert largest_side(lambda images, pixels: pixels, 1, 1000, 31**2) is None


def test_searches_and_syntheses_are_refused_before_an_image_is_read(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_need, "free_bytes", lambda: GIB)
    with pytest.raises(
        NotEnoughMemoryError, match=r"The search needs about .* 24 images at the working size 4096 x 4096"
    ):
        search(parts, name="large", workspace=tmp_path, image_size=4096, backbones=["embedded"])
    with pytest.raises(NotEnoughMemoryError, match="The synthesis needs about"):
        synthesize(parts, tmp_path / "out", family="speck", image_size=4096)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [4097, 20000])
def test_working_sizes_have_a_bound(parts: Path, size: int) -> None:
    with pytest.raises(InputError, match=f"image_size cannot be {size}: give a value of at most 4096"):
        requested_settings(parts, image_size=size)


@pytest.mark.parametrize(
    "line",
    ["sides: [256, 5000]", "sides: [16]", "per_cell: 100000", "folds: 5000", "trials: 1000000", "certified: 1000"],
)
def test_study_files_have_the_same_bounds(tmp_path: Path, line: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(line)
    with pytest.raises(InputError, match=r"study\.yaml: \w+ cannot be .*: give a value of at (most|least) \d+\.$"):
        load_study_file(file)


def test_a_fit_tells_what_it_will_hold() -> None:
    detector = Padim(PadimSettings(backbone="embedded", levels=(-3, -2)), FeatureExtractor(EmbeddedBackbone()))
    positions, channels = (64 // 8) * (96 // 8), 28
    features = 4 * 8 * 14 * (positions + positions // 4)
    assert detector.fit_need(5, (64, 96)).fixed == features + 4 * 2 * positions * channels**2
    assert detector.device == torch.device("cpu")
