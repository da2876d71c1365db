from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from automl_ad.cli import app
from automl_ad.study import settings
from automl_ad.study.settings import PRESETS, load_study_file, preset_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]  # a group, though typed as a command

needs_make = pytest.mark.skipif(shutil.which("make") is None or os.name == "nt", reason="needs make and a shell")


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets: dict[str, Any] = project["tool"]["hatch"]["build"]["targets"]
    return targets


def words_after_automl_ad(text: str) -> set[str]:
    """First words of the commands in code: in a fenced block from a line's start, in backquotes from the start."""
    return set(re.findall(r"(?:^\s*|`)(?:\.venv/bin/)?automl-ad ([a-z]\w*)", text, re.MULTILINE))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_found_and_valid(name: str) -> None:
    assert preset_path(name).name == f"{name}.yaml"
    assert load_study_file(preset_path(name)).trials > 0


def test_the_wheel_gets_every_study_file_and_the_dashboard(build: dict[str, Any]) -> None:
    studies = {f"studies/{path.name}": f"automl_ad/studies/{path.name}" for path in (ROOT / "studies").glob("*.yaml")}
    assert set(PRESETS) <= {Path(source).stem for source in studies}
    assert build["wheel"]["force-include"] == studies | {"dashboard": "automl_ad/dashboard"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_found_where_the_wheel_puts_them(
    name: str, build: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source, target in build["wheel"]["force-include"].items():
        if source.startswith("studies/"):
            (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / target)
    monkeypatch.setattr(settings, "__file__", str(tmp_path / "automl_ad" / "search" / "settings.py"))
    assert preset_path(name) == tmp_path / "automl_ad" / "studies" / f"{name}.yaml"
    assert preset_path(name).is_file()


def test_the_source_archive_holds_what_a_build_needs_and_nothing_that_is_missing(build: dict[str, Any]) -> None:
    listed = build["sdist"]["only-include"]
    assert {"automl_ad", "dashboard", "studies", "README.md", "LICENSE"} <= set(listed)
    assert [name for name in listed if not (ROOT / name).exists()] == []


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "automl_ad" / "py.typed").is_file()


def test_the_licence_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("command", ["make demo", "make test", ".venv/bin/automl-ad demo", "pip install ."])
def test_the_readme_names_the_first_commands(command: str) -> None:
    assert command in README


def test_the_readme_names_every_command() -> None:
    assert words_after_automl_ad(README) >= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_only_commands_that_exist(page: str) -> None:
    assert words_after_automl_ad(PAGES[page]) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_only_options_that_exist(page: str) -> None:
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    elsewhere = {"--debug", "--help", "--index-url"}  # of the program itself, and pip's
    for script in (ROOT / "studies").rglob("*.py"):
        elsewhere |= set(re.findall(r'add_argument\("(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGES[page]))
    assert named <= known | elsewhere


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else ROOT / "docs"
    links = re.findall(r"\]\((?!https?:)([^)#]*)", PAGES[page])
    assert [link for link in links if not (folder / link).exists()] == []


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings outside of code: lower case, hyphens for spaces, no other punctuation."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_to_headings_name_headings_that_exist(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", PAGES[page])
    assert [f"{path}#{anchor}" for path, anchor in links if anchor not in anchors(PAGES[Path(path or page).name])] == []


def test_the_architecture_names_files_that_exist() -> None:
    named = re.findall(r"`((?:automl_ad|dashboard|studies|tests)/[\w/.]*)`", PAGES["architecture.md"])
    assert len(named) > 20
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    assert {f"docs/{name}" for name in PAGES if name != "README.md"} <= set(re.findall(r"\]\(([^)#]*)", README))


def test_the_readme_stays_short() -> None:
    assert len(README.split()) <= 1300


@pytest.mark.parametrize("target", ["demo", "test", "coverage", "lint", "clean"])
def test_the_makefile_has_the_targets(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    assert target in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split()


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make on our Makefile in another folder, as if nobody had run make before: these tests may run under it."""
    shutil.copy(ROOT / "Makefile", folder)
    os.utime(shutil.copy(ROOT / "pyproject.toml", folder), (0, 0))  # older than any stamp
    clean = {
        key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON"}
    }
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=30, check=False
    )


@needs_make
@pytest.mark.parametrize(
    ("target", "last"),
    [("demo", "automl-ad demo"), ("test", "-m pytest -n auto"), ("coverage", "--cov-fail-under=95")],
)
def test_targets_install_before_they_run(target: str, last: str, tmp_path: Path) -> None:
    said = make(tmp_path, "-n", target).stdout
    order = [said.index(step) for step in ("-m venv .venv", "-m pip install", last)]
    assert order == sorted(order)


@needs_make
def test_an_installed_environment_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("bin/pip", ".installed", ".installed-dev"):
        (tmp_path / ".venv" / name).touch()
    assert make(tmp_path, "-n", "demo").stdout.split() == [".venv/bin/automl-ad", "demo"]


@needs_make
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('case "$*" in --version) echo Python 3.13.1;; *version_info*) exit 1;; esac', "Python 3.13.1"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "lacks the module venv"),
        (None, "was not found"),
    ],
)
def test_an_unfit_python_is_refused_in_one_sentence(script: str | None, message: str, tmp_path: Path) -> None:
    python = tmp_path / "some-python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    run = make(tmp_path, "demo", f"PYTHON={python}")
    assert run.returncode == 2
    said = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert message in said[0]
    assert not (tmp_path / ".venv").exists()


def test_the_continuous_check_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")
