from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_bundle import flat_image, write_toy

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import Bundle, Prediction, csv_cell, load_bundle, main


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "made")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, score in (("a", 10), ("b", 93), ("c", 120)):
        Image.fromarray(flat_image(score)).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "d.png").write_text("no image")
    return tmp_path / "in"


def test_json_is_one_result_a_line(bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--overkill", "0.04", "--review", "0.1", "--mask", "0.2", "--threads", "1", "--json"]
    assert main([str(folder), "--bundle", str(bundle), *options]) == 0
    captured = capsys.readouterr()
    results = [json.loads(line) for line in captured.out.splitlines()]
    assert results == load_bundle(bundle).predict(folder, overkill=0.04, review=0.1, mask=0.2)["results"]
    assert [result["decision"] for result in results] == ["pass", "review", "reject", None]
    assert captured.err == ""


def test_csv_has_a_row_an_image(bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(flat_image(10)).save(folder / "=1+1.png")
    assert main([str(folder), "--bundle", str(bundle), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    results = load_bundle(bundle).predict(folder)["results"]
    assert [row["path"] for row in rows] == [result["path"] for result in results]
    assert list(rows[0]) == list(results[0])
    assert [float(row["score"]) for row in rows if row["score"]] == [10.0, 10.0, 93.0, 120.0]
    assert rows[-1]["error"].startswith(str(folder / "d.png"))


def test_cells_are_no_formulas() -> None:
    assert [csv_cell(text) for text in ("=1+1", "+1", "-a.png", "@x", "\t=1", "a=1")] == [
        "'=1+1",
        "'+1",
        "'-a.png",
        "'@x",
        "'\t=1",
        "a=1",
    ]
    assert [csv_cell(value) for value in (-1.5, None, True, ["a"], {"k": 1})] == [-1.5, None, True, '["a"]', '{"k": 1}']


def test_an_interrupt_is_one_sentence_after_what_was_judged(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(self: Bundle, sources: list[Path], **options: bool) -> Iterator[Prediction]:
        yield from islice(raw(self, sources, **options), 2)
        raise KeyboardInterrupt

    raw = Bundle.raw_predictions
    monkeypatch.setattr(Bundle, "raw_predictions", stopped)
    assert main([str(folder), "--bundle", str(bundle), "--csv"]) == 130
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert shown.err.startswith("Interrupted: the images judged so far are shown")


def test_a_reader_that_leaves_early_gets_no_traceback(bundle: Path, folder: Path) -> None:
    command = f"{sys.executable} {runtime.__file__} {folder} --bundle {bundle} --json | head -n 1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n") == 1


def test_otherwise_one_readable_line_an_image(bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--bundle", str(bundle), "--threshold", "119"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"pass    score 10  p 0.9100  marked 0.00 %  {folder / 'a.png'}"
    assert lines[2] == f"reject  score 120  p 0.0100  marked 0.07 %  {folder / 'c.png'}"
    assert lines[3].startswith(f"error   {folder / 'd.png'} is not an image")
    assert len(lines) == 4


def test_output_and_several_pictures(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / "a.png"), str(folder / "c.png")]
    assert main([*files, "--bundle", str(bundle), "--output", str(tmp_path / "out"), "--json"]) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["path"] for result in results] == files
    assert all(Path(result["heatmap"]).is_file() and Path(result["mask"]).is_file() for result in results)


def test_the_bundle_is_by_default_the_folder_of_the_file(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copy(runtime.__file__, bundle / "predict.py")
    monkeypatch.setattr(runtime, "__file__", copied)
    assert main([str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent.png"], "absent.png does not exist: give an image file or a folder of images."),
        (["{in}", "--bundle", "absent"], "Bundle absent does not exist"),
        (["{in}", "--overkill", "0.001"], "--overkill 0.001 is less than 99 calibration images can guarantee"),
        (["{in}", "--overkill", "0.1", "--threshold", "3"], "--overkill and --threshold exclude each other"),
        (["{in}", "--review", "0.05"], "--review 0.05 leaves nothing to review"),
        (["{in}", "--mask", "2"], "--mask 2 is not between 0 and 1"),
        (["{in}", "--threads", "0"], "--threads 0 is too few"),
        (["{in}", "--overkill", "little"], "argument --overkill: invalid float value: 'little'; see --help."),
        (["{in}", "--fast"], "unrecognized arguments: --fast; see --help."),
        ([], "the following arguments are required: IMAGES; see --help."),
        (["{in}/d.png"], "No image in {in}/d.png could be read and scored"),
        (["{in}", "--output", "{in}/maps"], "--output {in}/maps lies inside {in}"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    given = [argument.replace("{in}", str(folder)) for argument in arguments]
    given = given if "--bundle" in given or not given else [*given, "--bundle", str(bundle)]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert complaint.replace("{in}", str(folder)) in error
    assert error.count("\n") == 1


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    options = (
        "bundle",
        "output",
        "overkill",
        "review",
        "threshold",
        "mask",
        "threads",
        "strict",
        "device",
        "json",
        "csv",
    )
    for option in options:
        assert f"--{option}" in shown


def test_results_are_printed_as_they_come(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader at the other end of a pipe has the first image's line before the last image is scored."""
    seen: list[str] = []
    count = runtime.BATCH + 1
    paths = [folder / f"{i:03}.png" for i in range(count)]
    for path in paths:
        Image.fromarray(np.full((32, 48, 3), 128, np.uint8)).save(path)
    load = runtime._load

    def spy(source: Path, **options: object) -> object:
        seen.append(f"read {source.name}")
        return load(source, **options)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(runtime, "_load", spy)
    monkeypatch.setattr("builtins.print", lambda *_, flush=False, **__: seen.append(f"line {flush}"))
    assert main([*map(str, paths), "--bundle", str(bundle), "--json"]) == 0
    assert seen.index("line True") < seen.index(f"read {paths[-1].name}")
