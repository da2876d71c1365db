from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_bundle import SCORES, SIZE, flat_image, toy_files, toy_model, write_files, write_toy

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import Bundle, load_bundle, p_values
from automl_ad.errors import InputError

TABLE = {"pixel_shares": [0.5, 0.1, 0.04, 0.009, 0.0], "pixel_values": [5.0, 20.0, 40.0, 60.0, 90.0]}


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_toy(tmp_path_factory.mktemp("toy") / "made"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Calibrated on nine images only, and asked for less than they can guarantee."""
    path = tmp_path_factory.mktemp("small") / "made"
    return load_bundle(write_toy(path, calibration={"scores": SCORES[:9], **TABLE}))


def with_decision(path: Path, **values: Any) -> Bundle:
    decision = {"overkill": 0.05, "review": None, "mask": 0.05, "threshold": None}
    return load_bundle(write_toy(path, decision=decision | values))


def flat_images(scores: list[float]) -> npt.NDArray[np.uint8]:
    return np.stack([flat_image(score) for score in scores])


def draw_folder(folder: Path) -> Path:
    """Ten images, two of them in sub-folders under one name, and one that is none."""
    names = [f"{i:02}.png" for i in range(7)] + ["a/x.png", "b/x.png", "b/x.bmp"]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(flat_image(120 if i == 4 else 10 * i)).save(folder / name)
    (folder / "02b.png").write_bytes(b"no image")
    return folder


def test_what_a_folder_holds_besides_images_is_told(toy: Bundle, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images")
    for name in ("notes.txt", "a/.hidden.png", ".trash/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (tmp_path / "more").mkdir()
    (folder / "link").symlink_to(tmp_path / "more")
    answer = toy.predict(folder)
    assert len(answer["results"]) == 11
    assert answer["left_aside"] == [
        {"reason": "ending", "count": 1, "examples": ["notes.txt"]},
        {"reason": "hidden", "count": 2, "examples": [".trash", "a/.hidden.png"]},
        {"reason": "link", "count": 1, "examples": ["link"]},
    ]
    (tmp_path / "more/a.txt").touch()
    with pytest.raises(InputError, match=r"holds no images \(left aside: 1 files with an ending"):
        toy.predict(tmp_path / "more")


def test_of_a_file_with_pages_the_first_is_judged_with_a_warning(toy: Bundle, tmp_path: Path) -> None:
    first, *others = (Image.fromarray(flat_image(value)) for value in (10, 110, 120))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    first.save(tmp_path / "one.png")
    pages, one = (toy.predict(tmp_path / name)["results"][0] for name in ("pages.tif", "one.png"))
    assert (pages["score"], pages["error"]) == (one["score"], None)
    assert one["warnings"] == []
    assert pages["warnings"] == ["The file has 3 pages, of which the first is judged: save each as a file."]


class TestPredict:
    def test_a_folder(self, toy: Bundle, tmp_path: Path) -> None:
        folder = draw_folder(tmp_path / "images")
        answer = toy.predict(folder)
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
        results = answer.pop("results")
        assert answer == {
            "bundle": str(toy.path),
            "images": 11,
            "threshold": 95.0,
            "overkill": 0.05,
            "promise": "Overkill (false positive rate on good parts) is at most 5 % on average, if new good parts are "
            "exchangeable with the 99 calibration images; approximate, as their scores come from cross-validation and "
            "the detector was refitted to all of them.",
            "review": None,
            "mask_threshold": 40.0,
            "left_aside": [],
        }
        assert [Path(result["path"]).relative_to(folder).as_posix() for result in results] == [
            *("00.png", "01.png", "02.png", "02b.png", "03.png", "04.png", "05.png", "06.png"),
            *("a/x.png", "b/x.bmp", "b/x.png"),
        ]
        keys = {"path", "score", "p_value", "anomalous", "decision", "marked", "heatmap", "mask", "error", "warnings"}
        assert all(result.keys() == keys for result in results)
        bad = results.pop(3)
        assert bad.pop("error").endswith(
            "is not an image, whatever its name says: remove it or save it again as PNG or JPEG."
        )
        assert bad.pop("path").endswith("02b.png")
        assert bad.pop("warnings") == []
        assert set(bad.values()) == {None}
        assert [result["score"] for result in results] == [0, 10, 20, 30, 120, 50, 60, 70, 90, 80]
        assert [result["anomalous"] for result in results] == [i == 4 for i in range(10)]
        assert [result["decision"] for result in results] == ["reject" if i == 4 else "pass" for i in range(10)]
        assert results[1]["p_value"] == pytest.approx(91 / 100)  # 90 of 99 at or above, and itself
        assert [result["marked"] for result in results] == [
            (score > 40) / (32 * 48) for score in (0, 10, 20, 30, 120, 50, 60, 70, 90, 80)
        ]
        assert {result["heatmap"] for result in results} == {result["mask"] for result in results} == {None}

    def test_every_form_of_the_same_images_scores_alike(self, toy: Bundle, tmp_path: Path) -> None:
        folder = draw_folder(tmp_path / "images")
        paths = [folder / f"{i:02}.png" for i in range(7)]
        expected = [0.0, 10.0, 20.0, 30.0, 120.0, 50.0, 60.0]
        arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
        by_list = toy.predict([*paths, str(folder / "02b.png")])["results"]
        by_array = toy.predict(arrays)["results"]
        assert by_list[-1]["error"]
        assert [result["path"] for result in by_array] == [None] * 7
        assert [result["score"] for result in by_list[:-1]] == [result["score"] for result in by_array] == expected
        assert [result["score"] for result in toy.predict([paths[1], arrays[2]])["results"]] == [10.0, 20.0]
        assert toy.predict(str(paths[3]))["results"][0] | {"path": None} == toy.predict(arrays[3])["results"][0]

    def test_a_listed_file_that_is_gone_is_a_result(self, toy: Bundle, tmp_path: Path) -> None:
        folder = draw_folder(tmp_path / "images")
        first, second = toy.predict([folder / "absent.png", folder / "00.png"])["results"]
        assert "does not exist" in first["error"]
        assert second["error"] is None

    def test_images_pass_through_the_preprocessing(self, tmp_path: Path) -> None:
        preprocessing = {"height": 32, "width": 48, "white_level": 255, "via": [64, 96]}
        bundle = load_bundle(write_toy(tmp_path / "made", preprocessing=preprocessing))
        # One bright pixel in four is left after averaging; the deep file's white is 255.
        Image.fromarray(flat_image(100, (64, 96))[:, :, 0].astype(np.uint16)).save(tmp_path / "deep.png")
        assert [r["score"] for r in bundle.predict([flat_image(100, (64, 96)), tmp_path / "deep.png"])["results"]] == [
            25,
            25,
        ]

    def test_maps_are_raw_in_order_and_at_the_working_size(self, toy: Bundle) -> None:
        scores = [float(i) for i in range(19)]
        maps = toy.maps(flat_images(scores))
        assert (maps.shape, maps.dtype) == ((19, *SIZE), np.float32)
        np.testing.assert_array_equal(maps.max(axis=(1, 2)), scores)
        np.testing.assert_array_equal(maps[5], np.abs(flat_images([5])[0].astype(float).mean(axis=2) - 128))

    def test_maps_need_readable_files(self, toy: Bundle, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"02b\.png is not an image"):
            toy.maps(draw_folder(tmp_path / "images"))

    def test_results_that_are_not_finite_are_errors_of_their_image_only(self, tmp_path: Path) -> None:
        # The logarithm of the mean pixel: no number where the image is black.
        nodes = [*toy_model().graph.node[:2], *toy_model().graph.node[4:]]
        nodes.insert(2, type(nodes[0])(op_type="Log", input=["means"], output=["map"]))
        model = toy_model(nodes=nodes).SerializeToString()
        bundle = load_bundle(write_files(tmp_path / "made", toy_files(model=model)))
        images = flat_images([0, 0, 0])
        images[1] = 0
        results = bundle.predict(images)["results"]
        assert [result["error"] is None for result in results] == [True, False, True]
        assert "not finite" in results[1]["error"]
        assert results[1]["decision"] is None
        assert results[2]["score"] == pytest.approx(np.log(128))

    def test_images_are_handed_out_only_where_they_are_asked_for(self, toy: Bundle) -> None:
        image = flat_image(7, (50, 60))
        (bare,), (whole,) = toy.raw_predictions([image]), toy.raw_predictions([image], keep_images=True)
        assert bare.image is None
        assert whole.image is image

    def test_results_come_a_batch_at_a_time(self, toy: Bundle, tmp_path: Path) -> None:
        paths = [tmp_path / f"{i}.png" for i in range(runtime.BATCH + 1)]
        for path in paths:
            Image.fromarray(flat_image(3)).save(path)
        _, results = toy.stream(paths)
        assert next(results)["score"] == 3.0
        paths[-1].unlink()  # not read yet
        assert "does not exist" in [*results][-1]["error"]

    def test_one_bundle_serves_several_threads(self, toy: Bundle) -> None:
        def scores(start: int) -> list[float]:
            return [r["score"] for r in toy.predict(flat_images([start + i for i in range(20)]))["results"]]

        with ThreadPoolExecutor(4) as pool:
            assert [*pool.map(scores, range(8))] == [[float(start + i) for i in range(20)] for start in range(8)]


class TestDecision:
    @pytest.mark.parametrize("overkill", [None, 0.01, 0.04, 0.1, 0.29, 0.5, 0.9])
    def test_it_is_the_p_value_against_the_guarantee(self, toy: Bundle, overkill: float | None) -> None:
        answer = toy.predict(flat_images(SCORES), overkill=overkill)
        assert answer["overkill"] == (overkill or 0.05)
        for result in answer["results"]:
            assert result["anomalous"] == (result["p_value"] <= answer["overkill"])
            assert result["anomalous"] == (result["score"] > answer["threshold"])
        # These are the calibration images themselves: of them exactly the share that fits below the guarantee.
        alarms = sum(result["anomalous"] for result in answer["results"])
        assert alarms <= answer["overkill"] * 100 < alarms + 2

    def test_review_lies_between_pass_and_reject(self, toy: Bundle) -> None:
        answer = toy.predict(flat_images(SCORES), overkill=0.05, review=0.2)
        assert (answer["threshold"], answer["review"]) == (95.0, 80.0)
        expected = ["pass"] * 80 + ["review"] * 15 + ["reject"] * 4
        assert [result["decision"] for result in answer["results"]] == expected
        assert [result["anomalous"] for result in answer["results"]] == [kind == "reject" for kind in expected]

    def test_the_bundles_own_review(self, tmp_path: Path) -> None:
        bundle = with_decision(tmp_path / "made", review=0.1)
        found = bundle.review_threshold()
        assert found is not None
        assert (found.value, found.overkill) == (90.0, 0.1)
        # Nothing is left between it and a larger share that is rejected.
        assert bundle.review_threshold(overkill=0.1) is None
        assert bundle.predict(flat_images([93.0]), overkill=0.2)["results"][0]["decision"] == "reject"
        other = bundle.review_threshold(0.3)
        assert other is not None
        assert other.value == 70.0

    def test_no_review_unless_somebody_asks(self, toy: Bundle) -> None:
        assert toy.review_threshold() is None

    @pytest.mark.parametrize(("review", "least"), [(0.05, "0.05"), (0.01, "0.05")])
    def test_a_review_that_leaves_nothing_to_review_is_refused(self, toy: Bundle, review: float, least: str) -> None:
        with pytest.raises(InputError, match=rf"--review {review:g} leaves nothing to review: give more than {least}"):
            toy.review_threshold(review)
        with pytest.raises(InputError, match=r"--review 0\.1 leaves nothing .* more than 0\.1,"):
            toy.predict(flat_images([1.0]), overkill=0.1, review=0.1)

    @given(st.integers(0, 100).map(lambda score: score + 0.5), st.floats(0.02, 0.99), st.floats(0, 120))
    def test_a_raw_threshold_and_a_review_never_contradict(
        self, toy: Bundle, value: float, review: float, score: float
    ) -> None:
        found = toy.threshold(threshold=value)
        assert found.value == value
        assert found.overkill == p_values([value], SCORES)[0]
        if review > found.overkill:
            zone = toy.review_threshold(review, threshold=value)
            assert zone is not None
            assert zone.value <= value

    def test_a_raw_threshold_promises_nothing(self, toy: Bundle) -> None:
        answer = toy.predict(flat_images([97.0, 98.0]), threshold=97.0)
        assert (answer["threshold"], answer["overkill"]) == (97.0, 0.03)  # 98 and 99 lie above, and one more
        assert answer["promise"] == (
            "Overkill (false positive rate on good parts) above a score of 97 is estimated at 3 %: 2 of 99 calibration "
            "images are above it. A threshold that is given as a score has no guarantee."
        )
        assert [result["decision"] for result in answer["results"]] == ["pass", "reject"]
        assert toy.threshold(threshold=1e6).overkill == 0.01
        assert toy.threshold(threshold=-1e6).overkill == 1.0

    def test_the_bundles_own_raw_threshold_gives_way_to_a_share(self, tmp_path: Path) -> None:
        bundle = with_decision(tmp_path / "made", threshold=42.0)
        assert bundle.threshold().value == 42.0
        assert bundle.threshold(0.05).value == 95.0
        assert bundle.threshold(threshold=43.0).value == 43.0

    def test_two_rules_for_one_decision_are_refused(self, toy: Bundle) -> None:
        with pytest.raises(InputError, match="--overkill and --threshold exclude each other"):
            toy.predict(flat_images([1.0]), overkill=0.1, threshold=3.0)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_raw_threshold_is_a_number(self, toy: Bundle, value: float) -> None:
        with pytest.raises(InputError, match=r"--threshold .* is not a number"):
            toy.threshold(threshold=value)


class TestTooFewImages:
    def test_the_bundles_own_decision_falls_back(self, small: Bundle) -> None:
        assert (small.threshold().overkill, small.threshold().supported) == (0.1, False)
        assert (small.mask_threshold().overkill, small.mask_threshold().value) == (0.1, 90.0)
        assert (
            "9 calibration images are too few to guarantee at most 5 % overkill"
            in small.predict(flat_images([1.0]))["promise"]
        )

    def test_a_request_names_the_smallest_share(self, small: Bundle) -> None:
        for option, ask in (("--overkill", small.threshold), ("--mask", small.mask_threshold)):
            message = rf"{option} 0\.01 is less than 9 calibration images can guarantee; give at least 0\.1 or"
            with pytest.raises(InputError, match=message):
                ask(0.01)
            assert ask(0.1).supported
        for option in ("overkill", "mask"):
            with pytest.raises(InputError, match=f"--{option} 0.01"):
                small.predict(flat_images([1.0]), **{option: 0.01})

    def test_a_review_must_be_more_than_is_in_force(self, small: Bundle) -> None:
        with pytest.raises(InputError, match=r"--review 0\.08 leaves nothing to review: give more than 0\.1,"):
            small.review_threshold(0.08)

    @pytest.mark.parametrize("n", [*range(1, 60), 98, 99, 100])
    def test_the_share_that_is_named_can_be_asked_for(self, toy: Bundle, n: int) -> None:
        calibration = {"scores": SCORES[:n] + SCORES[: max(0, n - 99)], **TABLE}
        table = runtime._read_calibration(json.dumps(calibration).encode(), "x")
        bundle = Bundle(toy.path, toy.manifest, table.scores, table, toy._graph)
        for ask in (bundle.threshold, bundle.mask_threshold):
            with pytest.raises(InputError, match="give at least") as refused:
                ask(1e-4)
            assert ask(float(str(refused.value).split("at least ")[1].split()[0])).supported

    @pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5.0, float("nan")])
    def test_shares_out_of_range(self, toy: Bundle, share: float) -> None:
        asked = {"--overkill": toy.threshold, "--review": toy.review_threshold, "--mask": toy.mask_threshold}
        for option, ask in asked.items():
            with pytest.raises(InputError, match=f"{option} .* is not between 0 and 1"):
                ask(share)  # type: ignore[operator]  # three methods of one kind
