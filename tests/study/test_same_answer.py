"""A search gives the answer that version 0.1.0 gave: the same suite, trials, scores, winner and JSON keys.

``golden/embedded.json`` was recorded with that version by ``golden/record.py``, with one thread, on a processor with
AVX-512 and on one with AVX2: their arithmetic differs in the last digits, which moves the calibrated strengths of the
suite and so everything that follows. On the same kind of processor all scores are equal to the last digit; other
numbers of threads move the scores of the worst-conditioned candidates, so that they are compared within `TOLERANCE`.
Times are not compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study.golden.record import recording, search

import automl_ad

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "embedded.json").read_text())
RECORDED: dict[str, dict[str, Any]] = {each["suite"]: each for each in GOLDEN["recordings"]}
"""By the digest of the suite."""
TOLERANCE = 0.02
"""In AUROC."""
NEW_KEYS = {"show": ["traceback"], "search": ["layout", "left_aside"]}
"""Keys that were added since; none was removed."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    return search(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def answer(study: automl_ad.Study) -> dict[str, Any]:
    return study.answer().to_json()


@pytest.fixture(scope="module")
def expected(answer: dict[str, Any]) -> dict[str, Any]:
    suite = answer["proxy"]["suite"]
    assert suite in RECORDED, "another suite, or a processor of another kind: see golden/record.py"
    return RECORDED[suite]


@pytest.mark.slow
class TestSameAnswer:
    def test_the_same_trials_were_run(self, answer: dict[str, Any], expected: dict[str, Any]) -> None:
        assert recording(answer)["params"] == expected["params"]

    @pytest.mark.parametrize("key", ["proxy_scores", "holdout_scores"])
    def test_scores_are_the_same(self, answer: dict[str, Any], expected: dict[str, Any], key: str) -> None:
        for number, score in recording(answer)[key].items():
            recorded = expected[key][number]
            assert score == (recorded if recorded is None else pytest.approx(recorded, abs=TOLERANCE)), number

    def test_the_choice_is_the_same(self, answer: dict[str, Any], expected: dict[str, Any]) -> None:
        found = recording(answer)
        assert {key: found[key] for key in ("winner", "certified", "rules")} == {
            key: expected[key] for key in ("winner", "certified", "rules")
        }

    def test_no_key_is_missing(self, study: automl_ad.Study, answer: dict[str, Any]) -> None:
        found = {
            "search": answer,
            "proxy": answer["proxy"],
            "coverage": answer["proxy"]["coverage"],
            "winner": answer["winner"],
            "ranking": answer["ranking"][0],
            "show": study.show(1).to_json(),
        }
        for name, keys in GOLDEN["keys"].items():
            new = NEW_KEYS.get(name, [])
            assert [key for key in found[name] if key not in new] == keys, name
            assert set(new) <= set(found[name]), name
