from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_ad.data.audit import audit
from automl_ad.data.demo_parts import draw_demo_set
from automl_ad.data.labelled_sets import labelled_images
from automl_ad.errors import InputError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_demo_set(tmp_path_factory.mktemp("demo") / "set", train=30, good=6, defective=8, side=128)


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def test_the_layout_is_mvtec_with_a_mask_for_each_defect(dataset: Path) -> None:
    labelled = labelled_images(dataset)
    assert sum(not image.anomalous for image in labelled) == 6
    defects = [image for image in labelled if image.anomalous]
    assert sorted({image.defect for image in defects}) == ["chipped_edge", "missing_hole", "scratch", "stain"]
    assert len(defects) == 8
    for image in defects:
        mask = np.asarray(Image.open(image.masks[0])) > 0
        assert mask.shape == (128, 128)
        assert 0 < mask.mean() < 0.1
    assert [entry.name for entry in dataset.parent.iterdir()] == ["set"]


def test_the_good_parts_pass_the_audit(dataset: Path) -> None:
    report = audit(dataset)
    assert report.images == 30
    assert report.duplicates == ()
    assert len(report.suspects) <= 1


def test_defects_show_where_the_mask_says(dataset: Path) -> None:
    """Inside the mask a part differs from the average good one, and the later of two defects is mostly plainer."""
    good = np.stack([np.asarray(Image.open(path), float) for path in sorted((dataset / "train/good").iterdir())])
    typical, spread = good.mean(axis=0), good.std(axis=0) + 4
    contrast = {}
    for image in (image for image in labelled_images(dataset) if image.anomalous):
        unusual = np.abs(np.asarray(Image.open(image.path), float) - typical) / spread
        mask = np.asarray(Image.open(image.masks[0])) > 0
        assert unusual[mask].mean() > 1.2 * unusual[~mask].mean(), image.path
        contrast[image.defect, image.path.stem] = unusual[mask].sum()
    kinds = sorted({kind for kind, _ in contrast})
    assert sum(contrast[kind, "001"] > contrast[kind, "000"] for kind in kinds) >= 3


def test_the_seed_decides_every_pixel(tmp_path: Path) -> None:
    drawn = [draw_demo_set(tmp_path / str(i), seed, 2, 1, 4, 64) for i, seed in enumerate((3, 3, 4))]
    assert content(drawn[0]) == content(drawn[1])
    assert content(drawn[0]).keys() == content(drawn[2]).keys()
    assert content(drawn[0]) != content(drawn[2])


def test_more_training_images_do_not_change_the_test_images(tmp_path: Path) -> None:
    few, more = (
        content(draw_demo_set(tmp_path / "a", 0, 1, 1, 4, 64)),
        content(draw_demo_set(tmp_path / "b", 0, 3, 1, 4, 64)),
    )
    assert few.items() <= more.items()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    with pytest.raises(InputError, match="mine exists already"):
        draw_demo_set(tmp_path / "mine", 0, 1, 1, 1, 64)
    assert (tmp_path / "mine" / "note.txt").read_text() == "keep"
    with pytest.raises(InputError, match="cannot be created"):
        draw_demo_set(tmp_path / "mine" / "note.txt" / "set", 0, 1, 1, 1, 64)


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("automl_ad.data.demo_parts._draw_defective", stop)
    with pytest.raises(KeyboardInterrupt):
        draw_demo_set(tmp_path / "set", 0, 1, 1, 1, 64)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert len(content(draw_demo_set(tmp_path / "set", 0, 1, 1, 1, 64))) == 4
