from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import automl_ad
from automl_ad.errors import InputError, StoreError, StudyError
from automl_ad.jobs import JobBoard, JobState, board, process
from automl_ad.jobs.folder import JobFolder
from automl_ad.jobs.specification import ExportTask, JobSpecification
from automl_ad.store.artifacts import StudyFolder, write_note
from automl_ad.store.records import utc_now
from automl_ad.study.progress import Event, RunStatus, read_progress
from automl_ad.study.settings import preset_path

PATIENCE_S = 120
posix_only = pytest.mark.skipif(os.name == "nt", reason="needs signals of POSIX")


def wait_until(happened: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.05)
    return pytest.fail(f"waited in vain for {what}")


def ended(jobs: JobBoard, job: str) -> JobState:
    state: JobState = wait_until(lambda: (s := jobs.state(job)).state != "running" and s, f"the end of job {job}")
    return state


def options(folder: Path, **changed: Any) -> dict[str, Any]:
    """Those of a search that lasts a few seconds."""
    file = folder / "study.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{preset_path('quick').read_text()}\nfamilies: [texture, cutpaste]\nper_cell: 4\nfolds: 2\n")
    fast = {"study_file": file, "backbones": ["embedded"], "image_size": 64, "methods": ["padim", "dfr"], "trials": 2}
    return fast | {"time_budget": "10m"} | changed


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> JobBoard:
    return JobBoard(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def searched(jobs: JobBoard, parts: Path) -> JobState:
    return ended(jobs, jobs.start_search(parts, name="parts", **options(jobs._workspace)))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., JobFolder]:
    """Makes folders of jobs that no process works at."""

    def make(status: RunStatus | None = None, study: str = "parts", minutes_ago: float = 0) -> JobFolder:
        folder = JobFolder.new(tmp_path)
        at = utc_now() - timedelta(minutes=minutes_ago)
        wanted = JobSpecification(study=study, task=ExportTask(trial=0, precision="fp32"), at=at)
        write_note(folder.specification, wanted)
        if status is not None:
            write_note(folder.status, status)
        return folder

    return make


def test_a_search_runs_in_a_process_of_its_own_to_its_end(jobs: JobBoard, searched: JobState) -> None:
    assert (searched.kind, searched.study, searched.state, searched.error) == (
        "search",
        "parts",
        "done",
        None,
    )
    study = automl_ad.Study.open("parts", jobs._workspace)
    assert searched.result is not None
    assert searched.result["winner"]["trial"] == study.answer().winner.trial
    assert searched.ended_at is not None
    assert searched.ended_at > searched.started_at
    assert "Reading" in searched.log_tail
    worker = study.repository.candidate("parts", 0).worker
    assert worker is not None
    assert not worker.endswith(f":{os.getpid()}")


def test_every_search_leaves_a_note_of_its_end(jobs: JobBoard, searched: JobState) -> None:
    note = read_progress(StudyFolder(jobs._workspace, "parts"))
    assert note is not None
    assert (note.state, note.event.stage, note.error) == ("done", "finish", None)
    assert note.event.leader is not None


def test_the_bundle_of_a_trial_is_written_into_the_jobs_folder(jobs: JobBoard, searched: JobState) -> None:
    exported = ended(jobs, jobs.start_export("parts"))
    assert (exported.state, exported.error) == ("done", None)
    assert exported.result is not None
    bundle = Path(exported.result["bundle"])
    assert bundle == JobFolder.of(jobs._workspace, exported.id).root / "bundle.zip"
    assert exported.result["manifest"] == automl_ad.load_bundle(bundle).manifest


def test_a_search_that_is_stopped_keeps_what_it_has_and_goes_on(
    jobs: JobBoard, searched: JobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.resume_search("parts", trials=500, time_budget=3000)
    study = automl_ad.Study.open("parts", jobs._workspace)
    wait_until(lambda: study.repository.counts("parts")["complete"] >= 4, "the fourth trial")
    assert study.searching
    for start in (lambda: jobs.resume_search("parts"), lambda: study.run(study.settings, study.folder, None, print)):
        with pytest.raises(StudyError, match="being searched by another process"):
            start()
    jobs.stop(job)
    stopped = ended(jobs, job)
    assert (stopped.state, stopped.error, stopped.result) == ("stopped", None, None)
    note = read_progress(study.folder)
    assert note is not None
    assert note.state == "stopped"
    assert not study.searching
    kept = study.repository.counts("parts")["complete"]
    assert kept >= 4
    again = ended(jobs, jobs.resume_search("parts", trials=kept))
    assert again.state == "done"
    jobs.stop(again.id)
    assert jobs.state(again.id).state == "done"


def test_what_a_search_refuses_is_the_jobs_error(jobs: JobBoard, searched: JobState, parts: Path) -> None:
    changed = options(jobs._workspace, seed=5)
    failed = ended(jobs, jobs.start_search(parts, name="parts", **changed))
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.startswith("Study parts was made with other seed")
    assert failed.error in failed.log_tail


SCRIPT = """
    import signal, sys, time
    from pathlib import Path
    from automl_ad.jobs import JobBoard
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, also where nohup runs the tests
    print(JobBoard(Path({workspace!r})).resume_search("parts", trials=500, time_budget=3000), flush=True)
    time.sleep(600)
"""


@posix_only
def test_a_job_outlives_the_terminal_and_its_death_is_noticed(jobs: JobBoard, searched: JobState) -> None:
    script = textwrap.dedent(SCRIPT.format(workspace=str(jobs._workspace)))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        job = parent.stdout.readline().strip()
        os.killpg(parent.pid, signal.SIGHUP)  # what a terminal that is closed sends
        parent.wait()
        assert parent.stdout.read() == ""  # the job does not hold the pipe open
    folder = JobFolder.of(jobs._workspace, job)
    pid = wait_until(lambda: folder.read_status().pid, "the process")
    assert jobs.state(job).state == "running"
    os.kill(pid, signal.SIGKILL)
    killed = ended(jobs, job)
    assert killed.state == "failed"
    assert killed.error is not None
    assert "ended from outside" in killed.error


def test_bad_folders_and_options_are_refused_before_anything_starts(tmp_path: Path, parts: Path) -> None:
    jobs = JobBoard(tmp_path / "ws")
    (tmp_path / "empty").mkdir()
    given: list[tuple[Path, dict[str, Any], str]] = [
        (tmp_path / "none", {}, "does not exist"),
        (tmp_path / "empty", {}, "holds no images"),
        (parts, {"methods": ["magic"]}, "magic"),
        (parts, {"time_budget": "soon"}, r"^time_budget "),
        (parts, {"exclude": ["../secret.png"]}, r"^exclude "),
        (parts, {"name": "../climbs"}, "--name"),
        (parts, {"workers": 4}, r"^workers "),
        (parts, {"colour": "red"}, r"^colour is not known"),
    ]
    for images, options, words in given:
        with pytest.raises(InputError, match=words):
            jobs.start_search(images, **options)
    assert jobs.jobs() == []
    assert not (tmp_path / "ws").exists()


def test_exports_and_tries_are_checked_before_they_start(jobs: JobBoard, searched: JobState, tmp_path: Path) -> None:
    known = len(jobs.jobs())
    with pytest.raises(StudyError, match="no study called 'nuts'"):
        jobs.start_export("nuts")
    with pytest.raises(StudyError, match="no trial 900"):
        jobs.start_export("parts", 900)
    with pytest.raises(StudyError, match="was picked"):
        jobs.start_export("parts", "picked")
    with pytest.raises(InputError, match="No trial is chosen"):
        jobs.start_try("parts", [], tmp_path)
    with pytest.raises(InputError, match="holds no pictures"):
        jobs.start_try("parts", [0], tmp_path)
    assert len(jobs.jobs()) == known


@pytest.mark.parametrize(
    "job", ["", "..", "../../etc", "0123456789abcdef", "0123456789ABCDEF", "a" * 16 + "\n", "x" * 900]
)
def test_ids_from_outside_are_checked(job: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for call in (JobBoard(tmp_path).state, JobBoard(tmp_path).stop):
        with pytest.raises(InputError, match="There is no job"):
            call(job)


def test_a_job_that_has_not_begun_counts_as_running_for_a_while(made: Callable[..., JobFolder], tmp_path: Path) -> None:
    jobs = JobBoard(tmp_path)
    fresh, unsaid = made(RunStatus()), made()
    late = made(RunStatus(started_at=utc_now() - timedelta(minutes=5)))
    assert [jobs.state(folder.id).state for folder in (fresh, unsaid, late)] == ["running", "running", "failed"]


def test_a_job_whose_process_holds_its_lock_runs_however_old_its_word_is(
    made: Callable[..., JobFolder], tmp_path: Path
) -> None:
    folder = made(RunStatus(pid=1, event=Event("search", "Trying"), started_at=utc_now() - timedelta(days=2)))
    with FileLock(folder.lock):
        state = JobBoard(tmp_path).state(folder.id)
    assert (state.state, state.event) == ("running", Event("search", "Trying"))
    assert JobBoard(tmp_path).state(folder.id).state == "failed"


def test_jobs_come_newest_first_and_by_study_and_kind(made: Callable[..., JobFolder], tmp_path: Path) -> None:
    ids = [made(RunStatus("done"), study, ago).id for study, ago in (("a", 3), ("b", 1), ("a", 2))]
    jobs = JobBoard(tmp_path)
    assert [job.id for job in jobs.jobs()] == [ids[1], ids[2], ids[0]]
    assert [job.id for job in jobs.jobs(study="a", kind="export")] == [ids[2], ids[0]]
    assert jobs.jobs(kind="search") == []


def test_only_the_newest_finished_jobs_are_kept(
    made: Callable[..., JobFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "KEPT", 2)
    old = [made(RunStatus("done"), minutes_ago=ago) for ago in (9, 8, 7)]
    running = made(RunStatus(), minutes_ago=20)
    monkeypatch.setattr(process, "start", lambda folder, storage: None)
    new = JobBoard(tmp_path)._start("parts", ExportTask(trial=0, precision="fp32"))
    kept = {job.id for job in JobBoard(tmp_path).jobs()}
    assert kept == {old[1].id, old[2].id, running.id, new}
    assert not old[0].root.exists()


def test_a_process_that_cannot_be_started_leaves_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(process.subprocess, "Popen", full)
    with pytest.raises(StoreError, match="cannot be started"):
        JobBoard(tmp_path)._start("parts", ExportTask(trial=0, precision="fp32"))
    assert JobBoard(tmp_path).jobs() == []
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == []


def test_damaged_jobs_are_passed_over(made: Callable[..., JobFolder], tmp_path: Path) -> None:
    whole, damaged, tampered = made(RunStatus("done")), made(), made()
    damaged.specification.write_text("{")
    content = json.loads(tampered.specification.read_text())
    tampered.specification.write_text(json.dumps(content | {"study": "../elsewhere"}))
    (tmp_path / "jobs" / "notes").mkdir()
    assert [job.id for job in JobBoard(tmp_path).jobs()] == [whole.id]
    with pytest.raises(InputError, match="cannot be read"):
        JobBoard(tmp_path).state(damaged.id)


def test_only_the_end_of_a_long_log_is_shown(made: Callable[..., JobFolder]) -> None:
    folder = made()
    assert folder.log_tail() == ""
    folder.log.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(2000)))
    tail = folder.log_tail()
    assert tail.endswith("line 1999 \ufffd\n")
    assert tail.startswith("line 1")
    assert len(tail) < 5000


def test_the_database_url_reaches_the_job_by_its_environment_alone(
    made: Callable[..., JobFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setenv("AUTOML_AD_DASHBOARD_TOKEN", "secret")
    monkeypatch.setattr(process.subprocess, "Popen", lambda command, **given: seen.update(given, command=command))
    url = "postgresql://me:secret@host/base"
    job = JobBoard(tmp_path, url)._start("parts", ExportTask(trial=0, precision="fp32"))
    assert seen["env"]["AUTOML_AD_STORAGE"] == url
    assert "AUTOML_AD_DASHBOARD_TOKEN" not in seen["env"]
    assert "secret" not in str(seen["command"])
    folder = JobFolder.of(tmp_path, job)
    assert "secret" not in folder.specification.read_text() + folder.status.read_text()
