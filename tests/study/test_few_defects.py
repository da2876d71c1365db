from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import automl_ad
from automl_ad.errors import InputError, StudyError
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.methods.padim import Padim
from automl_ad.selection import few_defects
from automl_ad.selection.few_defects import Evidence, Posterior, judge_leader
from automl_ad.selection.ranking import usable
from automl_ad.store.artifacts import load_arrays
from automl_ad.store.records import CandidateRecord
from automl_ad.study import real_defects
from automl_ad.study import study as study_module
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import STATE
from automl_ad.study.progress import Event
from automl_ad.study.real_defects import NOT_FINITE, NOT_KEPT, DefectImages, among_defects, gather_evidence
from automl_ad.tuned import SURE


@pytest.fixture(scope="module")
def study(search_parts: Callable[..., automl_ad.Study], tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    """A finished search of five trials at two working sizes, one of which trains."""
    return search_parts(tmp_path_factory.mktemp("few"), "per_cell: 4\nsides: [64, 96]\n", trials=5)


@pytest.fixture(scope="module")
def few(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three defects, two of which are among the labelled images."""
    folder = tmp_path_factory.mktemp("defects")
    for index in range(3):
        shutil.copy(parts / "test" / "bar" / f"{index:03d}.png", folder)
    picture = cv2.imread(str(folder / "002.png"))
    cv2.imwrite(str(folder / "002.png"), np.fliplr(np.asarray(picture)))
    return folder


@pytest.fixture(scope="module")
def context(study: automl_ad.Study) -> StudyContext:
    return study.context()


@pytest.fixture(scope="module")
def pictures(few: Path, context: StudyContext) -> DefectImages:
    return DefectImages.read(few, context.data.normals)


@pytest.fixture
def records(study: automl_ad.Study) -> list[CandidateRecord]:
    return usable(study.repository.candidates(study.name), study.settings)


@pytest.fixture
def forgotten(study: automl_ad.Study) -> Iterator[None]:
    """Whatever was kept of defects is gone, before and after."""
    for wait in (True, False):
        for path in study.folder.trials.glob("*/defects_*.npz"):
            path.unlink()
        if wait:
            yield


@pytest.mark.usefixtures("forgotten")
def test_evidence_is_that_of_the_trial_s_own_detector(
    context: StudyContext, records: list[CandidateRecord], pictures: DefectImages, study: automl_ad.Study
) -> None:
    found = gather_evidence(context, records, pictures.images)
    assert found.placements.shape == (len(records), 3)
    assert not found.faults
    unseen = len(context.data.normals.splits.validation) + len(context.data.normals.splits.holdout)
    np.testing.assert_allclose(found.placements * 2 * unseen, np.rint(found.placements * 2 * unseen), atol=1e-9)
    for row, record in enumerate(records):
        folder = study.folder.trial(record.number)
        (kept,) = (load_arrays(path) for path in folder.glob("defects_*.npz"))
        normals, trial = kept[f"normal/{record.rule}"], load_arrays(folder / "scores.npz")[f"normal/{record.rule}"]
        np.testing.assert_allclose(normals[: len(trial)], trial, rtol=1e-3)
        labels = np.arange(unseen + 3) >= unseen
        auroc = image_auroc(np.r_[normals, kept[f"defect/{record.rule}"]], labels)
        assert found.placements[row].mean() == pytest.approx(auroc)


def test_asking_again_takes_no_detector(
    context: StudyContext, records: list[CandidateRecord], pictures: DefectImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gather_evidence(context, records, pictures.images)

    def never(*_: Any) -> None:
        raise AssertionError("no detector is needed")

    monkeypatch.setattr(real_defects, "available_trial_detector", never)
    again = gather_evidence(context, records, pictures.images)
    np.testing.assert_array_equal(first.placements, again.placements)
    assert again.faults == {}


@pytest.mark.usefixtures("forgotten")
def test_a_training_that_was_not_kept_is_not_repeated(
    context: StudyContext, records: list[CandidateRecord], pictures: DefectImages, study: automl_ad.Study
) -> None:
    trained = next(record for record in records if (study.folder.trial(record.number) / STATE).is_file())
    path = study.folder.trial(trained.number) / STATE
    content = path.read_bytes()
    path.unlink()
    try:
        found = gather_evidence(context, [trained], pictures.images)
    finally:
        path.write_bytes(content)
    assert np.isnan(found.placements).all()
    assert found.faults == {trained.number: NOT_KEPT}


@pytest.mark.usefixtures("forgotten")
def test_a_trial_that_fails_costs_the_others_nothing(
    study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Padim, "anomaly_maps", fail)
    answer = study.rerank(few).to_json()
    rows = {row["number"]: row for row in answer["trials"]}
    failed = [number for number, row in rows.items() if row["method"] == "padim"]
    assert failed
    assert all(rows[number]["mean_placement"] is None for number in failed)
    assert any(row["mean_placement"] is not None for row in rows.values())
    assert "Out of memory" in answer["note"]


@pytest.mark.usefixtures("forgotten")
def test_maps_that_are_not_finite_are_no_evidence(
    context: StudyContext, records: list[CandidateRecord], pictures: DefectImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = Padim.anomaly_maps

    def spoilt(self: Padim, images: Any) -> Any:
        found = maps(self, images).copy()
        found[0, 0, 0] = np.nan
        return found

    monkeypatch.setattr(Padim, "anomaly_maps", spoilt)
    one = next(record for record in records if record.method == "padim")
    assert gather_evidence(context, [one], pictures.images).faults == {one.number: NOT_FINITE}


def test_an_answer_says_what_the_defects_change_and_what_not(study: automl_ad.Study, few: Path) -> None:
    before, told = study.answer().to_json(), list[Event]()
    answer = study.rerank(few, told.append).to_json()
    json.dumps(answer, allow_nan=False)
    assert study.answer().to_json() == before
    numbers = {row["number"] for row in [trial.to_json() for trial in study.trials()] if row["state"] == "complete"}
    assert set(answer["order"]) == numbers
    assert [row["number"] for row in answer["trials"]] == answer["order"]
    assert answer["images"] == 3
    rivals = [number for number in answer["order"] if number != before["winner"]["trial"]]
    assert answer["leader"] in (rivals if (answer["certainty"] or 0) >= SURE else [before["winner"]["trial"]])
    assert answer["changed"] == (answer["leader"] != before["winner"]["trial"])
    values = [row["posterior"] for row in answer["trials"]]
    assert values == sorted(values, reverse=True)
    assert all(0 <= row["mean_placement"] <= 1 and row["sd"] > 0 for row in answer["trials"])
    assert "3 real defects" in answer["note"]
    assert "does not change the winner" in answer["note"]
    assert {event.stage for event in told} == {"audit", "defects"}  # the good images are read first
    assert all(event.total == len(numbers) for event in told if event.stage == "defects")


def test_the_defects_can_change_the_leader(study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = study.answer().winner.trial

    def made(context: StudyContext, records: list[CandidateRecord], *_: Any) -> Evidence:
        other = next(record.number for record in records if record.number != winner)
        return Evidence(np.array([[float(record.number == other)] * 3 for record in records]), {})

    monkeypatch.setattr(study_module, "gather_evidence", made)
    answer = study.rerank(few).to_json()
    assert answer["changed"]
    assert answer["certainty"] >= SURE
    assert f"not trial {winner}, the winner of the search" in answer["note"]
    command = f"automl-ad export parts --trial {answer['leader']} --output parts_bundle"
    assert [line.split(" --workspace")[0] for line in answer["next"]] == [command]


def made_of(
    means: dict[int, float], spread: dict[int, float], monkeypatch: pytest.MonkeyPatch, ranked: list[int]
) -> None:
    """Re-rankings come to these means and spreads by trial number; 0.5 and 0.1 where nothing else is said."""
    values = [
        np.array([found.get(number, usual) for number in ranked]) for found, usual in ((means, 0.5), (spread, 0.1))
    ]
    monkeypatch.setattr(few_defects, "posterior", lambda *_: Posterior(values[0], *values))


def test_a_first_that_is_hardly_better_does_not_replace_the_winner(
    study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = study.answer().winner.trial
    ranked = [row["number"] for row in [trial.to_json() for trial in study.trials()] if row["state"] == "complete"]
    first = next(number for number in ranked if number != winner)
    made_of({first: 0.81, winner: 0.8}, {}, monkeypatch, ranked)
    answer = study.rerank(few).to_json()
    assert answer["order"][:2] == [first, winner]
    assert (answer["leader"], answer["changed"], answer["certainty"], answer["next"]) == (winner, False, None, [])
    assert f"Trial {winner}, the winner of the search, stays: trial {first} comes first" in answer["note"]


def test_the_leader_need_not_come_first(study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = study.answer().winner.trial
    ranked = [row["number"] for row in [trial.to_json() for trial in study.trials()] if row["state"] == "complete"]
    first, sure = [number for number in ranked if number != winner][:2]
    made_of({first: 0.82, sure: 0.81, winner: 0.8}, {first: 1.0, sure: 0.001, winner: 0.001}, monkeypatch, ranked)
    answer = study.rerank(few).to_json()
    assert (answer["order"][0], answer["leader"], answer["changed"]) == (first, sure, True)
    assert f"Trial {sure} leads with the real defects, not trial {winner}, the winner of the search;" in answer["note"]
    assert f"that of trial {first}, which comes first, is lower" in answer["note"]


def test_before_the_search_has_ended_nobody_is_its_winner(
    study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "outcome", lambda: None)
    note = study.rerank(few).note
    assert "rial 0, the provisional choice until the search has ended" in note
    assert "winner of the search" not in note


def test_defects_that_tell_nothing_leave_the_winner(
    study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = study.answer().winner.trial
    monkeypatch.setattr(
        study_module, "gather_evidence", lambda context, records, *_: Evidence(np.ones((len(records), 3)), {})
    )
    answer = study.rerank(few).to_json()
    assert (answer["leader"], answer["changed"], answer["certainty"], answer["next"]) == (winner, False, None, [])
    assert f"Trial {winner}, the winner of the search," in answer["note"]
    assert all(row["posterior"] <= 1 for row in answer["trials"])


def test_what_cannot_be_used_is_refused(study: automl_ad.Study, few: Path, parts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        study.rerank(tmp_path / "none")
    shutil.copytree(few, tmp_path / "few")
    shutil.copy(parts / "train" / "good" / "003.png", tmp_path / "few" / "good.png")
    with pytest.raises(InputError, match=r"good\.png.*good images"):
        study.rerank(tmp_path / "few")
    with pytest.raises(InputError, match="DATASET"):
        study.assess()


def test_a_study_without_a_trial_within_the_limits_is_refused(
    study: automl_ad.Study, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl_ad.study.study.usable", lambda *_: [])
    with pytest.raises(StudyError, match="limits"):
        study.rerank(few)


def test_an_assessment_judges_the_leader_on_images_that_had_no_part_in_it(
    study: automl_ad.Study, few: Path, parts: Path
) -> None:
    single = study.assess(defects=few).to_json()
    assert set(single) == {"study", "defects"}
    both = study.assess(parts, defects=few).to_json()
    assert both["defects"] == single["defects"]
    judged = both["reranked"]
    assert judged["leader"] == both["defects"]["leader"]
    assert judged["images"] == {"good": 8, "defect": 6}
    assert judged["regret"] >= 0
    assert "2 labelled images" in judged["note"]
    assert both["images"] == {"good": 8, "defect": 8}


def test_a_search_with_defects_tells_of_them_apart(
    study: automl_ad.Study, few: Path, search_parts: Callable[..., automl_ad.Study]
) -> None:
    before = study.answer().to_json()
    again = (
        search_parts(study.folder.workspace, "per_cell: 4\nsides: [64, 96]\n", trials=5, defects=few).answer().to_json()
    )
    assert again["defects"]["order"] == list(study.rerank(few).order)
    assert (again["winner"]["trial"], again["tied"]) == (before["winner"]["trial"], before["tied"])
    search_parts(study.folder.workspace, "per_cell: 4\nsides: [64, 96]\n", trials=5)
    assert "defects" not in study.answer().to_json()


def test_bad_defects_are_refused_before_anything_is_searched(
    parts: Path, few: Path, tmp_path: Path, search_parts: Callable[..., automl_ad.Study]
) -> None:
    shutil.copytree(few, tmp_path / "few")
    shutil.copy(parts / "train" / "good" / "003.png", tmp_path / "few")
    for folder in (tmp_path / "none", tmp_path / "few"):
        with pytest.raises(InputError, match=r"(?:--)?defects"):
            search_parts(tmp_path, trials=1, defects=folder)
        assert not (tmp_path / "studies" / "parts" / "trials").exists()


class TestJudgeLeader:
    labels = np.array([False, False, True, True])
    scores = np.array([[0.0, 1.0, 2.0, 0.5], [0.0, 1.0, 0.5, 2.0]])

    def test_by_hand(self) -> None:
        """On the last defect alone, the first trial has AUROC 0.5 and the second 1."""
        shown = np.array([False, False, True, False])
        judged = judge_leader([3, 7], self.scores, self.labels, shown, leader=3, selected=7)
        assert (judged.regret, judged.selected_regret) == (50.0, 0.0)
        assert (judged.images.good, judged.images.defect) == (2, 1)

    def test_with_nothing_left_there_is_no_judgement(self) -> None:
        judged = judge_leader([3, 7], self.scores, self.labels, self.labels, leader=3, selected=7)
        assert (judged.regret, judged.selected_regret) == (None, None)
        assert "Nothing is left" in judged.note

    def test_nothing_to_tell_when_nothing_was_shown(self) -> None:
        judged = judge_leader([3, 7], self.scores, self.labels, np.zeros(4, bool), leader=7, selected=9)
        assert (judged.regret, judged.selected_regret, judged.note) == (0.0, None, "")


def test_labelled_images_are_known_by_their_pixels(
    few: Path, parts: Path, context: StudyContext, tmp_path: Path
) -> None:
    paths = sorted((parts / "test" / "bar").iterdir())
    assert among_defects(paths, few, context.data.normals).tolist() == [True, True] + [False] * 6
    copy = tmp_path / "000.bmp"
    cv2.imwrite(str(copy), np.asarray(cv2.imread(str(paths[0]))))
    assert among_defects([copy, paths[2]], few, context.data.normals).tolist() == [True, False]


def test_a_picture_that_cannot_be_read_is_no_known_defect(parts: Path, context: StudyContext, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = sorted((parts / "test" / "bar").iterdir())[:2]
    assert among_defects(paths, tmp_path, context.data.normals).tolist() == [False, False]
