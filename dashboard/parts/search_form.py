"""The form that starts a search: where the good images are, how long it may take, and, for those who ask, the rest."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st

from automl_ad.data.demo_parts import draw_demo_set
from automl_ad.data.uploads import unpack_images
from automl_ad.errors import AutomlAdError, InputError
from automl_ad.formatting import format_duration
from automl_ad.methods.registry import METHODS
from automl_ad.store.artifacts import check_study_name
from automl_ad.study.devices import device_names
from automl_ad.study.settings import PRESETS, load_study_file, preset_path
from parts import state
from parts.access import checked_folder
from parts.blocks import problem
from parts.wording import as_code, counted

_OPEN, _WISH = "search_form_open", "search_form_wish"
FOLDER, UPLOAD = "A folder on this machine", "Upload a zip file"


_DEMO = (
    "Steel flanges are drawn. The search reads the good ones in `train/good`; good and defective ones in `test` are "
    "left for the page Try. Filled in is a short search: 2 minutes and 12 trials at most, whatever the preset says."
)


@dataclass(frozen=True)
class Wish:
    """What the form is filled in with when it opens.

    Attributes:
        folder: Where the good images are.
        name: Name of the study.
        preset: One of the presets.
        time_budget: As typed.
        trials: Most candidates tried.
        methods: Methods searched; those of the preset when empty.
        backbones: Backbones searched; those of the preset when empty.
        weights: Folder of weight files.
        exclude: Pictures to leave out, relative to the folder.
        note: What the reader should know of it, as Markdown.
    """

    folder: str = ""
    name: str = ""
    preset: str = PRESETS[0]
    time_budget: str = ""
    trials: int | None = None
    methods: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    weights: str = ""
    exclude: tuple[str, ...] = field(default=())
    note: str = ""


def open_form(wish: Wish | None = None) -> None:
    """Opens the form, filled in with a wish; takes effect when the Studies page is drawn next."""
    st.session_state[_OPEN] = True
    st.session_state[_WISH] = wish or Wish()
    filled = st.session_state[_WISH]
    widgets = {  # they read these when they are drawn next
        "new_source": FOLDER,
        "new_folder": filled.folder,
        "new_name": filled.name,
        "new_preset": filled.preset,
        "new_budget": filled.time_budget,
        "new_trials": filled.trials,
        "new_methods": list(filled.methods),
        "new_backbones": ", ".join(filled.backbones),
        "new_weights": filled.weights,
    }
    st.session_state.update(widgets)


def is_open() -> bool:
    """Whether the form is to be shown."""
    return bool(st.session_state.get(_OPEN))


def close_form() -> None:
    """Puts the form away."""
    st.session_state[_OPEN] = False


def demo_wish() -> Wish:
    """Draws the demo parts into the workspace, unless they are there, and asks for a short search of them.

    Raises:
        InputError: They cannot be drawn there.
    """
    folder = state.workspace() / "demo_parts"
    if not folder.is_dir():
        draw_demo_set(folder)
    return Wish(str(folder), "demo", time_budget="2m", trials=12, backbones=("embedded",), note=_DEMO)


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
    wish: Wish = st.session_state.get(_WISH) or Wish()
    source = st.radio("Where are the good pictures?", (FOLDER, UPLOAD), horizontal=True, key="new_source") or FOLDER
    with st.form("new_search", border=False, enter_to_submit=False):
        given = _source_fields(source) | _main_fields()
        with st.expander("More options"):
            given |= _further_fields()
        _say_left_out(wish)
        if wish.note:
            st.caption(wish.note)
        with st.container(horizontal=True):
            started = st.form_submit_button("Start the search", type="primary", icon=":material/play_arrow:")
            if st.form_submit_button("Cancel"):
                close_form()
                st.rerun()
    if not started:
        return None
    try:
        return _start(given, wish)
    except AutomlAdError as error:
        problem(error)
        return None


def _source_fields(source: str) -> dict[str, Any]:
    if source == UPLOAD:
        archive = st.file_uploader("Zip file with good pictures", type=["zip"], key="new_archive")
        return {"archive": archive}
    folder = st.text_input(
        "Folder of good pictures",
        key="new_folder",
        placeholder="/data/line_3/good",
        help="Searched with its sub-folders. Of a data set in MVTec layout only train/good is read.",
    )
    return {"folder": folder}


def _main_fields() -> dict[str, Any]:
    name, preset, budget, device = st.columns([3, 4, 2, 2])
    return {
        "name": name.text_input("Name of the study", key="new_name", placeholder="the folder's name"),
        "preset": preset.selectbox(
            "Preset",
            PRESETS,
            format_func=preset_in_words,
            key="new_preset",
            help="What is filled in beside it or under More options goes before what the preset says.",
        ),
        "time_budget": budget.text_input(
            "Time budget", key="new_budget", placeholder="of the preset", help="Such as 90s, 10m (minutes) or 1.5h."
        ),
        "device": device.selectbox(
            "Device", device_names(), key="new_device", help="auto takes a GPU if there is one."
        ),
    }


def _further_fields() -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        methods = st.multiselect("Methods", METHODS, key="new_methods", placeholder="those of the preset")
        trials = st.number_input("Most trials", min_value=1, value=None, key="new_trials", placeholder="of the preset")
        latency = st.number_input(
            "Longest latency of a winner, ms an image",
            min_value=0.1,
            value=None,
            key="new_latency",
            placeholder="no limit",
        )
    with right:
        backbones = st.text_input(
            "Backbones, separated by commas",
            key="new_backbones",
            placeholder="those of the preset that are at hand",
            help="Feature extractors that detectors build on, such as resnet18; embedded needs no download.",
        )
        seed = st.number_input(
            "Seed", min_value=0, value=0, key="new_seed", help="The same seed divides and draws the same again."
        )
        size = st.number_input(
            "Largest size of a winner, MB", min_value=0.1, value=None, key="new_size", placeholder="no limit"
        )
    weights = st.text_input(
        "Folder of backbone weights", key="new_weights", placeholder="none", help="Files named <timm name>.safetensors."
    )
    return {
        "methods": methods or None,
        "backbones": [name for name in backbones.split(",") if name.strip()] or None,
        "trials": trials,
        "max_latency_ms": latency,
        "max_size_mb": size,
        "seed": seed,
        "weights_dir": weights,
    }


def _say_left_out(wish: Wish) -> None:
    if wish.exclude:
        shown = ", ".join(as_code(path) for path in wish.exclude[:5])
        more = f" and {len(wish.exclude) - 5} more" if len(wish.exclude) > 5 else ""
        st.caption(f"{counted(len(wish.exclude), 'picture')} left out: {shown}{more}")


def preset_in_words(name: str) -> str:
    """A preset with what it costs: ``quick: 5 min, at most 30 trials``."""
    preset = load_study_file(preset_path(name))
    length = format_duration(preset.time_budget).removesuffix(" 00 s").removesuffix(" 00 min")
    return f"{name}: {length}, at most {preset.trials} trials"


def _start(given: Mapping[str, Any], wish: Wish) -> str:
    options = {key: value for key, value in given.items() if key not in {"folder", "archive", "name"}}
    options["time_budget"] = options["time_budget"].strip() or None
    weights = options.pop("weights_dir").strip()
    options["weights_dir"] = checked_folder(weights, "The folder of weights") if weights else None
    images, name = _images(given)
    exclude = wish.exclude if given.get("folder") == wish.folder else ()
    state.board().start_search(images, name=name, exclude=exclude, **options)
    close_form()
    return name


def _images(given: Mapping[str, Any]) -> tuple[Path, str]:
    """The folder of the images, unpacked if need be, and the study's name."""
    name = given["name"].strip()
    if "archive" not in given:
        folder = checked_folder(given["folder"], "The folder of good pictures")
        return folder, check_study_name(name or folder.name)
    archive = given["archive"]
    if archive is None:
        raise InputError("The zip file is missing: choose one, or name a folder on this machine.")
    return _unpacked(archive, check_study_name(name or Path(archive.name).stem))


def _unpacked(archive: BinaryIO, name: str) -> tuple[Path, str]:
    # A name of its own for each upload: a second attempt must not meet what the first left.
    target = state.workspace() / "uploads" / f"{name}-{secrets.token_hex(3)}"
    with st.spinner("Unpacking the pictures …"):
        return unpack_images(archive, target), name
