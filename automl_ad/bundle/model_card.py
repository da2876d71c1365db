"""``model_card.md``: what a bundle is, how far it can be trusted, and how to run it, for those who sign for it."""

from __future__ import annotations

from collections.abc import Iterator

from automl_ad.bundle.calibration import Calibration
from automl_ad.bundle.manifest import Manifest
from automl_ad.bundle.runtime import overkill_threshold
from automl_ad.reporting.messages import bias_correction_message

PROMISES = (0.1, 0.05, 0.02, 0.01, 0.005)


def model_card(manifest: Manifest, calibration: Calibration, notes: tuple[str, ...] = ()) -> str:
    """The card as Markdown.

    Args:
        manifest: Of the bundle.
        calibration: Of the bundle.
        notes: Sentences for the reader, such as what could not be promised.
    """
    parts = [
        _head(manifest),
        _data(manifest),
        _promises(calibration, notes),
        _proxy(manifest),
        _speed(manifest),
        _origin(manifest),
        _use(),
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


def _head(manifest: Manifest) -> Iterator[str]:
    where = "" if manifest.backbone.name == "none" else f" on {manifest.backbone.name}"
    yield f"# {manifest.facts.study}: anomaly detector ({manifest.method}{where})"
    yield ""
    yield (
        f"Tells parts that look unlike the good ones it has learned from. Trial {manifest.facts.trial} of study "
        f"{manifest.facts.study}; numbers: {manifest.precision}; score of an image: {manifest.rule} of its anomaly map."
    )


def _data(manifest: Manifest) -> Iterator[str]:
    how = manifest.preprocessing
    yield "## What it has seen"
    yield ""
    fingerprint = _short(manifest.facts.fingerprint)
    yield f"- {manifest.facts.images} good images (fingerprint {fingerprint}), and no real defect."
    yield f"- Pictures are brought to {how.height} x {how.width} pixels (height x width)."
    learned = ", ".join(manifest.facts.learned_from)
    yield f"- Synthetic anomalies it learned from: {learned}." if learned else "- It learned from good images alone."


def _promises(calibration: Calibration, notes: tuple[str, ...]) -> Iterator[str]:
    n = len(calibration.scores)
    yield "## What its threshold promises"
    yield ""
    yield (
        f"Computed from {n} good parts, each scored by a detector that had not seen it (conformal). Over many lines "
        f"like this one, at most the share asked for of good parts is rejected; no less than {100 / (n + 1):.3g} % can "
        "be promised. It holds while good parts look as they did, and says nothing about defects."
    )
    yield ""
    yield "| at most this share of good parts rejected | score above |"
    yield "|---|---|"
    for share in PROMISES:
        found = overkill_threshold(calibration.scores, share)
        yield f"| {100 * share:g} % | {f'{found.value:.6g}' if found.supported else 'too few parts'} |"
    yield from ([""] if notes else [])
    yield from notes


def _proxy(manifest: Manifest) -> Iterator[str]:
    facts = manifest.facts
    yield "## What synthetic anomalies said"
    yield ""
    if facts.proxy_score is None:
        yield "No proxy score is known."
        return
    low, high = facts.interval or (facts.proxy_score, facts.proxy_score)
    yield (
        f"Proxy score {facts.proxy_score:.3f} (90 % interval {low:.3f} to {high:.3f}; 0.5 = by chance, 1 = always): "
        "how well synthetic anomalies were told from good parts that were held out, as the mean of two AUROCs, of "
        "whole images and of the anomalies' places. It is no accuracy: real defects differ."
    )
    yield ""
    if facts.advantage:
        yield bias_correction_message(facts.advantage)
        yield ""
    yield "| family | proxy score |"
    yield "|---|---|"
    for family, value in facts.families.items():
        yield f"| {family}{' (learned from, does not count)' if family in facts.learned_from else ''} | {value:.3f} |"


def _speed(manifest: Manifest) -> Iterator[str]:
    parity, speed = manifest.parity, manifest.speed
    yield "## The graph"
    yield ""
    yield (
        f"- {speed.latency_ms:.1f} ms for one image, {speed.images_s:.0f} images/s in batches of eight, with "
        f"{speed.threads} threads of the machine that exported it; {speed.size_mb:.1f} MB."
    )
    yield (
        f"- Against PyTorch on {parity.images} images: scores differ by at most {parity.largest:.3g}, which is "
        f"{parity.relative:.2g} of their spread; {parity.decisions_changed} decisions changed."
    )
    if manifest.precision == "fp32" and parity.beyond:
        yield (
            f"- Of these, {parity.beyond} differ by more than a thousandth: two channels are so nearly equal there "
            "that rounding decides which one comes first."
        )
    if parity.auroc_torch is not None and parity.auroc_onnx is not None:
        yield f"- Synthetic anomalies among them: AUROC {parity.auroc_onnx:.4f}, in PyTorch {parity.auroc_torch:.4f}."


def _origin(manifest: Manifest) -> Iterator[str]:
    backbone, made = manifest.backbone, manifest.versions
    yield "## Where it comes from"
    yield ""
    yield f"- Backbone weights: {backbone.name}, {backbone.weights_origin}; licence: {backbone.licence}."
    yield f"- Written by automl-ad {made.automl_ad} with torch {made.torch}, timm {made.timm}, onnx {made.onnx}."


def _use() -> Iterator[str]:
    yield "## How to run it"
    yield ""
    yield "```"
    yield "pip install -r requirements.txt"
    yield "python predict.py PATH_TO_IMAGES --output heatmaps --json"
    yield "```"
    yield ""
    yield (
        "`decision` in `bundle.json` may be edited: `overkill` (share of good parts rejected at most), `review` (null, "
        "or a larger share: parts between the two are to be looked at), `mask` (share of a good part's pixels marked "
        "at most) and `threshold` (null, or a raw score). Everything else is protected by checksums."
    )


def _short(digest: str | None) -> str:
    return digest[:16] if digest else "unknown"
