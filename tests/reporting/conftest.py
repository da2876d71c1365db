"""What tests of the review room share: one small search."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import automl_ad


@pytest.fixture(scope="session")
def study(search_parts: Callable[..., automl_ad.Study], tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    """A finished search of five trials at two working sizes, one of which trains."""
    return search_parts(tmp_path_factory.mktemp("reviewed"), "per_cell: 4\nsides: [64, 96]\n", trials=5)


@pytest.fixture
def numbers(study: automl_ad.Study) -> list[int]:
    """The complete trials of the study, best first."""
    return [trial.number for trial in study.trials() if trial.state == "complete"]
