from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from automl_ad.data import reading, uploads
from automl_ad.data.uploads import UploadLimits, store_images, unpack_images
from automl_ad.errors import InputError, StoreError


def image(seed: int = 0, ending: str = ".png", side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return bytes(cv2.imencode(ending, pixels)[1])


IMAGE = image()


def packed(**files: bytes) -> io.BytesIO:
    return archive(list(files.items()))


def archive(files: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in files:
            file.writestr(name, content, compression)
    return buffer


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(content: io.BytesIO, tmp_path: Path, words: str, limits: UploadLimits | None = None) -> None:
    """The upload ends in one sentence and leaves nothing, inside its folder or outside."""
    with pytest.raises(InputError, match=words) as caught:
        unpack_images(content, tmp_path / "in" / "target", limits or UploadLimits())
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == {}
    assert not (tmp_path / "in" / "target").exists()


def test_images_are_unpacked_and_everything_else_is_left(tmp_path: Path) -> None:
    content = archive(
        [
            ("a.png", IMAGE),
            ("deep/er/B.JPG", image(1, ".jpg")),
            ("readme.txt", b"text"),
            ("deep/run.sh", b"#!/bin/sh"),
            ("__MACOSX/a.png", b"resource fork"),
            (".hidden/a.png", IMAGE),
            ("deep/._a.png", b"resource fork"),
            ("empty/", b""),
        ]
    )
    folder = unpack_images(content, tmp_path / "target")
    assert folder == tmp_path / "target"
    assert contents(folder) == {"a.png": IMAGE, "deep/er/B.JPG": image(1, ".jpg")}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize(
    ("names", "begins"),
    [
        (["parts/good/0.png", "parts/good/1.png"], "parts/good"),
        (["bottle/train/good/0.png", "bottle/test/bad/0.png"], "bottle"),
        (["train/good/0.png"], "."),
        (["a/0.png", "b/0.png"], "."),
        (["a/0.png", "a/b/0.png"], "a"),
    ],
)
def test_the_folder_to_search_lies_below_what_only_wraps_it(names: list[str], begins: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert unpack_images(archive([(name, IMAGE) for name in names]), target) == target / begins


def test_names_are_made_safe_and_kept_apart(tmp_path: Path) -> None:
    files = [("a.png", image(1)), ("A.png", image(2)), ("bb:c?.png", image(3)), ("x\\y.png", image(4))]
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = archive([*files, ("a.png", image(5))])
    found = contents(unpack_images(content, tmp_path / "target"))
    assert found == {
        "a.png": image(1),
        "A_2.png": image(2),
        "bb_c_.png": image(3),
        "x/y.png": image(4),
        "a_3.png": image(5),
    }


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../../b.png", "/tmp/a.png", "..\\a.png", "C:\\a.png", "../note.txt"]
)
def test_names_that_climb_are_refused(name: str, tmp_path: Path) -> None:
    refused(archive([("fine.png", IMAGE), (name, IMAGE)]), tmp_path, "points outside of its folder")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind: int, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (kind | 0o777) << 16
    refused(archive([("fine.png", IMAGE), (link, b"/etc/passwd")]), tmp_path, "'link.png' .* is a link")


def test_a_file_cannot_be_written_through_a_folder_of_its_name(tmp_path: Path) -> None:
    content = archive([("a.png", IMAGE), ("a.png/b.png", IMAGE)])
    assert set(contents(unpack_images(content, tmp_path / "target"))) == {"a_2.png", "a.png/b.png"}


def test_too_many_too_large_and_too_much_are_refused(tmp_path: Path) -> None:
    three = [(f"{number}.png", image(number, side=32)) for number in range(3)]
    size = max(len(content) for _, content in three)
    refused(archive(three), tmp_path, "More than 2 files", UploadLimits(files=2))
    refused(archive(three), tmp_path, "larger than 0 MB", UploadLimits(file_bytes=size - 1))
    refused(archive(three), tmp_path, "larger than 0 MB in total", UploadLimits(total_bytes=2 * size))
    assert len(contents(unpack_images(archive(three), tmp_path / "fits", UploadLimits(files=3)))) == 3


def test_bombs_are_refused_by_their_ratio(tmp_path: Path) -> None:
    bomb = archive([("bomb.bmp", b"BM" + bytes(4 << 20))])
    limits = UploadLimits(harmless_bytes=1 << 20)
    refused(bomb, tmp_path, "more than 100 times larger", limits)


def test_a_size_that_is_a_lie_unpacks_no_more_than_it_says(tmp_path: Path) -> None:
    content = archive([("bomb.png", IMAGE + bytes(1 << 20))])
    raw = bytearray(content.getvalue())
    start = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<I", raw, start + 24, 100)  # the unpacked size in the list of contents
    refused(io.BytesIO(bytes(raw)), tmp_path, "damaged")


def test_a_list_of_contents_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_ENTRY_BYTES", 10)
    content = packed(**{"a.png": IMAGE})
    monkeypatch.setattr(uploads.zipfile, "ZipFile", lambda *_: pytest.fail("was read"))
    refused(content, tmp_path, "More than 1 files", UploadLimits(files=1))


def test_encrypted_and_oddly_compressed_files_are_refused(tmp_path: Path) -> None:
    raw = bytearray(packed(**{"a.png": IMAGE}).getvalue())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    refused(io.BytesIO(bytes(raw)), tmp_path, "encrypted")
    refused(archive([("a.png", IMAGE)], zipfile.ZIP_BZIP2), tmp_path, "unsupported compression")


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip file at all" * 9, b"PK\x05\x06" + bytes(5)])
def test_what_is_no_zip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    refused(io.BytesIO(content), tmp_path, "is not a zip file")


def test_a_damaged_zip_file_is_refused(tmp_path: Path) -> None:
    raw = bytearray(packed(**{"a.png": image(side=64)}).getvalue())
    raw[60:90] = bytes(30)
    refused(io.BytesIO(bytes(raw)), tmp_path, "damaged")
    whole = packed(**{"a.png": image(side=64)}).getvalue()
    refused(io.BytesIO(whole[500:]), tmp_path, "damaged")


def test_a_zip_file_without_images_is_refused(tmp_path: Path) -> None:
    refused(packed(**{"a.txt": b"text"}), tmp_path, "holds no images: pack files ending in .apng, .bmp")


def test_files_that_are_only_called_images_are_refused_by_their_name(tmp_path: Path) -> None:
    content = archive([("fine.png", IMAGE), ("page.png", b"<script>alert(1)</script>")])
    refused(content, tmp_path, "^'page.png' is not an image")


def test_huge_images_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS", 1000)
    buffer = io.BytesIO()
    Image.new("1", (40, 40)).save(buffer, "png")
    refused(packed(**{"huge.png": buffer.getvalue()}), tmp_path, "'huge.png' has more than")


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    assert unpack_images(packed(**{"a.png": IMAGE}), target) == target
    with pytest.raises(InputError, match="is not empty"):
        unpack_images(packed(**{"b.png": IMAGE}), target)
    assert set(contents(target)) == {"a.png"}


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(StoreError, match="has no space"):
        unpack_images(packed(**{"a.png": IMAGE}), tmp_path / "target")
    assert contents(tmp_path) == {}


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads.shutil, "copyfileobj", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        unpack_images(packed(**{"a.png": IMAGE}), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


class TestImages:
    def test_are_stored_beside_others_under_safe_names(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "good"
        first = store_images([("a.png", image(1)), ("../../A.png", image(2))], target)
        second = store_images([("C:\\dir\\a.png", image(3)), ("<b>.PNG", image(4))], target)
        assert [path.name for path in first] == ["a.png", "A_2.png"]
        assert [path.name for path in second] == ["a_3.png", "_b_.PNG"]
        assert {path.parent for path in first + second} == {target}
        assert [path.read_bytes() for path in first + second] == [image(number) for number in (1, 2, 3, 4)]

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("page.html", b"<p>", "^'page.html' is not an image; give files ending in"),
            ("..png", IMAGE, "is not an image"),
            ("page.png", b"<p>", "^'page.png' is not an image"),
            ("empty.png", b"", "^'empty.png' is empty"),
        ],
    )
    def test_are_all_stored_or_none(self, name: str, content: bytes, words: str, tmp_path: Path) -> None:
        store_images([("kept.png", IMAGE)], tmp_path)
        with pytest.raises(InputError, match=words):
            store_images([("fine.png", IMAGE), (name, content)], tmp_path)
        assert contents(tmp_path) == {"kept.png": IMAGE}

    def test_are_counted_with_those_that_are_there(self, tmp_path: Path) -> None:
        limits = UploadLimits(files=2)
        store_images([("a.png", IMAGE), ("b.png", IMAGE)], tmp_path, limits)
        with pytest.raises(InputError, match="More than 2 files"):
            store_images([("c.png", IMAGE)], tmp_path, limits)

    def test_a_full_disk_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(StoreError, match="cannot be written"):
            store_images([("a.png", IMAGE)], tmp_path)
