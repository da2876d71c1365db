"""How long the pages of the dashboard take in a browser, with few and with thousands of trials.

A made-up study with 300 synthetic anomalies is opened in Chromium, its pages one after another from the menu, idle and
then while a search runs in the same workspace and trials are added to the open study five times a second. One row a
page: the median, in milliseconds, from the click until the page stands and its script has ended.

    python studies/benchmarks/page_times.py [--trials 10,1000,5000] [--looks 5]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from image_sets import table_of
from playwright.sync_api import Page, sync_playwright

from automl_ad.dashboard_server import Place, app_file, command, environment, free_port
from automl_ad.data.demo_parts import draw_demo_set
from automl_ad.jobs import JobBoard
from automl_ad.study.settings import preset_path
from dashboard import NAME, make_study

PAGES = ("Studies", "Data", "Trials", "Compare", "Decide", "Try", "Export")
STANDS = """([title, what, count]) => [...document.querySelectorAll('h1')].some(head => head.innerText.trim() == title)
    && document.querySelector('[data-testid="stApp"]').dataset.testScriptState == 'notRunning'
    && [...document.querySelectorAll(what)].filter(found => found.complete !== false).length >= count"""
SEEN = {
    "Data": ("[data-testid=stImage] img, [data-testid=stImageContainer] img", 6),
    "Trials": ("[data-testid=stDataFrame] canvas", 1),
    "Compare": ("[data-testid=stImage] img, [data-testid=stImageContainer] img", 12 * 5),
    "Decide": (".js-plotly-plot .main-svg", 2),
}
"""What must be there, and how often, before a page counts as standing; a heading is enough for the others."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """The dashboard of a workspace; gives its address."""
    place = Place("127.0.0.1", free_port("127.0.0.1"), None)
    known = environment(os.environ, workspace, None, None)
    with subprocess.Popen(command(app_file(), place), env=known, stdout=subprocess.DEVNULL) as server:
        try:
            _wait(f"{place.url}_stcore/health")
            yield place.url
        finally:
            server.terminate()


def _wait(address: str) -> None:
    for _ in range(300):
        with suppress(OSError), urllib.request.urlopen(address, timeout=1):
            return
        time.sleep(0.2)
    raise SystemExit("the dashboard does not answer")


@contextmanager
def busy(workspace: Path, parts: Path, trials: int) -> Iterator[None]:
    """A search at work in the workspace, and another process that adds trials to the made-up study."""
    board, file = JobBoard(workspace), workspace / "study.yaml"
    # Without the family sdas, whose diffusion model takes minutes before the first trial.
    file.write_text(f"{preset_path('quick').read_text()}\nfamilies: [texture, cutpaste, poisson, photometric]\n")
    options = {"study_file": file, "backbones": ["embedded"], "time_budget": "1h", "trials": 1000}
    job = board.start_search(parts, name="beside", **options)
    writing = [sys.executable, str(Path(__file__).with_name("dashboard.py"))]
    writing += ["--write", str(workspace), "--trials", str(trials)]
    with subprocess.Popen(writing, stdout=subprocess.DEVNULL) as writer:
        try:
            while (event := board.state(job).event) is None or event.stage != "search":
                assert board.state(job).state == "running", board.state(job).error
                time.sleep(0.5)
            yield
        finally:
            writer.terminate()
            board.stop(job)
            while board.state(job).state == "running":
                time.sleep(0.5)


def look(page: Page, looks: int) -> dict[str, list[float]]:
    """Milliseconds of every look at every page; the first look, which starts what is kept, apart."""
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    for _ in range(looks + 1):
        for name in PAGES:
            start = time.perf_counter()
            page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
            page.wait_for_function(STANDS, arg=[name, *SEEN.get(name, ("h1", 1))], polling="raf", timeout=60_000)
            times[name].append(1000 * (time.perf_counter() - start))
            time.sleep(0.3)
    return times


def run(trials: int, looks: int, parts: Path, engine: Any) -> list[list[str]]:
    """The rows of one size."""
    with tempfile.TemporaryDirectory() as temporary:
        workspace = Path(temporary)
        make_study(workspace, trials, 300).pick(0)
        shutil.copytree(parts, workspace / "images")
        with served(workspace) as address:
            browser = engine.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{address}trials?study={NAME}&trials=0,1,2,3")
            page.wait_for_function(STANDS, arg=["Trials", *SEEN["Trials"]], timeout=60_000)
            idle = look(page, looks)
            with busy(workspace, parts, trials):
                searching = look(page, looks)
            browser.close()
    return [[str(trials), name, *_figures(idle[name]), *_figures(searching[name])] for name in PAGES]


def _figures(times: list[float]) -> list[str]:
    return [f"{times[0]:.0f}", f"{np.median(times[1:]):.0f}", f"{max(times[1:]):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="10,1000,5000")
    parser.add_argument("--looks", type=int, default=5)
    arguments = parser.parse_args()
    heads = ["trials", "page", "idle: first, ms", "median", "longest", "searching: first, ms", "median", "longest"]
    rows = []
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as engine:
        draw_demo_set(Path(temporary))
        for trials in (int(text) for text in arguments.trials.split(",")):
            rows += run(trials, arguments.looks, Path(temporary), engine)
            print(table_of([heads, *rows[-len(PAGES) :]]), flush=True)
    print(table_of([heads, *rows]))


if __name__ == "__main__":
    main()
