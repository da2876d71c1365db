from __future__ import annotations

import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import automl_ad
from automl_ad.diagnosis import PACKAGES
from automl_ad.errors import AutomlAdError, NoCandidateError, StudyError

HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "optuna",
    "numpy",
    "cv2",
    "sqlalchemy",
    "streamlit",
    "scipy",
    "sklearn",
    "rich",
}
API_NAMES = (
    "Study",
    "audit",
    "demo",
    "describe",
    "evaluate",
    "load_bundle",
    "predict",
    "predict_stream",
    "search",
    "studies",
    "synthesize",
)


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return run.stdout.strip()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    fake = types.ModuleType("automl_ad.api")
    for name in API_NAMES:
        setattr(fake, name, lambda *arguments, _name=name: (_name, *arguments))
    monkeypatch.setitem(sys.modules, "automl_ad.api", fake)
    return fake


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python("import sys, automl_ad; print(*{name.split('.')[0] for name in sys.modules})")
    assert HEAVY.isdisjoint(loaded.split())


def test_importing_the_library_leaves_the_filters_of_warnings_alone() -> None:
    """A program that calls the library decides itself which warnings it shows; only the command line hides Pillow's."""
    code = "import warnings, automl_ad.api, automl_ad.bundle.runtime; print(warnings.filters)"
    assert "PIL" not in python(code)


@pytest.mark.parametrize("name", API_NAMES)
def test_public_names_come_from_the_api(name: str, api: types.ModuleType) -> None:
    assert getattr(automl_ad, name)(7) == (name, 7)


def test_all_names_are_listed_and_nothing_else_is_made_up() -> None:
    assert set(automl_ad.__all__) <= set(dir(automl_ad))
    assert set(automl_ad.__all__) == {*API_NAMES, "doctor", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = automl_ad.serach


def test_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", automl_ad.__version__)

    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", unknown)
    assert automl_ad.__version__ == "0+unknown"


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """Python binds an imported module in its package, which would hide the function of the same name."""
    names = {module.name for module in pkgutil.iter_modules(automl_ad.__path__)}
    assert names.isdisjoint(automl_ad.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(automl_ad.__file__).parent / "py.typed").is_file()


def test_the_doctor_knows_every_dependency() -> None:
    text = (Path(automl_ad.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.partition("dependencies = [")[2].partition("\n]")[0]
    assert set(PACKAGES) == set(re.findall(r'^\s*"([A-Za-z0-9-]+)', listed, re.MULTILINE))


def test_a_search_without_candidate_is_a_study_error() -> None:
    assert issubclass(NoCandidateError, StudyError)
    assert issubclass(StudyError, AutomlAdError)
