from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluated import MASK, SIDE, FullBundle, HandBundle, HandPrediction, labelled, plane
from PIL import Image

from automl_ad.bundle.evaluating import evaluate
from automl_ad.bundle.loading import load_bundle
from automl_ad.data.labelled import GOOD, LabelledImage
from automl_ad.errors import InputError
from automl_ad.evaluation.intervals import BootstrapPlan, auroc_interval
from automl_ad.evaluation.metrics import image_ap, pixel_metrics

PIXEL_KEYS = ("pixel_auroc", "pixel_ap", "aupro", "iap", "iap90")
SCORES, LABELS = [1, 2, 3, 4, 2.5, 5, 6], [0, 0, 0, 0, 1, 1, 1]


def test_the_figures_by_hand(tmp_path: Path) -> None:
    answer = evaluate(HandBundle(), labelled(tmp_path)).to_json()
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["images"] == {"good": 4, "defect": 3}
    assert answer["image_auroc"] == pytest.approx(10 / 12)
    assert answer["image_ap"] == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert answer["threshold"] == 3.5
    assert answer["overkill"] == 1 / 4
    assert answer["escapes"] == pytest.approx(1 / 3)
    assert answer["errors"] == []
    assert answer["report"] is None


def test_the_kinds_of_defects_by_hand(tmp_path: Path) -> None:
    kinds = evaluate(HandBundle(), labelled(tmp_path)).by_defect
    assert {name: [kind.n, kind.found, kind.escapes] for name, kind in kinds.items()} == {
        "dent": [1, 1, 0],
        "scratch": [2, 1, 1],
    }
    assert kinds["dent"].image_auroc == 1.0
    assert kinds["dent"].image_auroc_interval == (1.0, 1.0)
    assert kinds["scratch"].image_auroc == pytest.approx(6 / 8)
    low, high = kinds["scratch"].image_auroc_interval
    assert 0 <= low < 6 / 8 < high <= 1


def test_shares_have_exact_intervals(tmp_path: Path) -> None:
    answer = evaluate(HandBundle(), labelled(tmp_path)).to_json()
    assert answer["overkill_interval"][0] == pytest.approx(1 - 0.95 ** (1 / 4))
    assert answer["escapes_interval"][0] == pytest.approx(1 - 0.95 ** (1 / 3))
    none = evaluate(HandBundle(cut=10), labelled(tmp_path)).to_json()
    assert none["overkill_interval"] == [0.0, pytest.approx(1 - 0.05 ** (1 / 4))]
    assert none["escapes_interval"] == [pytest.approx(0.05 ** (1 / 3)), 1.0]


def test_one_bootstrap_serves_the_rank_metrics(tmp_path: Path) -> None:
    answer = evaluate(HandBundle(), labelled(tmp_path)).to_json()
    assert answer["image_auroc_interval"] == list(auroc_interval(SCORES, LABELS, np.random.default_rng(3)))
    plan = BootstrapPlan.draw(4, {"all": 3}, rng=np.random.default_rng(3))
    drawn = [
        image_ap(np.repeat(SCORES, times), np.repeat(LABELS, times))
        for times in np.concatenate([plan.normals, plan.cells["all"]], axis=1).astype(int)
    ]
    assert answer["image_ap_interval"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist())


def test_a_guarantee_is_kept_exceeded_or_exceeded_by_chance(tmp_path: Path) -> None:
    images = [LabelledImage(tmp_path / f"g{n}.png", False, GOOD) for n in range(20)] + labelled(tmp_path)[4:]
    few, many = np.arange(9.0), np.linspace(-1, 15.5, 199)
    kept = evaluate(HandBundle(cut=18.5, guaranteed=0.1, calibration=few), images).to_json()
    assert (kept["promised"], kept["promise_kept"]) == (0.1, True)
    assert "1 of 20 good images were rejected: overkill (false positive rate) 5 %" in kept["promise_note"]
    assert "compatible with the guarantee of at most 10 %" in kept["promise_note"]
    assert "exact one-sided binomial test at 5 %: p = 0.88" in kept["promise_note"]
    lucky = evaluate(HandBundle(cut=14.5, guaranteed=0.1, calibration=few), images).to_json()
    assert not lucky["promise_kept"]
    assert "p = 0.043" in lucky["promise_note"]
    assert "13 % of thresholds from 9 calibration images would show as many" in lucky["promise_note"]
    broken = evaluate(HandBundle(cut=11.5, guaranteed=0.1, calibration=many), images).to_json()
    assert not broken["promise_kept"]
    assert "p < 0.001" in broken["promise_note"]


def test_a_bundle_without_review_says_nothing_of_it(tmp_path: Path) -> None:
    assert "review" not in evaluate(HandBundle(), labelled(tmp_path)).to_json()
    assert "review" not in evaluate(FullBundle(review=None), labelled(tmp_path)).to_json()


def test_review_counts_by_hand(tmp_path: Path) -> None:
    assert evaluate(FullBundle(), labelled(tmp_path)).to_json()["review"] == {
        "threshold": 2.5,
        "promised": 0.3,
        "good": {"reject": 1, "review": 1, "pass": 2},
        "defect": {"reject": 2, "review": 0, "pass": 1},
    }


def test_marked_pixels_by_hand(tmp_path: Path) -> None:
    """One scratch is half covered, one wholly and with as much again elsewhere; one of four good parts is marked."""
    half, whole = plane(left=1.0), plane(left=1.0, right=1.0)
    whole[20:28, 20:28] = 1.0
    bundle = FullBundle(maps={"s2.5": half, "s5": whole, "g3": plane(corner=0.6, left=0.5)})
    answer = evaluate(bundle, labelled(tmp_path, masks=True)).to_json()
    assert answer["mask_threshold"] == 0.5
    assert answer["mask_iou"] == pytest.approx(0.5)
    assert answer["mask_iou_interval"] == [0.5, 0.5]
    assert answer["marked_good"] == pytest.approx(16 / 1024 / 4)
    low, high = answer["marked_good_interval"]
    assert low == 0 < answer["marked_good"] < high <= 16 / 1024
    assert answer["marked_promised"] == 0.01


def test_marks_on_good_images_need_no_masks(tmp_path: Path) -> None:
    answer = evaluate(FullBundle(maps={"g1": plane(corner=1.0)}), labelled(tmp_path)).to_json()
    assert answer["marked_good"] == pytest.approx(16 / 1024 / 4)
    assert (answer["mask_iou"], answer["mask_iou_interval"]) == (None, None)


def test_pixel_metrics_leave_defects_without_a_mask_out(tmp_path: Path) -> None:
    maps = {"s2.5": plane(left=2.0, corner=1.0), "s5": plane(right=1.0), "g2": plane(corner=3.0)}
    images = labelled(tmp_path, masks=True)
    answer = evaluate(HandBundle(maps=maps | {"d6": plane(corner=9.0)}), images).to_json()
    usable = np.stack([maps.get(image.path.stem, plane()) for image in images[:6]])
    masks = np.zeros((6, SIDE, SIDE), bool)
    masks[4:, MASK[0], MASK[1]] = True
    exact = pixel_metrics(usable, masks)
    expected = [exact.auroc, exact.ap, exact.aupro, exact.iap, exact.iap_at_90]
    assert [answer[key] for key in PIXEL_KEYS] == pytest.approx(expected)
    # By hand: of 128 defective pixels 32 have 16 normal ones above them, 32 have 16 above and 16 beside them, and 64
    # have 32 above and all others beside them.
    normal = 6 * 1024 - 128
    won = 32 * (normal - 16) + 32 * (normal - 32 + 16 / 2) + 64 * (normal - 32) / 2
    assert answer["pixel_auroc"] == pytest.approx(won / (128 * normal))
    for key in PIXEL_KEYS[:3]:
        low, high = answer[f"{key}_interval"]
        assert 0 <= low <= answer[key] <= high <= 1
        assert low < high


def test_pixel_intervals_come_from_the_exact_metrics_of_resampled_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    images = labelled(tmp_path, masks=True)[:6]
    maps = {image.path.stem: rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32) for image in images}
    masks = np.zeros((6, SIDE, SIDE), bool)
    masks[4:, MASK[0], MASK[1]] = True
    maps["s2.5"][MASK] += 1.5
    maps["s5"][MASK] += 0.5
    answer = evaluate(HandBundle(maps=maps), images).to_json()
    plan = BootstrapPlan.draw(4, {"all": 2}, rng=np.random.default_rng(3))
    stacked = np.stack(list(maps.values()))
    draws = []
    for times in np.concatenate([plan.normals, plan.cells["all"]], axis=1).astype(int):
        found = pixel_metrics(np.repeat(stacked, times, axis=0), np.repeat(masks, times, axis=0))
        draws.append((found.auroc, found.ap, found.aupro))
    for key, drawn in zip(PIXEL_KEYS[:3], np.array(draws).T, strict=True):
        assert answer[f"{key}_interval"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist(), abs=0.01)


def test_pixel_metrics_are_none_without_masks(tmp_path: Path) -> None:
    answer = evaluate(HandBundle(), labelled(tmp_path)).to_json()
    assert [answer[key] for key in PIXEL_KEYS] == [None] * 5
    assert [answer[f"{key}_interval"] for key in PIXEL_KEYS[:3]] == [None] * 3


def test_masks_without_a_white_pixel_count_as_no_masks(tmp_path: Path) -> None:
    images = labelled(tmp_path, masks=True)
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "mask.png")
    answer = evaluate(FullBundle(), images).to_json()
    assert [answer[key] for key in (*PIXEL_KEYS, "mask_iou")] == [None] * 6


def test_unreadable_images_are_listed_and_left_out(tmp_path: Path) -> None:
    images = labelled(tmp_path, masks=True)
    bundle = FullBundle(errors={"g1": "it is cut short", "s5": "it does not exist"})
    answer = evaluate(bundle, images).to_json()
    kept = [image for image in images if image.path.stem not in bundle.errors]
    assert answer["errors"] == [
        {"path": str(tmp_path / "g1.png"), "error": "it is cut short"},
        {"path": str(tmp_path / "s5.png"), "error": "it does not exist"},
    ]
    assert answer | {"errors": []} == evaluate(FullBundle(), kept).to_json()


@pytest.mark.parametrize(("kept", "missing"), [(slice(0, 4), "defective"), (slice(4, 7), "good")])
def test_both_kinds_are_needed(tmp_path: Path, kept: slice, missing: str) -> None:
    with pytest.raises(InputError, match=f"is a readable {missing} one"):
        evaluate(HandBundle(), labelled(tmp_path)[kept])


def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    images = labelled(tmp_path, masks=True)
    (tmp_path / "mask.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"mask\.png is not an image"):
        evaluate(HandBundle(), images)


def test_a_written_bundle_is_evaluated_and_reported(bundle_path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = []
    for kind, level in ((GOOD, 90), ("bright", 250)):
        path = tmp_path / f"{kind}.png"
        Image.fromarray(rng.normal(level, 6, (64, 64, 3)).clip(0, 255).astype(np.uint8)).save(path)
        images.append(LabelledImage(path, kind != GOOD, kind))
    answer = evaluate(load_bundle(bundle_path), images, tmp_path / "report").to_json()
    assert answer["images"] == {"good": 1, "defect": 1}
    assert Path(answer["report"]).read_text().count("data:image/jpeg") == 4


def test_images_unlike_the_good_ones_are_counted(tmp_path: Path) -> None:
    class Warned(HandBundle):
        def raw_predictions(self, sources: Sequence[Path], keep_images: bool = False) -> Iterator[HandPrediction]:
            for i, found in enumerate(super().raw_predictions(sources, keep_images)):
                yield replace(found, warnings=("It is grey.",) if i in (1, 3) else ())

    images = labelled(tmp_path)
    assert not any("unlike" in sentence for sentence in evaluate(HandBundle(), images).warnings)
    (sentence,) = [found for found in evaluate(Warned(), images).warnings if "unlike" in found]
    assert sentence.startswith(f"2 of {len(images)} images are unlike the good images")
    assert sentence.endswith(f"such as {images[1].path}: It is grey.")
