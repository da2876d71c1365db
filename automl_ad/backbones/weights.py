"""Locates the weights of timm models: the user's folder, installed packages, the local hub cache, the hub."""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from automl_ad.backbones.packaged import installed_package, read_package
from automl_ad.errors import InputError, WeightsError

WEIGHTS_VARIABLE = "AUTOML_AD_WEIGHTS"
PUBLISHED_TAGS = {
    "resnet18": "tv_in1k",
    "resnet34": "tv_in1k",
    "resnet50": "tv_in1k",
    "vgg19": "tv_in1k",
    "wide_resnet50_2": "racm_in1k",
    "vit_small_patch14_dinov2": "lvd142m",
}
"""The weights used in the methods' publications; timm's untagged names now refer to others."""
_HUB_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Weights:
    """Tensors of a timm model and where they came from.

    Attributes:
        tensors: State dict in timm's parameter names, possibly of the first levels only.
        origin: File path, package or hub identifier, for reports.
        tag: Model name and digest of the file's bytes. The digest alone is not enough: some files fit two models that
            differ only in their activations.
    """

    tensors: dict[str, Tensor]
    origin: str
    tag: str


def weights_folder(given: Path | None) -> Path | None:
    """The folder given, else the one named by ``AUTOML_AD_WEIGHTS``, else None.

    Raises:
        WeightsError: The folder does not exist.
    """
    named = os.environ.get(WEIGHTS_VARIABLE)
    folder = given or (Path(named) if named else None)
    if folder is not None and not folder.is_dir():
        source = "--weights-dir" if given else WEIGHTS_VARIABLE
        raise WeightsError(f"Weights folder {folder} ({source}) does not exist; create it or leave the option out.")
    return folder


def require_known(name: str) -> None:
    """Checks that timm has model ``name`` and, if the name has one, its pretrained tag.

    Raises:
        InputError: It does not.
    """
    import timm

    if timm.is_model(name) and _config(name) is not None:
        return
    raise InputError(
        f"Backbone {name!r} (--backbones) is not known to timm {timm.__version__}; use 'embedded', a timm model name "
        "such as resnet18, or that name followed by '+filters'."
    )


def find_weights(name: str, folder: Path | None = None, *, hub: bool = True) -> Weights | None:
    """Looks for the weights of timm model ``name``.

    Args:
        name: timm model name, with or without a pretrained tag.
        folder: Folder of ``<timm name>.safetensors`` files, searched first, as somebody put them there.
        hub: Whether to try the hub if no local source has them; fails within seconds.

    Returns:
        The weights, or None when no source has them.

    Raises:
        WeightsError: The first source that has them is damaged.
    """
    located = _local_file(name, weights_folder(folder))
    if located is not None:
        return _read(name, located, str(located))
    packaged = read_package(name)
    if packaged is not None:
        return Weights(packaged.tensors, packaged.origin, _tag(name, packaged.sha256))
    cached = _hub_file(name, local_only=True) or (_hub_file(name, local_only=False) if hub else None)
    return _read(name, cached, f"hub:{_hub_id(name)}") if cached is not None else None


def has_local_weights(name: str, folder: Path | None = None) -> bool:
    """Whether the folder, a package or the hub cache holds weights for ``name``, without loading them."""
    return _local_file(name, weights_folder(folder)) is not None or installed_source(name) is not None


def installed_source(name: str) -> str | None:
    """What has the weights of ``name`` on this machine beside a folder of weights, for people; None for nothing."""
    package = installed_package(name)
    if package is not None:
        return package.origin
    return "hub cache" if _hub_file(name, local_only=True) is not None else None


def _local_file(name: str, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    for stem in dict.fromkeys((name, name.split(".")[0])):
        path = folder / f"{stem}.safetensors"
        if path.is_file():
            return path
    return None


def _read(name: str, path: Path, origin: str) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"Weights file {path} cannot be read ({type(error).__name__}); replace it with a complete safetensors file."
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights({key: value.float() for key, value in tensors.items()}, origin, _tag(name, digest))


def _tag(name: str, digest: str) -> str:
    return f"{name}-{digest[:16]}"


def _config(name: str) -> Any:
    """timm's configuration of the pretrained weights of ``name``; None for an unknown tag."""
    import timm

    tag = PUBLISHED_TAGS.get(name)
    try:
        return timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    except RuntimeError:
        return None


def _hub_id(name: str) -> str | None:
    repository = getattr(_config(name), "hf_hub_id", None)
    return f"timm/{repository}" if repository and "/" not in repository else repository


def _hub_file(name: str, *, local_only: bool) -> Path | None:
    repository = _hub_id(name)
    if not repository or not (local_only or hub_reachable()):
        return None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=local_only))
    except Exception:  # the hub client raises its own, httpx's and the OS's errors alike: all mean "unavailable"
        return None


@lru_cache(maxsize=1)
def hub_reachable() -> bool:
    """Whether the model hub answers within a few seconds; asked once a process.

    The hub client itself retries for half a minute on a machine without internet, and a name server that drops
    packets can hold a look-up for longer, hence the thread.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []
    probe = threading.Thread(target=lambda: answers.append(_answers(constants.ENDPOINT)), daemon=True)
    probe.start()
    probe.join(_HUB_TIMEOUT_S + 1)
    return bool(answers and answers[0])


def _answers(endpoint: str) -> bool:
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
