from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.errors import StoreError
from automl_ad.reporting.stored_rows import StoredRows
from automl_ad.store.artifacts import save_arrays


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.npz"
    images = np.arange(5 * 3 * 4 * 6, dtype=np.uint8).reshape(5, 3, 4, 6)
    masks = np.random.default_rng(0).random((7, 3, 5)) < 0.5  # 15 bits a mask: none but the first begins on a byte
    save_arrays(
        path,
        images=images,
        **{"normal/top0.3%+sigma4": np.linspace(0, 1, 9)},
        masks=np.packbits(masks, axis=None),
        truth=masks,
    )
    return path


def test_rows_and_the_whole_are_what_numpy_reads(file: Path) -> None:
    with np.load(file) as arrays:
        for name in ("images", "normal/top0.3%+sigma4", "truth"):
            rows = StoredRows.open(file, name)
            assert rows.dtype == arrays[name].dtype
            assert len(rows) == len(arrays[name])
            np.testing.assert_array_equal(rows.all(), arrays[name])
            for index in range(len(rows)):
                np.testing.assert_array_equal(rows.row(index), arrays[name][index])


def test_single_masks_are_cut_out_of_packed_bits(file: Path) -> None:
    bits, truth = StoredRows.open(file, "masks"), StoredRows.open(file, "truth").all()
    for index in range(7):
        np.testing.assert_array_equal(bits.bits(index * 15, 15).reshape(3, 5), truth[index])


def test_bits_beyond_the_end_are_refused(file: Path) -> None:
    assert len(StoredRows.open(file, "masks").bits(7 * 15 - 3, 3)) == 3
    with pytest.raises(StoreError, match="damaged"):
        StoredRows.open(file, "masks").bits(7 * 15, 15)


def test_a_row_is_read_without_the_others(tmp_path: Path) -> None:
    save_arrays(tmp_path / "big.npz", first=np.zeros((8, 2**17), np.uint8), images=np.ones((32, 2**17), np.uint8))
    tracemalloc.start()
    try:
        row = StoredRows.open(tmp_path / "big.npz", "images").row(31)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert row.nbytes == int(row.sum()) == 2**17
    assert peak < 2 * row.nbytes


def test_there_are_no_rows_beyond_the_ends(file: Path) -> None:
    rows = StoredRows.open(file, "images")
    for index in (-1, 5):
        with pytest.raises(IndexError, match="holds 5 rows"):
            rows.row(index)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"maps\.npz is missing"):
        StoredRows.open(tmp_path / "maps.npz", "normal")


def test_a_missing_array_is_a_damaged_file(file: Path) -> None:
    with pytest.raises(StoreError, match="damaged"):
        StoredRows.open(file, "elsewhere")


def test_compressed_files_are_refused_rather_than_misread(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", images=np.zeros((4, 4)))
    with pytest.raises(StoreError, match="damaged"):
        StoredRows.open(tmp_path / "small.npz", "images")


def test_a_file_that_shrinks_while_it_is_looked_at_gives_no_half_picture(file: Path) -> None:
    rows = StoredRows.open(file, "images")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(StoreError, match="damaged"):
        rows.row(4)
    file.unlink()
    with pytest.raises(StoreError, match="missing"):
        rows.row(4)


@pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")  # numpy reads headers as Python's own text
@given(st.binary(max_size=400), st.integers(0, 399))
def test_nonsense_in_a_file_is_told_and_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("junk") / "arrays.npz"
    save_arrays(path, images=np.zeros((3, 2, 2), np.float32))
    content = bytearray(path.read_bytes())
    content[at : at + len(junk)] = junk
    path.write_bytes(content)
    try:
        rows = StoredRows.open(path, "images")
        assert len(rows.all()) == len(rows)
    except StoreError:
        pass
