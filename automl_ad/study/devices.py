"""Which device a search runs on."""

from __future__ import annotations

import torch

from automl_ad.errors import OptionError


def device_names() -> list[str]:
    """What may be asked for on this machine: ``auto``, ``cpu`` and every visible GPU."""
    return ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def resolve_device(name: str) -> torch.device:
    """``auto`` is the first visible GPU, else the CPU.

    Raises:
        OptionError: The name is unknown or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
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
    return device
