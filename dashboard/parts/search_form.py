"""The form that starts a search; its labels, help texts, bounds and defaults are those of the settings model."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st

from automl_ad.backbones.names import EMBEDDED, INSTALLED_NETWORK
from automl_ad.data.demo_parts import draw_demo_set
from automl_ad.data.uploads import unpack_images
from automl_ad.errors import AutomlAdError, InputError
from automl_ad.formatting import format_duration
from automl_ad.methods.names import METHODS
from automl_ad.store.artifacts import check_study_name
from automl_ad.study.machine import device_names
from automl_ad.study.settings import PRESETS, SEARCH_OPTIONS, load_study_file, preset_path
from parts import state
from parts.access import checked_folder
from parts.blocks import problem
from parts.wording import counted, some_names

_OPEN, _FILLED = "search_form_open", "search_form_filled"
FOLDER, UPLOAD = "A folder on this machine", "Upload a zip file"
_LIMIT_STEP = 0.1

_DEMO = (
    "The images show drawn steel flanges. The search reads the good ones in `train/good`; good and defective ones in "
    "`test` are left for the page Try. The search is short: 2 minutes and 12 trials at most, whatever the preset says."
)


@dataclass(frozen=True)
class FormValues:
    """What the form is filled in with when it opens; options have the names of `SEARCH_OPTIONS`.

    Attributes:
        folder: Folder of good images.
        name: Name of the study.
        preset: One of the presets.
        time_budget: As typed.
        trials: Maximum number of trials.
        methods: Methods; those of the preset when empty.
        backbones: Backbones; those of the preset when empty.
        weights_dir: Folder of weight files.
        exclude: Images to leave out, relative to the folder.
        note: Shown below the form, as Markdown.
    """

    folder: str = ""
    name: str = ""
    preset: str = PRESETS[0]
    time_budget: str = ""
    trials: int | None = None
    methods: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    weights_dir: str = ""
    exclude: tuple[str, ...] = ()
    note: str = ""


def open_form(values: FormValues | None = None) -> None:
    """Opens the form, filled in with the values; takes effect when the Studies page is drawn next."""
    filled = values or FormValues()
    st.session_state[_OPEN] = True
    st.session_state[_FILLED] = filled
    widgets = {  # they read these when they are drawn next
        "source": FOLDER,
        "folder": filled.folder,
        "name": filled.name,
        "preset": filled.preset,
        "time_budget": filled.time_budget,
        "trials": filled.trials,
        "methods": list(filled.methods),
        "backbones": ", ".join(filled.backbones),
        "weights_dir": filled.weights_dir,
    }
    st.session_state.update({_key(name): value for name, value in widgets.items()})


def is_open() -> bool:
    """Whether the form is to be shown."""
    return bool(st.session_state.get(_OPEN))


def close_form() -> None:
    """Puts the form away."""
    st.session_state[_OPEN] = False


def demo_values() -> FormValues:
    """Draws the demo parts into the workspace, unless they exist, and returns a short search of them.

    Raises:
        InputError: They cannot be drawn there.
    """
    folder = state.workspace() / "demo_parts"
    if not folder.is_dir():
        draw_demo_set(folder)
    return FormValues(
        str(folder), "demo", time_budget="2m", trials=12, backbones=(INSTALLED_NETWORK, EMBEDDED), note=_DEMO
    )


def next_name(name: str, taken: Collection[str]) -> str:
    """The name with the next free number: ``flange``, ``flange-2``, ``flange-3``."""
    base = re.sub(r"-[0-9]+$", "", name)
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def search_form() -> str | None:
    """Draws the form.

    Returns:
        Name of the study whose search was started just now, or None.
    """
    filled: FormValues = st.session_state.get(_FILLED) or FormValues()
    source = st.radio("Source of the good images", (FOLDER, UPLOAD), horizontal=True, key=_key("source")) or FOLDER
    with st.form("new_search", border=False, enter_to_submit=False):
        given = _source_fields(source) | _main_fields()
        with st.expander("More options"):
            given |= _further_fields()
        _show_exclusions(filled)
        if filled.note:
            st.caption(filled.note)
        with st.container(horizontal=True):
            started = st.form_submit_button("Start the search", type="primary", icon=":material/play_arrow:")
            if st.form_submit_button("Cancel"):
                close_form()
                st.rerun()
    if not started:
        return None
    try:
        return _start(given, filled)
    except AutomlAdError as error:
        problem(error)
        return None


def _key(name: str) -> str:
    return f"new_{name}"


def _described(name: str) -> dict[str, Any]:
    """Label, help text and key of the widget of an option."""
    option = SEARCH_OPTIONS[name]
    return {"label": option.label, "help": option.help, "key": _key(name)}


def _text(name: str) -> str:
    """A box of text for an option, stripped."""
    return (st.text_input(**_described(name), placeholder=SEARCH_OPTIONS[name].when_absent) or "").strip()


def _limit(name: str) -> float | None:
    """A box for the limit of an option whose value must exceed a number."""
    lowest = (SEARCH_OPTIONS[name].above or 0.0) + _LIMIT_STEP
    return st.number_input(**_described(name), min_value=lowest, step=_LIMIT_STEP, value=None, placeholder="no limit")


def _whole(name: str) -> int | None:
    """A box for the whole number of an option; empty where the preset decides."""
    option = SEARCH_OPTIONS[name]
    lowest = None if option.least is None else int(option.least)
    given: int | None = st.number_input(
        **_described(name), min_value=lowest, step=1, value=option.default, placeholder=option.when_absent
    )
    return given


def _source_fields(source: str) -> dict[str, Any]:
    if source == UPLOAD:
        return {"archive": st.file_uploader("Zip file of good images", type=["zip"], key=_key("archive"))}
    folder = st.text_input(
        "Folder of good images",
        key=_key("folder"),
        placeholder="/data/line_3/good",
        help="Searched with its sub-folders. Of a data set in MVTec layout only train/good is read.",
    )
    return {"folder": folder}


def _main_fields() -> dict[str, Any]:
    name, preset, budget, device = st.columns([3, 4, 2, 2])
    given: dict[str, Any] = {}
    with name:
        given["name"] = _text("name")
    with preset:
        given["preset"] = st.selectbox(**_described("preset"), options=PRESETS, format_func=preset_in_words)
    with budget:
        given["time_budget"] = _text("time_budget") or None
    with device:
        given["device"] = st.selectbox(**_described("device"), options=device_names())
    return given


def _further_fields() -> dict[str, Any]:
    left, right = st.columns(2)
    given: dict[str, Any] = {}
    with left:
        methods = st.multiselect(
            **_described("methods"), options=METHODS, placeholder=SEARCH_OPTIONS["methods"].when_absent
        )
        given |= {"methods": methods or None, "trials": _whole("trials"), "max_latency_ms": _limit("max_latency_ms")}
    with right:
        given["backbones"] = _text("backbones").strip(", ") or None
        given |= {"seed": _whole("seed"), "max_size_mb": _limit("max_size_mb")}
    return given | {"weights_dir": _text("weights_dir")}


def _show_exclusions(filled: FormValues) -> None:
    if filled.exclude:
        st.caption(f"{counted(len(filled.exclude), 'image')} left out: {some_names(filled.exclude)}")


def preset_in_words(name: str) -> str:
    """A preset with what it costs: ``quick: 5 min, at most 30 trials``."""
    preset = load_study_file(preset_path(name))
    length = format_duration(preset.time_budget).removesuffix(" 00 s").removesuffix(" 00 min")
    return f"{name}: {length}, at most {preset.trials} trials"


def _start(given: Mapping[str, Any], filled: FormValues) -> str:
    options = {key: value for key, value in given.items() if key not in {"folder", "archive", "name", "weights_dir"}}
    if given["weights_dir"]:
        options["weights_dir"] = checked_folder(given["weights_dir"], "The folder of backbone weights")
    images, name = _images(given)
    exclude = filled.exclude if given.get("folder") == filled.folder else ()
    state.board().start_search(images, name=name, exclude=exclude, **options)
    close_form()
    return name


def _images(given: Mapping[str, Any]) -> tuple[Path, str]:
    """The folder of the images, unpacked if need be, and the study's name."""
    name = given["name"].strip()
    if "archive" not in given:
        folder = checked_folder(given["folder"], "The folder of good images")
        return folder, check_study_name(name or folder.name)
    archive = given["archive"]
    if archive is None:
        raise InputError("The zip file is missing: choose one, or name a folder on this machine.")
    return _unpacked(archive, check_study_name(name or Path(archive.name).stem))


def _unpacked(archive: BinaryIO, name: str) -> tuple[Path, str]:
    # A name of its own for each upload: a second attempt must not meet what the first left.
    target = state.workspace() / "uploads" / f"{name}-{secrets.token_hex(3)}"
    with st.spinner("Unpacking the images …"):
        return unpack_images(archive, target), name
