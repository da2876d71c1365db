from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from automl_ad.bundle.manifest import Manifest
from automl_ad.bundle.model_card import model_card
from automl_ad.bundle.runtime import overkill_threshold, read_manifest
from automl_ad.bundle.writing import BundleContents


def card(path: Path, contents: BundleContents, *notes: str) -> str:
    return model_card(Manifest.model_validate(read_manifest(path)), contents.calibration, notes)


def test_it_lies_in_the_bundle(bundle_path: Path, contents: BundleContents) -> None:
    assert (bundle_path / "model_card.md").read_text() == card(bundle_path, contents)


def test_it_guarantees_what_the_images_support_and_no_more(bundle_path: Path, contents: BundleContents) -> None:
    lines = card(bundle_path, contents).splitlines()
    value = overkill_threshold(contents.calibration.scores, 0.1).value
    assert f"| 10 % | {value:.6g} |" in lines
    assert "| 2 % | too few images |" in lines  # 30 images guarantee no less than 1 in 31
    assert any("30 images can guarantee no less than 3.23 %" in line for line in lines)
    many = dataclasses.replace(contents.calibration, scores=np.arange(999.0))
    guaranteed = card(bundle_path, dataclasses.replace(contents, calibration=many)).splitlines()
    assert "| 0.5 % | 994 |" in guaranteed


def test_the_proxy_score_is_not_called_an_accuracy(bundle_path: Path, contents: BundleContents) -> None:
    text = card(bundle_path, contents)
    assert "Proxy score 0.900 (90 % interval 0.800 to 0.950" in text
    assert "It is not an accuracy" in text
    assert "| texture (trained on, not counted) | 0.850 |" in text
    assert "| poisson | 0.950 |" in text
    assert "Trained on synthetic anomalies of: texture." in text


def test_it_states_the_in_family_bias(bundle_path: Path, contents: BundleContents) -> None:
    manifest = Manifest.model_validate(read_manifest(bundle_path))
    assert "subtracted from" not in model_card(manifest, contents.calibration, ())
    taken = manifest.model_copy(update={"facts": manifest.facts.model_copy(update={"advantage": 0.045})})
    assert "\n4.5 points are subtracted from the proxy score" in model_card(taken, contents.calibration, ())


def test_origin_speed_and_notes(bundle_path: Path, contents: BundleContents) -> None:
    text = card(bundle_path, contents, "Something could not be guaranteed.")
    assert "licence: Apache-2.0, as a part of automl-ad" in text
    assert "12.5 ms for one image" in text
    assert "0 decisions differ" in text
    assert "\nSomething could not be guaranteed.\n" in text


def test_it_mentions_scores_that_rounding_decides(bundle_path: Path, contents: BundleContents) -> None:
    manifest = Manifest.model_validate(read_manifest(bundle_path))
    assert "rounding decides" not in model_card(manifest, contents.calibration, ())
    stray = manifest.model_copy(update={"parity": dataclasses.replace(manifest.parity, beyond=2)})
    assert "- 2 of the scores differ by more than a thousandth" in model_card(stray, contents.calibration, ())
