"""The machine that a search runs on: devices, peak memory, and state of the process that is restored after use."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import optuna
import torch

from automl_ad.errors import OptionError
from automl_ad.methods.fit_memory import DEVICE_SHARE

_limited: set[torch.device] = set()


def device_names() -> list[str]:
    """What may be asked for on this machine: ``auto``, ``cpu`` and every visible GPU."""
    return ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def resolve_device(name: str) -> torch.device:
    """``auto`` is the first visible GPU, else the CPU.

    On a GPU the process may from then on take no more than ``DEVICE_SHARE`` of the memory; see `study_arithmetic`.

    Raises:
        OptionError: The name is unknown or there is no such device.
    """
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = _existing(name)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(DEVICE_SHARE, device)
        _limited.add(device)
    return device


def _existing(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError("device", f"{name!r} is not a device; use auto, cpu or cuda:N.") from error
    if device.type not in {"cpu", "cuda"}:
        raise OptionError("device", f"{name!r} is not supported; use auto, cpu or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            "device", f"{name!r} is not here ({torch.cuda.device_count()} GPUs visible); use auto or cpu."
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


class PeakMemory:
    """Measures the peak of this process, and of the GPU where one is used, from construction on.

    On Linux the kernel's high-water mark is reset; elsewhere the mark of the whole process life is reported.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:  # not Linux, or not permitted: the mark of the whole process stands in
            return

    def megabytes(self) -> float:
        """Peak so far, host and device added."""
        device = torch.cuda.max_memory_allocated(self.device) / 1e6 if self.device.type == "cuda" else 0.0
        return _host_megabytes() + device


def _host_megabytes() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return _lifetime_megabytes()


def _lifetime_megabytes() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Lets torch treat denormal numbers as zero: near-constant channels make products ten times slower otherwise."""
    before = _denormals_are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def full_float32() -> Iterator[None]:
    """Lets GPUs compute float32 convolutions and products in float32.

    PyTorch computes convolutions in TF32 otherwise, which keeps 10 bits: scores then differ from those of the exported
    graph by more than the parity check allows. Trainings in bfloat16 stay as they are.
    """
    cudnn: Any = torch.backends.cudnn
    backends, name, exact = [cudnn, torch.backends.cuda.matmul], "allow_tf32", cast(object, False)
    try:
        before = [getattr(backend, name) for backend in backends]
    except RuntimeError:  # the program that calls uses the newer names, which must not be mixed with these
        backends, name, exact = [cudnn.conv, torch.backends.cuda.matmul], "fp32_precision", "ieee"
        before = [getattr(backend, name) for backend in backends]
    for backend in backends:
        setattr(backend, name, exact)
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            setattr(backend, name, value)


@contextmanager
def study_arithmetic() -> Iterator[None]:
    """How everything in a study is computed: see `flushed_denormals` and `full_float32`.

    Limits on the memory of GPUs, which `resolve_device` set inside, end with it.
    """
    try:
        with flushed_denormals(), full_float32():
            yield
    finally:
        while _limited:
            torch.cuda.set_per_process_memory_fraction(1.0, _limited.pop())


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Lets Optuna report errors alone, since progress is shown by other means.

    The sampler's ``group`` has been called experimental for years; the warning is left out as well.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _denormals_are_flushed() -> bool:
    """Torch tells no other way whether denormal numbers count as zero."""
    return float(torch.tensor([1e-300], dtype=torch.float64) * 1e-20) == 0.0
