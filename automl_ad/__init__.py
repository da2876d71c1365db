"""Chooses an image anomaly detector when all you have is good pictures.

Importing this package loads nothing else: each name below is fetched from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_ad.api import (
        Study,
        audit,
        demo,
        describe,
        evaluate,
        load_bundle,
        predict,
        predict_stream,
        search,
        studies,
        synthesize,
    )
    from automl_ad.diagnosis import doctor

    __version__: str

__all__ = [
    "Study",
    "__version__",
    "audit",
    "demo",
    "describe",
    "doctor",
    "evaluate",
    "load_bundle",
    "predict",
    "predict_stream",
    "search",
    "studies",
    "synthesize",
]

_MODULES = {name: "automl_ad.api" for name in __all__ if name != "__version__"} | {"doctor": "automl_ad.diagnosis"}


def __getattr__(name: str) -> Any:
    """Fetches one of the public names."""
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("automl-ad")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
