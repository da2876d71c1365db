from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from automl_ad.errors import InputError, StoreError
from automl_ad.store.artifacts import (
    StudyFolder,
    check_study_name,
    load_arrays,
    read_json,
    remove_leftovers,
    save_arrays,
    write_atomically,
    write_json,
)


class TestNames:
    @pytest.mark.parametrize("name", ["parts", "good parts (A)", "v1.2", "schöne-teile", "x" * 100, "検査"])
    def test_usual_names_are_kept(self, name):
        assert check_study_name(name) == name

    @pytest.mark.parametrize(
        "name", ["", "x" * 101, "検" * 90, ".hidden", "..", "a/b", "a\\b", "a\nb", "a\0b", " a", "a ", "a:b", "a*"]
    )
    def test_others_are_refused_naming_the_option(self, name, tmp_path):
        with pytest.raises(InputError, match="--name"):
            StudyFolder(tmp_path, name)

    @pytest.mark.parametrize(
        "name", ["CON", "nul", "Prn.parts", "aux.a.b", "COM1", "lpt9.2024", "NUL .txt", "parts.", "a.."]
    )
    def test_names_that_windows_cannot_have_are_refused(self, name):
        with pytest.raises(InputError, match="--name"):
            check_study_name(name)

    @pytest.mark.parametrize("name", ["console", "nullable", "COM0", "COM10", "LPT", "my.con", "auxiliary.1"])
    def test_names_that_only_resemble_those_are_kept(self, name):
        assert check_study_name(name) == name

    def test_folders_lie_inside_the_study_and_are_not_created(self, tmp_path):
        folder = StudyFolder(tmp_path, "parts")
        paths = [folder.suite, folder.trials, folder.trial(7)]
        assert len(set(paths)) == 3
        assert all(folder.root in path.parents for path in paths)
        assert folder.trial(7) == folder.trials / "7"
        assert list(tmp_path.iterdir()) == []


class TestAtomicWriting:
    def test_replaces_only_at_the_end(self, tmp_path):
        path = tmp_path / "deep" / "a.txt"
        with write_atomically(path) as temporary:
            temporary.write_text("first")
            assert not path.exists()
            assert (temporary.parent, temporary.suffix) == (path.parent, ".txt")
        with write_atomically(path) as temporary:
            temporary.write_text("second")
            assert path.read_text() == "first"
        assert path.read_text() == "second"
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
    def test_a_fault_leaves_the_old_file_and_no_debris(self, tmp_path, fault):
        path = tmp_path / "a.txt"
        path.write_text("old")

        def interrupted():
            with write_atomically(path) as temporary:
                temporary.write_text("half")
                raise fault

        with pytest.raises(fault):
            interrupted()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_unwritable_place_is_a_store_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"cannot be written .* choose another --workspace"):
            write_json(tmp_path / "file" / "a.json", {})

    def test_a_folder_in_place_of_the_file(self, tmp_path):
        (tmp_path / "a.json").mkdir()
        with pytest.raises(StoreError, match=r"a\.json cannot be written"):
            write_json(tmp_path / "a.json", {})
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


class TestLeftovers:
    @pytest.mark.parametrize("name", ["maps.npz", "a.json", "no_suffix"])
    def test_what_a_killed_writer_left_is_removed(self, tmp_path, name):
        path = tmp_path / "trials" / "7" / name
        code = (
            "import os, pathlib, sys; from automl_ad.store.artifacts import write_atomically\n"
            "with write_atomically(pathlib.Path(sys.argv[1])) as path: path.touch(); os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert [left.is_file() for left in path.parent.iterdir()] == [True]
        remove_leftovers(tmp_path)
        assert list(path.parent.iterdir()) == []

    def test_nothing_else_is_touched(self, tmp_path):
        kept = [
            "maps.npz",
            ".hidden.npz",
            "0" * 32 + ".npz",
            "." + "0" * 31 + ".npz",
            "." + "G" * 32,
            "." + "0" * 32 + ".a.b",
        ]
        for name in kept:
            (tmp_path / name).write_text("")
        (tmp_path / ("." + "0" * 32)).mkdir()
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {*kept, "." + "0" * 32}

    def test_a_missing_folder_has_none(self, tmp_path):
        remove_leftovers(tmp_path / "nowhere")
        assert list(tmp_path.iterdir()) == []


class TestArrays:
    def test_round_trip(self, tmp_path):
        path = tmp_path / "maps.npz"
        arrays = {
            "maps": np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32),
            "labels": np.array([True, False]),
            "names": np.array(["a", "bc"]),
            "empty": np.zeros((0, 3), dtype=np.uint8),
        }
        save_arrays(path, **arrays)
        loaded = load_arrays(path)
        assert loaded.keys() == arrays.keys()
        for name, array in arrays.items():
            assert loaded[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded[name], array)
        assert list(tmp_path.iterdir()) == [path]

    def test_objects_are_never_pickled(self, tmp_path):
        with pytest.raises(ValueError, match="'odd' holds Python objects"):
            save_arrays(tmp_path / "a.npz", odd=np.array([{}, None]))
        np.savez(tmp_path / "evil.npz", odd=np.array([{}, None]))
        with pytest.raises(StoreError, match=r"evil\.npz cannot be read"):
            load_arrays(tmp_path / "evil.npz")

    def test_missing_and_damaged_files(self, tmp_path):
        with pytest.raises(StoreError, match=r"a\.npz is missing"):
            load_arrays(tmp_path / "a.npz")
        save_arrays(tmp_path / "a.npz", x=np.arange(1000))
        whole = (tmp_path / "a.npz").read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 255
        for damaged in (b"", b"text", whole[: len(whole) // 2], bytes(flipped)):
            (tmp_path / "a.npz").write_bytes(damaged)
            with pytest.raises(StoreError, match=r"a\.npz cannot be read"):
                load_arrays(tmp_path / "a.npz")

    def test_a_single_array_file_is_not_an_archive(self, tmp_path):
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, np.arange(3))
        with pytest.raises(StoreError, match="cannot be read"):
            load_arrays(tmp_path / "a.npz")

    def test_suffix_is_demanded(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.npz"):
            save_arrays(tmp_path / "a.bin", x=np.arange(3))


class TestJson:
    def test_round_trip(self, tmp_path):
        value = {"b": [1, 2.5, None, True], "a": {"ü": "text"}}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == value

    def test_same_value_same_bytes(self, tmp_path):
        write_json(tmp_path / "a.json", {"x": 1, "y": 2})
        write_json(tmp_path / "b.json", {"y": 2, "x": 1})
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()

    def test_nan_becomes_null(self, tmp_path):
        write_json(tmp_path / "a.json", {"score": float("nan")})
        assert (tmp_path / "a.json").read_text() == '{\n  "score": null\n}\n'

    def test_missing_and_damaged_files(self, tmp_path):
        with pytest.raises(StoreError, match=r"a\.json is missing"):
            read_json(tmp_path / "a.json")
        for damaged in (b"{", b"\xff\xfe\xfa"):
            (tmp_path / "a.json").write_bytes(damaged)
            with pytest.raises(StoreError, match=r"a\.json cannot be read"):
                read_json(tmp_path / "a.json")
