from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from data.drawn_sets import LAYOUTS, Drawn, marked, picture
from PIL import Image

from automl_ad.data.folder import find_images
from automl_ad.data.labelled_sets import labelled_images, read_labelled
from automl_ad.data.layouts import read_dataset
from automl_ad.data.masks import read_masks
from automl_ad.errors import InputError


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw(root: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        save(root / name, picture(number))


@pytest.fixture(params=LAYOUTS)
def drawn(request: pytest.FixtureRequest, tmp_path: Path) -> Drawn:
    return LAYOUTS[request.param](tmp_path / "set")


class TestPublicLayouts:
    def test_good_images_are_learned_from_and_nothing_else(self, drawn: Drawn) -> None:
        assert set(find_images(drawn.root)) == drawn.good

    def test_labels_and_types_are_the_true_ones(self, drawn: Drawn) -> None:
        found = labelled_images(drawn.root)
        assert {image.path for image in found if not image.anomalous} == drawn.test_good
        assert {image.path: image.defect for image in found if image.anomalous} == drawn.defective
        assert [image.anomalous for image in found] == sorted(image.anomalous for image in found)

    def test_every_mask_marks_what_was_drawn(self, drawn: Drawn) -> None:
        found = {image.path: image for image in labelled_images(drawn.root) if image.anomalous}
        for path, truth in drawn.masks.items():
            np.testing.assert_array_equal(read_masks(found[path].masks, path, truth.shape), truth)
        assert all(bool(image.masks) == (path in drawn.masks) for path, image in found.items())
        read_labelled(drawn.root)  # masks and labels agree

    def test_it_says_what_it_took_for_what(self, drawn: Drawn) -> None:
        said = read_dataset(drawn.root).summary()
        assert (said.good, said.test_good) == (len(drawn.good), len(drawn.test_good))
        assert sum(said.test_defective.values()) == len(drawn.defective)
        assert f"{len(drawn.good)} good images to learn from" in said.sentence

    def test_every_file_is_read_or_left_aside(self, drawn: Drawn) -> None:
        good = find_images(drawn.root)
        aside = read_dataset(drawn.root).left_aside(good).summary()
        everything = [path for path in drawn.root.rglob("*") if path.is_file() and path.suffix not in (".csv", ".json")]
        assert len(good) + sum(entry.count for entry in aside) == len(everything)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        *(("mvtec_ad", "MVTec AD"), ("mvtec_ad_2", "MVTec AD 2"), ("mvtec_loco", "MVTec LOCO AD"), ("btad", "BTAD")),
        *(("visa", "VisA"), ("visa_with_split", "VisA"), ("kolektor_1", "Kolektor"), ("kolektor_2", "Kolektor 2")),
        *(("real_iad", "Real-IAD"), ("dagm", "DAGM"), ("ok_ng", "good and defective folders")),
    ],
)
def test_layouts_go_by_the_names_that_people_know(layout: str, name: str, tmp_path: Path) -> None:
    assert read_dataset(LAYOUTS[layout](tmp_path / "set").root).name == name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_data_set_in_a_single_folder_of_another_is_found(layout: str, tmp_path: Path) -> None:
    drawn = LAYOUTS[layout](tmp_path / "unpacked" / "line 3")
    if drawn.root.parent == tmp_path / "unpacked":  # tables name their files from the collection's folder
        assert set(find_images(tmp_path / "unpacked")) == drawn.good


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a/train/good/1.png", "b/train/good/1.png"], r"several data sets \(.*a, .*b\)"),
        (["a/Train/1.png", "a/Train/Label/1_label.png", "b/Train/1.png", "b/Train/Label/1_label.png"], "several"),
        (["good_and_bad/1.png", "more/2.png"], "good_and_bad is named after good and defective images at once"),
        (["parts/1.png", "defects/2.png"], r"defects\) beside others .* such as .*parts"),
        (["1.png", "defects/2.png"], r"defects\) beside others .* folder named good"),
        (["train/1.png", "test/2.png"], r"has a test part.*such as .*train"),
        (["train/a/1.png", "train/b/1.png", "test/a/2.png"], r"has a test part"),
        (["Positive/1.png", "Negative/2.png"], "named Negative and Positive, and either can be"),
        (["scratch/1.png", "dent/2.png"], r"named after defects \(dent, scratch\)"),
        (["ok_1.png", "ng_2.png"], r"good and defective images by their names \(ok_1\.png, ng_2\.png\)"),
        (["test/good/1.png", "test/hole/2.png"], "looks like the test part"),
        (["test/hole/1.png"], "has a test part.* folder named good"),
        (["defects/1.png", "NG/2.png"], "no images that are known to be good"),
    ],
)
def test_what_could_mean_two_things_is_refused_with_the_folder_to_name(
    names: list[str], complaint: str, tmp_path: Path
) -> None:
    draw(tmp_path / "set", names)
    for mask in (tmp_path / "set").rglob("*_label.png"):
        save(mask, marked(0))
    with pytest.raises(InputError, match=complaint):
        find_images(tmp_path / "set")


@pytest.mark.parametrize("name", ["ko", "NG", "defects", "bad images", "Anomaly", "scratches", "ground_truth", "masks"])
def test_a_folder_that_is_named_after_defects_or_masks_holds_no_good_images(name: str, tmp_path: Path) -> None:
    draw(tmp_path / name, ["1.png", "2.png"])
    with pytest.raises(InputError, match=r"is named after (defects|masks)"):
        find_images(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["anomaly_detection_project", "test", "labels of line 3", "defect-free", "not defective", "good", "n"]
)
def test_other_names_are_no_obstacle(name: str, tmp_path: Path) -> None:
    draw(tmp_path / name, ["1.png", "cam 2/2.png", "label_7.png"])
    assert len(find_images(tmp_path / name)) == 3


class TestMasksAmongPictures:
    def test_masks_beside_their_pictures_are_not_learned(self, tmp_path: Path) -> None:
        draw(tmp_path, ["a.png", "b.png"])
        save(tmp_path / "a_mask.png", np.zeros((48, 64), np.uint8))
        save(tmp_path / "b-gt.png", np.zeros((48, 64), np.uint8))
        assert find_images(tmp_path) == [tmp_path / "a.png", tmp_path / "b.png"]

    def test_pictures_of_which_some_have_masks_are_refused(self, tmp_path: Path) -> None:
        draw(tmp_path, ["images/a.png", "images/b.png"])
        save(tmp_path / "masks/a.png", marked(0))
        with pytest.raises(InputError, match=r"1 images without a mask \(such as images/b\.png\) beside 1 with one"):
            find_images(tmp_path)

    def test_a_mask_that_belongs_to_no_picture_is_left_aside(self, tmp_path: Path) -> None:
        draw(tmp_path, ["a.png", "b.png"])
        save(tmp_path / "region mask.png", marked(0))
        found = read_dataset(tmp_path)
        assert [path.name for path in found.good()] == ["a.png", "b.png"]
        assert [(entry.reason, entry.examples) for entry in found.left_aside(found.good()).summary()] == [
            ("mask", ("region mask.png",))
        ]

    def test_a_product_may_be_called_label_or_mask(self, tmp_path: Path) -> None:
        draw(tmp_path, ["labels/mask 1.png", "labels/mask 2.png"])
        assert len(find_images(tmp_path)) == 2

    def test_raw_and_developed_images_of_one_name_are_both_images(self, tmp_path: Path) -> None:
        draw(tmp_path, ["a.png", "a.jpg"])
        assert len(find_images(tmp_path)) == 2

    def test_the_test_part_alone_is_judged_with_the_masks_beside_it(self, tmp_path: Path) -> None:
        drawn = LAYOUTS["mvtec_loco"](tmp_path / "set")
        found = read_labelled(drawn.root / "test")
        assert {image.path: len(image.masks) for image in found.images if image.anomalous} == dict.fromkeys(
            drawn.defective, 1
        )
