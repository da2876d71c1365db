"""Methods by name; a method's module is imported when its class is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from automl_ad.errors import InputError
from automl_ad.methods.base import Detector
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.names import ENSEMBLE, METHODS

_CLASSES = {
    "padim": "automl_ad.methods.padim:Padim",
    "patchcore": "automl_ad.methods.patchcore:PatchCore",
    "dfr": "automl_ad.methods.dfr:Dfr",
    "realnet": "automl_ad.methods.realnet:RealNet",
    "destseg": "automl_ad.methods.destseg:DeStSeg",
    "anoseg": "automl_ad.methods.anoseg:AnoSeg",
}
_ENSEMBLE_CLASS = "automl_ad.methods.ensemble:EnsembleDetector"


def detector_class(name: str) -> type[FeatureDetector]:
    """The detector class of a searchable method.

    >>> detector_class("padim").__name__
    'Padim'

    Raises:
        InputError: No such method; the message lists the available ones.
    """
    if name not in METHODS:
        raise InputError(f"Method {name!r} (--methods) does not exist; choose among {', '.join(METHODS)}.")
    loaded: type[FeatureDetector] = _load(_CLASSES[name])
    return loaded


def candidate_class(name: str) -> type[Detector]:
    """The detector class of any trial: that of method ``name``, or the ensemble.

    Raises:
        InputError: No such method.
    """
    if name != ENSEMBLE:
        return detector_class(name)
    loaded: type[Detector] = _load(_ENSEMBLE_CLASS)
    return loaded


def _load(path: str) -> Any:
    """The attribute that ``module:name`` refers to."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
