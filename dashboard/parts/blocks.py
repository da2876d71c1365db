"""Pieces that every page is made of: its head, its empty state, its errors, and what keeps itself up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import streamlit as st

from automl_ad.errors import AutomlAdError, OptionError
from automl_ad.study.settings import option_label
from parts import address
from parts.wording import plain

POLL_S = 2.0
"""Seconds between two looks at a search or job that runs."""
_HEARD_S = 0.25
"""Seconds in which a browser hears of a new page, and the server of what the browser asked for before."""
_POLLED, _SHOWN = "page_polls", "page_shown"


def page_head(title: str, what: str, study: str | None = None) -> None:
    """The page's heading, and one sentence that says what it is for.

    Args:
        title: Name of the page.
        what: The sentence.
        study: The study that it speaks of.
    """
    st.title(title, anchor=False)
    st.caption(f"Study **{plain(study)}** · {what}" if study else what)


def empty_state(title: str, what_to_do: str, page: str | None = None, label: str | None = None) -> None:
    """What stands where there is nothing yet: what is missing, and the way to it.

    Args:
        title: What is not there, as a phrase.
        what_to_do: One sentence.
        page: The page to go to.
        label: Of the link to it.
    """
    with st.container(border=True):
        st.subheader(title, anchor=False)
        st.markdown(what_to_do)
        if page is not None:
            address.link(page, label or f"Go to {page}")


def problem(error: Exception | str) -> None:
    """One sentence that says what is wrong and what to do; never a traceback."""
    st.error(plain(sentence(error)), icon=":material/error:")


def sentence(error: Exception | str) -> str:
    """The library's sentence for a fault of the input, options as the forms name them; else that it was unexpected."""
    if isinstance(error, AutomlAdError | str):
        text = error.naming(option_label(error.option)) if isinstance(error, OptionError) else str(error)
        return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")
    what = f"{type(error).__name__}: {error}"
    return f"Something unexpected happened ({what}); the terminal that runs the dashboard says more."


def settle(page: str) -> None:
    """Begins a page anew that follows one with a part that is drawn again by itself.

    The browser may have asked for that part once more before it heard of the new page. Streamlit would answer on the
    new page, which then stays blank or breaks; a rerun of the whole page takes the place of what waits.

    Args:
        page: That is to be drawn.
    """
    before = st.session_state.get(_SHOWN, page)
    st.session_state[_SHOWN] = page
    if before != page and st.session_state.pop(_POLLED, False):
        time.sleep(_HEARD_S)
        st.rerun()


def poll(seconds: float, active: Callable[[], bool]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Draws a part again every so many seconds while something runs, and the whole page once when it has ended.

    The rest of the page stands still meanwhile. ``active`` must be cheap and only read.

    Args:
        seconds: Between two looks.
        active: Whether there is something to look at.
    """

    def decorate(draw: Callable[..., None]) -> Callable[..., None]:
        running = active()
        st.session_state[_POLLED] = running

        @wraps(draw)
        def part(*args: Any, **kwargs: Any) -> None:
            try:
                if running and not active():
                    st.rerun()
                draw(*args, **kwargs)
            except AutomlAdError as error:  # between two looks a study or its database may have gone
                problem(error)

        return st.fragment(run_every=seconds if running else None)(part)

    return decorate
