from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from automl_ad.errors import StoreError, StudyError
from automl_ad.store.database import open_engine
from automl_ad.store.records import CandidateRecord, PickRecord, Revision, StudyRecord
from automl_ad.store.repository import Repository

STUDY = StudyRecord(
    name="parts",
    settings={"preset": "quick", "trials": 20, "weights": None},
    meaning={"image_size": 256, "families": ["cutpaste", "poisson"]},
    images="/data/good parts/übung",
    fingerprint="ab" * 32,
    splits={"fit": [0, 2, 5], "proxy": [1], "certify": [3, 4]},
    warnings=["few images"],
)
CANDIDATE = CandidateRecord(
    number=3,
    state="complete",
    method="padim",
    backbone="embedded",
    params={"levels": [1, 2], "ratio": 0.1},
    rule="top1%",
    proxy_score=0.9,
    interval_low=0.85,
    interval_high=0.94,
    families={"cutpaste": 0.88},
    image_auroc={"cutpaste/0.7": 0.7},
    localisation_auroc={"cutpaste/0.7": 0.6},
    aggregations={"max": 0.7, "top1%": 0.8},
    learned_from=frozenset({"texture", "sdas"}),
    advantage=0.1,
    latency_ms=12.5,
    size_mb=3.0,
    peak_mb=200.0,
    fit_s=4.0,
    total_s=9.0,
    artifact="trials/3",
    configuration_hash="cafe",
    started_at=datetime(2026, 3, 1, 12, 0, 1, tzinfo=timezone.utc),
    ended_at=datetime(2026, 3, 1, 12, 0, 10, 500_000, tzinfo=timezone.utc),
    worker="line-pc:4711",
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.db"


@pytest.fixture
def repository(path):
    return Repository(open_engine(f"sqlite:///{path}"))


@pytest.fixture
def filled(repository):
    repository.create_study(STUDY)
    repository.save_candidate("parts", CANDIDATE)
    return repository


class TestStudies:
    def test_round_trip_also_for_another_reader(self, repository, path):
        assert repository.create_study(STUDY) == STUDY
        other = Repository(open_engine(f"sqlite:///{path}"))
        assert other.get_study("parts") == STUDY
        assert other.list_studies() == [STUDY]

    def test_times_come_back_aware_whatever_the_zone(self, repository):
        moment = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
        stored = repository.create_study(replace(STUDY, created_at=moment)).created_at
        assert stored == moment
        assert stored.utcoffset() == timedelta(0)

    def test_changes_touch_only_their_own_field(self, repository):
        repository.create_study(STUDY)
        repository.create_study(replace(STUDY, name="other"))
        repository.set_suite("parts", "0123")
        repository.set_warnings("parts", ["a", "b"])
        repository.set_answer("parts", {"winner": 3, "tied": (3, 4)})
        expected = replace(STUDY, suite_hash="0123", warnings=["a", "b"], answer={"winner": 3, "tied": [3, 4]})
        assert repository.get_study("parts") == expected
        assert repository.get_study("other") == replace(STUDY, name="other")
        repository.set_answer("parts", None)
        assert repository.get_study("parts").answer is None

    def test_second_study_of_a_name_is_refused(self, repository):
        repository.create_study(STUDY)
        with pytest.raises(StudyError, match="'parts' exists already; choose another --name"):
            repository.create_study(replace(STUDY, images="elsewhere"))
        assert repository.list_studies() == [STUDY]

    def test_unknown_study_names_those_that_exist(self, repository):
        assert repository.find_study("nuts") is None
        with pytest.raises(StudyError, match="no study called 'nuts'; there is no study here yet"):
            repository.get_study("nuts")
        for name in ("parts", "bolts"):
            repository.create_study(replace(STUDY, name=name))
        for call in (repository.get_study, repository.candidates, repository.newest_pick):
            with pytest.raises(StudyError, match="the studies here are bolts, parts"):
                call("nuts")
        with pytest.raises(StudyError, match="bolts, parts"):
            repository.save_candidate("nuts", CANDIDATE)


class TestCandidates:
    def test_round_trip(self, filled):
        assert filled.candidate("parts", 3) == CANDIDATE
        assert filled.candidate("parts", 3).interval == (0.85, 0.94)

    def test_saving_again_replaces(self, filled):
        failed = CandidateRecord(number=3, state="failed", method="padim", reason="out of memory")
        filled.save_candidate("parts", failed)
        assert filled.candidates("parts") == [failed]
        assert failed.interval is None

    def test_come_in_order_and_stay_with_their_study(self, filled):
        filled.create_study(replace(STUDY, name="other"))
        filled.save_candidate("parts", replace(CANDIDATE, number=0))
        filled.save_candidate("other", replace(CANDIDATE, number=3, method="dfr"))
        assert [candidate.number for candidate in filled.candidates("parts")] == [0, 3]
        assert filled.candidate("parts", 3).method == "padim"
        assert filled.candidate("other", 3).method == "dfr"

    def test_non_finite_and_numpy_numbers(self, filled):
        odd = replace(
            CANDIDATE,
            proxy_score=float("nan"),
            interval_low=float("-inf"),
            families={"a": np.float32(0.5), "b": np.nan, "c": np.array([1, 2])},
        )
        filled.save_candidate("parts", odd)
        stored = filled.candidate("parts", 3)
        assert (stored.proxy_score, stored.interval_low, stored.interval) == (None, None, None)
        assert stored.families == {"a": 0.5, "b": None, "c": [1, 2]}

    def test_the_holdout_check_is_set_alone(self, filled):
        filled.set_holdout("parts", 3, 0.8, {"cutpaste/0.7": 0.75})
        expected = replace(CANDIDATE, holdout_score=0.8, holdout_auroc={"cutpaste/0.7": 0.75})
        assert filled.candidate("parts", 3) == expected

    def test_the_holdout_check_is_cleared_for_one_study_at_once(self, filled):
        filled.create_study(replace(STUDY, name="other"))
        filled.save_candidate("other", replace(CANDIDATE, number=5))
        filled.save_candidate("parts", replace(CANDIDATE, number=7))
        for study, number in (("parts", 3), ("parts", 7), ("other", 5)):
            filled.set_holdout(study, number, float(number), {"a/0.7": 1.0})
        assert [record.holdout_score for record in filled.candidates("parts")] == [3, 7]
        filled.clear_holdout("parts")
        assert [record.holdout_score for record in filled.candidates("parts")] == [None, None]
        assert filled.candidate("parts", 3) == CANDIDATE
        assert filled.candidate("other", 5).holdout_score == 5

    def test_only_those_after_a_number(self, filled):
        filled.save_candidate("parts", replace(CANDIDATE, number=0))
        filled.save_candidate("parts", replace(CANDIDATE, number=8))
        assert [candidate.number for candidate in filled.candidates("parts", since=0)] == [3, 8]
        assert filled.candidates("parts", since=8) == []

    def test_are_counted_by_state(self, filled):
        filled.create_study(replace(STUDY, name="empty"))
        filled.save_candidate("parts", replace(CANDIDATE, number=4, state="failed"))
        filled.save_candidate("parts", replace(CANDIDATE, number=5))
        assert filled.counts("parts") == {"complete": 2, "failed": 1}
        assert filled.counts("empty") == {}

    def test_unknown_trial_says_which_exist(self, filled):
        with pytest.raises(StudyError, match=r"'parts' has no trial 9; its trial is 3$"):
            filled.candidate("parts", 9)
        for number in (4, 5, 8):
            filled.save_candidate("parts", replace(CANDIDATE, number=number))
        with pytest.raises(StudyError, match=r"has no trial 6; its trials are 3 to 5 and 8$"):
            filled.candidate("parts", 6)
        filled.create_study(replace(STUDY, name="empty"))
        with pytest.raises(StudyError, match="has no trial 0; it has no trials yet"):
            filled.set_holdout("empty", 0, 0.5, {})

    def test_unknown_state_is_refused(self, filled):
        with pytest.raises(IntegrityError):
            filled.save_candidate("parts", replace(CANDIDATE, state="done"))

    def test_equal_configurations_are_found_among_the_complete(self, filled):
        filled.save_candidate("parts", replace(CANDIDATE, number=1, state="failed"))
        assert filled.find_configuration("parts", "cafe") == CANDIDATE
        assert filled.find_configuration("parts", "beef") is None


class TestPicks:
    def test_the_newest_counts_and_the_others_stay(self, filled):
        assert filled.newest_pick("parts") is None
        first = PickRecord(number=3, note="fast", who="Ada")
        earlier_clock = PickRecord(number=3, note="again", at=first.at - timedelta(days=1))
        filled.add_pick("parts", first)
        filled.add_pick("parts", earlier_clock)
        assert filled.picks("parts") == [first, earlier_clock]
        assert filled.newest_pick("parts") == earlier_clock

    def test_a_pick_taken_back_stays_on_record_and_counts_no_more(self, filled):
        filled.add_pick("parts", PickRecord(number=3, note="fast"))
        withdrawal = PickRecord(number=None, note="too fast", who="Ada")
        filled.add_pick("parts", withdrawal)
        assert filled.newest_pick("parts") is None
        assert filled.picks("parts")[-1] == withdrawal
        filled.add_pick("parts", PickRecord(number=3))
        assert filled.newest_pick("parts").number == 3

    def test_only_trials_that_exist_can_be_picked(self, filled):
        with pytest.raises(StudyError, match="no trial 4"):
            filled.add_pick("parts", PickRecord(number=4))
        assert filled.picks("parts") == []


class TestRevision:
    def test_new_trials_raise_the_number_and_nothing_else(self, filled):
        before = filled.revision("parts")
        filled.save_candidate("parts", replace(CANDIDATE, number=4))
        assert filled.revision("parts") == Revision(4, before.changes)

    @pytest.mark.parametrize(
        ("change", "given"),
        [
            ("set_holdout", (3, 0.5, {})),
            ("clear_holdout", ()),
            ("set_answer", (None,)),
            ("set_warnings", (["dark"],)),
            ("set_settings", ({},)),
            ("set_suite", ("01",)),
            ("add_pick", (PickRecord(number=3),)),
            ("save_candidate", (CANDIDATE,)),
            ("save_candidate", (replace(CANDIDATE, number=1),)),
        ],
    )
    def test_every_other_change_counts(self, filled, change, given):
        before = filled.revision("parts")
        getattr(filled, change)("parts", *given)
        assert filled.revision("parts") == Revision(3, before.changes + 1)

    def test_belongs_to_one_study(self, filled):
        filled.create_study(replace(STUDY, name="other"))
        before = filled.revision("parts")
        filled.set_answer("other", {"winner": 1})
        assert filled.revision("parts") == before
        assert filled.revision("other") == Revision(None, 1)


class TestSchema:
    def test_tables_carry_the_prefix(self, repository, path):
        names = [row[0] for row in sqlite3.connect(path).execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert len(names) == 5
        assert all(name.startswith("automl_ad_") for name in names)

    def test_reading_works_while_another_process_writes(self, filled, path):
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert Repository(open_engine(f"sqlite:///{path}")).candidates("parts") == [CANDIDATE]
        writer.close()

    def test_faults_of_the_database_name_the_file(self, filled, path):
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE automl_ad_picks")
        with pytest.raises(StoreError, match=r"a\.db cannot be used \(no such table"):
            filled.picks("parts")
