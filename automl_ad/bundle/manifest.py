"""``bundle.json``: description, provenance and file digests of a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from automl_ad.bundle.parity import Parity
from automl_ad.bundle.precision import Precision
from automl_ad.bundle.runtime import SCHEMA_VERSION, manifest_checksum
from automl_ad.data.image_facts import ImageFacts
from automl_ad.data.preprocessing import Preprocessing

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class Decision(_Section):
    """What is called anomalous; the only section that may be edited by hand.

    Attributes:
        overkill: At most this share of good parts is rejected (false positive rate).
        review: None, or a larger share: parts that score between the two thresholds are to be reviewed.
        mask: At most this share of a good part's pixels is marked, on average.
        threshold: None, or a raw score that replaces the threshold of ``overkill``.
    """

    overkill: Share
    review: Share | None = None
    mask: Share
    threshold: FiniteFloat | None = None


class BackboneFacts(_Section):
    """The backbone of a bundle, or the backbones of an ensemble.

    Attributes:
        name: Backbone name.
        levels: Feature levels that the detector uses; empty for several backbones.
        weights_origin: Source of the weights, for reports.
        weights_tag: Identifies the weights and fixed filters; the rebuilt backbone must have the same tag.
        licence: Licence of the weights, if known.
        each: For several backbones, the facts of each; the fields above then join them.
    """

    name: str
    levels: tuple[int, ...]
    weights_origin: str
    weights_tag: str
    licence: str
    each: tuple[BackboneFacts, ...] = ()


class StudyFacts(_Section):
    """Provenance of a bundle.

    Attributes:
        study: Name of the study.
        trial: Number of the trial.
        images: Number of good images that the detector was fitted to.
        suite: Hash of the proxy suite.
        fingerprint: Digest of the images of the study.
        proxy_score: Proxy score of the trial, 0 to 1.
        interval: 90 % interval of the proxy score.
        families: Proxy score by family of synthetic anomalies.
        learned_from: Families that it was trained on, which are left out of the proxy score.
        advantage: In-family bias that was subtracted from the proxy score, but not from the scores of the families.
        latency_ms: Milliseconds per image in torch, measured in the trial.
        size_mb: Size of the fitted detector in megabytes.
        peak_mb: Peak memory in megabytes, measured in the trial.
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
    """Speed of the graph on the exporting machine.

    Attributes:
        latency_ms: Median milliseconds of a batch of one.
        images_s: Images per second in batches of eight.
        threads: Number of CPU cores.
        size_mb: Size of the graph in megabytes.
    """

    latency_ms: float
    images_s: float
    threads: int
    size_mb: float


class Versions(_Section):
    """Versions of the software that wrote the bundle."""

    automl_ad: str
    torch: str
    timm: str
    onnx: str
    onnxruntime: str


class Manifest(_Section):
    """Content of ``bundle.json``; graph, weights and calibration are files of their own.

    Attributes:
        schema_version: Version of this layout.
        decision: What is called anomalous.
        method: Name of the method.
        settings: Its settings, as JSON.
        backbone: The backbone or backbones.
        preprocessing: From an image file to the graph's input.
        images: What the files of the good images have in common; None if unknown, as in bundles of version 2.
        rule: Name of the score aggregation, which is part of the graph.
        precision: Numerical precision of the graph.
        map_range: Map values of normal pixels, (usual, highest); scales the heatmaps.
        facts: Provenance.
        parity: Differences between the outputs of the graph and of the torch detector.
        speed: Speed of the graph.
        versions: Versions of the software that wrote it.
        files: SHA-256 of every other file, by name.
    """

    schema_version: int = SCHEMA_VERSION
    decision: Decision
    method: str
    settings: dict[str, Any]
    backbone: BackboneFacts
    preprocessing: Preprocessing
    images: ImageFacts | None = None
    rule: str
    precision: Precision
    map_range: tuple[FiniteFloat, FiniteFloat]
    facts: StudyFacts
    parity: Parity
    speed: Speed
    versions: Versions
    files: dict[str, Digest]

    @model_serializer(mode="wrap")
    def _without_unknown_images(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Manifests of version 2 come back as they were."""
        fields: dict[str, Any] = handler(self)
        return {key: value for key, value in fields.items() if key != "images" or value is not None}

    def encode(self) -> bytes:
        """The bytes of ``bundle.json``, with a checksum over everything except the decision."""
        return encode_manifest(self.model_dump(mode="json"))


def encode_manifest(content: Mapping[str, Any]) -> bytes:
    """A manifest as the bytes of its file, with a new checksum right after the schema version."""
    plain = {key: value for key, value in content.items() if key not in ("schema_version", "checksum")}
    head = {"schema_version": content["schema_version"], "checksum": manifest_checksum(content)}
    return json.dumps(head | plain, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
