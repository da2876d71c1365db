"""A walk through the dashboard in a real browser, from an empty workspace to a bundle that judges an image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from automl_ad.dashboard_server import Endpoint, app_file, command, environment, free_port
from automl_ad.study.study import Study

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api", reason="the walk needs the package playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the walk needs Chromium (apt-get install chromium)"),
]

_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_SOON, _LATER = 30_000, 150_000  # milliseconds on a slow, busy machine; nothing waits longer than it must


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield opened
        opened.close()


@contextmanager
def _served(workspace: Path, token: str | None = None) -> Iterator[str]:
    """The dashboard of a workspace, as `automl-ad dashboard` serves it; gives its address."""
    place = Endpoint("127.0.0.1", free_port("127.0.0.1"), token)
    known = environment(os.environ, workspace, None, token) | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command(app_file(), place), env=known, stdout=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{place.port}/_stcore/health", server)
        yield f"http://127.0.0.1:{place.port}"
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not _answers(address):
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=1).close()
    except OSError:
        return False
    return True


def _see(page: Page, text: str, timeout: int = _SOON) -> None:
    playwright.expect(page.get_by_text(text).first).to_be_visible(timeout=timeout)


def _press(page: Page, name: str, timeout: int = _SOON) -> None:
    page.get_by_role("button", name=name, exact=True).first.click(timeout=timeout)


def _type(page: Page, label: str, text: str) -> None:
    box = page.get_by_label(label, exact=True)
    box.fill(text, timeout=_SOON)
    box.press("Tab")


def _open(page: Page, title: str) -> None:
    """Goes to a page by the menu."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click(timeout=_SOON)
    playwright.expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=_SOON)


def test_a_walk_from_an_empty_workspace_to_a_bundle(browser: Any, parts: Path, tmp_path: Path) -> None:
    workspace, asked = tmp_path / "workspace", set()
    with _served(workspace) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: asked.add(urlsplit(request.url)))
        page.goto(address)
        _start_a_search(page, parts)
        _watch(page)
        _look_at_trials(page)
        _compare(page)
        number = _decide(page)
        bundle = _export(page, tmp_path)
        page.close()
    assert {url.hostname for url in asked if url.scheme in ("http", "https", "ws")} == {"127.0.0.1"}
    picks = Study.open("walk", workspace).picks()
    assert [(pick.number, pick.note) for pick in picks] == [(number, "clear <b>marks</b>"), (None, ""), (number, "")]
    _judge(bundle, next((parts / "test" / "bar").iterdir()))


def _start_a_search(page: Page, parts: Path) -> None:
    _see(page, "Choose a detector for your line")
    _press(page, "Start a search")
    _type(page, "Folder of good images", str(parts))
    _type(page, "Name of the study", "walk")
    _type(page, "Time budget", "5m")
    page.get_by_text("More options").click()
    _type(page, "Maximum number of trials", "4")
    _type(page, "Backbones, separated by commas", "embedded")
    _press(page, "Start the search")


def _watch(page: Page) -> None:
    """Progress comes and goes by itself; nobody reloads the page."""
    _see(page, "Searching", _LATER)
    playwright.expect(page.get_by_role("progressbar").first).to_be_visible(timeout=_LATER)
    playwright.expect(page.get_by_test_id("stMain").get_by_text("Finished")).to_be_visible(timeout=_LATER)
    assert "study=walk" in page.url
    page.reload()
    _see(page, "4 trials")


def _look_at_trials(page: Page) -> None:
    _open(page, "Trials")
    assert "study=walk" in page.url
    _see(page, "6 trials of 6")
    box = page.get_by_label("Methods", exact=True)
    box.click(timeout=_SOON)
    page.get_by_role("option", name="padim").click(timeout=_SOON)
    box.press("Escape")
    playwright.expect(page.get_by_text("6 trials of 6")).to_have_count(0, timeout=_SOON)
    _see(page, "of 6, ranked")


def _compare(page: Page) -> None:
    _open(page, "Compare")
    _see(page, "Images 1 to 12 of")
    pictures = page.get_by_test_id("stMain").locator("img[alt]")
    playwright.expect(pictures.nth(12)).to_be_visible(timeout=_SOON)
    _press(page, "Next")
    _see(page, "Images 13 to 24 of")


def _decide(page: Page) -> int:
    """Moves the threshold, picks with a note, undoes it, picks again; returns the trial."""
    _open(page, "Decide")
    spoken = page.get_by_text("At this threshold").first
    playwright.expect(spoken).to_be_visible(timeout=_SOON)
    before = spoken.inner_text()
    handle = page.get_by_role("slider").first
    handle.focus()
    handle.press("End")
    playwright.expect(spoken).not_to_have_text(before, timeout=_SOON)
    _type(page, "Note: why this one", "clear <b>marks</b>")
    pick = page.get_by_role("button", name="Pick trial")
    number = int(pick.inner_text(timeout=_SOON).split()[-1])
    pick.click()
    _see(page, "clear <b>marks</b>")
    _press(page, "Undo the pick")
    _see(page, "No candidate is picked")
    pick.click(timeout=_SOON)
    _see(page, "is picked, by")
    return number


def _export(page: Page, folder: Path) -> Path:
    _open(page, "Export")
    _press(page, "Build the bundle")
    button = page.get_by_role("button", name="Download walk")
    playwright.expect(button).to_be_visible(timeout=_LATER)
    _see(page, "Guarantee.")
    with page.expect_download(timeout=_LATER) as coming:
        button.click()
    target = folder / coming.value.suggested_filename
    coming.value.save_as(target)
    return target


def _judge(bundle: Path, picture: Path) -> None:
    """Runs what was downloaded as its page says, outside of this process."""
    folder = bundle.with_suffix("")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    ran = subprocess.run(
        [sys.executable, str(folder / "predict.py"), str(picture), "--json"], capture_output=True, text=True, check=True
    )
    answer = json.loads(ran.stdout.splitlines()[0])
    assert answer["path"] == str(picture)
    assert isinstance(answer["score"], float)


def test_the_first_request_of_all_meets_the_token(browser: Any, finished: Path) -> None:
    with _served(finished, "a-token-for-others") as address:
        page = browser.new_page()
        page.goto(f"{address}/data?study=parts")
        _see(page, "This dashboard asks for the access token")
        assert page.get_by_role("tab", name="Good images").count() == 0
        page.goto(f"{address}/data?study=parts&token=a-token-for-others")
        playwright.expect(page.get_by_role("tab", name="Good images")).to_be_visible(timeout=_SOON)
        assert "token" not in page.url
        page.close()
