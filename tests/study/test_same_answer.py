"""A search gives the answer that version 0.1.0 gave: the same suite, trials, scores, winner and JSON keys.

``golden/embedded.json`` was recorded with that version by::

    automl-ad search PARTS --name embedded --backbones embedded --trials 12 --seed 0 --time-budget 1h --json

where PARTS are the images that ``automl-ad demo`` draws, with one thread. On the same machine all scores are equal to
the last digit. Another CPU or number of threads adds in another order, which moves the scores of the worst-conditioned
candidates by a point, so that they are compared within `TOLERANCE`. Times are not compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import automl_ad
from automl_ad.data.demo_parts import draw_demo_set

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "embedded.json").read_text())
TOLERANCE = 0.02
"""In AUROC."""
NEW_KEYS = {"show": ["traceback"]}
"""Keys that were added since; none was removed or moved."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    folder = tmp_path_factory.mktemp("golden")
    draw_demo_set(folder / "parts")
    return automl_ad.search(
        folder / "parts",
        name="embedded",
        workspace=folder / "workspace",
        backbones=["embedded"],
        trials=12,
        time_budget="1h",
        seed=0,
    )


@pytest.fixture(scope="module")
def answer(study: automl_ad.Study) -> dict[str, Any]:
    return study.answer().to_json()


@pytest.mark.slow
class TestSameAnswer:
    def test_the_suite_is_the_same(self, answer: dict[str, Any]) -> None:
        assert answer["proxy"]["suite"] == GOLDEN["suite"]

    def test_the_same_trials_were_run(self, answer: dict[str, Any]) -> None:
        found = {str(trial["number"]): dict(trial["params"]) for trial in answer["ranking"]}
        for params in found.values():
            if "members" in params:
                params["members"] = [member["trial"] for member in params["members"]]
        assert found == GOLDEN["params"]

    @pytest.mark.parametrize(
        ("key", "recorded"),
        [("proxy_score", "proxy_scores"), ("certify_score", "holdout_scores")],
    )
    def test_scores_are_the_same(self, answer: dict[str, Any], key: str, recorded: str) -> None:
        for trial in answer["ranking"]:
            expected = GOLDEN[recorded][str(trial["number"])]
            assert trial[key] == (expected if expected is None else pytest.approx(expected, abs=TOLERANCE)), trial[
                "number"
            ]

    def test_the_choice_is_the_same(self, answer: dict[str, Any]) -> None:
        assert answer["winner"]["trial"] == GOLDEN["winner"]
        assert sorted(answer["certified"]) == GOLDEN["certified"]
        assert {str(trial["number"]): trial["rule"] for trial in answer["ranking"]} == GOLDEN["rules"]

    def test_the_keys_are_the_same(self, study: automl_ad.Study, answer: dict[str, Any]) -> None:
        found = {
            "search": answer,
            "proxy": answer["proxy"],
            "coverage": answer["proxy"]["coverage"],
            "winner": answer["winner"],
            "ranking": answer["ranking"][0],
            "show": study.show(1).to_json(),
        }
        for name, expected in GOLDEN["keys"].items():
            assert list(found[name]) == expected + NEW_KEYS.get(name, []), name
