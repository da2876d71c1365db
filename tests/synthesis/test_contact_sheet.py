"""Sheets by their geometry, files by a round trip."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from automl_ad.errors import StoreError
from automl_ad.synthesis.contact_sheet import CAPTION_HEIGHT, GAP, OUTLINE, contact_sheet, write_png


def test_images_lie_row_by_row_with_their_colour_and_aspect() -> None:
    images = [np.full((64, 32, 3), value, np.uint8) for value in (10, 60, 110)]
    sheet = contact_sheet(images, columns=2, cell=64)
    assert sheet.shape == (2 * (64 + GAP) + GAP, 2 * (64 + GAP) + GAP, 3)
    centres = [
        sheet[GAP + 32 + row * (64 + GAP), GAP + 32 + column * (64 + GAP)] for row in (0, 1) for column in (0, 1)
    ]
    assert [int(centre[0]) for centre in centres] == [10, 60, 110, 255]
    assert (sheet[GAP : GAP + 64, GAP : GAP + 15] == 255).all()


def test_outlines_follow_the_mask_and_leave_its_middle_alone() -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[16:48, 16:48] = True
    image = np.zeros((64, 64, 3), np.uint8)
    sheet = contact_sheet([image, image], [mask, None], columns=2, cell=64)
    red = (sheet == OUTLINE).all(axis=2)
    assert red[GAP + 16, GAP + 16 : GAP + 48].all()
    assert red[:, : GAP + 64].sum() == 4 * 31
    assert not red[:, GAP + 64 :].any()
    assert not image.any()


def test_captions_are_written_below_their_image() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    sheet = contact_sheet([image, image], captions=["texture 0.3", ""], columns=2, cell=64)
    assert sheet.shape[0] == 64 + CAPTION_HEIGHT + 2 * GAP
    strip = sheet[GAP + 64 : GAP + 64 + CAPTION_HEIGHT]
    assert strip[:, : GAP + 64].min() < 128
    assert strip[:, GAP + 64 :].min() == 255


def test_counts_must_agree() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    for arguments in (([],), ([image], [None, None]), ([image], None, ["a", "b"])):
        with pytest.raises(ValueError, match="go together"):
            contact_sheet(*arguments)


def test_png_round_trip_in_rgb_and_grey_leaves_nothing_else(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_png(tmp_path / "a.png", np.zeros_like(image))
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "mask.png", image[..., 0])
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED), image[..., 0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "mask.png"]


def test_a_failed_write_keeps_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    write_png(tmp_path / "a.png", image)
    before = (tmp_path / "a.png").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreError, match=r"a\.png cannot be written \(disk full\)"):
        write_png(tmp_path / "a.png", image + np.uint8(9))
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
