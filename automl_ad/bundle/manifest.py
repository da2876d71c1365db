"""``bundle.json``: what a bundle is, where it came from, and the digests of its files."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from automl_ad.data.preprocessing import Preprocessing
from automl_ad.errors import BundleError
from automl_ad.evaluation.thresholds import Threshold

MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.safetensors"
SCHEMA_VERSION = 1

_NO_CHECKSUM = "0" * 64

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A plain name: no folder, no parent, nothing hidden."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class BackboneFacts(_Section):
    """The feature extractor of a bundle.

    Attributes:
        name: Backbone name.
        levels: Levels that the detector reads.
        weights_origin: Where the weights came from, for reports.
        weights_tag: Names the weights and fixed filters; the rebuilt backbone must have the same.
    """

    name: str
    levels: tuple[int, ...]
    weights_origin: str
    weights_tag: str


class StudyFacts(_Section):
    """Where a bundle came from; other facts may stand beside these.

    Attributes:
        study: Name of the study.
        trial: Number of the trial.
        suite: Hash of the proxy suite.
        fingerprint: Digest of the images that the study saw.
        proxy_score: What the suite said of the trial, 0 to 1.
        interval: Interval of the proxy score.
        latency_ms: Milliseconds an image.
        size_mb: Megabytes of the fitted detector.
        seed: Seed of the study.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    study: str
    trial: int
    suite: str | None = None
    fingerprint: str | None = None
    proxy_score: float | None = None
    interval: tuple[float, float] | None = None
    latency_ms: float | None = None
    size_mb: float | None = None
    seed: int = 0


class Versions(_Section):
    """Software that wrote the bundle."""

    automl_ad: str
    torch: str
    timm: str


class Manifest(_Section):
    """Everything about a bundle but its tensors.

    Attributes:
        schema_version: Version of this layout.
        checksum: SHA-256 of the manifest file itself, this value replaced by zeros.
        method: Name of the method.
        settings: Its settings, as JSON.
        backbone: The feature extractor.
        preprocessing: How a file becomes the detector's input.
        rule: Name of the rule that turns a map into a score.
        threshold: The decision and its promise.
        map_range: Map values of normal pixels, (usual, highest): the scale of the heatmaps.
        facts: Where the bundle came from.
        versions: Software that wrote it.
        files: SHA-256 of each other file.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    checksum: Digest = _NO_CHECKSUM
    method: str
    settings: dict[str, Any]
    backbone: BackboneFacts
    preprocessing: Preprocessing
    rule: str
    threshold: Threshold
    map_range: tuple[FiniteFloat, FiniteFloat]
    facts: StudyFacts
    versions: Versions
    files: dict[FileName, Digest]

    def encode(self) -> bytes:
        """The manifest as the bytes of its file, with a fresh checksum."""
        content = self.model_copy(update={"checksum": _NO_CHECKSUM}).model_dump(mode="json")
        blank = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        return _with_checksum(blank, _NO_CHECKSUM, hashlib.sha256(blank).hexdigest())


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Reads the bytes of ``bundle.json``.

    Args:
        data: Content of the file.
        where: How to name the file in errors.

    Raises:
        BundleError: Not JSON, of a newer version, incomplete, or altered.
    """
    content = _parse(data, where)
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{where} is of version {version} but this program reads up to version {SCHEMA_VERSION}; update automl-ad "
            "or export the bundle again with this version."
        )
    try:
        manifest = Manifest.model_validate(content | {"schema_version": version, "checksum": content.get("checksum")})
    except ValidationError as error:
        raise BundleError(f"{where} is incomplete ({first_fault(error)}); export the bundle again.") from error
    blank = _with_checksum(data, manifest.checksum, _NO_CHECKSUM)
    if hashlib.sha256(blank).hexdigest() != manifest.checksum:
        raise BundleError(f"{where} has been altered since it was written; copy or export the bundle again.")
    absent = {WEIGHTS, CALIBRATION} - manifest.files.keys()
    if absent:
        raise BundleError(f"{where} does not list {min(absent)}; export the bundle again.")
    return manifest


def _with_checksum(data: bytes, old: str, new: str) -> bytes:
    # The checksum stands before anything else that could hold the same digits.
    return data.replace(old.encode(), new.encode(), 1)


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not JSON; copy or export the bundle again.") from error
    if not isinstance(content, dict):
        raise BundleError(f"{where} is not the manifest of a bundle; copy or export the bundle again.")
    return content


def first_fault(error: ValidationError) -> str:
    """The first of the faults that were found, on one line."""
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
