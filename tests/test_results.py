"""The typed answers: round trips, answers of earlier versions, JSON that every reader understands, and the schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from automl_ad.results import (
    ANSWERS,
    AssessmentResult,
    DecisionCounts,
    EvaluationResult,
    ExportResult,
    PredictionResult,
    SearchOutcome,
    TrialCounts,
    TrialResult,
    schema_of,
    write_schemas,
)

SCHEMAS = Path(__file__).parents[1] / "docs" / "schema"
EARLY: dict[str, Any] = {
    "study": "parts",
    "storage": "sqlite:///a.db",
    "images": 24,
    "trials": {"complete": 3, "pruned": 0, "failed": 1},
    "wall_s": 12.5,
    "proxy": {"suite": "ab" * 32, "families": ["texture"]},
    "winner": {"trial": 2, "method": "padim", "backbone": "embedded", "params": {"side": 64}, "proxy_score": 0.9},
    "tied": [2, 0],
    "default_trial": 0,
    "default_kept": False,
    "why": ["It leads."],
    "warnings": [],
    "next": [],
}
"""What an early version kept: without ensembles, certainty, coverage and what is unknown."""
EVALUATION: dict[str, Any] = {
    "images": {"good": 2, "defect": 2},
    "image_auroc": 1.0,
    "image_ap": 1.0,
    "threshold": 3.0,
    "overkill": 0.0,
    "escapes": 0.5,
}


def test_answers_of_early_versions_are_read_with_defaults() -> None:
    outcome = SearchOutcome.model_validate(EARLY)
    assert outcome.winner.trial == 2
    assert (outcome.averages, outcome.certainty, outcome.certified, outcome.unknown) == (0, None, (), ())
    assert outcome.proxy.coverage is None


def test_keys_of_later_versions_are_ignored() -> None:
    assert SearchOutcome.model_validate(EARLY | {"invented": 3}).study == "parts"


def test_a_round_trip_changes_nothing() -> None:
    outcome = SearchOutcome.model_validate(EARLY)
    assert SearchOutcome.model_validate(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_what_is_not_finite_becomes_null() -> None:
    trial = TrialResult(
        number=0, state="complete", method="dfr", proxy_score=float("nan"), families={"a": float("inf"), "b": 0.5}
    )
    written = trial.to_json()
    assert (written["proxy_score"], written["families"]) == (None, {"a": None, "b": 0.5})
    json.dumps(written, allow_nan=False)


def test_lists_are_lists_and_names_that_are_no_text_survive() -> None:
    written = PredictionResult(bundle="b", threshold=1.0, results=({"path": "s\udcff.png"},)).to_json()
    assert isinstance(written["results"], list)
    assert json.loads(json.dumps(written))["results"][0]["path"] == "s\udcff.png"


def test_answers_cannot_be_changed() -> None:
    counts = TrialCounts(complete=1)
    with pytest.raises(ValidationError, match="frozen"):
        counts.complete = 2  # type: ignore[misc]


def test_only_what_has_nothing_to_say_is_left_out() -> None:
    outcome = SearchOutcome.model_validate(EARLY).to_json()
    assert "defects" not in outcome
    assert outcome["certainty"] is None


def test_an_assessment_by_a_few_defects_alone_has_no_figures_of_labelled_images() -> None:
    assert set(AssessmentResult(study="parts").to_json()) == {"study"}
    labelled = AssessmentResult(study="parts", images={"good": 1, "defect": 1}, trials=(), regret=None)
    assert labelled.to_json()["regret"] is None
    assert "reranked" not in labelled.to_json()


def test_without_a_review_threshold_there_is_no_review() -> None:
    assert "review" not in EvaluationResult.model_validate(EVALUATION).to_json()
    counts = {"reject": 1, "review": 2, "pass": 3}
    review = {"threshold": 2.0, "promised": 0.3, "good": counts, "defect": counts}
    evaluation = EvaluationResult.model_validate(EVALUATION | {"review": review})
    assert evaluation.review is not None
    assert evaluation.review.good == DecisionCounts(reject=1, review=2, passed=3)
    assert evaluation.to_json()["review"] == review


def test_an_export_names_the_study_first() -> None:
    parity = {"images": 96, "relative": 1e-7, "decisions_changed": 0}
    speed = {"latency_ms": 3.0, "size_mb": 20.0}
    export = ExportResult(
        study="parts",
        trial="best",
        bundle="b",
        method="padim",
        backbone="embedded",
        precision="fp32",
        threshold=1.0,
        overkill=0.05,
        promise="At most 5 %.",
        parity=parity,
        speed=speed,
        size_mb=20.0,
    )
    assert list(export.to_json())[:4] == ["study", "trial", "bundle", "method"]


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_the_schema_in_the_docs_is_that_of_the_code(name: str) -> None:
    """Written anew by: python -m automl_ad.results docs/schema"""
    assert (SCHEMAS / f"{name}.json").read_text(encoding="utf-8") == schema_of(ANSWERS[name])


def test_no_schema_is_left_over(tmp_path: Path) -> None:
    written = write_schemas(tmp_path / "schema")
    assert {path.name for path in SCHEMAS.glob("*.json")} == {path.name for path in written}


def test_the_module_loads_nothing_heavy() -> None:
    code = "import sys, automl_ad.results; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "numpy", "optuna", "sqlalchemy", "cv2"}.isdisjoint(loaded)
