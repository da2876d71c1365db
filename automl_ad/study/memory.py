"""Highest memory in use since a moment."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


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
