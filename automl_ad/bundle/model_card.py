"""``model_card.md``: training data, guarantees, proxy score, speed, provenance and usage of a bundle."""

from __future__ import annotations

from collections.abc import Iterator

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.bundle.calibration import Calibration
from automl_ad.bundle.figures import bias_correction_message
from automl_ad.bundle.manifest import Manifest
from automl_ad.bundle.runtime import overkill_threshold
from automl_ad.methods.names import candidate_words

GUARANTEES = (0.1, 0.05, 0.02, 0.01, 0.005)


def model_card(manifest: Manifest, calibration: Calibration, notes: tuple[str, ...] = ()) -> str:
    """The card as Markdown.

    Args:
        manifest: Manifest of the bundle.
        calibration: Calibration of the bundle.
        notes: Further sentences, such as guarantees that need more images.
    """
    parts = [
        _head(manifest),
        _data(manifest),
        _guarantees(calibration, notes),
        _proxy(manifest),
        _speed(manifest),
        _origin(manifest),
        _use(),
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


def _head(manifest: Manifest) -> Iterator[str]:
    backbone = None if manifest.backbone.name == NO_BACKBONE else manifest.backbone.name
    yield f"# {manifest.facts.study}: anomaly detector ({candidate_words(manifest.method, backbone)})"
    yield ""
    yield (
        f"Detects parts that look unlike the good parts it was fitted to. Trial {manifest.facts.trial} of study "
        f"{manifest.facts.study}; precision: {manifest.precision}; score aggregation: {manifest.rule} of a map."
    )


def _data(manifest: Manifest) -> Iterator[str]:
    size = manifest.preprocessing
    yield "## Training data"
    yield ""
    fingerprint = _short(manifest.facts.fingerprint)
    yield f"- {manifest.facts.images} good images (fingerprint {fingerprint}), and no real defect."
    yield f"- Images are resized to {size.height} x {size.width} pixels (height x width)."
    learned = ", ".join(manifest.facts.learned_from)
    yield f"- Trained on synthetic anomalies of: {learned}." if learned else "- No synthetic anomalies."


def _guarantees(calibration: Calibration, notes: tuple[str, ...]) -> Iterator[str]:
    n = len(calibration.scores)
    yield "## Guaranteed overkill"
    yield ""
    yield (
        "Overkill is the false positive rate: the share of good parts that are rejected. The thresholds are conformal, "
        f"from {n} good images, each scored by a detector not fitted to it. Overkill is at most the rate in the table "
        "on average over such sets of images, if new good parts are exchangeable with them (no distribution shift); "
        "approximate, as the scores come from cross-validation and the detector was refitted to all images. "
        f"{n} images can guarantee no less than {100 / (n + 1):.3g} %. There is no guarantee "
        "on escapes (false negative rate)."
    )
    yield ""
    yield "| overkill at most | rejected above score |"
    yield "|---|---|"
    for share in GUARANTEES:
        found = overkill_threshold(calibration.scores, share)
        yield f"| {100 * share:g} % | {f'{found.value:.6g}' if found.supported else 'too few images'} |"
    yield from ([""] if notes else [])
    yield from notes


def _proxy(manifest: Manifest) -> Iterator[str]:
    facts = manifest.facts
    yield "## Proxy score on synthetic anomalies"
    yield ""
    if facts.proxy_score is None:
        yield "No proxy score is known."
        return
    low, high = facts.interval or (facts.proxy_score, facts.proxy_score)
    yield (
        f"Proxy score {facts.proxy_score:.3f} (90 % interval {low:.3f} to {high:.3f}; 0.5 = chance, 1 = perfect): the "
        "mean of image AUROC and localisation AUROC of synthetic anomalies against validation images. It is not an "
        "accuracy: real defects differ."
    )
    yield ""
    if facts.advantage:
        yield bias_correction_message(facts.advantage)
        yield ""
    yield "| family | proxy score |"
    yield "|---|---|"
    for family, value in facts.families.items():
        yield f"| {family}{' (trained on, not counted)' if family in facts.learned_from else ''} | {value:.3f} |"


def _speed(manifest: Manifest) -> Iterator[str]:
    parity, speed = manifest.parity, manifest.speed
    yield "## ONNX graph"
    yield ""
    yield (
        f"- {speed.latency_ms:.1f} ms for one image, {speed.images_s:.0f} images/s in batches of eight, on "
        f"{speed.threads} CPU cores of the exporting machine; {speed.size_mb:.1f} MB."
    )
    yield (
        f"- Parity with PyTorch on {parity.images} images: scores differ by at most {parity.largest:.3g} "
        f"({parity.relative:.2g} of their standard deviation); {parity.decisions_changed} decisions differ."
    )
    if manifest.precision == "fp32" and parity.beyond:
        yield (
            f"- {parity.beyond} of the scores differ by more than a thousandth of it: two channels are so nearly equal "
            "that rounding decides which one is chosen."
        )
    if parity.auroc_torch is not None and parity.auroc_onnx is not None:
        yield f"- Image AUROC on synthetic anomalies: {parity.auroc_onnx:.4f} (PyTorch: {parity.auroc_torch:.4f})."


def _origin(manifest: Manifest) -> Iterator[str]:
    backbone, made = manifest.backbone, manifest.versions
    yield "## Provenance"
    yield ""
    yield f"- Backbone weights: {backbone.name}, {backbone.weights_origin}; licence: {backbone.licence}."
    yield f"- Written by automl-ad {made.automl_ad} with torch {made.torch}, timm {made.timm}, onnx {made.onnx}."


def _use() -> Iterator[str]:
    yield "## Usage"
    yield ""
    yield "```"
    yield "pip install -r requirements.txt"
    yield "python predict.py PATH_TO_IMAGES --output heatmaps --json"
    yield "```"
    yield ""
    yield (
        "`decision` in `bundle.json` may be edited: `overkill` (at most this share of good parts is rejected), "
        "`review` (null, or a larger share: parts that score between the two thresholds are to be reviewed), `mask` "
        "(at most this share of a good part's pixels is marked) and `threshold` (null, or a raw score that replaces "
        "the threshold of `overkill`). Everything else is protected by checksums."
    )


def _short(digest: str | None) -> str:
    return digest[:16] if digest else "unknown"
