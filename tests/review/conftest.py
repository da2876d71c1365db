"""What tests of the review room share: one small search."""

from __future__ import annotations

from pathlib import Path

import pytest

import automl_ad
from automl_ad.search.settings import preset_path


@pytest.fixture(scope="session")
def study(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    """A finished search of five trials at two working sizes, one of which trains."""
    workspace = tmp_path_factory.mktemp("reviewed")
    file = workspace / "study.yaml"
    preset = preset_path("quick").read_text()
    file.write_text(f"{preset}\nfamilies: [texture, cutpaste, poisson, photometric]\nper_cell: 4\nsides: [64, 96]\n")
    return automl_ad.search(
        parts,
        name="parts",
        workspace=workspace,
        study_file=file,
        backbones=["embedded"],
        methods=["padim", "dfr", "patchcore"],
        trials=5,
        time_budget=600,
    )


@pytest.fixture
def numbers(study: automl_ad.Study) -> list[int]:
    """The complete trials of the study, best first."""
    return [row["number"] for row in study.trials() if row["state"] == "complete"]
