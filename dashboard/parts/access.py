"""Who may look, and at which folders: a token for dashboards that others can reach, and no path unchecked."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

import streamlit as st

from automl_ad.errors import InputError
from automl_ad.workspace import TOKEN_VARIABLE
from parts.state import workspace

_GRANTED = "access_granted"
_STARTED_IN = Path.cwd()
"""Where the dashboard was started; read once, for nothing that runs later may move it."""


def require_access() -> None:
    """Ends the page unless the dashboard is open to all on this machine, or the reader has shown its token.

    The token is remembered for the session and taken out of the address, where others might read it.
    """
    expected = os.environ.get(TOKEN_VARIABLE)
    if not expected:
        return
    given = st.query_params.get("token")
    if given is not None:
        del st.query_params["token"]
        _grant(given, expected)
    if not st.session_state.get(_GRANTED):
        _ask(expected)


def served_to_others() -> bool:
    """Whether people on other machines can reach this dashboard."""
    return bool(os.environ.get(TOKEN_VARIABLE))


def checked_folder(given: str, what: str = "The folder") -> Path:
    """The folder that a reader typed, if a reader may name it.

    Whoever sits at this machine may name any folder that he can read himself. Others may only name folders below the
    workspace or below the folder in which the dashboard was started; links do not lead out of these.

    Args:
        given: As typed; ``~`` is understood.
        what: Begins the sentences of errors.

    Raises:
        InputError: Nothing was typed, there is no such folder, or it lies elsewhere.
    """
    text = given.strip()
    if not text or "\0" in text:
        raise InputError(f"{what} is missing: type where it is on this machine, or upload a zip file.")
    try:
        folder = (_STARTED_IN / Path(text).expanduser()).resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{what} {text} cannot be found: check the spelling.") from error
    # Checked first: others must not learn which folders exist.
    if served_to_others() and not any(folder.is_relative_to(root) for root in _open_to_others()):
        raise InputError(
            f"{what} must lie below the dashboard's workspace or the folder that it was started in; "
            "upload a zip file instead, or ask whoever runs the dashboard to put the images there."
        )
    if not folder.is_dir():
        raise InputError(f"{what} {folder} is not there: check the spelling, or upload a zip file.")
    return folder


def _open_to_others() -> tuple[Path, ...]:
    return workspace().resolve(), _STARTED_IN.resolve()


def _grant(given: str, expected: str) -> None:
    if hmac.compare_digest(given.encode(), expected.encode()):
        st.session_state[_GRANTED] = True
    else:
        st.session_state["access_refused"] = True


def _ask(expected: str) -> None:
    st.title("automl-ad", anchor=False)
    st.markdown("This dashboard asks for the access token that was printed where it was started.")
    with st.form("access", border=False):
        given = st.text_input("Access token", type="password", width=420)
        if st.form_submit_button("Open the dashboard", type="primary"):
            _grant(given.strip(), expected)
    if st.session_state.get(_GRANTED):
        st.rerun()
    if st.session_state.pop("access_refused", False):
        st.error("This is not the token; copy it from where the dashboard was started.", icon=":material/lock:")
    st.stop()
