from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from automl_ad import diagnosis
from automl_ad.backbones import weights
from automl_ad.diagnosis import PACKAGES, WELL_KNOWN, doctor, usable_cores


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("AUTOML_AD_WORKSPACE", weights.WEIGHTS_VARIABLE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(weights, "hub_reachable", lambda: False)
    monkeypatch.setattr(weights, "installed_source", lambda name: "hub cache" if name == "resnet50" else None)
    monkeypatch.chdir(tmp_path)


def sources(report: dict[str, Any]) -> dict[str, str | None]:
    return {item["name"]: item["source"] for item in report["backbones"]}


def test_a_sound_machine_is_described(tmp_path: Path) -> None:
    report = doctor().to_json()
    assert report["problems"] == []
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(report["packages"]) == set(PACKAGES)
    assert all(report["packages"].values())
    assert report["devices"][0]["device"] == "cpu"
    assert report["devices"][0]["cores"] == usable_cores() > 0
    assert report["devices"][0]["memory_mb"] > 100
    assert json.loads(json.dumps(report)) == report


def test_cores_are_counted_without_joblib_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)  # its import fails
    assert usable_cores() == os.cpu_count()


def test_the_quota_of_a_container_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    assert doctor().to_json()["devices"][0]["cores"] == 1


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    workspace = tmp_path / "deep" / "workspace"
    report = doctor(workspace).to_json()
    place = report["places"][0]
    assert (place["what"], place["path"], place["writable"]) == ("workspace", str(workspace), True)
    assert place["free_mb"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_workspace_comes_from_the_environment_or_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert doctor().to_json()["places"][0]["path"] == str(tmp_path / "automl_ad_workspace")
    monkeypatch.setenv("AUTOML_AD_WORKSPACE", str(tmp_path / "named"))
    assert doctor().to_json()["places"][0]["path"] == str(tmp_path / "named")


def test_importing_it_imports_no_package() -> None:
    code = "import sys, automl_ad.diagnosis; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "torch", "optuna", "sqlalchemy", "cv2", "pydantic"}.isdisjoint(loaded)


def test_backbones_are_found_in_the_folder_and_the_hub_cache(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "resnet18.safetensors").touch()
    (folder / "vit_tiny.safetensors").touch()
    (folder / "notes.txt").touch()
    found = sources(doctor(weights_dir=folder).to_json())
    assert found["embedded"] == "built in"
    assert found["resnet18"] == found["vit_tiny"] == f"weights folder {folder}"
    assert found["resnet50"] == "hub cache"
    assert found["wide_resnet50_2"] is None
    assert set(found) == {"embedded", "vit_tiny", *WELL_KNOWN}


def test_a_missing_weights_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(tmp_path / "gone"))
    report = doctor().to_json()
    assert [str(tmp_path / "gone") in problem for problem in report["problems"]] == [True]
    assert sources(report)["resnet50"] == "hub cache"


@pytest.mark.parametrize(("reachable", "words"), [(True, "first search downloads"), (False, "--weights-dir")])
def test_advice_when_there_is_no_network(monkeypatch: pytest.MonkeyPatch, reachable: bool, words: str) -> None:
    monkeypatch.setattr(weights, "installed_source", lambda name: None)
    monkeypatch.setattr(weights, "hub_reachable", lambda: reachable)
    report = doctor().to_json()
    assert report["hub_reachable"] is reachable
    assert words in report["advice"][-1]


def test_a_torchvision_for_another_torch_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis.importlib.import_module

    def failing(name: str) -> types.ModuleType:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")
        return real(name)

    monkeypatch.setattr(diagnosis.importlib, "import_module", failing)
    report = doctor().to_json()
    assert len(report["problems"]) == 1
    assert "does not fit torch" in report["problems"][0]
    assert "(operator torchvision::nms does not exist)" in report["problems"][0]
    assert "pip install --force-reinstall torch torchvision" in report["problems"][0]
    assert sources(report) == {"embedded": "built in"}
    assert report["hub_reachable"] is None


@pytest.mark.parametrize("name", ["torch", "timm"])
def test_other_packages_that_do_not_import_are_reported_without_a_crash(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = diagnosis.importlib.import_module

    def failing(wanted: str) -> types.ModuleType:
        if wanted == name:
            raise OSError("libgomp.so.1: cannot open")
        return real(wanted)

    monkeypatch.setattr(diagnosis.importlib, "import_module", failing)
    report = doctor().to_json()
    assert len(report["problems"]) == 1
    assert report["problems"][0].startswith(name)
    assert "libgomp" in report["problems"][0]
    assert report["devices"][0]["device"] == "cpu"


def test_packages_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis.metadata.version

    def version(name: str) -> str:
        if name in ("torch", "plotly"):
            raise diagnosis.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(diagnosis.metadata, "version", version)
    report = doctor().to_json()
    assert report["packages"]["plotly"] is None
    assert report["problems"] == ["not installed: torch, plotly; run: pip install torch plotly"]


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    properties = types.SimpleNamespace(name="Card", total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    report = doctor().to_json()
    assert [device["device"] for device in report["devices"]] == ["cpu", "cuda:0", "cuda:1"]
    assert report["devices"][2] == {"device": "cuda:1", "name": "Card", "cores": None, "memory_mb": 8192}
    assert not any("no GPU" in advice for advice in report["advice"])


def test_a_gpu_that_torch_cannot_use_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: "/usr/bin/" + name)
    assert "CUDA build" in doctor().to_json()["problems"][0]

    def broken() -> int:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(torch.cuda, "device_count", broken)
    assert "driver too old" in doctor().to_json()["problems"][0]


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = doctor(tmp_path / "file" / "workspace").to_json()
    assert report["places"][0]["writable"] is False
    assert report["problems"] == [
        f"{tmp_path / 'file' / 'workspace'} (workspace) is not writable; choose another folder."
    ]


def test_scarcity_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(diagnosis, "usable_cores", lambda: 2)
    monkeypatch.setattr(diagnosis, "_memory_mb", lambda: 2048.0)
    monkeypatch.setattr(diagnosis, "_free_mb", lambda folder: 100.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    advice = " ".join(doctor().to_json()["advice"])
    for words in ("no GPU", "only 2 cores", "OMP_NUM_THREADS=1", "2.0 GiB of memory", "0.1 GiB free for workspace"):
        assert words in advice


def test_plenty_needs_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    properties = types.SimpleNamespace(name="Card", total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(diagnosis, "usable_cores", lambda: 16)
    monkeypatch.setattr(diagnosis, "_memory_mb", lambda: 65536.0)
    monkeypatch.setattr(diagnosis, "_free_mb", lambda folder: 1e6)
    assert doctor().to_json()["advice"] == []
