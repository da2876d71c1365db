from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_ad.bundle.runtime import heat, overlay
from automl_ad.reporting import thumbnails
from automl_ad.reporting.thumbnails import ThumbnailCache, encoded, shrunk, under_heat


def unmade() -> bytes:
    raise AssertionError("made again")


def test_a_picture_is_made_once(tmp_path: Path) -> None:
    cache = ThumbnailCache(tmp_path / "thumbnails")
    assert cache.get("one", lambda: b"picture") == b"picture"
    assert cache.get("one", unmade) == b"picture"
    assert ThumbnailCache(tmp_path / "thumbnails").get("one", unmade) == b"picture"
    assert cache.get("another", lambda: b"other") == b"other"


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    cache = ThumbnailCache(tmp_path, limit=100)
    for index in range(20):
        cache.get(str(index), lambda: bytes(10))
        os.utime(cache._path(str(index)), (index, index))
    cache.trim()
    kept = [index for index in range(20) if cache._path(str(index)).exists()]
    assert kept == list(range(12, 20))


def test_what_fits_stays(tmp_path: Path) -> None:
    cache = ThumbnailCache(tmp_path, limit=100)
    for index in range(10):
        cache.get(str(index), lambda: bytes(10))
    cache.trim()
    assert all(cache._path(str(index)).exists() for index in range(10))


def test_the_limit_holds_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "_WRITES_BETWEEN_CHECKS", 5)
    cache = ThumbnailCache(tmp_path, limit=200)
    for index in range(200):
        cache.get(str(index), lambda: bytes(10))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 250


def test_where_nothing_can_be_kept_pictures_are_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = ThumbnailCache(tmp_path / "cache" / "thumbnails")
    assert cache.get("one", lambda: b"picture") == b"picture"


def test_shrinking_keeps_the_shape_and_enlarges_nothing() -> None:
    picture = np.zeros((50, 100, 3), np.uint8)
    assert shrunk(picture, 20).shape == (10, 20, 3)
    assert shrunk(picture, 500).shape == picture.shape
    assert shrunk(picture, None) is picture


def test_heat_is_that_of_bundles() -> None:
    rng = np.random.default_rng(0)
    picture, raw = rng.integers(0, 256, (40, 60, 3)).astype(np.uint8), rng.normal(size=(8, 12)).astype(np.float32)
    shown = under_heat(picture, raw, (0.0, 1.5), None)
    np.testing.assert_array_equal(shown, overlay(picture, heat(raw, (0.0, 1.5))))


def test_jpeg_for_small_pictures_and_nothing_lost_at_full_size() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    assert Image.open(BytesIO(encoded(picture, 224))).format == "JPEG"
    full = Image.open(BytesIO(encoded(picture, None)))
    assert full.format == "PNG"
    np.testing.assert_array_equal(np.asarray(full), picture)
