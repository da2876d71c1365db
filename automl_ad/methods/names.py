"""The names of the methods, apart from their classes, so that the command line knows them without importing torch."""

from __future__ import annotations

METHODS = ("padim", "patchcore", "dfr", "realnet", "destseg", "anoseg")
"""Every method that can be searched, training-free ones first."""

ENSEMBLE = "average"
"""Method name of ensembles, as stored; an ensemble is built from finished trials and never searched."""


def method_words(method: str) -> str:
    """A method as it is shown to people.

    >>> method_words("average")
    'ensemble'
    """
    return "ensemble" if method == ENSEMBLE else method


def candidate_words(method: str, backbone: str | None) -> str:
    """A method and its backbone, if it has one, as they are shown to people.

    >>> candidate_words("padim", "resnet18")
    'padim on resnet18'
    """
    return f"{method_words(method)} on {backbone}" if backbone else method_words(method)
