"""Methods by name."""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

from automl_ad.errors import InputError
from automl_ad.methods.base import Detector
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.names import METHODS

ENSEMBLE = "average"
"""What the mean of candidates of these methods is called; it is formed of finished trials and never searched."""

_classes: dict[str, type[FeatureDetector]] = {}
Class = TypeVar("Class", bound=type[FeatureDetector])


def register(cls: Class) -> Class:
    """Class decorator: makes a detector available by its ``name``."""
    _classes[cls.name] = cls
    return cls


def detector_class(name: str) -> type[FeatureDetector]:
    """The detector class of method ``name``, which can be searched.

    Raises:
        InputError: No such method; the message lists those there are.
    """
    if name not in METHODS:
        raise InputError(f"Method {name!r} (--methods) does not exist; choose among {', '.join(METHODS)}.")
    if name not in _classes:
        import_module(f"automl_ad.methods.{name}")
    return _classes[name]


def candidate_class(name: str) -> type[Detector]:
    """The class of whatever a trial can be: of method ``name``, or of an average.

    Raises:
        InputError: No such method.
    """
    if name != ENSEMBLE:
        return detector_class(name)
    from automl_ad.methods.ensemble import EnsembleDetector

    return EnsembleDetector
