"""What a study remembers of its attempt at SDAS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from automl_ad.errors import StoreError
from automl_ad.methods.space import Effort
from automl_ad.study.progress import Event
from automl_ad.study.sdas import SHEET, Decision, keep_sheet, model_size, sdas_progress
from automl_ad.synthesis.sdas.preparing import Outcome
from automl_ad.synthesis.sdas.settings import Size

FACTS: dict[str, Any] = {"fault": None, "rounds": 1, "detectability": [[0.0, 0.3, 0.5]], "distance": 1.25}


class TestDecision:
    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        for used in (True, False):
            decision = Decision(used, ["The family sdas was left out: ü."], FACTS)
            decision.save(tmp_path / "suite", "abc")
            assert Decision.load(tmp_path / "suite", "abc") == decision

    def test_nothing_was_decided_yet(self, tmp_path: Path) -> None:
        assert Decision.load(tmp_path / "nowhere", "abc") is None

    def test_the_decision_of_other_images_does_not_count(self, tmp_path: Path) -> None:
        Decision(used=True).save(tmp_path, "abc")
        assert Decision.load(tmp_path, "abd") is None
        assert Decision.load(tmp_path, "abc") == Decision(used=True, warnings=[], facts={})

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfa"])
    def test_one_that_cannot_be_read_is_reported(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / Decision.file).write_bytes(content)
        with pytest.raises(StoreError, match=r"sdas\.json cannot be read"):
            Decision.load(tmp_path, "abc")

    @pytest.mark.parametrize(
        "content",
        [
            "[]",
            "null",
            "{}",
            '"abc"',
            '{"source": "abc"}',
            '{"source": "abc", "used": true, "warnings": 3, "facts": {}}',
            '{"source": "abc", "used": true, "warnings": [], "facts": [1]}',
        ],
    )
    def test_a_damaged_one_is_reported(self, tmp_path: Path, content: str) -> None:
        (tmp_path / Decision.file).write_text(content)
        with pytest.raises(StoreError, match=r"sdas\.json is damaged; start the study under another --name\."):
            Decision.load(tmp_path, "abc")

    def test_it_is_written_for_other_programs_as_well(self, tmp_path: Path) -> None:
        Decision(False, ("late",), FACTS | {"distance": float("nan")}).save(tmp_path, "abc")
        content = json.loads((tmp_path / Decision.file).read_text())
        facts = FACTS | {"distance": None}
        assert content == {"source": "abc", "used": False, "warnings": ["late"], "facts": facts, "stock": 48}


class TestOutcomes:
    def test_a_model_that_passed_is_used(self) -> None:
        sdas: Any = object()
        assert Decision.of(Outcome(sdas, None, FACTS)) == Decision(True, [], FACTS)

    def test_a_warning_does_not_keep_it_from_use(self) -> None:
        sdas: Any = object()
        assert Decision.of(Outcome(sdas, None, FACTS, None, ["old"])) == Decision(True, ["old"], FACTS)

    def test_the_reason_becomes_a_sentence_before_other_warnings(self) -> None:
        decision = Decision.of(Outcome(None, "its pictures are noise", FACTS, None, ["old", "torn"]))
        sentence = "The family sdas was left out: its pictures are noise."
        assert decision == Decision(False, [sentence, "old", "torn"], FACTS)


@pytest.mark.parametrize(
    ("effort", "device", "size"),
    [
        ("faithful", "cpu", "small"),
        ("faithful", "cuda", "published"),
        ("quick", "cpu", "small"),
        ("quick", "cuda:1", "medium"),
        ("thorough", "cpu", "small"),
        ("thorough", "cuda", "medium"),
    ],
)
def test_the_model_suits_effort_and_device(effort: Effort, device: str, size: Size) -> None:
    assert model_size(effort, torch.device(device)) == size


def test_what_preparation_tells_becomes_events() -> None:
    events: list[Event] = []
    tell = sdas_progress(events.append)
    tell("Training SDAS, loss 0.250", 3, 10, 12.5)
    tell("Checking synthetic images", 0, 1, None)
    assert [(event.stage, event.message, event.done, event.total, event.left_s) for event in events] == [
        ("sdas", "Training SDAS, loss 0.250", 3, 10, 12.5),
        ("sdas", "Checking synthetic images", 0, 1, None),
    ]


class TestSheet:
    def test_it_is_copied_beside_the_suites(self, tmp_path: Path) -> None:
        (tmp_path / "gate.png").write_bytes(b"picture")
        for _ in range(2):
            keep_sheet(tmp_path / "gate.png", tmp_path / "suite")
        assert [path.name for path in (tmp_path / "suite").iterdir()] == [SHEET]
        assert (tmp_path / "suite" / SHEET).read_bytes() == b"picture"
        assert (tmp_path / "gate.png").read_bytes() == b"picture"

    @pytest.mark.parametrize("sheet", [None, "nowhere.png"])
    def test_without_one_nothing_is_written(self, tmp_path: Path, sheet: str | None) -> None:
        keep_sheet(None if sheet is None else tmp_path / sheet, tmp_path / "suite")
        assert list(tmp_path.iterdir()) == []
