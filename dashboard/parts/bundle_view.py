"""What an exported bundle is and guarantees, how to get it, and the code that runs it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from automl_ad.api import describe
from automl_ad.errors import AutomlAdError
from automl_ad.formatting import megabytes, milliseconds, percent
from automl_ad.results import BundleResult, ParityResult
from automl_ad.suggestions import suggested_command
from parts.blocks import problem
from parts.wording import candidate, counted, plain

_RUN = """unzip {name}.zip -d {name}
pip install -r {name}/requirements.txt
python {name}/predict.py PICTURES --json"""

_PYTHON = """import sys

sys.path.insert(0, "{name}")
from predict import load_bundle

bundle = load_bundle("{name}")
for result in bundle.predict("PICTURES")["results"]:
    print(result["path"], result["decision"], result["score"])"""


def show_bundle(path: Path, name: str) -> None:
    """Draws a bundle.

    Args:
        path: Its zip file.
        name: What it is called when it is downloaded, without ending.
    """
    try:
        facts = _described(str(path), path.stat().st_mtime_ns)
    except FileNotFoundError:
        problem("The file of this bundle was removed; export the trial again.")
        return
    except AutomlAdError as error:
        problem(error)
        return
    _figures(facts, path)
    st.markdown(f"**Guarantee.** {plain(facts.promise)} Images that score above {facts.threshold:.4g} are rejected.")
    st.caption(_parity(facts.parity))
    st.download_button(
        f"Download {name}.zip",
        data=reader(path),
        file_name=f"{name}.zip",
        mime="application/zip",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
        key=f"download_{path.parent.name}",
    )
    _how_to_run(name)


def reader(path: Path) -> Callable[[], bytes]:
    """Reads a file only when it is asked for: a page that is drawn again must not read bundles again."""
    return path.read_bytes


def bundle_name(study: str, trial: int | str, precision: str) -> str:
    """A name that every shell and file system takes: ``flange_trial3_fp32``."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", study).strip("._-") or "bundle"
    return f"{safe}_{f'trial{trial}' if isinstance(trial, int) else trial}_{precision}"


def _figures(facts: BundleResult, path: Path) -> None:
    with st.container(horizontal=True, gap="large"):
        st.metric("Detector", candidate(facts.method, facts.backbone), width="content")
        st.metric("Latency here, one image", milliseconds(facts.speed.latency_ms), width="content")
        st.metric("Graph", megabytes(facts.size_mb), width="content")
        st.metric("Zip file", megabytes(path.stat().st_size / 1e6), width="content")
        st.metric("Guaranteed overkill", f"at most {percent(facts.overkill)}", width="content")


def _parity(parity: ParityResult) -> str:
    changed = parity.decisions_changed
    return (
        f"Parity: on {counted(parity.images, 'image')} the graph's scores differ from PyTorch's by at most "
        f"{parity.relative:.1g} of the scores' range; {counted(changed, 'decision') if changed else 'no decision'} "
        "changed."
    )


def _how_to_run(name: str) -> None:
    st.subheader("Run it", anchor=False)
    st.caption("On the line: onnxruntime, numpy and pillow are all it needs. PICTURES is a file or a folder.")
    line, python, command = st.tabs(["On the line", "In Python", "With automl-ad"])
    line.code(_RUN.format(name=name), language="bash")
    python.code(_PYTHON.format(name=name), language="python")
    command.code(suggested_command("predict", f"{name}.zip", "PICTURES", output="heatmaps"), language="bash")


@st.cache_data(show_spinner="Reading the bundle …", max_entries=16)
def _described(path: str, changed: int) -> BundleResult:
    del changed  # only tells one file of that name from another
    return describe(path)
