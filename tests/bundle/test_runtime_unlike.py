"""Images of another kind than the good ones that a bundle learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_bundle import toy_files, write_files

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import Bundle, load_bundle, main
from automl_ad.errors import InputError

FACTS: dict[str, Any] = {
    "heights": [100, 120],
    "widths": [150, 180],
    "aspects": [1.5, 1.5],
    "bit_depths": [8],
    "colour": [False],
    "transparent": [False],
}


def made(folder: Path, **facts: Any) -> Bundle:
    return load_bundle(write_files(folder / "bundle", toy_files(images=FACTS | facts)))


def warnings(bundle: Bundle, image: Any) -> str:
    (result,) = bundle.predict(image)["results"]
    assert result["error"] is None
    return " ".join(result["warnings"])


def grey(height: int = 100, width: int = 150) -> np.ndarray:
    return np.full((height, width), 128, np.uint8)


@pytest.mark.parametrize("size", [(100, 150), (300, 450), (104, 150), (60, 90)])
def test_images_like_the_good_ones_get_no_warning(tmp_path: Path, size: tuple[int, int]) -> None:
    bundle = made(tmp_path)
    assert warnings(bundle, grey(*size)) == ""
    assert warnings(bundle, np.dstack([grey(*size)] * 3)) == ""  # grey, whatever its channels


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (grey(100, 200), "The aspect ratio of 200 x 100 pixels is 2.00, that of the good images 1.50"),
        (grey(200, 100), "is 0.50"),
        (grey(40, 60), "60 x 40 pixels are far below the good images' 150 x 100"),
        (grey().astype(np.uint16), "The image has 16 bits a channel, the good images 8"),
        (np.dstack([grey(), grey() + 9, grey()]), "The image is in colour, the good images were grey"),
        (np.dstack([grey(), grey(), grey(), grey()]), "The image is partly transparent"),
    ],
)
def test_each_difference_is_named(tmp_path: Path, image: np.ndarray, fault: str) -> None:
    assert fault in warnings(made(tmp_path), image)


def test_the_spread_of_the_good_images_is_known(tmp_path: Path) -> None:
    facts = {"aspects": [0.5, 2.0], "bit_depths": [8, 16], "colour": [False, True], "transparent": [False, True]}
    bundle = made(tmp_path, **facts, heights=[50, 300], widths=[50, 300])
    for image in (grey(100, 200), grey(200, 100), grey().astype(np.uint16), np.dstack([grey(), grey() + 9, grey()])):
        assert warnings(bundle, image) == ""


def test_the_other_way_round(tmp_path: Path) -> None:
    bundle = made(tmp_path, colour=[True], transparent=[True], bit_depths=[16])
    found = warnings(bundle, grey())
    for fault in ("is grey, the good images were in colour", "without transparent pixels", "has 8 bits a channel"):
        assert fault in found


def test_strict_refuses_instead_of_judging(tmp_path: Path) -> None:
    Image.fromarray(grey(100, 200)).save(tmp_path / "wide.png")
    Image.fromarray(grey()).save(tmp_path / "fit.png")
    images = [tmp_path / "wide.png", tmp_path / "fit.png"]
    wide, fit = made(tmp_path).predict(images, strict=True)["results"]
    assert wide["error"].startswith(f"{images[0]} is refused (--strict): The aspect ratio of 200 x 100 pixels")
    assert (wide["score"], wide["decision"], len(wide["warnings"])) == (None, None, 1)
    assert (fit["error"], fit["warnings"], fit["decision"]) == (None, [], "pass")


def test_the_command_of_a_bundle_knows_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = made(tmp_path).path
    Image.fromarray(grey(100, 200)).save(tmp_path / "wide.png")
    assert main([str(tmp_path / "wide.png"), "--bundle", str(bundle)]) == 0
    assert "warning: The aspect ratio" in capsys.readouterr().out
    assert main([str(tmp_path / "wide.png"), "--bundle", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"][0].startswith("The aspect ratio")
    assert main([str(tmp_path / "wide.png"), "--bundle", str(bundle), "--strict"]) == 2
    assert "is refused (--strict)" in capsys.readouterr().out


def test_a_bundle_of_version_2_judges_as_it_did(tmp_path: Path) -> None:
    bundle = load_bundle(write_files(tmp_path / "bundle", toy_files()))
    hidden = np.dstack([grey(40, 90)] * 3 + [np.zeros((40, 90), np.uint8)])
    Image.fromarray(hidden).save(tmp_path / "a.png")
    (result,) = bundle.predict(tmp_path / "a.png")["results"]
    (plain,) = bundle.predict(hidden[:, :, :3])["results"]
    assert (result["score"], result["warnings"]) == (plain["score"], [])
    with pytest.raises(InputError, match="--strict needs a bundle that knows its good images"):
        bundle.predict(tmp_path / "a.png", strict=True)


def test_kept_images_stay_within_the_budget() -> None:
    arrays: list[runtime.Source] = [grey(10, size) for size in (4, 5, 3, 20, 1)]
    batches = [[source.shape[1] for source in batch] for batch in runtime._batches(arrays, 100)]  # type: ignore[union-attr]  # arrays, no paths
    assert batches == [[4, 5], [3], [20], [1]]
    assert [len(batch) for batch in runtime._batches(arrays * 4, None)] == [8, 8, 4]
