from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_studies import CELLS, candidate, fill, make_study

from automl_ad import Study
from automl_ad.errors import StudyError
from automl_ad.reporting.trial_table import TrialTable, _undominated
from automl_ad.results import ProxyResult, SearchOutcome, TrialCounts, WinnerResult
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url
from automl_ad.store.records import PickRecord
from automl_ad.store.repository import Repository


def as_study(workspace: Path, repository: Repository) -> Study:
    return Study(StudyFolder(workspace, "made"), default_url(workspace), repository)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Ten trials: number 3 failed, number 4 is too slow, and number 7 learned from textures."""
    repository = make_study(tmp_path, settings={"max_latency_ms": 100})
    changes = {
        3: {
            "state": "failed",
            "reason": "Out of memory.",
            "proxy_score": None,
            "interval_low": None,
            "image_auroc": {},
        },
        4: {"latency_ms": 200.0},
        7: {"learned_from": frozenset({"texture"})},
    }
    for number in range(10):
        repository.save_candidate("made", candidate(number, **changes.get(number, {})))
    return repository


def test_the_order_is_that_of_the_study(repository: Repository, tmp_path: Path) -> None:
    rows = TrialTable(repository, "made").rows
    assert [row.number for row in rows] == [trial.number for trial in as_study(tmp_path, repository).trials()]
    assert [row.rank for row in rows] == [*range(1, 9), None, None]
    assert {row.number for row in rows if not row.within_limits} == {3, 4}


def test_a_real_study_is_told_as_it_tells_itself(study: Study) -> None:
    table = TrialTable(study.repository, study.name)
    for row, told in zip(table.rows, study.trials(), strict=True):
        expected = dict(told)
        assert {key: getattr(row, key) for key in expected} == expected
    assert table.answer is not None
    assert table.by_number(table.answer.winner.trial).winner
    row = table.rows[0]
    assert row.cells == study.show(row.number).cells
    assert row.started_at is not None
    assert row.started_at <= row.ended_at


def test_rows_say_what_is_known(repository: Repository) -> None:
    table = TrialTable(repository, "made")
    failed, learner = table.by_number(3), table.by_number(7)
    assert (failed.state, failed.reason) == ("failed", "Out of memory.")
    assert (failed.rank, failed.rank_score, failed.proxy_score, failed.interval) == (None, None, None, None)
    assert learner.learned_from == {"texture"}
    assert set(learner.cells) == set(CELLS)
    assert len(learner.rules) == 16
    assert table.by_number(0).default


def test_an_unknown_trial_is_refused(repository: Repository) -> None:
    with pytest.raises(StudyError, match=r"no trial 99; its trials are 0 to 9"):
        TrialTable(repository, "made").by_number(99)
    with pytest.raises(StudyError, match="nowhere"):
        TrialTable(repository, "nowhere")


def test_new_trials_come_in_and_old_ones_are_not_read_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TrialTable(repository, "made")
    read: list[int] = []
    candidates = Repository.candidates

    def watched(self: Repository, study: str, since: int | None = None) -> list[object]:
        found = candidates(self, study, since)
        read.extend(record.number for record in found)
        return found  # type: ignore[return-value]

    monkeypatch.setattr(Repository, "candidates", watched)
    table.refresh()
    assert read == []
    repository.save_candidate("made", candidate(10, [0.999] * len(CELLS)))
    repository.save_candidate("made", candidate(12))
    table.refresh()
    assert read == [10, 12]
    assert table.rows[0].number == 10
    fresh = TrialTable(repository, "made")
    assert table.rows == fresh.rows


def test_what_comes_in_between_two_looks_is_taken_once(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    table = TrialTable(repository, "made")
    candidates = Repository.candidates

    def overtaken(self: Repository, study: str, since: int | None = None) -> list[object]:
        monkeypatch.undo()
        repository.save_candidate("made", candidate(11))
        return candidates(self, study, since)  # type: ignore[return-value]

    repository.save_candidate("made", candidate(10))
    monkeypatch.setattr(Repository, "candidates", overtaken)
    for _ in range(2):
        table.refresh()
        assert sorted(row.number for row in table.rows) == list(range(12))


def test_whatever_else_changes_is_seen(repository: Repository) -> None:
    table = TrialTable(repository, "made")
    repository.add_pick("made", PickRecord(number=5, note="fast"))
    table.refresh()
    assert [row.number for row in table.rows if row.picked] == [5]
    repository.add_pick("made", PickRecord(number=None))
    repository.set_holdout("made", 2, 0.75, {"texture/0.7": 0.75})
    outcome = SearchOutcome(
        study="made",
        storage="sqlite:///x.db",
        images=40,
        trials=TrialCounts(complete=9, failed=1),
        proxy=ProxyResult(suite="abc", families=("texture",)),
        winner=WinnerResult(trial=2, method="padim"),
        tied=(2, 5),
    )
    repository.set_answer("made", outcome.to_json())
    table.refresh()
    assert not any(row.picked for row in table.rows)
    assert (table.by_number(2).certify_score, table.by_number(2).winner) == (0.75, True)
    assert {row.number for row in table.rows if row.tied} == {2, 5}
    assert table.answer == outcome
    repository.save_candidate("made", candidate(3))
    repository.set_settings("made", {**table.study.settings, "max_latency_ms": None})
    table.refresh()
    assert all(row.within_limits for row in table.rows)


def test_a_study_without_trials_has_an_empty_table(tmp_path: Path) -> None:
    table = TrialTable(make_study(tmp_path), "made")
    assert table.rows == []
    assert table.pareto() == set()
    assert table.answer is None
    with pytest.raises(StudyError, match="none yet"):
        table.by_number(0)


def test_the_front_by_hand(tmp_path: Path) -> None:
    repository = make_study(tmp_path)
    # proxy score, latency, size: 1 is worse than 0 everywhere; 2 is smaller; 3 equals 0; 4 is best but slow.
    figures = [(0.9, 10, 10), (0.8, 11, 11), (0.7, 10, 5), (0.9, 10, 10), (0.95, 50, 50)]
    for number, (score, latency, size) in enumerate(figures):
        repository.save_candidate("made", candidate(number, proxy_score=score, latency_ms=latency, size_mb=size))
    repository.save_candidate("made", candidate(5, proxy_score=0.99, latency_ms=None, size_mb=1))
    table = TrialTable(repository, "made")
    assert table.pareto() == {0, 2, 3, 4}
    assert table.pareto(["proxy_score"]) == {5}
    assert table.pareto(["latency_ms", "size_mb"]) == {2}


def test_who_exceeds_a_limit_is_not_on_the_front(repository: Repository) -> None:
    repository.save_candidate("made", candidate(11, proxy_score=1.0, latency_ms=500.0))
    assert {4, 11}.isdisjoint(TrialTable(repository, "made").pareto())


@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 4).map(float)))
def test_the_front_is_what_nothing_dominates(costs: np.ndarray) -> None:
    def dominates(one: int, other: int) -> bool:
        return bool((costs[one] <= costs[other]).all() and (costs[one] < costs[other]).any())

    beaten = {other for one, other in product(range(len(costs)), repeat=2) if dominates(one, other)}
    assert set(_undominated(costs).tolist()) == set(range(len(costs))) - beaten


WRITER = """
    import sys
    sys.path.insert(0, {tests!r})
    from made_studies import candidate
    from automl_ad.store.database import open_engine
    from automl_ad.store.repository import Repository
    repository = Repository(open_engine({url!r}))
    print("ready", flush=True)
    for number in range(1000, 1100):
        repository.save_candidate("made", candidate(number))
"""


def test_a_table_of_a_thousand_follows_a_search_that_writes_to_the_same_file(tmp_path: Path) -> None:
    repository = make_study(tmp_path)
    fill(repository, 1000)
    code = textwrap.dedent(WRITER.format(tests=str(Path(__file__).parent), url=default_url(tmp_path)))
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline().strip() == b"ready"
    start = time.process_time()
    table = TrialTable(repository, "made")
    assert time.process_time() - start < 1.5  # 0.1 s where it was written
    looks = 0
    while writer.poll() is None:
        table.refresh()
        assert [row.rank for row in table.rows] == list(range(1, len(table.rows) + 1))
        looks += 1
    assert writer.wait() == 0
    table.refresh()
    assert len(table.rows) == 1100
    assert looks
