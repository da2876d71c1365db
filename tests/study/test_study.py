from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import optuna
import pytest
import torch
from torch import Tensor

import automl_ad
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.data import study_images
from automl_ad.errors import BundleError, InputError, NoCandidateError, StoreError, StudyError, WeightsError
from automl_ad.methods.anoseg import detector as anoseg
from automl_ad.methods.anoseg.losses import joint_loss
from automl_ad.methods.padim import Padim
from automl_ad.methods.realnet import detector as realnet
from automl_ad.results import TrialCounts
from automl_ad.store.artifacts import load_arrays
from automl_ad.store.database import default_url, open_engine, optuna_storage
from automl_ad.store.records import CandidateRecord
from automl_ad.store.repository import Repository
from automl_ad.study import reference_panel, runner
from automl_ad.study import trial as trial_module
from automl_ad.study.holdout import HoldoutCheck
from automl_ad.study.progress import Event
from automl_ad.study.settings import preset_path
from automl_ad.study.trial import SCORES
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.training import Budget

OPTIONS: dict[str, Any] = {"backbones": ["embedded"], "image_size": 64, "trials": 8, "time_budget": 600} | {
    "methods": ["padim", "dfr", "patchcore"],
    "ensemble": False,  # has tests of its own
}
COMPARED = ("number", "state", "method", "params", "rule", "proxy_score", "interval", "families", "certify_score")


def run(images: Path, workspace: Path, name: str = "parts", **options: Any) -> automl_ad.Study:
    options = OPTIONS | {"study_file": training_free(workspace)} | options
    return automl_ad.search(images, name=name, workspace=workspace, **options)


def training_free(folder: Path) -> Path:
    """The preset without the family sdas, whose diffusion model some machines would find the time to train."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "study.yaml"
    preset = preset_path("quick").read_text()
    file.write_text(f"{preset}\nfamilies: [texture, cutpaste, poisson, photometric]\n")
    return file


def scored(study: automl_ad.Study) -> list[dict[str, Any]]:
    return [{key: getattr(row, key) for key in COMPARED} for row in study.trials()]


def measured(repository: Repository) -> dict[int, tuple[Any, ...]]:
    """What was measured of each trial, whatever rule it is judged by in the end."""
    return {
        record.number: (record.configuration_hash, record.ended_at, str(record.aggregations))
        for record in repository.candidates("parts")
    }


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def study(parts: Path, workspace: Path) -> automl_ad.Study:
    return run(parts, workspace)


def test_a_search_answers_with_all_that_tools_rely_on(study: automl_ad.Study) -> None:
    answer = study.answer().to_json()
    assert answer["images"] == 24
    assert answer["trials"] == {"complete": 8, "pruned": 0, "failed": 0}
    assert answer["proxy"]["families"] == ["texture", "cutpaste", "poisson", "photometric"]
    assert len(answer["proxy"]["suite"]) == 64
    winner = answer["winner"]
    assert winner["interval"][0] <= winner["proxy_score"] <= winner["interval"][1]
    assert winner["trial"] in {row["number"] for row in answer["ranking"]}
    assert winner["latency_ms"] > 0
    assert winner["size_mb"] > 0
    assert answer["why"]
    assert 0 <= answer["certainty"] <= 1
    assert answer["proxy"]["coverage"]["families"] == answer["proxy"]["families"]
    assert len(answer["next"]) == 3
    json.dumps(answer, allow_nan=False)


def test_the_training_free_default_is_trial_zero(study: automl_ad.Study) -> None:
    row = study.show(0)
    assert row.method == "padim"
    assert row.default


def test_trials_are_ranked_and_marked(study: automl_ad.Study) -> None:
    rows = study.trials()
    assert len(rows) == 8
    assert sum(row.winner for row in rows) == 1
    assert {row.number for row in rows if row.tied} == set(study.answer().tied)
    assert all(row.certify_score is not None for row in rows if row.number in study.answer().certified)


def test_no_configuration_runs_twice(study: automl_ad.Study) -> None:
    settings = [json.dumps([row.method, row.params], sort_keys=True) for row in study.trials()]
    assert len(set(settings)) == len(settings)


def test_a_trial_keeps_maps_and_scores(study: automl_ad.Study) -> None:
    row = study.show(0)
    assert {Path(path).name for path in row.artifacts} >= {"maps.npz", "scores.npz"}
    maps = load_arrays(study.folder.trial(0) / "maps.npz")
    assert maps["normal"].dtype == np.float32
    assert len(maps["anomaly"]) == 4 * 3 * 8
    assert row.located.keys() == row.cells.keys()
    drawn = study.answer().proxy.coverage.drawn
    assert list(row.families) == list(drawn)
    assert set(row.cells) == {f"{family}/{level}" for family, levels in drawn.items() for level in levels}


def test_the_suite_can_be_looked_at(study: automl_ad.Study) -> None:
    assert (study.folder.suite / "proxy" / "contact_sheet.png").stat().st_size > 10_000


def test_splits_do_not_overlap(study: automl_ad.Study, workspace: Path) -> None:
    splits = Repository(open_engine(study.url)).get_study("parts").splits
    members = [index for part in splits.values() for index in part]
    assert sorted(members) == list(range(24))


def test_optuna_opens_the_same_file(study: automl_ad.Study) -> None:
    loaded = optuna.load_study(study_name="parts", storage=optuna_storage(study.url))
    assert loaded.best_value == pytest.approx(max(row.proxy_score for row in study.trials()))


def test_the_same_seed_gives_the_same_suite_scores_and_winner(
    study: automl_ad.Study, parts: Path, tmp_path: Path
) -> None:
    again = run(parts, tmp_path)
    assert again.answer().proxy.suite == study.answer().proxy.suite
    assert scored(again) == scored(study)
    assert again.answer().winner.trial == study.answer().winner.trial


def test_another_seed_draws_another_suite(study: automl_ad.Study, parts: Path, tmp_path: Path) -> None:
    other = run(parts, tmp_path, seed=1, trials=1)
    assert other.answer().proxy.suite != study.answer().proxy.suite


def test_running_again_resumes_and_more_trials_go_on(parts: Path, tmp_path: Path) -> None:
    """What was measured stays; under which rule it is judged is for all trials of a method to say."""
    first = measured(run(parts, tmp_path, trials=3).repository)
    on = run(parts, tmp_path, trials=5)
    assert measured(on.repository).items() >= first.items()
    assert scored(on) == scored(run(parts, tmp_path / "at_once", trials=5))


def test_trials_of_a_method_share_a_scoring_rule(study: automl_ad.Study) -> None:
    rules: dict[str, set[str | None]] = {}
    for record in study.repository.candidates("parts"):
        rules.setdefault(record.method, set()).add(record.rule)
    assert rules.keys() == {"padim", "dfr", "patchcore"}
    assert all(len(shared) == 1 for shared in rules.values())


@pytest.mark.parametrize("early", [{"localisation_auroc": {}}, {"advantage": 0.09}])
def test_a_study_that_an_early_version_scored_otherwise_is_not_gone_on_with(
    parts: Path, tmp_path: Path, early: dict[str, Any]
) -> None:
    """One that did not look at places, or knew another advantage."""
    made = run(parts, tmp_path, trials=1)
    (record,) = made.repository.candidates("parts")
    made.repository.save_candidate("parts", replace(record, **early))
    with pytest.raises(StudyError, match=r"earlier version, which scored candidates differently; give .* --name"):
        run(parts, tmp_path, trials=2)
    assert made.answer().winner.trial == 0  # still there
    assert [row.number for row in made.trials()] == [0]


@pytest.mark.parametrize("changed", [{"seed": 3}, {"image_size": 96}, {"methods": ["padim"]}])
def test_other_settings_under_the_same_name_are_refused(
    study: automl_ad.Study, parts: Path, workspace: Path, changed: dict[str, Any]
) -> None:
    field = {"seed": "seed", "image_size": "sides", "methods": "methods"}[next(iter(changed))]
    with pytest.raises(StudyError, match=f"other .*{field}.*--name"):
        run(parts, workspace, **changed)


def test_a_failed_trial_is_recorded_and_the_search_goes_on(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr(Padim, "fit", broken)
    monkeypatch.setattr(
        reference_panel, "_MEMBERS", tuple(member for member in reference_panel._MEMBERS if member[0] != "padim")
    )
    found = run(parts, tmp_path, trials=3)
    rows = {row.number: row for row in found.trials()}
    assert rows[0].state == "failed"
    assert rows[0].reason == "ValueError: no such luck"
    assert found.answer().trials.complete == 2
    assert found.answer().winner.method != "padim"


def test_a_gpu_that_fills_up_in_the_middle_of_a_fit_costs_one_trial(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def fills_up(*arguments: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return joint_loss(*arguments)

    monkeypatch.setattr(anoseg, "joint_loss", fills_up)
    found = run(parts, tmp_path, trials=2, methods=["padim", "anoseg"])
    (failed,) = [row for row in found.trials() if row.state == "failed"]
    assert failed.method == "anoseg"
    assert failed.reason == "Out of GPU memory; end other programs on the GPU, or give a smaller --image-size."
    assert {path.name for path in found.folder.trial(failed.number).iterdir()} <= {"traceback.txt"}
    assert found.answer().winner.method == "padim"
    assert found.answer().trials.failed == 1


def test_when_every_trial_fails_the_reason_is_told(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(trial_module, "score_suite", broken)
    with pytest.raises(NoCandidateError, match="Out of memory"):
        run(parts, tmp_path, trials=2)


def test_limits_that_nothing_meets_leave_no_candidate(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(NoCandidateError, match="--max-size-mb"):
        run(parts, tmp_path, trials=2, max_size_mb=1e-6)


def test_limits_choose_among_those_that_meet_them(study: automl_ad.Study, parts: Path, tmp_path: Path) -> None:
    sizes = sorted(row.size_mb for row in study.trials())
    small = run(parts, tmp_path, max_size_mb=sizes[2])
    assert small.answer().winner.size_mb <= sizes[2]


def test_a_pick_is_kept_and_exported(study: automl_ad.Study, tmp_path: Path) -> None:
    other = next(row.number for row in study.trials() if not row.winner)
    assert study.pick(other, "my favourite").trial == other
    assert next(row for row in study.trials() if row.picked).number == other
    bundle = automl_ad.load_bundle(study.export(tmp_path / "bundle", trial="picked"))
    assert bundle.manifest["facts"]["trial"] == other


def test_a_pick_can_be_taken_back(study: automl_ad.Study, tmp_path: Path) -> None:
    study.pick(0, "the default")
    known = len(study.picks())
    taken = study.unpick("too slow after all").to_json()
    assert (taken["trial"], taken["note"]) == (None, "too slow after all")
    assert [(pick.number, pick.note) for pick in study.picks()[-2:]] == [
        (0, "the default"),
        (None, "too slow after all"),
    ]
    assert len(study.picks()) == known + 1
    assert not any(row.picked for row in study.trials())
    with pytest.raises(StudyError, match="was picked"):
        study.export(tmp_path / "bundle", trial="picked")
    with pytest.raises(StudyError, match="nothing to take back"):
        study.unpick()


def test_trials_say_when_and_where_they_ran(study: automl_ad.Study) -> None:
    records = study.repository.candidates("parts")
    times = [moment for record in records for moment in (record.started_at, record.ended_at)]
    assert None not in times
    assert times == sorted(times, key=str)
    assert {record.worker for record in records} == {f"{socket.gethostname()}:{os.getpid()}"}
    for record in records:
        assert record.started_at is not None
        assert record.ended_at is not None
        assert (record.ended_at - record.started_at).total_seconds() >= (record.total_s or 0) - 0.01


def test_a_failed_trial_has_its_times_too(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr(trial_module, "latency_ms", broken)
    with pytest.raises(NoCandidateError):
        run(parts, tmp_path, trials=1)
    record = Repository(open_engine(default_url(tmp_path))).candidate("parts", 0)
    assert record.started_at is not None
    assert record.ended_at is not None


def test_a_finished_search_tells_its_outcome_without_the_table(study: automl_ad.Study) -> None:
    outcome = study.outcome().to_json()
    assert outcome is not None
    assert "ranking" not in outcome
    assert study.answer().to_json() == outcome | {"ranking": [trial.to_json() for trial in study.trials()]}
    assert not study.searching


def test_an_excluded_image_makes_another_study(study: automl_ad.Study, parts: Path, workspace: Path) -> None:
    with pytest.raises(StudyError, match="other images"):
        run(parts, workspace, exclude=[parts / "train" / "good" / "000.png"])
    with pytest.raises(InputError, match=r"^exclude 000"):
        run(parts, workspace, exclude=["000.png"])


def test_picking_what_does_not_exist_is_refused(study: automl_ad.Study) -> None:
    with pytest.raises(StudyError, match="999"):
        study.pick(999)


@pytest.fixture(scope="module")
def bundle(study: automl_ad.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.export(tmp_path_factory.mktemp("bundles") / "bundle")


def test_the_bundle_finds_what_the_search_never_saw(bundle: Path, parts: Path, tmp_path: Path) -> None:
    result = automl_ad.evaluate(bundle, parts)
    assert (result.images.good, result.images.defect) == (8, 8)
    assert result.image_auroc > 0.95
    assert result.pixel_auroc > 0.9
    loaded = automl_ad.load_bundle(bundle)
    assert len(loaded.calibration) == 24
    predicted = loaded.predict(parts / "test" / "bar", output=tmp_path / "heatmaps")
    assert len(predicted["results"]) == 8
    assert all(Path(row["heatmap"]).is_file() for row in predicted["results"])


def test_an_altered_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    altered = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    weights = altered / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        automl_ad.load_bundle(altered)


def test_assess_judges_every_finished_trial(study: automl_ad.Study, parts: Path) -> None:
    judged = study.assess(parts).to_json()
    assert len(judged["trials"]) == 8
    assert judged["selected"] == study.answer().winner.trial
    assert judged["regret"] >= 0
    best = max(row["image_auroc"] for row in judged["trials"])
    chosen = next(row["image_auroc"] for row in judged["trials"] if row["number"] == judged["selected"])
    assert judged["regret"] == pytest.approx(100 * (best - chosen), abs=1e-3)
    assert study.assess(parts).to_json() == judged


def test_before_there_is_an_answer_the_default_stands_for_the_choice(parts: Path, tmp_path: Path) -> None:
    study = run(parts, tmp_path, trials=4)
    study.repository.set_answer(study.name, None)
    assert study.assess(parts).selected == 0
    default = study.repository.candidates(study.name)[0]
    study.repository.save_candidate(study.name, replace(default, state="failed", reason="Out of memory."))
    assert study.assess(parts).selected == study.trials()[0].number != 0


def test_export_notices_that_the_images_changed(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    found = run(images, tmp_path / "ws", name="moving", trials=1)
    next(images.iterdir()).unlink()
    with pytest.raises(InputError, match="changed since"):
        found.export(tmp_path / "bundle")


SCRIPT = """
    import sys, torch
    torch.set_num_threads(1)
    import automl_ad
    automl_ad.search({images!r}, name="parts", workspace={workspace!r}, study_file={study_file!r}, image_size=64,
                     backbones=["embedded"], trials=8, time_budget=600, methods=["padim", "dfr", "patchcore"],
                     ensemble=False, listener=lambda event: print(event.stage, event.done, flush=True))
"""


def test_kill_in_the_middle_loses_nothing_and_the_study_ends_as_if_uninterrupted(
    study: automl_ad.Study, parts: Path, tmp_path: Path
) -> None:
    script = textwrap.dedent(
        SCRIPT.format(images=str(parts), workspace=str(tmp_path), study_file=str(training_free(tmp_path)))
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("search 3"):
            break
    time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = measured(Repository(open_engine(f"sqlite:///{tmp_path}/automl_ad.db")))
    assert len(finished) >= 3
    resumed = run(parts, tmp_path)
    assert measured(resumed.repository).items() >= finished.items()
    assert scored(resumed) == scored(study)


def test_an_old_answer_does_not_outlive_a_resumed_search(parts: Path, tmp_path: Path) -> None:
    study = run(parts, tmp_path, trials=2)
    with pytest.raises(NoCandidateError):
        run(parts, tmp_path, trials=2, max_size_mb=1e-6)
    with pytest.raises(StudyError, match="no answer yet"):
        study.answer()


def test_limits_of_the_newest_run_rule_the_ranking(parts: Path, tmp_path: Path) -> None:
    study = run(parts, tmp_path, trials=4)
    limit = sorted(row.size_mb for row in study.trials())[1]
    limited = run(parts, tmp_path, trials=4, max_size_mb=limit)
    ranked = [row for row in limited.trials() if row.size_mb <= limit]
    assert limited.trials()[: len(ranked)] == ranked
    assert limited.answer().winner.size_mb <= limit


def test_a_candidate_that_fails_on_the_certify_images_is_left_out_with_a_warning(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = HoldoutCheck.finalist

    def faulty(self: HoldoutCheck, record: CandidateRecord) -> Any:
        if record.number == 1:
            raise FloatingPointError("not finite")
        return judge(self, record)

    monkeypatch.setattr(HoldoutCheck, "finalist", faulty)
    answer = run(parts, tmp_path, trials=3).answer().to_json()
    assert 1 not in answer["certified"]
    assert any("Trial 1 failed on the hold-out images" in warning for warning in answer["warnings"])


def test_a_trial_whose_scores_are_lost_costs_the_others_nothing(parts: Path, tmp_path: Path) -> None:
    study = run(parts, tmp_path, trials=3)
    (study.folder.trial(1) / SCORES).unlink()
    answer = run(parts, tmp_path, trials=3).answer().to_json()
    assert set(answer["certified"]) == {0, 2}
    (warning,) = (warning for warning in answer["warnings"] if "Trial 1 failed on the hold-out images" in warning)
    assert "scores.npz is missing" in warning


def test_a_trial_in_which_the_process_keeps_dying_is_given_up(parts: Path, tmp_path: Path) -> None:
    run(parts, tmp_path, trials=2)
    url = default_url(tmp_path)
    optuna_study = optuna.load_study(study_name="parts", storage=optuna_storage(url))
    trial = optuna_study.ask()
    trial.set_user_attr("attempts", 3)
    rows = {row.number: row for row in run(parts, tmp_path, trials=3).trials()}
    assert rows[trial.number].state == "failed"
    assert "Ended the process 3 times" in rows[trial.number].reason


def test_a_full_disk_ends_the_search_and_blames_no_candidate(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StoreError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(trial_module, "save_arrays", full)
        with pytest.raises(StoreError, match="no space left"):
            run(parts, tmp_path, trials=2)
    assert run(parts, tmp_path, trials=2).answer().trials == TrialCounts(complete=2, pruned=0, failed=0)


def test_a_suite_left_by_another_study_of_the_same_name_is_not_used(parts: Path, tmp_path: Path) -> None:
    first = run(parts, tmp_path, trials=1)
    (tmp_path / "automl_ad.db").unlink()
    second = run(parts, tmp_path, trials=1, seed=5)
    assert second.answer().proxy.suite != first.folder.root.name
    fresh = run(parts, tmp_path / "fresh", trials=1, seed=5)
    assert second.answer().proxy.suite == fresh.answer().proxy.suite


def test_suspected_defects_among_the_good_images_are_named(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::8] = stripes[1::8] = 255
    cv2.imwrite(str(images / "flat.png"), stripes)
    noise = np.random.default_rng(0).integers(0, 40, stripes.shape, np.uint8)
    cv2.imwrite(str(images / "odd_one.png"), np.where(stripes > 0, stripes - noise, noise))
    answer = run(images, tmp_path / "ws", trials=1).answer()
    assert any("odd_one.png" in warning for warning in answer.warnings)
    assert [(entry.reason, entry.examples) for entry in answer.left_aside] == [("two-valued", ("flat.png",))]


def test_without_time_to_look_for_groups_a_search_says_so(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TIME_TO_LOOK", 1.1)
    monkeypatch.setattr(study_images, "find_groups", lambda *_: pytest.fail("looked"))
    monkeypatch.setattr(study_images, "find_suspects", lambda *_: pytest.fail("looked"))
    warnings = run(parts, tmp_path, trials=1).answer().warnings
    (said,) = [warning for warning in warnings if "left no room to look for groups" in warning]
    assert said.endswith(f"run `automl-ad audit {parts}`.")
    assert any("Only 24 good images" in warning for warning in warnings)  # which takes no time


def test_other_weights_than_those_searched_are_refused(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = run(parts, tmp_path, trials=1)
    monkeypatch.setattr(EmbeddedBackbone, "__init__", _other_filters(EmbeddedBackbone.__init__))
    with pytest.raises(WeightsError, match="embedded changed"):
        study.export(tmp_path / "bundle")


def _other_filters(build: Any) -> Any:
    def changed(self: Any) -> None:
        build(self)
        self.weights_tag = "other"

    return changed


def test_a_database_that_fails_is_named_with_the_remedy(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise optuna.exceptions.StorageInternalError("disk I/O error")

    monkeypatch.setattr(runner, "search_loop", broken)
    with pytest.raises(StoreError, match=r"automl_ad\.db stopped taking results.*run the same command again"):
        run(parts, tmp_path, trials=1)


def test_a_closed_form_that_overruns_the_budget_is_finished_and_kept(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "spent", property(lambda self: True))
    rows = run(parts, tmp_path, trials=14).trials()
    kept = {row.params.get("model", row.method) for row in rows if row.state == "complete"}
    assert {"padim", "patchcore", "pca", "image_pca"} <= kept
    cut = [row for row in rows if row.params.get("model") == "autoencoder"]
    assert cut
    assert all((row.state, row.reason) == ("pruned", "The time budget ended its training.") for row in cut)


def test_a_study_with_anomalies_of_a_diffusion_model(
    parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
) -> None:
    file, events = tmp_path / "study.yaml", list[Event]()
    file.write_text("families: [texture, sdas]\nper_cell: 4\ncertified: 2\n")
    study = run(parts, tmp_path / "ws", study_file=file, trials=3, listener=events.append)
    answer = study.answer().to_json()
    assert answer["proxy"]["families"] == ["texture", "sdas"]
    assert answer["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    assert not any("sdas" in warning for warning in answer["warnings"])
    cells = {f"{family}/{level}" for family, levels in answer["proxy"]["coverage"]["drawn"].items() for level in levels}
    for row in answer["ranking"]:
        assert row["families"].keys() == {"texture", "sdas"}
        assert study.show(row["number"]).cells.keys() == cells
    stages = [event.stage for event in events]
    assert stages.index("suite") < stages.index("sdas") < stages.index("search")

    tiny_sdas.clear()
    sampled.clear()
    assert automl_ad.load_bundle(study.export(tmp_path / "bundle")).manifest["facts"]["study"] == "parts"
    assert scored(run(parts, tmp_path / "ws", study_file=file, trials=3)) == scored(study)
    assert (tiny_sdas, sampled) == ([], [])


def test_a_study_without_time_for_a_diffusion_model_says_so(
    parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
) -> None:
    file, events = tmp_path / "study.yaml", list[Event]()
    file.write_text("families: [texture, sdas]\nper_cell: 4\n")
    study = run(parts, tmp_path / "ws", study_file=file, trials=1, time_budget=100, listener=events.append)
    answer = study.answer().to_json()
    assert answer["proxy"]["families"] == ["texture"]
    (warning,) = [warning for warning in answer["warnings"] if warning.startswith("The family sdas was left out: ")]
    assert warning in {event.message for event in events if event.stage == "warning"}
    assert run(parts, tmp_path / "ws", study_file=file, trials=1).answer().to_json()["warnings"] == answer["warnings"]
    assert tiny_sdas == []


@pytest.fixture
def small_realnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """RealNet whose training takes a moment and always runs to its end."""
    plan = {"network": "light", "pairs": 8, "steps": 6, "batch": 4, "rate": 1e-3}
    monkeypatch.setitem(realnet._PLANS, "quick", plan)
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda _: False)


def homes(study: automl_ad.Study) -> dict[int, list[str]]:
    """What each trial learned from."""
    records = Repository(open_engine(study.url)).candidates(study.name)
    return {record.number: sorted(record.learned_from) for record in records}


def check_scores(study: automl_ad.Study) -> None:
    """A proxy score is the mean over the cells of families that were not learned from, or of all if there is none."""
    for number, home in homes(study).items():
        row = study.show(number)
        away = [cell for cell in row.cells if cell.split("/")[0] not in home] or list(row.cells)
        assert row.proxy_score == pytest.approx(
            np.mean([metric[cell] for metric in (row.cells, row.located) for cell in away])
        )
        assert row.interval[0] <= row.proxy_score <= row.interval[1]


@pytest.mark.usefixtures("small_realnet")
def test_a_study_with_a_method_that_learns_from_anomalies(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    fit = realnet.RealNet.fit
    monkeypatch.setattr(realnet.RealNet, "fit", lambda self, *rest: trained.append(self.seed) or fit(self, *rest))
    file = tmp_path / "study.yaml"
    file.write_text("families: [texture, photometric]\nseverities: [0.7, 0.9]\nper_cell: 4\ncertified: 4\nfolds: 2\n")
    study = run(parts, tmp_path / "ws", study_file=file, methods=["padim", "realnet"], trials=4)
    answer, learned = study.answer().to_json(), homes(study)
    assert answer["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    methods = {row.number: row.method for row in study.trials()}
    assert learned == {number: ["texture"] * (method == "realnet") for number, method in methods.items()}
    assert set(methods.values()) == {"padim", "realnet"}
    check_scores(study)
    assert len(trained) == list(methods.values()).count("realnet")  # once each: the final check trains nothing again
    assert set(answer["certified"]) == {0, 1, 2, 3}
    assert any("learned from anomalies of texture:" in gap for gap in answer["unknown"])
    check = HoldoutCheck(study.context(), {"texture"})
    for record in study.repository.candidates("parts"):
        finalist, cells = check.finalist(record)
        assert (record.holdout_score, record.holdout_auroc) == (pytest.approx(finalist.value), pytest.approx(cells))

    number = next(number for number, method in methods.items() if method == "realnet")
    bundle = automl_ad.load_bundle(study.export(tmp_path / "bundle", trial=number))
    assert bundle.manifest["facts"]["trial"] == number
    assert len(study.assess(parts).trials) == 4


@pytest.mark.usefixtures("small_realnet")
def test_a_study_whose_methods_learn_from_a_diffusion_model_goes_on_without_making_a_picture(
    parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("families: [texture, sdas]\nseverities: [0.8]\nper_cell: 4\ncertified: 2\nfolds: 2\n")
    options = {"study_file": file, "methods": ["realnet"]}
    first = run(parts, tmp_path / "ws", trials=4, **options)
    learned = homes(first)
    assert first.answer().trials == TrialCounts(complete=4, pruned=0, failed=0)
    answer = first.answer()
    assert (answer.default_trial, answer.default_kept) == (None, False)  # nothing that trains is a baseline
    assert "no training-free method was searched" in " ".join(answer.why)
    assert not any(row.default for row in first.trials())
    assert first.assess(parts).default_regret is None
    first.repository.set_answer("parts", None)
    assert not any(row.default for row in first.trials())  # nor before the search has ended
    first.repository.set_answer("parts", answer.to_json())
    assert any("sdas" in home for home in learned.values())
    check_scores(first)

    tiny_sdas.clear()
    sampled.clear()
    longer = homes(run(parts, tmp_path / "ws", trials=5, **options))
    assert len(longer) == 5
    assert learned.items() <= longer.items()
    number = next(number for number, home in learned.items() if "sdas" in home)
    first.export(tmp_path / "bundle", trial=number)
    assert (tiny_sdas, sampled) == ([], [])
