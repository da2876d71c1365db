"""Chooses an image anomaly detector when all you have is good pictures.

Importing this package loads nothing else: each name below is fetched from its module when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_ad.api import Study, audit, demo, describe, evaluate, load_bundle, search, studies, synthesize
    from automl_ad.doctor import doctor

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
    "search",
    "studies",
    "synthesize",
]

_HOMES = {name: "automl_ad.api" for name in __all__ if name != "__version__"} | {"doctor": "automl_ad.doctor"}


def __getattr__(name: str) -> Any:
    """Fetches one of the public names."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    return globals().get(name, found)  # the import may have bound a module of this name, which can be called as well


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("automl-ad")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"


class _CallableModule(ModuleType):
    """A module that bears the name of a public function, and calls it."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_HOMES[name]), name)(*arguments, **options)


class _Package(ModuleType):
    """This package: `search` and `doctor` are modules and public functions at once.

    Python binds a module in its package when the module is first imported, which would hide the function of the
    same name from then on. The module is therefore made callable, so that `automl_ad.search(...)` works whatever
    was imported before, and so does every ordinary use of the module.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and type(value) is ModuleType:
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
