from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import plate, ring, some, stack, written
from PIL import Image

from automl_ad.data.groups import find_groups
from automl_ad.data.groups.file_facts import FileFacts, file_facts
from automl_ad.results import ImageGroup

NUMBER, START = 40, 1_700_000_000.0
ORDER = np.random.default_rng(0).permutation(NUMBER)
"""Names do not follow time."""


def drifting(gain: Callable[[float], float], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return stack([plate(rng) * gain(place / NUMBER) for place in range(NUMBER)])


def groups_at(folder: Path, images: np.ndarray, pace: float, order: np.ndarray = ORDER) -> tuple[ImageGroup, ...]:
    """Images taken one after the other, ``pace`` seconds apart."""
    named = np.empty_like(images)
    named[order] = images
    paths = written(folder, named)
    for place, name in enumerate(order):
        os.utime(paths[name], (START + pace * place,) * 2)
    return find_groups(named, paths, range(len(paths)))


@pytest.mark.parametrize("pace", [20.0, 3600.0])
def test_a_brightness_that_rises_is_found(tmp_path: Path, pace: float) -> None:
    groups = groups_at(tmp_path, drifting(lambda time: 0.8 + 0.4 * time), pace)
    assert [group.kind for group in groups] == ["time", "time"]
    assert sum(group.images for group in groups) == NUMBER
    late = next(group for group in groups if "or later" in group.sentence)
    assert "brightness drifts over time: 1.2" in late.sentence
    times = {path: os.stat(path).st_mtime for group in groups for path in group.members}
    assert min(times[path] for path in late.members) > max(times[path] for path in set(times) - set(late.members))


def test_no_trend_is_no_drift(tmp_path: Path) -> None:
    assert groups_at(tmp_path, some(2, (ring, NUMBER)), 600) == ()


def test_changes_that_come_and_go_are_no_drift(tmp_path: Path) -> None:
    assert groups_at(tmp_path, drifting(lambda time: 1 + 0.15 * np.sin(20 * time)), 600) == ()


@pytest.mark.parametrize(("pace", "order"), [(0.0, ORDER), (0.02, ORDER), (2.0, np.arange(NUMBER))])
def test_times_of_a_copy_say_nothing(tmp_path: Path, pace: float, order: np.ndarray) -> None:
    assert groups_at(tmp_path, drifting(lambda time: 0.8 + 0.4 * time), pace, order) == ()


def test_exif_data_tell_camera_time_and_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 1"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    Image.new("L", (40, 60)).save(tmp_path / "a.jpg", exif=exif)
    facts = file_facts(tmp_path / "a.jpg")
    assert (facts.camera, facts.size, facts.mode) == ("Maker Model 1", (60, 40), "L")
    assert facts.taken == 1_714_979_289.0


def test_files_that_say_nothing_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    assert file_facts(tmp_path / "missing.png") == FileFacts()
    unknown = file_facts(tmp_path / "text.png")
    assert (unknown.size, unknown.camera, unknown.taken) == (None, "", None)
    assert unknown.modified is not None


def test_times_of_exposure_precede_those_of_files(tmp_path: Path) -> None:
    images = drifting(lambda time: 0.8 + 0.4 * time)
    paths = [tmp_path / f"{name:03}.jpg" for name in ORDER]
    for place, (path, image) in enumerate(zip(paths, images, strict=True)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:06 07:{place:02}:00"
        Image.fromarray(image.transpose(1, 2, 0)).save(path, exif=exif, quality=95)
        os.utime(path, (START,) * 2)
    assert [group.kind for group in find_groups(images, paths, range(NUMBER))] == ["time", "time"]
