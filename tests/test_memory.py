"""What memory is left, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from automl_ad import memory
from automl_ad.errors import InputError, NotEnoughMemoryError
from automl_ad.memory import GIB, free_bytes, memory_explained, ran_out_of_memory


@pytest.mark.skipif(sys.platform != "linux", reason="tells what Linux tells")
def test_a_resource_limit_counts() -> None:
    code = (
        "import resource; from automl_ad.memory import free_bytes; before = free_bytes();"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); print(before > 0, 0 < free_bytes() < 2**30)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.split() == ["True", "True"]


def test_the_least_of_all_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_of_machine", lambda: 8 * GIB)
    monkeypatch.setattr(memory, "_of_address_space", lambda: None)
    monkeypatch.setattr(memory, "_of_group", lambda: 3 * GIB)
    assert free_bytes() == 3 * GIB
    monkeypatch.setattr(memory, "_of_group", lambda: -5)
    assert free_bytes() == 0


def test_where_the_system_tells_nothing_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> int:
        raise OSError

    for name in ("_of_machine", "_of_address_space", "_of_group"):
        monkeypatch.setattr(memory, name, unknown)
    assert free_bytes() is None


def test_a_control_group_leaves_its_limit_less_what_is_used_and_cannot_be_reclaimed(tmp_path: Path) -> None:
    limit, used, details = tmp_path / "max", tmp_path / "current", tmp_path / "stat"
    limit.write_text("1000\n")
    used.write_text("700\n")
    details.write_text("anon 100\ninactive_file 250\n")
    assert memory._group_left(limit, used, details) == 550
    details.unlink()
    assert memory._group_left(limit, used, details) == 300
    limit.write_text("max\n")
    assert memory._group_left(limit, used, details) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_class_or_its_words(error: Exception, expected: bool) -> None:
    assert ran_out_of_memory(error) is expected


def test_it_becomes_one_sentence() -> None:
    sentence = r"^The search ran out of memory; give a smaller --image-size"
    with pytest.raises(NotEnoughMemoryError, match=sentence), memory_explained("The search"):
        np.empty(2**50)
    with pytest.raises(InputError, match="mine"), memory_explained("The search"):
        raise InputError("mine")
    with pytest.raises(RuntimeError, match="shapes"), memory_explained("The search"):
        raise RuntimeError("shapes differ")
