"""What an export puts together: images to compare on, what another precision adds, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import automl_ad
from automl_ad.bundle import export
from automl_ad.bundle.export import Checked
from automl_ad.bundle.loading import load_detector
from automl_ad.bundle.onnx_export import export_graph
from automl_ad.bundle.precision import converted
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError


@pytest.fixture(scope="module")
def study(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> automl_ad.Study:
    workspace = tmp_path_factory.mktemp("exports")
    settings: dict[str, Any] = {"backbones": ["embedded"], "methods": ["padim"], "trials": 1, "image_size": 64}
    return automl_ad.search(parts, workspace=workspace, **settings)


@pytest.fixture(scope="module", autouse=True)
def _one_graph() -> Iterator[None]:
    """All exports here are of one trial, whose graph is written once: it takes seconds."""
    written: list[bytes] = []

    def once(*arguments: Any) -> bytes:
        written[:] = written or [export_graph(*arguments)]
        return written[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export_graph", once)
        yield


@pytest.fixture(scope="module")
def exported(study: automl_ad.Study, tmp_path_factory: pytest.TempPathFactory) -> automl_ad.api.Bundle:
    return automl_ad.load_bundle(study.export(tmp_path_factory.mktemp("made") / "bundle"))


def test_the_graph_was_compared_with_the_detector(exported: Any) -> None:
    parity = exported.manifest["parity"]
    assert parity["images"] > 32
    assert parity["relative"] < 1e-3
    assert parity["decisions_changed"] == 0
    assert parity["auroc_onnx"] == pytest.approx(parity["auroc_torch"], abs=1e-6)


def test_it_tells_where_it_comes_from_and_how_fast_it_is(exported: Any, study: automl_ad.Study) -> None:
    facts, trial = exported.manifest["facts"], study.trials()[0]
    assert (facts["study"], facts["trial"], facts["images"]) == (study.name, trial.number, 24)
    assert facts["proxy_score"] == pytest.approx(trial.proxy_score)
    assert facts["families"].keys() == trial.families.keys()
    assert facts["learned_from"] == []
    assert facts["advantage"] == 0
    speed = exported.manifest["speed"]
    assert 0 < speed["latency_ms"] < 10_000
    assert speed["size_mb"] == pytest.approx((exported.path / "model.onnx").stat().st_size / 1e6)
    assert {path.stem for path in (exported.path / "samples").iterdir()} <= set(facts["families"])


def test_24_images_guarantee_1_in_25_and_the_card_says_so(exported: Any) -> None:
    decision = exported.manifest["decision"]
    assert len(exported.calibration) == 24
    assert decision["overkill"] == 0.05
    assert decision["mask"] == pytest.approx(1 / 25)
    assert "24 calibration images are too few to guarantee" in (exported.path / "model_card.md").read_text()


def test_the_calibration_is_of_detectors_that_had_not_seen_the_images(exported: Any, parts: Path) -> None:
    """Scores of images that the detector has learned from are lower."""
    seen = [result["score"] for result in exported.predict(parts / "train")["results"]]
    assert np.median(seen) < np.median(exported.calibration)


def test_it_can_be_rebuilt_in_torch(exported: Any) -> None:
    assert load_detector(exported.path).name == "padim"


def test_a_precision_that_has_nothing_to_do_is_refused(study: automl_ad.Study, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no network that int8 could make smaller"):
        study.export(tmp_path / "bundle", precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_what_another_precision_adds_is_added_to_the_calibration(
    study: automl_ad.Study, exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "converted", lambda model, *_: converted(model, "fp32", np.empty(0, np.uint8)))
    run = export.run_graph
    calls: list[int] = []

    def shifted(model: bytes, pictures: np.ndarray) -> Any:
        """First all scores are asked for in full precision, then in the other, then maps likewise."""
        calls.append(len(pictures))
        maps, scores = run(model, pictures)
        return maps, scores + (2.5 if len(calls) == 2 else 0)

    monkeypatch.setattr(export, "run_graph", shifted)
    made = automl_ad.load_bundle(study.export(tmp_path / "bundle", precision="fp16"))
    np.testing.assert_allclose(made.calibration, exported.calibration + 2.5, atol=1e-4)
    assert made.manifest["precision"] == "fp16"


def test_images_to_compare_on_are_spread_over_both_kinds() -> None:
    pixels = np.zeros((100, 3, 32, 32), np.uint8) + np.arange(100, dtype=np.uint8)[:, None, None, None]
    checked = Checked.of(ImageSet.of(pixels), ImageSet.of(pixels + 100))
    marks = checked.images.pixels[:, 0, 0, 0]
    assert checked.anomalous.sum() == export.ANOMALIES_CHECKED
    assert (~checked.anomalous).sum() == export.GOOD_CHECKED
    assert (marks[~checked.anomalous].min(), marks[~checked.anomalous].max()) == (0, 99)
    assert (marks[checked.anomalous].min(), marks[checked.anomalous].max()) == (100, 199)
