from __future__ import annotations

from pathlib import Path

import pytest

from automl_ad.workspace import workspace_folder


def test_what_is_given_goes_before_the_variable_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOML_AD_WORKSPACE", raising=False)
    assert workspace_folder(None) == tmp_path / "automl_ad_workspace"
    monkeypatch.setenv("AUTOML_AD_WORKSPACE", "named")
    assert workspace_folder(None) == tmp_path / "named"
    assert workspace_folder("given") == tmp_path / "given"
    assert workspace_folder(tmp_path / "far") == tmp_path / "far"
