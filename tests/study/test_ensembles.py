"""Averages of the best candidates: formed of finished trials, numbered among them, and candidates like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

import automl_ad
from automl_ad.bundle.loading import load_detector
from automl_ad.errors import StudyError
from automl_ad.evaluation.suite_scores import SuiteScores, proxy_score, score_suite
from automl_ad.methods.ensemble import EnsembleDetector, mean_maps
from automl_ad.methods.names import ENSEMBLE
from automl_ad.reporting.comparison import Comparison
from automl_ad.reporting.trial_table import TrialTable
from automl_ad.results import TrialCounts
from automl_ad.seeds import derived_seed
from automl_ad.selection.ensembles import select_members
from automl_ad.selection.ranking import ranked
from automl_ad.store.artifacts import StudyFolder, load_arrays, save_arrays
from automl_ad.store.database import optuna_storage
from automl_ad.store.records import CandidateRecord
from automl_ad.study import ensembles
from automl_ad.study.clock import Clock
from automl_ad.study.configuration import configuration_of
from automl_ad.study.detectors import available_trial_detector, trial_detector
from automl_ad.study.ensembles import member_of, reserved_number

Search = Callable[..., automl_ad.Study]
OPTIONS: dict[str, Any] = {"image_size": 64, "ensemble": True}
TRIALS, TWO, THREE = 8, 8, 9
"""How many are searched, and the numbers of the averages of two and of three."""


def averages_of(study: automl_ad.Study) -> list[CandidateRecord]:
    return [record for record in study.repository.candidates("parts") if record.method == "average"]


def unchecked(record: CandidateRecord) -> CandidateRecord:
    """As before the hold-out check."""
    return replace(record, holdout_score=None, holdout_auroc={})


def tried(study: automl_ad.Study) -> list[str]:
    """The configurations searched, in their order."""
    records = [record for record in study.repository.candidates("parts") if record.method != "average"]
    return [str(record.configuration_hash) for record in records]


def members_of(record: CandidateRecord) -> list[int]:
    return [member["trial"] for member in record.params["members"]]


@pytest.fixture(scope="module")
def study(search_parts: Search, tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    return search_parts(tmp_path_factory.mktemp("averaged"), trials=TRIALS, **OPTIONS)


def test_a_search_ends_with_the_averages_of_its_best(study: automl_ad.Study) -> None:
    two, three = averages_of(study)
    assert (two.number, three.number) == (TWO, THREE)
    assert (two.state, three.state) == ("complete", "complete")
    assert members_of(three)[:2] == members_of(two)
    records = {record.number: record for record in study.repository.candidates("parts")}
    ranking = [record.number for record, _ in ranked([r for r in records.values() if r.method != "average"])]
    order = sorted(ranking, key=lambda number: number != 0)  # the default has a seat in each
    kinds = [(records[number].method, records[number].backbone) for number in members_of(three)]
    assert len(set(kinds)) == 3
    assert members_of(two)[0] == 0
    first_of_kind = [next(n for n in order if (records[n].method, records[n].backbone) == kind) for kind in kinds]
    assert first_of_kind == members_of(three)
    assert two.backbone == "embedded"
    json.dumps(dict(two.params), allow_nan=False)


def test_the_default_has_a_seat_even_where_it_ranks_last(
    search_parts: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_number(records: list[CandidateRecord]) -> list[tuple[CandidateRecord, float]]:
        return [(record, 0.5) for record in reversed(records)]

    monkeypatch.setattr(ensembles, "ranked", by_number)
    two, three = averages_of(search_parts(tmp_path, trials=4, **OPTIONS))
    assert members_of(two) == [0, 3]
    assert members_of(three)[:2] == [0, 3]


def test_averages_do_not_count_as_trials(study: automl_ad.Study) -> None:
    assert study.answer().trials == TrialCounts(complete=TRIALS)
    assert study.answer().averages == 2
    assert {row.number for row in study.trials()} == set(range(TRIALS + 2))


def test_scales_are_those_of_the_proxy_normals_under_the_own_rule(study: automl_ad.Study) -> None:
    for member in averages_of(study)[1].params["members"]:
        record = study.repository.candidate("parts", member["trial"])
        scores = SuiteScores.load(study.folder.trial(record.number) / "scores.npz").normals[str(record.rule)]
        assert (member["centre"], member["spread"]) == pytest.approx((scores.mean(), scores.std()))
        assert member["seed"] == derived_seed(0, f"fit/{record.configuration_hash}")
        assert configuration_of(record).settings == member["settings"]


def test_scores_are_those_of_the_mean_of_the_kept_maps(study: automl_ad.Study) -> None:
    context, record = study.context(), averages_of(study)[1]
    members = configuration_of(record).parameters.members  # type: ignore[attr-defined]
    kept = [load_arrays(study.folder.trial(number) / "maps.npz") for number in members_of(record)]
    expected = {kind: mean_maps([maps[kind] for maps in kept], members) for kind in ("normal", "anomaly")}
    found = load_arrays(study.folder.trial(record.number) / "maps.npz")
    for kind, maps in expected.items():
        np.testing.assert_array_equal(found[kind], maps)
    proxy = context.data.at(64).proxy
    said = proxy_score(score_suite(expected, proxy), proxy, context.plan)
    assert record.proxy_score == said.value
    assert record.interval == said.interval
    assert dict(record.families) == dict(said.families)


def test_the_detector_that_is_built_gives_the_maps_that_were_scored(study: automl_ad.Study) -> None:
    context = study.context()
    proxy = context.data.at(64).proxy
    for record in averages_of(study):
        detector = trial_detector(context, record)
        found = load_arrays(study.folder.trial(record.number) / "maps.npz")["anomaly"]
        np.testing.assert_allclose(detector.anomaly_maps(proxy.anomalies), found, rtol=1e-4, atol=1e-3 * found.std())


def test_costs_are_those_of_the_joint_detector(study: automl_ad.Study) -> None:
    for record in averages_of(study):
        parts = [study.repository.candidate("parts", number) for number in members_of(record)]
        assert record.size_mb == pytest.approx(sum(part.size_mb or 0 for part in parts))  # fixed filters weigh nothing
        assert (record.latency_ms or 0) > 0
        assert (record.total_s or 0) >= (record.fit_s or 0) >= 0
        assert record.started_at is not None
        assert record.worker


def test_an_average_is_certified_and_assessed_like_any_other(study: automl_ad.Study, parts: Path) -> None:
    assert {TWO, THREE} & set(study.answer().certified)
    judged = {row.number: row.image_auroc for row in study.assess(parts).trials}
    assert judged.keys() == set(range(TRIALS + 2))
    assert min(judged[TWO], judged[THREE]) > 0.9


def test_an_average_can_be_picked_and_exported(study: automl_ad.Study, parts: Path, tmp_path: Path) -> None:
    study.pick(THREE)
    bundle = study.export(tmp_path / "bundle", trial="picked")
    study.unpick()
    assert automl_ad.evaluate(bundle, parts).image_auroc > 0.9
    loaded = load_detector(bundle)
    assert isinstance(loaded, EnsembleDetector)
    assert [member.trial for member in loaded.settings.members] == members_of(averages_of(study)[1])


def test_an_average_is_looked_at_like_any_trial(study: automl_ad.Study) -> None:
    table = TrialTable(study.repository, "parts")
    assert table.by_number(THREE).rank is not None
    compared = Comparison(study, [0, TWO, THREE])
    assert {*compared.pictures[0].scores} == {0, TWO, THREE}
    assert study.show(TWO).params["members"]


def test_going_on_adds_no_average_twice_and_changes_no_trial(
    study: automl_ad.Study, search_parts: Search, tmp_path: Path
) -> None:
    first = search_parts(tmp_path, trials=6, **OPTIONS)
    before = averages_of(first)
    again = averages_of(search_parts(tmp_path, trials=6, **OPTIONS))
    assert [unchecked(record) for record in again] == [unchecked(record) for record in before]
    on = search_parts(tmp_path, trials=TRIALS, **OPTIONS)
    assert tried(on) == tried(study)
    numbers = [record.number for record in on.repository.candidates("parts")]
    assert numbers == list(range(len(numbers)))
    hashes = [record.configuration_hash for record in averages_of(on)]
    assert len(set(hashes)) == len(hashes)
    # Those of the shorter search stay on record, but at most the two of this one are checked again.
    assert len([record for record in averages_of(on) if record.holdout_score is not None]) <= 2


def test_without_averages_there_are_none(search_parts: Search, tmp_path: Path) -> None:
    without = search_parts(tmp_path, trials=5, image_size=64, ensemble=False)
    assert averages_of(without) == []
    # Those of an earlier run stay on record, but do not compete.
    search_parts(tmp_path, trials=5, **OPTIONS)
    again = search_parts(tmp_path, trials=5, image_size=64, ensemble=False)
    kept = {record.number for record in averages_of(again)}
    assert len(kept) == 2
    assert not kept & set(again.answer().certified)
    assert again.answer().averages == 0


def test_an_average_that_fails_costs_nothing_else(
    search_parts: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(ensembles, "mean_maps", broken)
        failed = search_parts(tmp_path, trials=2, **OPTIONS)
    (record,) = averages_of(failed)
    assert (record.state, record.reason) == ("failed", "Out of memory.")
    assert failed.answer().trials.complete == 2
    assert failed.answer().averages == 0
    with pytest.raises(StudyError, match="is failed"):
        failed.pick(record.number)
    (mended,) = averages_of(search_parts(tmp_path, trials=2, **OPTIONS))
    assert (mended.number, mended.state) == (record.number, "complete")


class TestReservedNumber:
    def test_it_is_found_again_and_no_trial_gets_it(self, study: automl_ad.Study) -> None:
        made = optuna.create_study(direction="maximize")
        made.tell(made.ask(), 0.5)
        assert [reserved_number(made, digest) for digest in ("a", "b", "a", "b")] == [1, 2, 1, 2]
        assert made.ask().number == 3
        assert made.best_trial.number == 0

    def test_optuna_holds_it_with_its_score_and_nothing_waits_or_failed(self, study: automl_ad.Study) -> None:
        loaded = optuna.load_study(study_name="parts", storage=optuna_storage(study.url))
        trials = loaded.get_trials(deepcopy=False)
        assert {trial.state for trial in trials} == {TrialState.COMPLETE}
        assert trials[TWO].user_attrs.keys() == trials[THREE].user_attrs.keys() == {ENSEMBLE}
        assert trials[TWO].value is not None


class TestDifferent:
    @pytest.fixture
    def context(self, tmp_path: Path) -> Any:
        """All of a bench that is asked."""
        return SimpleNamespace(folder=StudyFolder(tmp_path, "parts"), fit_seed=lambda configuration: 7)

    def record(
        self, context: Any, number: int, method: str = "padim", scores: Any = (1.0, 2.0, 3.0), **params: Any
    ) -> CandidateRecord:
        closed = {"model": "image_pca"} if method == "dfr" else {}  # no training
        settings = {"side": 64, "backbone": "embedded", "levels": [-3, -2]} | closed | params
        SuiteScores({"max": np.array(scores)}, {"max": np.ones(3)}).save(context.folder.trial(number) / "scores.npz")
        save_arrays(context.folder.trial(number) / "maps.npz", normal=np.ones((3, 2, 2), np.float32))
        return CandidateRecord(
            number=number,
            state="complete",
            method=method,
            backbone=settings["backbone"],
            params=settings,
            rule="max",
        )

    def found(self, context: Any, ranking: list[CandidateRecord]) -> list[int]:
        return [member.trial for _, member in select_members(ranking, lambda record: member_of(context, record))]

    def test_no_two_have_method_or_backbone_in_common(self, context: Any) -> None:
        ranking = [
            self.record(context, 4),
            self.record(context, 1, ridge=0.1),
            self.record(context, 2, "patchcore"),
            self.record(context, 3, backbone="resnet18"),
            self.record(context, 0, "dfr", backbone="resnet18"),
            self.record(context, 5, "patchcore", backbone="resnet18"),
            self.record(context, 6, "patchcore", backbone="mobilenetv2_100"),
        ]
        assert self.found(context, ranking) == [4, 0, 6]

    def test_where_all_have_one_backbone_they_differ_in_method(self, context: Any) -> None:
        ranking = [self.record(context, 4), self.record(context, 1, ridge=0.1), self.record(context, 2, "patchcore")]
        assert self.found(context, ranking) == [4, 2]

    def test_where_all_have_one_method_they_differ_in_backbone(self, context: Any) -> None:
        ranking = [
            self.record(context, 4),
            self.record(context, 1, ridge=0.1),
            self.record(context, 2, backbone="resnet18"),
        ]
        assert self.found(context, ranking) == [4, 2]

    def test_variations_of_one_candidate_are_not_averaged(self, context: Any) -> None:
        assert self.found(context, [self.record(context, 4), self.record(context, 1, ridge=0.1)]) == [4]

    def test_having_no_backbone_is_none(self, context: Any) -> None:
        single = self.record(context, 1, "dfr")
        ranking = [self.record(context, 4), replace(single, backbone="none"), self.record(context, 2, "patchcore")]
        assert self.found(context, ranking) == [4, 1, 2]

    def test_all_are_of_the_best_ones_side(self, context: Any) -> None:
        ranking = [
            self.record(context, 0),
            self.record(context, 1, "dfr", side=96),
            self.record(context, 2, "patchcore"),
        ]
        assert self.found(context, ranking) == [0, 2]

    @pytest.mark.parametrize("scores", [(2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, np.nan, 3.0), (1.0, np.inf, 3.0)])
    def test_scores_that_say_nothing_make_no_member(self, context: Any, scores: tuple[float, ...]) -> None:
        ranking = [self.record(context, 0, scores=scores), self.record(context, 1, "dfr"), self.record(context, 2)]
        assert self.found(context, ranking) == [1, 2]

    @pytest.mark.parametrize("name", ["maps.npz", "scores.npz"])
    def test_nor_does_a_trial_whose_files_are_gone(self, context: Any, name: str) -> None:
        ranking = [self.record(context, 0), self.record(context, 1, "dfr")]
        (context.folder.trial(0) / name).unlink()
        assert self.found(context, ranking) == [1]

    def test_nor_does_one_whose_training_was_not_kept(self, context: Any) -> None:
        ranking = [
            self.record(context, 0),
            self.record(context, 1, "dfr", model="autoencoder"),
            self.record(context, 2, "dfr"),
        ]
        assert configuration_of(ranking[1]).trains
        assert self.found(context, ranking) == [0, 2]
        (context.folder.trial(1) / "state.safetensors").touch()
        assert self.found(context, ranking) == [0, 1]

    def test_a_member_has_the_seed_and_scale_of_its_trial(self, context: Any) -> None:
        ((_, member),) = select_members([self.record(context, 3)], lambda record: member_of(context, record))
        assert (member.seed, member.centre, member.spread) == (7, 2.0, pytest.approx(np.std([1, 2, 3])))


def test_a_trained_member_is_restored_from_its_trial(search_parts: Search, tmp_path: Path) -> None:
    found = search_parts(tmp_path, trials=5, **OPTIONS)  # a folder of its own, since a file of it is taken away
    context = found.context()
    trains = [r for r in found.repository.candidates("parts") if configuration_of(r).trains and r.method != "average"]
    assert trains
    assert all(available_trial_detector(context, record) is not None for record in trains)
    (found.folder.trial(trains[0].number) / "state.safetensors").unlink()
    assert available_trial_detector(context, trains[0]) is None


def test_without_time_none_is_built_and_only_leader_and_baseline_are_checked(
    search_parts: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = search_parts(tmp_path, image_size=64, ensemble=False, trials=4)
    for path in alone.folder.trials.glob("*/certify_*.npz"):
        path.unlink()
    leader = alone.answer().ranking[0].number
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "remaining", property(lambda self: 0.0))
        answer = search_parts(tmp_path, image_size=64, ensemble=True, trials=4).answer()
    assert answer.averages == 0
    assert set(answer.certified) == {0, leader} or len(answer.certified) == 2
    sentences = " ".join(answer.warnings)
    assert "no room for 2 of 2 ensembles" in sentences or "no room for 1 of 1 ensembles" in sentences
    assert "candidates in the hold-out check; with more --time-budget the same command checks them." in sentences

    later = search_parts(tmp_path, image_size=64, ensemble=True, trials=4).answer()
    assert later.averages > 0
    assert len(later.certified) > 2
    assert "no room" not in " ".join(later.warnings)
