from __future__ import annotations

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.errors import InputError, StoreError
from automl_ad.study import anomaly_folder
from automl_ad.study.anomaly_folder import SHOWN, AnomalyFolder, check_output

RED = np.zeros((32, 64, 3), np.uint8) + np.array([200, 10, 30], np.uint8)


def mask_of(pixels: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(RED.shape[:2], bool)
    mask.flat[:pixels] = True
    return mask


def fill(output: Path, count: int) -> dict[str, object]:
    with AnomalyFolder.create(output, count) as folder:
        for number in range(count):
            folder.add(RED, mask_of(number + 1), Path("good") / f"{number}.png")
        return folder.finish({"seed": 7})


def test_what_was_given_can_be_read_back(tmp_path: Path) -> None:
    answer = fill(tmp_path / "out", 2)
    image = cv2.imread(str(tmp_path / "out" / "images" / "0001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image[:, :, ::-1], RED)
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "0001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, mask_of(2) * np.uint8(255))
    assert answer == {
        "seed": 7,
        "output": str(tmp_path / "out"),
        "contact_sheet": str(tmp_path / "out" / "contact_sheet.png"),
        "anomalies": [
            {
                "image": str(tmp_path / "out" / "images" / f"000{number}.png"),
                "mask": str(tmp_path / "out" / "masks" / f"000{number}.png"),
                "base": f"good/{number}.png",
                "area": (number + 1) / 2048,
            }
            for number in range(2)
        ],
    }


def test_the_record_names_files_as_seen_from_the_folder(tmp_path: Path) -> None:
    fill(tmp_path / "out", 1)
    (tmp_path / "out").rename(tmp_path / "moved")
    record = json.loads((tmp_path / "moved" / "anomalies.json").read_text())
    assert set(record) == {"seed", "contact_sheet", "anomalies"}
    names = [record["contact_sheet"], record["anomalies"][0]["image"], record["anomalies"][0]["mask"]]
    assert all((tmp_path / "moved" / name).is_file() for name in names)


def test_names_are_as_long_as_the_count_needs(tmp_path: Path) -> None:
    for count, name in ((10_000, "0000.png"), (10_001, "00000.png")):
        with AnomalyFolder.create(tmp_path / str(count), count) as folder:
            folder.add(RED, mask_of(1), Path("a"))
            folder.finish({})
        assert [path.name for path in (tmp_path / str(count) / "images").iterdir()] == [name]


def test_the_contact_sheet_shows_the_first_ones_only(tmp_path: Path) -> None:
    fill(tmp_path / "few", SHOWN)
    fill(tmp_path / "many", SHOWN + 9)
    sheets = [(tmp_path / name / "contact_sheet.png").read_bytes() for name in ("few", "many")]
    assert sheets[0] == sheets[1]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_output(tmp_path / "out", tmp_path / "good")
    fill(tmp_path / "out", 1)
    assert (tmp_path / "out" / "anomalies.json").is_file()


def test_no_record_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[bool] = []
    write = anomaly_folder.write_json

    def watched(path: Path, value: object) -> None:
        known.append((path.parent / "contact_sheet.png").is_file())
        write(path, value)

    monkeypatch.setattr(anomaly_folder, "write_json", watched)
    fill(tmp_path / "out", 1)
    assert known == [True]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ValueError("a bug")])
def test_nothing_is_left_of_a_run_that_failed(tmp_path: Path, there: bool, fault: BaseException) -> None:
    output = tmp_path / "out"
    if there:
        output.mkdir()
    with pytest.raises(type(fault)), AnomalyFolder.create(output, 1) as folder:  # noqa: PT012
        folder.add(RED, mask_of(1), Path("a"))
        folder.finish({})
        raise fault
    assert output.exists() == there
    assert list(tmp_path.rglob("*")) == [output] * there


def test_a_full_disk_is_told_of_the_output_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, image: object) -> None:
        raise StoreError(f"{path} ... --workspace") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(anomaly_folder, "write_png", fail)
    with pytest.raises(InputError, match=r"^--output .*out cannot be written \(No space left on device\)"):
        fill(tmp_path / "out", 1)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_into_one_folder_do_not_remove_each_other(tmp_path: Path) -> None:
    with AnomalyFolder.create(tmp_path / "out", 1) as folder:
        with pytest.raises(InputError, match="cannot be written"), AnomalyFolder.create(tmp_path / "out", 1):
            pass
        folder.add(RED, mask_of(1), Path("a"))
        folder.finish({})
    assert (tmp_path / "out" / "images" / "0000.png").is_file()


def test_places_that_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good"
    (tmp_path / "full" / "notes").mkdir(parents=True)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to(good)
    good.mkdir()
    check_output(tmp_path / "new", good)
    check_output(tmp_path / "goods", good)
    refused = {"full": "not empty", "file": "is a file", "good": "lies inside", "good/x/y": "lies inside"}
    for name, words in {**refused, "link/x": "lies inside"}.items():
        with pytest.raises(InputError, match=rf"^--output {tmp_path / name} .*{words}.*;"):
            check_output(tmp_path / name, good)
    with (
        pytest.raises(InputError, match=r"^--output .*cannot be written"),
        AnomalyFolder.create(tmp_path / "file" / "out", 1),
    ):
        pass
