from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from evaluated import HandBundle, labelled, plane
from PIL import Image

from automl_ad.bundle.evaluation_gallery import SIDE, Scored, data_uri, exhibits, outlined, small


def opened(uri: str) -> npt.NDArray[np.int16]:
    kind, _, content = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(np.int16)


def test_pictures_shrink_to_the_longest_side_and_are_never_enlarged() -> None:
    assert small(np.zeros((400, 640, 3), np.uint8)).shape == (200, SIDE, 3)
    assert small(np.zeros((3000, 4, 3), np.uint8)).shape == (SIDE, 1, 3)
    assert small(np.zeros((30, 40, 3), np.uint8)).shape == (30, 40, 3)


def test_an_outline_surrounds_the_mask_and_leaves_it_free() -> None:
    picture, mask = np.full((100, 100, 3), 90, np.uint8), np.zeros((50, 50), bool)
    mask[20:30, 20:30] = True
    changed = (outlined(picture, mask) != picture).any(axis=2)
    assert not changed[40:60, 40:60].any()
    assert changed[50, 30:40].any()
    assert changed[50, 60:70].any()
    assert not changed[:30].any()
    assert (picture == 90).all()


def test_colours_survive_in_the_data_uri() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 200
    assert np.abs(opened(data_uri(picture)) - picture).max() < 12


def test_exhibits_show_the_outline_on_the_image_and_the_heatmap_beside_it(tmp_path: Path) -> None:
    image = labelled(tmp_path, masks=True)[4]
    bundle = HandBundle(maps={"s2.5": plane(corner=2.0)})
    (exhibit,) = exhibits(bundle, [Scored(image, 2.5)])
    picture, heatmap = opened(exhibit.picture), opened(exhibit.heatmap)
    assert picture.shape == heatmap.shape == (200, 320, 3)
    rows, columns = slice(50, 100), slice(80, 160)
    changed = np.abs(picture - 90).max(axis=2) > 40
    assert not changed[rows, columns].any()
    assert changed[rows.start - 8 : rows.stop + 8, columns.start - 8 : columns.stop + 8].any()
    hot = np.abs(heatmap - 90).max(axis=2) > 40
    assert hot[:20, :32].mean() > 0.9
    assert not hot[40:, 60:].any()


def test_what_has_become_unreadable_is_left_out(tmp_path: Path) -> None:
    chosen = [Scored(image, 1.0) for image in labelled(tmp_path)[:3]]
    shown = list(exhibits(HandBundle(errors={"g2": "it is gone"}), chosen))
    assert [exhibit.scored for exhibit in shown] == [chosen[0], chosen[2]]
