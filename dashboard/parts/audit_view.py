"""What the audit found, with the images that it means, and a mark for those that are to be left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import streamlit as st

from automl_ad.data.folder import find_images
from automl_ad.data.left_aside import left_aside_sentence
from automl_ad.results import AuditResult
from parts.folder_audit import small_picture
from parts.wording import as_code, counted, plain

_PER_ROW = 4
_MOST_GROUPS = 12
_SOME = 6
_ALT = "A good image of the study: "
Item = TypeVar("Item")


def show_figures(report: AuditResult) -> None:
    """Counts, sizes and pixel formats."""
    with st.container(horizontal=True, gap="large"):
        st.metric("Readable images", f"{report.images:,}", width="content")
        st.metric("Of these distinct", f"{report.distinct:,}", width="content")
        st.metric("Unreadable files", f"{len(report.unreadable):,}", width="content")
        st.metric("Unlike the others", f"{len(report.suspects):,}", width="content")
    left, right = st.columns(2)
    with left:
        sizes = [{"Size, width × height in pixels": _size(name), "Images": n} for name, n in report.sizes.items()]
        st.dataframe(sizes, hide_index=True)
    with right:
        modes = [{"Pixel format": name, "Images": n} for name, n in report.modes.items()]
        st.dataframe(modes, hide_index=True)


def show_advice(report: AuditResult, folder: Path) -> None:
    """What the folder was taken for, what was not read of it, and what the library advises."""
    if report.layout is not None:
        st.markdown(plain(report.layout.sentence))
    if report.left_aside:
        st.info(plain(left_aside_sentence(report.left_aside)), icon=":material/folder_off:")
    if not report.advice:
        st.success("Nothing looks odd about these images.", icon=":material/check_circle:")
        return
    lines = [f"- {plain(_short(sentence[:1].upper() + sentence[1:], folder))}" for sentence in report.advice]
    st.warning("\n".join(lines), icon=":material/info:")
    if report.unreadable:
        with st.expander(f"{counted(len(report.unreadable), 'file')} that cannot be read"):
            st.markdown("\n".join(f"- {plain(_short(item.error, folder))}" for item in report.unreadable))


def show_some(folder: Path) -> None:
    """A few images, spread evenly over the folder, to see that it is the right one."""
    paths = find_images(folder)
    chosen = [paths[round(place * (len(paths) - 1) / (_SOME - 1))] for place in range(min(_SOME, len(paths)))]
    shown = [(path, small_picture(path)) for path in dict.fromkeys(chosen)]
    known = [(path, content) for path, content in shown if content is not None]
    if known:
        st.image(
            [content for _, content in known],
            caption=[plain(path.name) for path, _ in known],
            alt=[_ALT + path.name for path, _ in known],
            width=132,
        )


def suspects_marked(report: AuditResult, folder: Path) -> list[str]:
    """Shows images that look unlike the others.

    Args:
        report: The audit.
        folder: What it looked at.

    Returns:
        Those that the reader marked, relative to the folder.
    """
    marked = []
    for row in _rows(report.suspects):
        for column, suspect in zip(st.columns(_PER_ROW), row, strict=False):
            with column:
                caption = f"{suspect.score:.1f} standard deviations from the others"
                marked += _picture(Path(suspect.path), folder, caption)
    return marked


def duplicates_marked(report: AuditResult, folder: Path) -> list[str]:
    """Shows groups of files with the same image, side by side; arguments and outcome as of `suspects_marked`."""
    marked = []
    for number, group in enumerate(report.duplicates[:_MOST_GROUPS], 1):
        st.markdown(f"**Group {number}**: {counted(len(group), 'file')} with the same image")
        for row in _rows(group[: 2 * _PER_ROW]):
            for column, path in zip(st.columns(_PER_ROW), row, strict=False):
                with column:
                    marked += _picture(Path(path), folder, "")
    more = len(report.duplicates) - _MOST_GROUPS
    if more > 0:
        st.caption(f"{counted(more, 'further group')}: `automl-ad audit` lists them all.")
    return marked


def _picture(path: Path, folder: Path, caption: str) -> list[str]:
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    content = small_picture(path)
    if content is None:
        st.caption(f"{as_code(name)} cannot be read any more.")
    else:
        st.image(content, caption=f"{plain(name)}" + (f", {caption}" if caption else ""), alt=_ALT + name)
    return [name] if st.checkbox(f"Leave out {plain(path.name)}", key=f"leave_{name}") else []


def _rows(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + _PER_ROW] for start in range(0, len(items), _PER_ROW))


def _size(name: str) -> str:
    height, width = name.split("x")
    return f"{width} × {height}"


def _short(text: str, folder: Path) -> str:
    """A sentence in which files go by their names within the folder."""
    return text.replace(f"{folder}/", "")
