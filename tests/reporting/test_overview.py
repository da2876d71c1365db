from __future__ import annotations

import time
from pathlib import Path

from made_studies import candidate, fill, make_study

from automl_ad import Study
from automl_ad.reporting.overview import summaries
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url
from automl_ad.store.records import PickRecord
from automl_ad.study.progress import Event, progress_kept, study_lock


def test_nothing_was_searched_yet(tmp_path: Path) -> None:
    assert summaries(tmp_path) == []
    assert summaries(tmp_path / "nowhere") == []
    assert summaries(tmp_path, f"sqlite:///{tmp_path / 'other.db'}") == []
    assert list(tmp_path.iterdir()) == []


def test_a_finished_study(study: Study) -> None:
    (summary,) = summaries(study.folder.workspace)
    winner = study.answer().winner
    assert (summary.name, summary.state, summary.picked) == ("parts", "finished", None)
    assert summary.counts == {"complete": 5}  # and two averages of these
    assert summary.leader.startswith(f"trial {winner.trial}: {winner.method} on embedded, proxy score ")
    assert summary.warnings == len(study.answer().warnings)
    assert summary.progress is not None
    assert summary.progress.state == "done"


def test_studies_come_newest_first_with_what_is_known_of_them(tmp_path: Path) -> None:
    old = make_study(tmp_path, "old")
    make_study(tmp_path, "new")
    for number in range(3):
        old.save_candidate("old", candidate(number))
    old.save_candidate("old", candidate(3, state="failed", reason="NaN"))
    old.set_warnings("old", ["Only 12 good images."])
    old.add_pick("old", PickRecord(number=1))
    new, first = summaries(tmp_path)
    assert [new.name, first.name] == ["new", "old"]
    assert (first.state, first.counts, first.warnings, first.picked) == (
        "unfinished",
        {"complete": 3, "failed": 1},
        1,
        1,
    )
    assert (new.counts, new.leader, new.progress, new.picked) == ({}, "", None, None)
    old.add_pick("old", PickRecord(number=None))
    assert summaries(tmp_path)[1].picked is None


def test_a_search_at_work_is_seen_with_its_leader(tmp_path: Path) -> None:
    repository = make_study(tmp_path)
    study = Study(StudyFolder(tmp_path, "made"), default_url(tmp_path), repository)
    leader = "trial 2: padim on embedded, proxy score 0.912"
    with study_lock(study.folder, study.url), progress_kept(study.folder, lambda event: None) as tell:
        tell(Event("search", "Trying candidates", 3, 8, leader=leader))
        (summary,) = summaries(tmp_path)
        assert (summary.state, summary.leader) == ("searching", leader)
    assert summaries(tmp_path)[0].state == "unfinished"


def test_many_large_studies_are_listed_at_once(tmp_path: Path) -> None:
    repository = make_study(tmp_path, "0")
    for name in range(1, 20):
        make_study(tmp_path, str(name))
    fill(repository, 500, "0")
    start = time.process_time()
    assert len(summaries(tmp_path)) == 20
    assert time.process_time() - start < 1  # 0.06 s where it was written
