from __future__ import annotations

from pathlib import Path

import pytest

from automl_ad.errors import InputError
from automl_ad.study.settings import PRESETS, build_settings, changed_settings, load_study_file, preset_path


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_name_known_methods(name: str) -> None:
    settings = build_settings(Path("images"), preset=name)
    assert settings.methods[0] == "padim"
    assert settings.time_budget > 0
    assert not settings.explicit_backbones


def test_options_overrule_the_preset_and_none_does_not() -> None:
    settings = build_settings(Path("images"), trials=3, time_budget=None, image_size=128, backbones=("embedded",))
    assert (settings.trials, settings.sides, settings.explicit_backbones) == (3, (128,), True)
    assert settings.time_budget == load_study_file(preset_path("quick")).time_budget


def test_a_study_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("trials: 7\ntime_budget: 1h30m\nmethods: [dfr]\n")
    settings = build_settings(Path("images"), study_file=file)
    assert (settings.trials, settings.time_budget, settings.methods) == (7, 5400.0, ("dfr",))
    assert settings.preset == str(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("trials: 0", "trials"),
        ("trails: 3", "trails"),
        ("- a list", "no settings"),
        ("trials: [", "YAML"),
        ("time_budget: soon", "--time-budget"),
        ("families: [magic]", "families"),
        ("families: [texture, texture]", "families"),
        ("backbones: [resnet18, resnet18]", "backbones.*at most once"),
        ("methods: [padim, dfr, padim]", "methods.*at most once"),
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
        ({"preset": "slow"}, "--preset"),
        ({"methods": ("padim", "magic")}, "magic.*--methods"),
        ({"trials": -1}, "--trials"),
        ({"backbones": ("resnet18", "resnet18")}, "--backbones.*at most once"),
        ({"max_latency_ms": 0}, "--max-latency-ms"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_settings(Path("images"), **options)  # type: ignore[arg-type]


def test_budgets_and_limits_do_not_change_what_a_trial_means() -> None:
    first = build_settings(Path("images"), trials=3, time_budget=60.0, max_size_mb=5.0)
    second = build_settings(Path("elsewhere"), trials=30, time_budget=600.0, device="cpu")
    assert first.meaning({"embedded": "t"}, "f") == second.meaning({"embedded": "t"}, "f")


@pytest.mark.parametrize("changed", [{"seed": 1}, {"image_size": 320}, {"methods": ("dfr",)}, {"preset": "balanced"}])
def test_what_changes_the_meaning_is_told_apart(changed: dict[str, object]) -> None:
    first, second = build_settings(Path("images")), build_settings(Path("images"), **changed)  # type: ignore[arg-type]
    assert first.meaning({"embedded": "t"}, "f") != second.meaning({"embedded": "t"}, "f")


def test_other_weights_or_images_change_the_meaning() -> None:
    settings = build_settings(Path("images"))
    assert settings.meaning({"r": "a"}, "f") != settings.meaning({"r": "b"}, "f")
    assert settings.meaning({"r": "a"}, "f") != settings.meaning({"r": "a"}, "g")


def test_settings_are_changed_by_what_is_given_and_checked() -> None:
    settings = build_settings(Path("images"), backbones=("embedded",), seed=4)
    changed = changed_settings(settings, trials=7, time_budget="90s", device=None)
    assert (changed.trials, changed.time_budget) == (7, 90.0)
    assert changed.model_copy(update={"trials": settings.trials, "time_budget": settings.time_budget}) == settings
    with pytest.raises(InputError, match="--trials"):
        changed_settings(settings, trials=0)
