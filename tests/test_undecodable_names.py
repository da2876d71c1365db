"""Names of files that are not UTF-8: they work, or are refused before any image is read, in a printable sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import automl_ad
from automl_ad.errors import InputError
from automl_ad.study.settings import preset_path

ODD_IMAGE, ODD_FOLDER = os.fsdecode(b"part\xff.png"), os.fsdecode(b"folder\xff")


def _can_be_named(folder: Path) -> bool:
    try:
        (folder / ODD_IMAGE).touch()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def odd(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts, with an image and a folder of good ones, and a folder of defective ones, of such names."""
    root = tmp_path_factory.mktemp("odd")
    if not _can_be_named(root):
        pytest.skip("this file system refuses names that are not UTF-8")
    (root / ODD_IMAGE).unlink()
    good = Path(shutil.copytree(parts / "train" / "good", root / "good"))
    (good / "003.png").rename(good / ODD_IMAGE)
    (good / ODD_FOLDER).mkdir()
    (good / "004.png").rename(good / ODD_FOLDER / "004.png")
    shutil.copytree(parts / "test" / "bar", root / ODD_FOLDER)
    (root / ODD_FOLDER / "000.png").rename(root / ODD_FOLDER / ODD_IMAGE)
    return root


@pytest.fixture(scope="module")
def bundle(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in a folder of such a name, of a study on images of such names."""
    workspace = tmp_path_factory.mktemp("workspace")
    file = workspace / "study.yaml"
    file.write_text(f"{preset_path('quick').read_text()}\nfamilies: [texture, cutpaste]\nper_cell: 4\n")
    study = automl_ad.search(
        odd / "good",
        name="odd",
        workspace=workspace,
        study_file=file,
        backbones=["embedded"],
        methods=["padim"],
        trials=1,
        time_budget=600,
        image_size=32,
        ensemble=False,
        defects=odd / ODD_FOLDER,
    )
    study.answer().to_json()
    return study.export(tmp_path_factory.mktemp("bundles") / ODD_FOLDER)


SCRIPT = """
import json, sys
from automl_ad.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["automl-ad", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
    print(end="\\0", flush=True)
"""


def commands(*each: Sequence[str | Path]) -> list[str]:
    """Runs commands as users do, in one process, which takes seconds to start; what they print must be UTF-8."""
    words = json.dumps([[str(word) for word in command] for command in each])
    done = subprocess.run([sys.executable, "-c", SCRIPT, words], capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8").split("\0")[:-1]


def test_images_of_such_names_are_judged_audited_and_evaluated(bundle: Path, odd: Path, tmp_path: Path) -> None:
    forms = ([], ["--json"], ["--jsonl"], ["--csv"])
    outputs = [tmp_path / str(index) / ODD_FOLDER for index in range(len(forms))]
    folders = ("--good", odd / "good", "--defects", odd / ODD_FOLDER)
    *judged, audited, audited_too, evaluated = commands(
        *(
            ["predict", bundle, odd / "good", *form, "--output", output]
            for form, output in zip(forms, outputs, strict=True)
        ),
        ["audit", odd / "good", "--json"],
        ["audit", odd / ODD_FOLDER],
        ["evaluate", bundle, *folders, "--output", tmp_path / ODD_FOLDER, "--json"],
    )
    for shown, output in zip(judged, outputs, strict=True):
        assert "part\\udcff.png" in shown
        assert len(list(output.rglob("part*"))) > 0
    assert json.loads(audited)["images"] == 24
    assert audited_too
    assert json.loads(evaluated)
    (report,) = (tmp_path / ODD_FOLDER).glob("*.html")
    report.read_text(encoding="utf-8")


def refused(run: Callable[[], object]) -> str:
    with pytest.raises(InputError, match="is not UTF-8, which the database cannot hold") as caught:
        run()
    str(caught.value).encode()
    return str(caught.value)


def test_what_a_database_must_hold_is_refused_at_once(odd: Path, tmp_path: Path) -> None:
    path = odd / ODD_FOLDER
    for name in (None, "named"):
        assert "images" in refused(lambda name=name: automl_ad.search(path, name=name, workspace=tmp_path))
    assert "--name" in refused(lambda: automl_ad.search(odd / "good", name=ODD_FOLDER, workspace=tmp_path))
    assert "--workspace" in refused(lambda: automl_ad.search(odd / "good", workspace=tmp_path / ODD_FOLDER))
    assert "--workspace" in refused(lambda: automl_ad.Study.open("odd", tmp_path / ODD_FOLDER))
    assert "--output" in refused(lambda: automl_ad.demo(tmp_path / ODD_FOLDER))
    assert not list(tmp_path.iterdir())
