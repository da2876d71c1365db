from __future__ import annotations

import shlex

import pytest
from typer.testing import CliRunner

from automl_ad.cli import app
from automl_ad.suggestions import suggested_command


@pytest.mark.parametrize("name", ["flanges", "-x", "--trial", "left side", "it's", "$HOME", "`ls`", "a;b", "ö"])
def test_a_suggestion_can_be_pasted_whatever_the_names(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The shell's words reach the command as they are: it looks for a study of that name."""
    workspace = tmp_path_factory.mktemp("a place")
    (workspace / "automl_ad.db").touch()
    program, *words = shlex.split(suggested_command("show", name, trial=3, workspace=workspace, storage=None))
    assert program == "automl-ad"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert f"there is no study called {name!r}" in result.stderr


def test_values_of_options_may_begin_with_a_dash() -> None:
    command = suggested_command("export", "-x", trial="picked", output="-x_bundle", image_size=None)
    assert command == "automl-ad export --trial picked --output=-x_bundle -- -x"
