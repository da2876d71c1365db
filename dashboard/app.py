"""The dashboard's frame: who may look, the menu, and which study is open. Started by ``automl-ad dashboard``."""

from __future__ import annotations

import warnings
from pathlib import Path

import streamlit as st

from automl_ad.errors import AutomlAdError
from parts import theme
from parts.access import require_access
from parts.address import PAGES, keep_parameters, study_name
from parts.blocks import problem, settle
from parts.wording import as_code

# One of Streamlit's own icons would be fetched from the internet.
ICON = (Path(__file__).parent / "icon.svg").read_text(encoding="utf-8")

warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata, which do not help users
st.set_page_config(page_title="automl-ad", page_icon=ICON, layout="wide", initial_sidebar_state=220)
theme.apply()
require_access()
pages = [
    st.Page(f"views/{name}.py", title=title, icon=icon, url_path=name, default=name == "studies")
    for name, (title, icon) in PAGES.items()
]
chosen = st.navigation(pages)
keep_parameters()
settle(chosen.title)
with st.sidebar:
    st.caption(f"Open study: {as_code(study_name())}" if study_name() else "No study is open.")
try:
    chosen.run()
except AutomlAdError as error:
    problem(error)
