"""Records the answer that `test_same_answer.py` expects, on the CPU at hand::

    OMP_NUM_THREADS=1 python tests/study/golden/record.py >> recordings.jsonl

Run it with the code that is known to be right, and add what it prints to ``recordings`` in ``embedded.json``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import automl_ad
from automl_ad.data.demo_parts import draw_demo_set


def search(folder: Path) -> automl_ad.Study:
    """The search that is recorded: the images that ``automl-ad demo`` draws, the embedded backbone, 12 trials."""
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


def recording(answer: dict[str, Any]) -> dict[str, Any]:
    """What is compared of an answer."""
    trials = {str(trial["number"]): trial for trial in answer["ranking"]}
    params = {number: dict(trial["params"]) for number, trial in trials.items()}
    for each in params.values():
        if "members" in each:
            each["members"] = [member["trial"] for member in each["members"]]
    return {
        "suite": answer["proxy"]["suite"],
        "winner": answer["winner"]["trial"],
        "certified": sorted(answer["certified"]),
        "params": params,
        "proxy_scores": {number: trial["proxy_score"] for number, trial in trials.items()},
        "holdout_scores": {number: trial["certify_score"] for number, trial in trials.items()},
        "rules": {number: trial["rule"] for number, trial in trials.items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(recording(search(Path(place)).answer().to_json())))
