"""``bundle.json``: what a bundle is, where it came from, and the digests of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

from automl_ad.bundle.parity import Parity
from automl_ad.bundle.precision import Precision
from automl_ad.bundle.runtime import SCHEMA_VERSION, manifest_checksum
from automl_ad.data.preprocessing import Preprocessing

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class Decision(_Section):
    """What counts as anomalous; the one section that may be edited by hand.

    Attributes:
        overkill: At most this share of good parts is rejected.
        review: None, or a larger share: parts between the two are to be looked at.
        mask: At most this share of a good part's pixels is marked, on average.
        threshold: None, or a raw score above which parts are rejected whatever ``overkill`` says.
    """

    overkill: Share
    review: Share | None = None
    mask: Share
    threshold: FiniteFloat | None = None


class BackboneFacts(_Section):
    """The feature extractor of a bundle, or the several of an average.

    Attributes:
        name: Backbone name.
        levels: Levels that the detector reads.
        weights_origin: Where the weights came from, for reports.
        weights_tag: Names the weights and fixed filters; the rebuilt backbone must have the same.
        licence: Of the weights, as far as it is known.
        each: Where there are several, the facts of each; what is said above is then of all.
    """

    name: str
    levels: tuple[int, ...]
    weights_origin: str
    weights_tag: str
    licence: str
    each: tuple[BackboneFacts, ...] = ()


class StudyFacts(_Section):
    """Where a bundle came from.

    Attributes:
        study: Name of the study.
        trial: Number of the trial.
        images: Good images that the detector was fitted to.
        suite: Hash of the proxy suite.
        fingerprint: Digest of the images that the study saw.
        proxy_score: What the suite said of the trial, 0 to 1.
        interval: Interval of the proxy score.
        families: The same by family of synthetic anomalies.
        learned_from: Families that it learned from, which count for nothing in the proxy score.
        advantage: What was taken off the proxy score, and off none of the families: its kind looks that much better
            on synthetic anomalies.
        latency_ms: Milliseconds an image in torch, when it was tried.
        size_mb: Megabytes of the fitted detector.
        peak_mb: Megabytes of memory at most, when it was tried.
        seed: Seed of the study.
    """

    study: str
    trial: int
    images: int
    suite: str | None = None
    fingerprint: str | None = None
    proxy_score: float | None = None
    interval: tuple[float, float] | None = None
    families: dict[str, float] = {}
    learned_from: tuple[str, ...] = ()
    advantage: float = 0.0
    latency_ms: float | None = None
    size_mb: float | None = None
    peak_mb: float | None = None
    seed: int = 0


class Speed(_Section):
    """How fast the graph was on the machine that wrote it.

    Attributes:
        latency_ms: Median milliseconds of one image alone.
        images_s: Images a second in batches of eight.
        threads: Processor cores at hand.
        size_mb: Megabytes of the graph.
    """

    latency_ms: float
    images_s: float
    threads: int
    size_mb: float


class Versions(_Section):
    """Software that wrote the bundle."""

    automl_ad: str
    torch: str
    timm: str
    onnx: str
    onnxruntime: str


class Manifest(_Section):
    """Everything about a bundle but its graph, tensors and calibration.

    Attributes:
        schema_version: Version of this layout.
        decision: What counts as anomalous.
        method: Name of the method.
        settings: Its settings, as JSON.
        backbone: The feature extractor.
        preprocessing: How a file becomes the graph's input.
        rule: Name of the rule that turns a map into a score; the graph applies it.
        precision: Numbers that the graph computes with.
        map_range: Map values of normal pixels, (usual, highest): the scale of the heatmaps.
        facts: Where the bundle came from.
        parity: How far the graph's answers are from the detector's in torch.
        speed: How fast the graph is.
        versions: Software that wrote it.
        files: SHA-256 of each other file.
    """

    schema_version: int = SCHEMA_VERSION
    decision: Decision
    method: str
    settings: dict[str, Any]
    backbone: BackboneFacts
    preprocessing: Preprocessing
    rule: str
    precision: Precision
    map_range: tuple[FiniteFloat, FiniteFloat]
    facts: StudyFacts
    parity: Parity
    speed: Speed
    versions: Versions
    files: dict[str, Digest]

    def encode(self) -> bytes:
        """The bytes of ``bundle.json``, with the checksum of all but the decision."""
        return encode_manifest(self.model_dump(mode="json"))


def encode_manifest(content: Mapping[str, Any]) -> bytes:
    """A manifest as the bytes of its file, with a fresh checksum right after the schema version."""
    plain = {key: value for key, value in content.items() if key not in ("schema_version", "checksum")}
    head = {"schema_version": content["schema_version"], "checksum": manifest_checksum(content)}
    return json.dumps(head | plain, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
