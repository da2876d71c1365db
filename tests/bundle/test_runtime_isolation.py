from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from toy_bundle import flat_image, seal, toy_files, write_files

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import load_bundle

REFUSED = ("torch", "optuna", "streamlit", "sqlalchemy", "pydantic", "cv2", "scipy", "timm")

HOOK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ImportError(name + " is not there")

sys.meta_path.insert(0, Refuse())
"""


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "always", **variables}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def alone(tmp_path: Path) -> Path:
    """A folder whose presence on the path takes automl-ad and everything heavy away."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK.format(refused={*REFUSED, "automl_ad"}))
    return tmp_path / "hook"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A bundle with the copied file in it, as the export writes it."""
    files = toy_files()
    files = files | {"predict.py": Path(runtime.__file__).read_bytes()}
    path = write_files(tmp_path / "bundle", files)
    Image.fromarray(flat_image(97, (64, 96))).save(tmp_path / "part.png")
    return path


def test_the_copy_judges_as_the_package_does(whole: Path, tmp_path: Path) -> None:
    hook = alone(tmp_path)
    assert "is not there" in run("-c", "import automl_ad", PYTHONPATH=str(hook)).stderr
    image = tmp_path / "part.png"
    done = run(whole / "predict.py", image, "--output", tmp_path / "out", "--json", PYTHONPATH=str(hook))
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    (expected,) = load_bundle(whole).predict(image, tmp_path / "other")["results"]
    for kind in ("heatmap", "mask"):
        assert Path(result.pop(kind)).read_bytes() == Path(expected.pop(kind)).read_bytes()
    assert result == expected
    assert result["score"] > 0


def test_the_copy_speaks_in_sentences_too(whole: Path, tmp_path: Path) -> None:
    hook = alone(tmp_path)
    (whole / "model.onnx").write_bytes(b"x")
    done = run(whole / "predict.py", tmp_path / "part.png", PYTHONPATH=str(hook))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{whole / 'model.onnx'} has been altered since it was written; copy or export the bundle again.\n"
    )
    done = run(whole / "predict.py", "absent.png", "--bundle", "absent", PYTHONPATH=str(hook))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_copy_that_is_imported(whole: Path, tmp_path: Path) -> None:
    script = (
        f"from predict import load_bundle; print(load_bundle({str(whole)!r}).predict({str(tmp_path / 'part.png')!r}))"
    )
    done = run("-c", script, PYTHONPATH=os.pathsep.join([str(alone(tmp_path)), str(whole)]))
    assert (done.returncode, done.stderr) == (0, "")
    assert "'decision': " in done.stdout


def test_names_that_a_console_cannot_show_are_printed_all_the_same(whole: Path, tmp_path: Path) -> None:
    odd = tmp_path / "gehäuse 部.png"
    shutil.copy(tmp_path / "part.png", odd)
    done = run(whole / "predict.py", odd, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "geh\\xe4use" in done.stdout


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys; import automl_ad.bundle.runtime\n"
        f"print([name for name in {(*REFUSED, 'onnxruntime')!r} if name in sys.modules])"
    )
    done = run("-c", script)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_the_file_is_written_for_python_3_10() -> None:
    ast.parse(Path(runtime.__file__).read_text("utf-8"), feature_version=(3, 10))


def test_nothing_that_a_bundle_holds_is_executed(whole: Path, tmp_path: Path) -> None:
    """Python files beside the image's model are neither imported by the package nor needed by it."""
    files = toy_files() | {"predict.py": b"raise SystemExit('executed')", "numpy.py": b"raise SystemExit('executed')"}
    manifest = json.loads(toy_files()["bundle.json"])
    del manifest["files"]
    listed = {name: content for name, content in files.items() if name != "bundle.json"}
    path = write_files(tmp_path / "evil", listed | {"bundle.json": seal(manifest, listed)})
    script = f"from automl_ad.bundle.runtime import load_bundle; load_bundle({str(path)!r}); print('loaded')"
    done = run("-c", script)
    assert (done.returncode, done.stdout) == (0, "loaded\n")
