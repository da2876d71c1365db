"""What tests of the dashboard share: its folder on the path, and one small study that was really searched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st

DASHBOARD = Path(__file__).parents[2] / "dashboard"
sys.path.insert(0, str(DASHBOARD))  # as Streamlit does for the script that it runs

import automl_ad  # noqa: E402


@pytest.fixture(autouse=True)
def _own_main() -> Iterator[None]:
    """Streamlit puts the page that it tests in the place of ``__main__``, which processes started later would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def searched(search_parts: Callable[..., automl_ad.Study], tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    """A finished study called ``parts``, not to be written to."""
    return search_parts(tmp_path_factory.mktemp("searched"), image_size=64, trials=6)


@pytest.fixture
def in_workspace(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Points the dashboard at a workspace, as ``automl-ad dashboard`` does."""

    def point(workspace: Path) -> None:
        monkeypatch.setenv("AUTOML_AD_WORKSPACE", str(workspace))
        monkeypatch.delenv("AUTOML_AD_STORAGE", raising=False)
        monkeypatch.delenv("AUTOML_AD_DASHBOARD_TOKEN", raising=False)

    return point


@pytest.fixture
def workspace(tmp_path: Path, in_workspace: Callable[[Path], None]) -> Iterator[Path]:
    """An empty workspace that the dashboard shows."""
    folder = tmp_path / "workspace"
    in_workspace(folder)
    yield folder
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def finished(searched: automl_ad.Study, workspace: Path) -> Path:
    """The workspace of the dashboard with the finished study ``parts`` in it, which may be written to."""
    shutil.copytree(searched.folder.workspace, workspace)
    return workspace


@pytest.fixture
def study(searched: automl_ad.Study, in_workspace: Callable[[Path], None], tmp_path: Path) -> Iterator[automl_ad.Study]:
    """A copy of the searched study that may be written to."""
    copy = tmp_path / "copy"
    shutil.copytree(searched.folder.workspace, copy)
    in_workspace(copy)
    yield automl_ad.Study.open("parts", copy)
    st.cache_resource.clear()
    st.cache_data.clear()
