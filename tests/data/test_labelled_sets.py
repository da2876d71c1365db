from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from data.drawn_sets import LAYOUTS, marked, picture
from PIL import Image

from automl_ad.data.labelled import LabelledImage
from automl_ad.data.labelled_sets import labelled_images, read_labelled, read_labelled_folders
from automl_ad.errors import InputError


def draw(root: Path, names: Iterable[str]) -> None:
    """Different images; masks where the name says so."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        mask = "mask" in name or "truth" in name
        Image.fromarray(marked(number) if mask else picture(number)).save(root / name)


def test_masks_are_paired_by_name(tmp_path: Path) -> None:
    draw(tmp_path, ["test/good/0.png", "test/cut/a.jpg", "test/cut/b.jpg", "test/cut/c.jpg", "test/dent/a.png"])
    # b has none, so pairing by order would give c's mask to b
    draw(tmp_path, ["ground_truth/cut/a_mask.png", "ground_truth/cut/c.png"])
    truth = tmp_path / "ground_truth/cut"
    assert labelled_images(tmp_path) == [
        LabelledImage(tmp_path / "test/good/0.png", False, "good"),
        LabelledImage(tmp_path / "test/cut/a.jpg", True, "cut", (truth / "a_mask.png",)),
        LabelledImage(tmp_path / "test/cut/b.jpg", True, "cut"),
        LabelledImage(tmp_path / "test/cut/c.jpg", True, "cut", (truth / "c.png",)),
        LabelledImage(tmp_path / "test/dent/a.png", True, "dent"),
    ]


def test_hidden_folders_are_no_defect_types(tmp_path: Path) -> None:
    draw(tmp_path, ["test/good/0.png", "test/cut/1.png", "test/.cache/2.png"])
    assert {image.defect for image in labelled_images(tmp_path)} == {"good", "cut"}


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["train/good/0.png"], "no images that are known to be defective"),
        (["test/cut/0.png", "train/good/1.png"], "no good images to compare"),
        (["test/good/0.png"], "no images that are known to be defective"),
        (["0.png"], "no images that are known to be defective"),
    ],
)
def test_incomplete_data_sets_are_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    draw(tmp_path, names)
    with pytest.raises(InputError, match=complaint):
        labelled_images(tmp_path)


class TestMasksThatDoNotFit:
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Path:
        draw(tmp_path, ["test/good/0.png", "test/cut/1.png", "test/cut/2.png", "ground_truth/cut/1_mask.png"])
        return tmp_path

    def test_defects_without_a_mask_are_counted_and_named(self, dataset: Path) -> None:
        assert read_labelled(dataset).warnings == (
            "1 of 2 defective images have no mask and do not count for pixel metrics: test/cut/2.png.",
        )

    def test_a_mask_of_no_image_is_an_error_while_an_image_lacks_one(self, dataset: Path) -> None:
        Image.fromarray(marked(2)).save(dataset / "ground_truth/cut/3_mask.png")
        with pytest.raises(InputError, match=r"1 masks belong to no image \(ground_truth/cut/3_mask\.png\) while 1"):
            read_labelled(dataset)
        assert read_labelled(dataset, masks=False).warnings == ()

    def test_a_mask_too_many_is_counted_and_named(self, dataset: Path) -> None:
        Image.fromarray(marked(2)).save(dataset / "ground_truth/cut/2_mask.png")
        Image.fromarray(marked(3)).save(dataset / "ground_truth/cut/3_mask.png")
        assert read_labelled(dataset).warnings == (
            "1 masks belong to no image that is judged: ground_truth/cut/3_mask.png.",
        )

    def test_an_empty_mask_of_a_defective_image_is_an_error(self, dataset: Path) -> None:
        Image.new("L", (64, 48)).save(dataset / "ground_truth/cut/1_mask.png")
        with pytest.raises(InputError, match=r"1_mask\.png marks nothing, but its image .*1\.png is defective"):
            read_labelled(dataset)

    def test_a_mask_without_the_values_that_mark_counts_as_empty(self, dataset: Path) -> None:
        with pytest.raises(InputError, match=r"marks nothing.*--mask-value"):
            read_labelled(dataset, [7])

    def test_a_marked_mask_of_a_good_image_is_an_error(self, dataset: Path) -> None:
        draw(dataset, ["ground_truth/good/0.png"])
        with pytest.raises(InputError, match=r"0\.png marks a defect, but its image .*0\.png counts as good"):
            read_labelled(dataset)

    def test_a_mask_that_could_belong_to_two_images_is_an_error(self, tmp_path: Path) -> None:
        draw(tmp_path, ["test/good/0.png", "test/cut/1.png", "test/dent/1.png", "masks/1.png"])
        with pytest.raises(InputError, match=r"1\.png could be the mask of .*1\.png or of .*1\.png"):
            labelled_images(tmp_path)


def test_several_masks_of_one_image_belong_to_it(tmp_path: Path) -> None:
    draw(tmp_path, ["test/good/000.png", "test/cut/000.png", "test/cut/001.png"])
    names = ["cut/000/000.png", "cut/000/001.png", "cut/001_mask_1.png", "cut/001_mask_2.png"]
    draw(tmp_path, [f"ground_truth/{name}" for name in names])
    found = {image.path.name: len(image.masks) for image in labelled_images(tmp_path) if image.anomalous}
    assert found == {"000.png": 2, "001.png": 2}


def test_the_same_image_cannot_be_good_and_defective(tmp_path: Path) -> None:
    draw(tmp_path, ["test/good/0.png", "test/cut/1.png"])
    shutil.copy(tmp_path / "test/good/0.png", tmp_path / "test/cut/2.png")
    with pytest.raises(InputError, match="are the same image, once good and once defective"):
        read_labelled(tmp_path)


def test_copies_and_good_images_that_a_search_learns_from_are_told(tmp_path: Path) -> None:
    drawn = LAYOUTS["ok_ng"](tmp_path / "set")
    shutil.copy(next(iter(drawn.defective)), drawn.root / "NG/copy.png")
    copies, learned = read_labelled(drawn.root).warnings
    assert copies == "1 images are copies of others and are judged each time."
    assert "learns from the good images that are judged here" in learned
    assert read_labelled(LAYOUTS["mvtec_ad"](tmp_path / "other").root).warnings == ()


class TestTwoFolders:
    def test_types_are_in_sub_folders(self, tmp_path: Path) -> None:
        draw(tmp_path, ["fine/1.png", "fine/line2/2.png", "nok/3.png", "nok/scratch/deep/4.png", "nok/dent/5.png"])
        found = read_labelled_folders(tmp_path / "fine", tmp_path / "nok").images
        assert [(image.path.name, image.defect, image.anomalous) for image in found] == [
            ("1.png", "good", False),
            ("2.png", "good", False),
            ("3.png", "defect", True),
            ("5.png", "dent", True),
            ("4.png", "scratch", True),
        ]
        assert all(image.masks == () for image in found)

    def test_masks_lie_beside_the_images_or_in_a_folder_of_their_own(self, tmp_path: Path) -> None:
        draw(tmp_path, ["fine/1.png", "nok/a/2.png", "nok/a/2_mask.png", "nok/b/2.png", "apart/b/2.png"])
        Image.fromarray(marked(4)).save(tmp_path / "apart/b/2.png")
        found = read_labelled_folders(tmp_path / "fine", tmp_path / "nok", tmp_path / "apart")
        masks = {image.path: image.masks for image in found.images if image.anomalous}
        assert masks == {
            tmp_path / "nok/a/2.png": (tmp_path / "nok/a/2_mask.png",),
            tmp_path / "nok/b/2.png": (tmp_path / "apart/b/2.png",),
        }
        assert found.layout is not None
        assert (found.layout.test_good, found.layout.test_defective, found.layout.masks) == (1, {"a": 1, "b": 1}, 2)

    @pytest.mark.parametrize(
        ("names", "complaint"), [(["fine/1.png", "nok/1.txt"], "nok holds no images"), (["nok/1.png"], "fine does not")]
    )
    def test_an_empty_side_is_refused(self, tmp_path: Path, names: list[str], complaint: str) -> None:
        draw(tmp_path, [name for name in names if name.endswith("png")])
        (tmp_path / "nok").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=complaint):
            read_labelled_folders(tmp_path / "fine", tmp_path / "nok")

    def test_a_labelled_set_is_no_folder_of_good_images(self, tmp_path: Path) -> None:
        drawn = LAYOUTS["ok_ng"](tmp_path / "set")
        with pytest.raises(InputError, match=r"set \(--good\) holds more than good images"):
            read_labelled_folders(drawn.root, drawn.root / "NG")

    def test_what_is_not_read_is_told(self, tmp_path: Path) -> None:
        draw(tmp_path, ["fine/1.png", "fine/.2.png", "nok/3.png"])
        (tmp_path / "nok/notes.txt").touch()
        aside = read_labelled_folders(tmp_path / "fine", tmp_path / "nok").left_aside
        assert [(entry.reason, entry.count, entry.examples) for entry in aside] == [
            ("ending", 1, ("notes.txt",)),
            ("hidden", 1, (".2.png",)),
        ]


def test_further_pages_are_left_aside(tmp_path: Path) -> None:
    draw(tmp_path, ["test/cut/1.png"])
    pages = [Image.fromarray(np.full((20, 20), value, np.uint8)) for value in (1, 2, 3)]
    (tmp_path / "test/good").mkdir()
    pages[0].save(tmp_path / "test/good/0.tif", save_all=True, append_images=pages[1:])
    aside = read_labelled(tmp_path).left_aside
    assert [(entry.reason, entry.count, entry.examples) for entry in aside] == [("page", 2, ("test/good/0.tif",))]
