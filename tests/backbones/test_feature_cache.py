from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.backbones.cache import FeatureCache
from automl_ad.errors import StoreError

VALUES = np.arange(5 * 2 * 3 * 4, dtype=np.float16).reshape(5, 2, 3, 4)


def store(cache: FeatureCache, path: Path, values: npt.NDArray[np.float16] = VALUES) -> None:
    with cache.write([path], len(values)) as (writer,):
        writer.append(values[:2])
        writer.append(values[2:])


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    path = cache.path("images", "weights", -2)
    store(cache, path)
    file = cache.open(path)
    assert file is not None
    with file:
        np.testing.assert_array_equal(file.read([4, 0, -1, 4]), VALUES[[4, 0, -1, 4]])
        np.testing.assert_array_equal(file.read(slice(3, 9)), VALUES[3:9])
        assert file.read([]).shape == (0, 2, 3, 4)
        with pytest.raises(IndexError):
            file.read([5])
    np.testing.assert_array_equal(np.load(path), VALUES)


def test_absent_and_damaged_files_are_not_opened(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    path = cache.path("images", "weights", -2)
    assert cache.open(path) is None
    store(cache, path)
    whole = path.read_bytes()
    for damaged in (whole[:-2], whole[:20], b"", b"x" * len(whole)):
        path.write_bytes(damaged)
        assert cache.open(path) is None
    np.save(path, VALUES.astype(np.float32))
    assert cache.open(path) is None


def test_names_depend_on_images_weights_and_level(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    keys = [("a", "w", -1), ("b", "w", -1), ("a", "v", -1), ("a", "w", -2)]
    assert len({cache.path(*key) for key in keys}) == len(keys)
    assert cache.path(*keys[0]) == FeatureCache(tmp_path).path(*keys[0])


def test_a_crash_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    path = cache.path("images", "weights", -1)
    with suppress(RuntimeError), cache.write([path], 5) as (writer,):
        writer.append(VALUES[:2])
        assert not path.exists()
        raise RuntimeError("crash")
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_killed_process_are_swept_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.1-1.part", tmp_path / ".b.1-1.part"
    for file in (old, young):
        file.write_bytes(b"half")
    two_days_ago = young.stat().st_mtime - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    FeatureCache(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


def test_full_disk_is_a_store_error_and_leaves_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    with pytest.raises(StoreError, match="No space left"), cache.write([cache.path("i", "w", -1)], 5):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_file_goes_first(tmp_path: Path) -> None:
    size = 128 + VALUES.nbytes
    cache = FeatureCache(tmp_path, limit_bytes=2 * size)
    paths = [cache.path("images", "weights", level) for level in (-1, -2, -3)]
    for age, path in zip((300, 200, 100), paths, strict=True):
        store(cache, path)
        assert path.stat().st_size == size
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    file = cache.open(paths[0])  # used again: now the youngest
    assert file is not None
    with file:
        cache.shrink()
    assert [path.exists() for path in paths] == [True, False, True]


def test_an_open_file_outlives_its_eviction(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit_bytes=0)
    path = cache.path("images", "weights", -1)
    store(cache, path)
    file = cache.open(path)
    assert file is not None
    with file:
        cache.shrink()
        assert not path.exists()
        np.testing.assert_array_equal(file.read(slice(None)), VALUES)


def test_threads_that_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    path = cache.path("images", "weights", -1)
    both = threading.Barrier(2)

    def work() -> None:
        with cache.write([path], 5) as (writer,):
            writer.append(VALUES[:3])
            both.wait(5)
            writer.append(VALUES[3:])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.load(path), VALUES)
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--workspace"):
        FeatureCache(tmp_path / "file" / "cache")
