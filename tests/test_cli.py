from __future__ import annotations

import csv
import io
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import automl_ad
from automl_ad.cli import app
from automl_ad.errors import BundleError, InputError, NoCandidateError, StudyError
from automl_ad.results import (
    AssessmentResult,
    AuditResult,
    BundleResult,
    DemoResult,
    EvaluationResult,
    PickResult,
    PredictedImage,
    PredictionResult,
    SearchResult,
    StudiesResult,
    SynthesisResult,
    TrialDetails,
    TrialResult,
)
from automl_ad.study.progress import Event
from automl_ad.study.settings import SEARCH_OPTIONS

COMMANDS = {
    *("search", "trials", "show", "pick", "export", "predict", "evaluate", "assess", "audit", "doctor", "demo"),
    *("synthesize", "dashboard"),
}
LATER = {"worker"}
HEAVY = {"torch", "torchvision", "timm", "optuna", "numpy", "cv2", "sqlalchemy", "streamlit", "scipy", "sklearn"}

TRIAL: dict[str, Any] = {"number": 3, "state": "complete", "method": "padim", "backbone": "resnet18"} | {
    "params": {"k": 2},
    "proxy_score": 0.9,
    "interval": [0.8, float("nan")],
    "families": {"texture": 0.9},
    "latency_ms": np.float32(12.5),
    "size_mb": 3.0,
    "reason": None,
}
ANSWER = SearchResult.model_validate(
    {
        "study": "bolts",
        "storage": "sqlite:///x.db",
        "images": 40,
        "trials": {"complete": 1, "pruned": 0, "failed": 0},
        "wall_s": 12.0,
        "proxy": {"suite": "abc", "families": ["texture"]},
        "winner": TRIAL | {"trial": 3},
        "tied": [3],
        "default_trial": 0,
        "default_kept": False,
        "ranking": [TRIAL],
    }
)
DRAWN = {"images": 24, "family": "sdas", "strength": 0.2, "count": 1, "seed": 0, "size": [64, 96], "output": "out"} | {
    "contact_sheet": "out/contact_sheet.png",
    "anomalies": [{"image": "out/images/0000.png", "mask": "out/masks/0000.png", "base": "a.png", "area": 0.125}],
    "sdas": {"steps": 4, "losses": [0.5, float("nan")]},
    "warnings": [],
}
SYNTHESIS = SynthesisResult.model_validate(DRAWN)
RESULT = PredictedImage(path="a.png", score=1.0, p_value=0.5, anomalous=False)
BROKEN = PredictedImage(path="b.png", error="cut short")
STUDY = {"study": "bolts", "created_at": "today", "images": "/d", "state": "finished"} | {
    "trials": {"complete": 5, "pruned": 0, "failed": 2}
}
METRICS = EvaluationResult.model_validate(
    {"images": {"good": 1, "defect": 2}, "image_auroc": 0.75, "image_ap": 0.8}
    | {"threshold": 1.0, "overkill": 0.0, "escapes": 0.5}
)


NOT_GIVEN = {"review": None, "threshold": None, "mask": None}
DESCRIBED = {
    "method": "padim",
    "backbone": "resnet18",
    "precision": "fp32",
    "threshold": 2.0,
    "overkill": 0.05,
    "promise": "At most 5 % overkill.",
    "parity": {"images": 96, "largest": 1e-5, "spread": 10.0, "relative": 1e-6, "beyond": 0, "map_largest": 2e-5}
    | {"decisions_changed": 0, "auroc_torch": 0.9, "auroc_onnx": 0.9},
    "speed": {"latency_ms": 12.0, "images_s": 99.0, "threads": 2, "size_mb": 20.0},
    "size_mb": 20.0,
}
BUNDLE = BundleResult.model_validate(DESCRIBED)


class FakeLibrary(types.ModuleType):
    """Stands for `automl_ad.api`: keeps what it was called with and answers what it was told to."""

    def __init__(self) -> None:
        super().__init__("automl_ad.api")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.Study = types.SimpleNamespace(open=lambda *given, **options: self.open_study(*given, **options))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def function(*arguments: Any, **options: Any) -> Any:
            print("noise of a library")
            if "listener" in options:
                options.pop("listener")(Event("search", "Trying candidates", 1, 2))
            self.calls.append((name, arguments, options))
            answer = self.answers.get(name, self)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return function


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary()
    monkeypatch.setitem(sys.modules, "automl_ad.api", fake)
    monkeypatch.setattr(automl_ad, "api", fake, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return fake


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result, *words: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


def test_help_lists_the_commands_of_this_release_and_no_others() -> None:
    result = run("--help")
    assert result.exit_code == 0
    words = set(result.stdout.split())
    assert words >= COMMANDS
    assert words.isdisjoint(LATER)


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["trials", "--nonsense"], ["--version"]])
def test_help_and_usage_errors_import_nothing_heavy(arguments: Sequence[str]) -> None:
    code = f"""
        import sys
        sys.argv = ["automl-ad", *{list(arguments)!r}]
        from automl_ad.cli import main
        try:
            main()
        finally:
            print("LOADED", *{{name.split(".")[0] for name in sys.modules}})
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == (2 if "--nonsense" in arguments else 0)
    loaded = ended.stdout.partition("LOADED")[2].split()
    assert "typer" in loaded
    assert HEAVY.isdisjoint(loaded)


def test_search_passes_every_option_on(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["answer"] = ANSWER
    options = [
        "--name",
        "n",
        "--workspace",
        "w",
        "--storage",
        "sqlite:///s.db",
        "--preset",
        "balanced",
        "--trials",
        "5",
    ]
    options += ["--time-budget", "1.5m", "--methods", "dfr,padim", "--backbones", "embedded", "--image-size", "128"]
    options += ["--weights-dir", str(tmp_path), "--device", "cuda:1", "--workers", "1", "--max-latency-ms", "20"]
    options += ["--max-size-mb", "30.5", "--texture-dir", str(tmp_path), "--seed", "7"]
    options += [
        "--exclude",
        "bad.png",
        "--exclude",
        str(tmp_path / "worse.png"),
        "--exclude-group",
        "light-1f3c",
        "--defects",
        str(tmp_path),
        "--no-ensemble",
    ]
    assert run("search", tmp_path, *options).exit_code == 0
    name, arguments, given = library.calls[0]
    assert (name, arguments) == ("search", (tmp_path,))
    assert given == {
        "name": "n",
        "workspace": Path("w"),
        "storage": "sqlite:///s.db",
        "preset": "balanced",
        "trials": 5,
        "time_budget": 90.0,
        "methods": ("dfr", "padim"),
        "backbones": ("embedded",),
        "weights_dir": tmp_path,
        "image_size": 128,
        "device": "cuda:1",
        "workers": 1,
        "max_latency_ms": 20.0,
        "max_size_mb": 30.5,
        "texture_dir": tmp_path,
        "exclude": ("bad.png", str(tmp_path / "worse.png")),
        "exclude_group": ("light-1f3c",),
        "seed": 7,
        "defects": tmp_path,
        "ensemble": False,
    }


def test_search_leaves_defaults_to_the_library(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["answer"] = ANSWER
    result = run("search", tmp_path)
    assert result.exit_code == 0
    assert set(library.calls[0][2]) <= {"listener"}
    assert "Winner: trial 3, padim on resnet18" in result.stdout
    assert "Trying candidates (1/2)" in result.stderr
    assert "noise" not in result.stdout


@pytest.mark.parametrize(("flag", "wanted"), [("--average", True), ("--no-average", False), ("--ensemble", True)])
def test_the_earlier_name_of_an_option_is_understood_but_not_shown(
    library: FakeLibrary, tmp_path: Path, flag: str, wanted: bool
) -> None:
    library.answers["answer"] = ANSWER
    assert run("search", tmp_path, flag).exit_code == 0
    assert library.calls[0][2]["ensemble"] is wanted
    assert "average" not in run("search", "--help").stdout


def test_help_describes_every_option_as_the_settings_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    lines = run("search", "--help").stdout.splitlines()
    for option in SEARCH_OPTIONS.values():
        described = [line for line in lines if f" {option.flag} " in line]
        assert len(described) == 1, option.name
        for words in (option.help.removesuffix("."), option.bounds, option.when_absent):
            assert words in described[0]


def test_a_study_file_takes_the_place_of_a_preset(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["answer"] = ANSWER
    file = tmp_path / "own.yaml"
    file.touch()
    assert run("search", tmp_path, "--study", file).exit_code == 0
    assert library.calls[0][2]["study_file"] == file
    refused(run("search", tmp_path, "--study", file, "--preset", "quick"), "--study", "--preset")


def test_json_is_one_document_on_stdout_without_nan(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["answer"] = ANSWER
    result = run("search", tmp_path, "--json")
    document = json.loads(result.stdout, parse_constant=lambda word: pytest.fail(word))
    assert document["winner"]["interval"] == [0.8, None]
    assert document["ranking"][0]["latency_ms"] == 12.5
    assert "noise of a library" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--time-budget", "0"], ["--time-budget", "'0'"]),
        (["--time-budget", "soon"], ["--time-budget", "soon"]),
        (["--workers", "2"], ["--workers cannot be 2", "release supports 1"]),
        (["--workers", "0"], ["--workers cannot be 0"]),
        (["--device", "gpu"], ["--device", "cuda:N"]),
        (["--device", "cuda:x"], ["--device"]),
        (["--max-latency-ms", "0"], ["--max-latency-ms"]),
        (["--max-size-mb", "nan"], ["--max-size-mb"]),
        (["--weights-dir", "/no/such"], ["--weights-dir", "/no/such"]),
        (["--texture-dir", "/no/such"], ["--texture-dir", "/no/such"]),
        (["--study", "/no/such.yaml"], ["--study", "/no/such.yaml"]),
        (["--trials", "0"], ["--trials cannot be 0: give a value of at least 1."]),
        (["--preset", "slow"], ["--preset cannot be 'slow': choose among quick, balanced, thorough, faithful."]),
        (["--methods", "magic"], ["--methods", "magic", "choose among padim"]),
        (["--seed", "-1"], ["--seed cannot be -1: give a value of at least 0."]),
        (["--image-size", "8"], ["--image-size cannot be 8: give a value of at least 32."]),
    ],
)
def test_search_refuses_nonsense_in_one_sentence(
    library: FakeLibrary, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    refused(run("search", tmp_path, *options), *words)
    assert library.calls == []


@pytest.mark.parametrize(
    "options",
    [
        ["--trials", "many"],
        ["--wrong"],
    ],
)
def test_usage_errors_exit_with_two(library: FakeLibrary, tmp_path: Path, options: list[str]) -> None:
    result = run("search", tmp_path, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert options[0] in result.stderr
    assert library.calls == []


def test_an_unknown_command_is_a_usage_error() -> None:
    result = run("serach")
    assert result.exit_code == 2
    assert "serach" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "/no/such"],
        ["audit", "/no/such"],
        ["predict", "/no/such", "/tmp"],
        ["evaluate", "/no/such", "/tmp"],
        ["assess", "bolts", "/no/such"],
        ["assess", "bolts", "--defects", "/no/such"],
        ["search", ".", "--defects", "/no/such"],
        ["synthesize", "/no/such", "--output", "out"],
        ["synthesize", ".", "--output", "out", "--texture-dir", "/no/such"],
    ],
)
def test_paths_that_do_not_exist_are_named(library: FakeLibrary, arguments: list[str]) -> None:
    refused(run(*arguments), "/no/such")
    assert library.calls == []


def test_trials_of_a_study(library: FakeLibrary) -> None:
    library.answers["trials"] = [TrialResult.model_validate(TRIAL)]
    result = run("trials", "bolts", "--workspace", "w", "--storage", "sqlite:///s.db", "--json")
    document = json.loads(result.stdout)
    assert document["study"] == "bolts"
    assert document["trials"][0]["number"] == 3
    assert library.calls[0] == ("open_study", ("bolts",), {"workspace": Path("w"), "storage": "sqlite:///s.db"})
    assert "padim" in run("trials", "bolts").stdout


def test_trials_as_csv_can_be_read_back(library: FakeLibrary) -> None:
    failed = TRIAL | {
        "number": 4,
        "state": "failed",
        "reason": "out of memory, twice",
        "interval": None,
        "families": {},
    }
    library.answers["trials"] = [TrialResult.model_validate(trial) for trial in (TRIAL, failed)]
    rows = list(csv.DictReader(io.StringIO(run("trials", "bolts", "--csv").stdout)))
    assert [row["number"] for row in rows] == ["3", "4"]
    assert (rows[0]["interval_low"], rows[0]["interval_high"], rows[0]["families.texture"]) == ("0.8", "", "0.9")
    assert json.loads(rows[0]["params"]) == {"k": 2}
    assert run("trials", "bolts", "--csv").stdout.count("'=") == 0
    assert (rows[1]["reason"], rows[1]["families.texture"]) == ("out of memory, twice", "")
    refused(run("trials", "bolts", "--csv", "--json"), "--json", "--csv")


def test_trials_without_a_name_lists_the_studies(library: FakeLibrary) -> None:
    library.answers["studies"] = StudiesResult.model_validate({"studies": [STUDY]})
    assert "bolts" in run("trials").stdout
    assert json.loads(run("trials", "--json").stdout) == {"studies": [STUDY]}
    assert run("trials", "--csv").stdout.splitlines() == [
        "study,created_at,images,state,trials.complete,trials.pruned,trials.failed",
        "bolts,today,/d,finished,5,0,2",
    ]
    assert [call[0] for call in library.calls] == ["studies"] * 3


def test_show_pick_and_export_reach_the_study(library: FakeLibrary) -> None:
    library.answers |= {"show": TrialDetails.model_validate(TRIAL), "pick": PickResult(study="bolts", trial=3)}
    library.answers |= {"export": Path("out.zip"), "describe": BUNDLE}
    assert "Trial 3: padim on resnet18" in run("show", "bolts", "--trial", "3").stdout
    assert "Trial 3 is now the pick" in run("pick", "bolts", "--trial", "3", "--note", "fast").stdout
    assert "out.zip" in run("export", "bolts", "--output", "out.zip").stdout
    calls = [call for call in library.calls if call[0] != "open_study"]
    assert calls == [
        ("show", (3,), {}),
        ("pick", (3,), {"note": "fast"}),
        ("export", (Path("out.zip"),), {"trial": "best", "precision": "fp32"}),
        ("describe", (Path("out.zip"),), {}),
    ]


@pytest.mark.parametrize(("text", "trial"), [("best", "best"), ("picked", "picked"), ("12", 12)])
def test_export_chooses_a_trial(library: FakeLibrary, text: str, trial: str | int) -> None:
    library.answers |= {"export": Path("out"), "describe": BUNDLE}
    command = ("export", "bolts", "--output", "out", "--trial", text, "--precision", "int8", "--json")
    assert json.loads(run(*command).stdout) == {"study": "bolts", "trial": trial, "bundle": "out", **DESCRIBED}
    assert library.calls[-2][2] == {"trial": trial, "precision": "int8"}


@pytest.mark.parametrize("command", [["export", "bolts", "--output", "out"], ["assess", "bolts", "{}"]])
def test_moved_images_are_named(library: FakeLibrary, tmp_path: Path, command: list[str]) -> None:
    library.answers |= {"export": Path("out"), "describe": BUNDLE, "assess": AssessmentResult(study="bolts")}
    words = [word.format(tmp_path) for word in command]
    assert run(*words, "--images", tmp_path).exit_code == 0
    assert library.calls[0] == ("open_study", ("bolts",), {"workspace": None, "storage": None, "images": tmp_path})
    refused(run(*words, "--images", "/no/such"), "--images /no/such does not exist")


def test_export_refuses_an_unknown_precision(library: FakeLibrary) -> None:
    result = run("export", "bolts", "--output", "out", "--precision", "fp8")
    assert result.exit_code == 2
    assert "'fp32', 'fp16', 'int8'" in result.stderr
    assert library.calls == []


@pytest.mark.parametrize("text", ["worst", "-1", "1.5", "²", ""])
def test_export_refuses_what_is_no_trial(library: FakeLibrary, text: str) -> None:
    refused(run("export", "bolts", "--output", "out", "--trial", text), "--trial", "best, picked")
    assert library.calls == []


def predicted(
    library: FakeLibrary, folder: Path, results: Iterable[PredictedImage], *options: str, images: int = 2
) -> Result:
    library.answers["predict_stream"] = PredictionResult(bundle="b", images=images, threshold=2.0), iter(results)
    return run("predict", folder, folder, *options)


def interrupted(*results: PredictedImage) -> Iterator[PredictedImage]:
    """Results that end with Ctrl-C."""
    yield from results
    raise KeyboardInterrupt


def test_predict_goes_on_after_an_unreadable_file(library: FakeLibrary, tmp_path: Path) -> None:
    result = predicted(library, tmp_path, [RESULT, BROKEN], "--json", "--output", "maps", "--overkill", "0.1")
    assert result.exit_code == 0
    assert [item["error"] for item in json.loads(result.stdout)["results"]] == [None, "cut short"]
    assert library.calls == [
        (
            "predict_stream",
            (tmp_path, tmp_path, Path("maps")),
            {"overkill": 0.1, "strict": False, "device": "cpu", "threads": None, **NOT_GIVEN},
        ),
    ]


def test_predict_passes_device_and_threads_on(library: FakeLibrary, tmp_path: Path) -> None:
    assert predicted(library, tmp_path, [RESULT], "--device", "cuda:1", "--threads", "3").exit_code == 0
    assert (library.calls[0][2]["device"], library.calls[0][2]["threads"]) == ("cuda:1", 3)
    assert predicted(library, tmp_path, [RESULT], "--threads", "0").exit_code == 2


@pytest.mark.parametrize("options", [["--json", "--csv"], ["--jsonl", "--csv"], ["--json", "--jsonl"]])
def test_predict_has_one_form(library: FakeLibrary, tmp_path: Path, options: list[str]) -> None:
    refused(predicted(library, tmp_path, [RESULT], *options), *options, "exclude each other")
    assert library.calls == []


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ([], "decision        score  p-value  image"),
        (["--jsonl"], '{"path": "a.png", "score": 1.0'),
        (["--csv"], "path,score,p_value,anomalous,decision,marked,heatmap,mask,error"),
        (["--json"], "{"),
    ],
)
def test_an_interrupted_prediction_has_shown_what_was_judged(
    library: FakeLibrary, tmp_path: Path, options: list[str], first: str
) -> None:
    result = predicted(library, tmp_path, interrupted(RESULT, BROKEN), *options, images=9)
    assert result.exit_code == 130
    assert result.stdout.startswith(first)
    assert "a.png" in result.stdout
    assert "cut short" in result.stdout
    assert "the images judged so far are shown; the same command starts anew" in result.stderr
    if options == ["--json"]:
        document = json.loads(result.stdout)
        assert (document["interrupted"], document["images"], len(document["results"])) == (True, 9, 2)


def test_predictions_are_shown_before_the_next_is_made(
    library: FakeLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row has left the program when the library is asked for the next result."""
    left: list[str] = []

    def results() -> Iterator[PredictedImage]:
        for name in ("a", "b"):
            yield RESULT.model_copy(update={"path": f"{name}.png"})
            left.append(stream.getvalue().decode())

    for option in ("--jsonl", "--csv", None):
        left.clear()
        stream = io.BytesIO()
        script = ["predict", str(tmp_path), str(tmp_path), *([option] if option else [])]
        library.answers["predict_stream"] = PredictionResult(bundle="b", images=2, threshold=2.0), results()
        with redirect_stdout(io.TextIOWrapper(stream, write_through=False)), pytest.raises(SystemExit):
            app(script)
        assert ["a.png" in text for text in left] == [True, True]
        assert ["b.png" in text for text in left] == [False, True]


def test_predict_fails_when_nothing_could_be_read(library: FakeLibrary, tmp_path: Path) -> None:
    result = predicted(library, tmp_path, [BROKEN, BROKEN], "--json")
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)["results"]) == 2
    assert "none of the 2 files" in result.stderr
    assert "cut short" in result.stderr


def test_evaluate_takes_a_data_set_or_two_folders(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["evaluate"] = METRICS
    assert "0.7500" in run("evaluate", tmp_path, tmp_path).stdout
    assert run("evaluate", tmp_path, "--good", tmp_path, "--defects", tmp_path).exit_code == 0
    first, second = (call[2] for call in library.calls)
    assert first == {
        **{"dataset": tmp_path, "good": None, "defects": None, "masks": None},
        **{"mask_values": (), "output": None},
    }
    assert second == first | {"dataset": None, "good": tmp_path, "defects": tmp_path}


def test_evaluate_writes_a_report_where_it_is_told(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["evaluate"] = METRICS.model_copy(update={"report": "new/evaluation.html"})
    result = run("evaluate", tmp_path, tmp_path, "--output", "new")
    assert result.exit_code == 0
    assert library.calls[0][2]["output"] == Path("new")
    assert "Report written: new/evaluation.html" in result.stdout
    assert "Folder for a report." in run("evaluate", "--help").stdout


@pytest.mark.parametrize("options", [[], ["--good", "."], ["--defects", "."], [".", "--good", "."]])
def test_evaluate_refuses_anything_between(library: FakeLibrary, tmp_path: Path, options: list[str]) -> None:
    refused(run("evaluate", tmp_path, *options), "DATASET", "--good")


def test_audit_leaves_images_and_groups_out(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["audit"] = AuditResult(images=3)
    assert run("audit", tmp_path, "--exclude", "a.png", "--exclude-group", "light-1f3c").exit_code == 0
    assert library.calls == [("audit", (tmp_path,), {"exclude": ("a.png",), "exclude_group": ("light-1f3c",)})]


def test_assess_audit_and_demo_answer(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers |= {"assess": AssessmentResult(study="bolts", trials=(), regret=1.25)}
    library.answers |= {"audit": AuditResult(images=3)}
    shown = DemoResult(
        **dict(ANSWER) | {"study": "demo"},
        dataset="parts",
        bundle="bundle",
        prediction=PredictionResult(bundle="bundle", threshold=2.0, results=(RESULT,)),
        evaluation=METRICS,
    )
    library.answers["demo"] = shown
    assert "1.25" in run("assess", "bolts", tmp_path).stdout
    assert "3 readable images" in run("audit", tmp_path).stdout
    document = json.loads(run("demo", "--output", tmp_path, "--json").stdout)
    assert document == shown.to_json()
    assert (document["study"], document["evaluation"]["image_auroc"]) == ("demo", 0.75)
    assert library.calls[-1] == ("demo", (tmp_path,), {})


def test_assess_takes_labelled_images_a_few_defects_or_both(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["assess"] = AssessmentResult(study="bolts")
    result = run("assess", "bolts", "--defects", tmp_path, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"study": "bolts"})
    assert library.calls[-1] == ("assess", (None,), {"defects": tmp_path})
    assert run("assess", "bolts", tmp_path).exit_code == 0
    assert library.calls[-1] == ("assess", (tmp_path,), {"defects": None})
    assert run("assess", "bolts", tmp_path, "--defects", tmp_path).exit_code == 0
    assert library.calls[-1] == ("assess", (tmp_path,), {"defects": tmp_path})
    refused(run("assess", "bolts"), "DATASET", "--defects")


def test_synthesize_passes_every_option_on(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["synthesize"] = SYNTHESIS
    options = ["--family", "poisson", "--strength", "0.7", "--count", "9", "--seed", "3", "--workspace", "w"]
    options += ["--texture-dir", str(tmp_path), "--image-size", "128", "--device", "cuda:1", "--output", "out"]
    result = run("synthesize", tmp_path, *options, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout, parse_constant=lambda word: pytest.fail(word))
    assert document == DRAWN | {"layout": None, "left_aside": [], "sdas": {"steps": 4, "losses": [0.5, None]}}
    assert library.calls == [
        (
            "synthesize",
            (tmp_path, Path("out")),
            {
                "family": "poisson",
                "strength": 0.7,
                "count": 9,
                "seed": 3,
                "workspace": Path("w"),
                "texture_dir": tmp_path,
                "image_size": 128,
                "device": "cuda:1",
            },
        )
    ]


def test_synthesize_has_the_defaults_of_the_library(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["synthesize"] = SYNTHESIS
    result = run("synthesize", tmp_path, "--output", "out")
    assert "1 anomalies of the family sdas" in result.stdout
    assert "Trying candidates (1/2)" in result.stderr
    stated = {key: value for key, value in library.calls[0][2].items() if value is not None}
    assert stated == {"family": "sdas", "strength": 0.5, "count": 64}


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--strength", "much"), ("--count", "1.5")])
def test_synthesize_refuses_what_is_no_number(library: FakeLibrary, tmp_path: Path, option: str, value: str) -> None:
    result = run("synthesize", tmp_path, "--output", "out", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option in result.stderr
    refused(run("synthesize", tmp_path, "--output", "out", "--device", "gpu"), "--device", "cuda:N")
    assert library.calls == []


def test_synthesize_needs_an_output(library: FakeLibrary, tmp_path: Path) -> None:
    result = run("synthesize", tmp_path)
    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_the_doctor_needs_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "automl_ad.api", None)  # its import fails
    monkeypatch.setattr("automl_ad.backbones.weights.hub_reachable", lambda: False)
    result = run("doctor", "--workspace", tmp_path, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["places"][0]["path"] == str(tmp_path)
    assert "Model hub: does not answer" in run("doctor").stdout


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (InputError("the folder x is empty; fill it."), 2),
        (StudyError("no study x; search first."), 2),
        (BundleError("bundle x is altered; export again."), 2),
        (NoCandidateError("no candidate; give more time."), 1),
    ],
)
def test_expected_faults_are_one_sentence(library: FakeLibrary, tmp_path: Path, fault: Exception, code: int) -> None:
    library.answers["audit"] = fault
    result = run("audit", tmp_path)
    refused(result, str(fault), code=code)
    assert "Traceback" not in result.output


def test_an_unexpected_fault_is_one_line_and_debug_shows_more(library: FakeLibrary, tmp_path: Path) -> None:
    library.answers["audit"] = ZeroDivisionError("by nought\nsecond line")
    result = run("audit", tmp_path)
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Unexpected fault: ZeroDivisionError: by nought (run `automl-ad --debug")
    assert "Traceback" not in result.stderr
    debugged = run("--debug", "audit", tmp_path)
    assert debugged.exit_code == 1
    assert "Traceback" in debugged.stderr
    assert "second line" in debugged.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "{}"], "everything finished so far is kept, and the same command resumes."),
        (["demo", "--output", "{}"], "everything that its search finished is kept, and the same command goes on"),
        (["export", "bolts", "--output", "out"], "no bundle was written, and one that was there is unchanged"),
        (["evaluate", "{}", "{}"], "nothing was measured and no report was written"),
        (["assess", "bolts", "{}"], "the study is unchanged"),
        (["synthesize", "{}", "--output", "out"], "no anomalies were written"),
        (["pick", "bolts", "--trial", "3"], "`automl-ad trials NAME` shows whether the pick was recorded."),
        (["audit", "{}"], "nothing was changed; run the same command again."),
        (["show", "bolts", "--trial", "3"], "nothing was changed; run the same command again."),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_an_interrupt_says_what_is_left_of_the_work(
    library: FakeLibrary, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """Only what resumes says that it does."""
    library.answers[arguments[0]] = KeyboardInterrupt()
    result = run(*(argument.format(tmp_path) for argument in arguments))
    assert (result.exit_code, result.stdout) == (130, "")
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Interrupted: {words}")
    assert ("resumes" in last) == (arguments[0] == "search")


FAKE = """
    import sys, time, types
    fake = types.ModuleType("automl_ad.api")
    def audit(images):
        print("started", file=sys.stderr, flush=True)
        {body}
    fake.audit = audit
    sys.modules["automl_ad.api"] = fake
    from automl_ad.cli import main
    from automl_ad.results import AuditResult
    sys.argv = ["automl-ad", "audit", ".", "--json"]
    main()
"""


def started(body: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(FAKE).format(body=body)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, env=os.environ)
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt(number: signal.Signals) -> None:
    process = started("time.sleep(60)")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err == "Interrupted: nothing was changed; run the same command again.\n"


@pytest.mark.parametrize("advice", ["('look',) * 100_000", "()"], ids=["many_bytes", "few_bytes"])
def test_a_reader_that_leaves_early_gets_no_traceback(advice: str) -> None:
    """A few bytes stay in the buffer until exit, where Python itself would complain."""
    process = started(f"time.sleep(0.3); return AuditResult(images=1, advice={advice})")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 0
    process.stderr.close()


def test_tables_into_a_closed_pipe_are_quiet_too() -> None:
    body = "time.sleep(0.3); return AuditResult(images=1, advice=('look',) * 20000)"
    code = FAKE.replace(', "--json"]', "]")
    pipe = subprocess.PIPE
    script = textwrap.dedent(code).format(body=body)
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr.read() == "started\n"
    assert process.returncode == 0


def speaking(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, images: Path, *options: str) -> Result:
    """A search that reports an event and logs a line."""

    def search(*arguments: Any, listener: Any, **settings: Any) -> Any:
        listener(Event("search", "Trying candidates"))
        logging.getLogger("automl_ad.study.trial").info("Trial 0 starts")
        return library

    monkeypatch.setattr(library, "search", search, raising=False)
    library.answers["answer"] = ANSWER
    return run("search", images, *options)


@pytest.mark.parametrize(("options", "event", "log"), [((), 1, 0), (("--verbose",), 1, 1), (("--quiet",), 0, 0)])
def test_how_much_of_a_search_is_shown(
    library: FakeLibrary,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: Sequence[str],
    event: int,
    log: int,
) -> None:
    result = speaking(library, monkeypatch, tmp_path, *options, "--json")
    assert result.exit_code == 0
    assert result.stderr.count("Trying candidates") == event
    assert result.stderr.count("INFO automl_ad.study.trial: Trial 0 starts") == log


def test_verbose_and_quiet_exclude_each_other(library: FakeLibrary, tmp_path: Path) -> None:
    refused(run("search", tmp_path, "--verbose", "--quiet"), "--verbose and --quiet exclude each other")
