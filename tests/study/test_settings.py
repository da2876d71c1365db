from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

from automl_ad.api import search, synthesize
from automl_ad.errors import InputError, OptionError
from automl_ad.study.settings import (
    PRESETS,
    SEARCH_OPTIONS,
    StudyFile,
    StudySettings,
    changed_settings,
    checked_options,
    load_study_file,
    option_flag,
    preset_path,
    requested_settings,
)
from parts.blocks import sentence


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_name_known_methods(name: str) -> None:
    settings = requested_settings(Path("images"), preset=name)
    assert settings.methods[0] == "padim"
    assert settings.time_budget > 0
    assert not settings.explicit_backbones


def test_options_overrule_the_preset_and_none_does_not() -> None:
    settings = requested_settings(Path("images"), trials=3, time_budget=None, image_size=128, backbones=("embedded",))
    assert (settings.trials, settings.sides, settings.explicit_backbones) == (3, (128,), True)
    assert settings.time_budget == load_study_file(preset_path("quick")).time_budget


def test_a_study_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("trials: 7\ntime_budget: 1h30m\nmethods: [dfr]\n")
    settings = requested_settings(Path("images"), study_file=file)
    assert (settings.trials, settings.time_budget, settings.methods) == (7, 5400.0, ("dfr",))
    assert settings.preset == str(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("trials: 0", r"mine\.yaml: trials cannot be 0: give a value of at least 1\."),
        ("trails: 3", r"mine\.yaml: trails is not known"),
        ("- a list", "no settings"),
        ("trials: [", "YAML"),
        ("time_budget: soon", r"mine\.yaml: time_budget 'soon'"),
        ("families: [magic]", "families"),
        ("families: [texture, texture]", "families"),
        ("backbones: [resnet18, resnet18]", "backbones.*at most once"),
        ("methods: [padim, dfr, padim]", "methods.*at most once"),
        ("methods: [padim, magic]", "methods.*magic.*choose among padim"),
        ("certified: 0", "holdout_candidates cannot be 0"),
        ("severities: [70]", "severities"),
        ("severities: [0.9, 0.7]", "severities"),
    ],
)
def test_a_wrong_study_file_is_named_with_its_fault(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=words):
        load_study_file(file)


def test_a_missing_study_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_study_file(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "slow"}, "^preset cannot be 'slow': choose among quick, "),
        ({"methods": ("padim", "magic")}, "^methods.*magic.*choose among padim"),
        ({"trials": -1}, r"^trials cannot be -1: give a value of at least 1\.$"),
        ({"backbones": ("resnet18", "resnet18")}, "^backbones.*at most once"),
        ({"max_latency_ms": 0}, r"^max_latency_ms cannot be 0: give a value above 0\.$"),
        ({"max_size_mb": float("inf")}, "^max_size_mb .*finite"),
        ({"device": "gpu"}, "^device .*cuda:N"),
        ({"workers": 2}, "^workers .*release supports 1"),
        ({"methods": " , "}, "^methods .*give at least 1"),
        ({"weights_dir": "/no/such"}, "^weights_dir /no/such does not exist"),
        ({"trails": 3}, "^trails is not known"),
        ({"seed": -1}, "^seed cannot be -1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        requested_settings(Path("images"), **options)  # type: ignore[arg-type]


def test_budgets_and_limits_do_not_change_what_a_trial_means() -> None:
    first = requested_settings(Path("images"), trials=3, time_budget=60.0, max_size_mb=5.0)
    second = requested_settings(Path("elsewhere"), trials=30, time_budget=600.0, device="cpu")
    assert first.meaning({"embedded": "t"}, "f") == second.meaning({"embedded": "t"}, "f")


@pytest.mark.parametrize("changed", [{"seed": 1}, {"image_size": 320}, {"methods": ("dfr",)}, {"preset": "balanced"}])
def test_what_changes_the_meaning_is_told_apart(changed: dict[str, object]) -> None:
    first, second = requested_settings(Path("images")), requested_settings(Path("images"), **changed)  # type: ignore[arg-type]
    assert first.meaning({"embedded": "t"}, "f") != second.meaning({"embedded": "t"}, "f")


def test_other_weights_or_images_change_the_meaning() -> None:
    settings = requested_settings(Path("images"))
    assert settings.meaning({"r": "a"}, "f") != settings.meaning({"r": "b"}, "f")
    assert settings.meaning({"r": "a"}, "f") != settings.meaning({"r": "a"}, "g")


def test_settings_are_changed_by_what_is_given_and_checked() -> None:
    settings = requested_settings(Path("images"), backbones=("embedded",), seed=4)
    changed = changed_settings(settings, trials=7, time_budget="90s", device=None)
    assert (changed.trials, changed.time_budget) == (7, 90.0)
    assert changed.model_copy(update={"trials": settings.trials, "time_budget": settings.time_budget}) == settings
    with pytest.raises(InputError, match=r"^trials cannot be 0"):
        changed_settings(settings, trials=0)


def test_an_error_names_the_option_as_each_face_spells_it() -> None:
    with pytest.raises(OptionError) as caught:
        checked_options(max_size_mb=0)
    assert str(caught.value) == "max_size_mb cannot be 0: give a value above 0."
    assert caught.value.naming(option_flag("max_size_mb")) == "--max-size-mb cannot be 0: give a value above 0."
    assert sentence(caught.value) == "Maximum size cannot be 0: give a value above 0."
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert (option_flag("study_file"), option_flag("per_cell")) == ("--study", "--per-cell")


def test_names_are_read_from_text_or_a_sequence() -> None:
    assert checked_options(methods=" dfr,padim , dfr,") == checked_options(methods=["dfr", "padim"])
    assert checked_options(time_budget="1m", trials=None) == {"time_budget": 60.0}


def test_paths_mean_the_same_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = requested_settings(Path("images"), weights_dir=".", texture_dir=".")
    assert (settings.images, settings.weights_dir, settings.texture_dir) == (tmp_path / "images", tmp_path, tmp_path)


def test_earlier_names_are_read_and_stored_settings_keep_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("average: false\ncertified: 3\n")
    earlier = requested_settings(Path("images"), study_file=file)
    file.write_text("ensemble: false\nholdout_candidates: 3\n")
    assert requested_settings(Path("images"), study_file=file) == earlier
    assert (earlier.ensemble, earlier.holdout_candidates) == (False, 3)
    assert requested_settings(Path("images"), study_file=file, average=True).ensemble
    stored = earlier.model_dump(mode="json")
    assert (stored["average"], stored["certified"]) == (False, 3)
    assert StudySettings(**stored) == earlier
    assert changed_settings(earlier, ensemble=True).ensemble


def test_every_option_has_a_help_text_and_a_label_of_its_own() -> None:
    options = SEARCH_OPTIONS.values()
    assert all(option.help.endswith(".") for option in options)
    assert len({option.label for option in options} - set(SEARCH_OPTIONS)) == len(SEARCH_OPTIONS)
    assert all(StudySettings.model_fields[name].description for name in StudyFile.model_fields)


def test_the_python_function_has_the_options_and_defaults_of_the_model() -> None:
    parameters = dict(inspect.signature(search).parameters)
    del parameters["images"], parameters["listener"]
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        name: option.default for name, option in SEARCH_OPTIONS.items()
    }


def test_drawing_anomalies_takes_the_same_options_with_the_same_defaults() -> None:
    parameters = inspect.signature(synthesize).parameters
    shared = {name: parameters[name].default for name in SEARCH_OPTIONS if name in parameters}
    assert shared == {name: SEARCH_OPTIONS[name].default for name in shared}
    assert set(shared) == {"workspace", "texture_dir", "image_size", "device", "seed"}


def test_the_python_function_describes_the_options_as_the_model_does() -> None:
    documented = " ".join((inspect.getdoc(search) or "").split())
    for name, option in SEARCH_OPTIONS.items():
        assert f" {name}: {option.help}" in documented


def test_the_documentation_lists_every_setting_of_a_study_file() -> None:
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    table = text.split("### Study files")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(StudyFile.model_fields)
