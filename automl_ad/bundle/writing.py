"""Writes a bundle: complete at its place, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from torch import Tensor

from automl_ad.bundle.container import open_container, read_manifest
from automl_ad.bundle.manifest import CALIBRATION, MANIFEST, WEIGHTS, BackboneFacts, Manifest, StudyFacts, Versions
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.errors import BundleError, InputError
from automl_ad.evaluation.metrics import finite_scores
from automl_ad.evaluation.scoring import ScoringRule
from automl_ad.evaluation.thresholds import Threshold
from automl_ad.methods.features import FeatureDetector
from automl_ad.store.plain_json import plain

DETECTOR_PREFIX = "detector."
BACKBONE_PREFIX = "backbone."
CALIBRATION_KEY = "scores"

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class BundleContents:
    """What goes into a bundle.

    Attributes:
        detector: Fitted on all normals.
        weights_origin: Where the backbone's weights came from.
        preprocessing: How the detector's images were made.
        rule: Turns its maps into scores.
        calibration: float64 [n], scores of normals by detectors that did not see them.
        threshold: Chosen on ``calibration``.
        map_range: Map values of normal pixels, (usual, highest), for example their quantiles 0.5 and 0.999.
        facts: Values of ``StudyFacts``.
    """

    detector: FeatureDetector
    weights_origin: str
    preprocessing: Preprocessing
    rule: ScoringRule
    calibration: npt.NDArray[np.float64]
    threshold: Threshold
    map_range: tuple[float, float]
    facts: Mapping[str, Any]


def write_bundle(output: Path, contents: BundleContents) -> Path:
    """Writes a bundle to a folder, or to one file when ``output`` ends in ``.zip``.

    It is put together beside its place and moved there when it is complete; a bundle that was there before is
    replaced only then. Equal contents give equal bytes.

    Returns:
        ``output``.

    Raises:
        InputError: Something that is not a bundle lies at ``output``, or nothing can be written there.
        ValueError: The calibration scores are not a vector of finite numbers.
    """
    scores = finite_scores(contents.calibration, "calibration scores").astype(np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"a bundle needs a vector of calibration scores but got shape {scores.shape}")
    check_output(output)
    place = Path(os.path.realpath(output))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(place.parent) as scratch:
            folder = scratch / "bundle"
            folder.mkdir()
            _write_files(folder, contents, scores)
            _move(_zipped(folder) if _is_zip(output) else folder, place, scratch / "replaced")
    except (OSError, SafetensorError) as error:
        raise _unwritable(output, error) from error
    return output


def check_output(output: Path) -> None:
    """Refuses to replace anything but a bundle of the same shape or an empty folder; worth asking before a long fit.

    Raises:
        InputError: Something else lies at ``output``.
    """
    place = Path(os.path.realpath(output))
    try:
        if not place.exists():
            return
        if _is_zip(output) == place.is_dir():
            found = "a folder" if place.is_dir() else "a file"
            raise InputError(f"--output {output} is {found}; give a new name (a name in .zip for one file).")
        if place.is_dir() and not any(place.iterdir()):
            return
    except OSError as error:
        raise _unwritable(output, error) from error
    strange = _strange_part(place)
    if strange:
        raise InputError(f"--output {output} exists and {strange}; choose a new name or remove it first.")


def _is_zip(output: Path) -> bool:
    return output.suffix.lower() == ".zip"


def _unwritable(output: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"--output {output} cannot be written ({reason}); choose a writable place with enough room.")


def _strange_part(place: Path) -> str:
    """What keeps ``place`` from being a bundle and nothing more; empty when it is one."""
    try:
        with open_container(place) as container:
            strangers = container.names() - {MANIFEST} - read_manifest(container).files.keys()
    except BundleError:
        return "is not a bundle that this version reads"
    return f"holds {min(strangers)} beside a bundle" if strangers else ""


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    # Not tempfile's: those are readable by their owner only, and so would the bundle be.
    folder = parent / f".bundle-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, contents: BundleContents, scores: npt.NDArray[np.float64]) -> None:
    # As bytes, and not by safetensors' own writer: its files are readable by their owner only.
    (folder / WEIGHTS).write_bytes(save(_tensors(contents.detector)))
    (folder / CALIBRATION).write_bytes(save_arrays({CALIBRATION_KEY: np.ascontiguousarray(scores)}))
    digests = {name: _digest(folder / name) for name in (WEIGHTS, CALIBRATION)}
    (folder / MANIFEST).write_bytes(_manifest(contents, digests).encode())


def _tensors(detector: FeatureDetector) -> dict[str, Tensor]:
    """Every tensor needed, as plain copies: safetensors takes neither shared memory nor other memory orders."""
    own = {DETECTOR_PREFIX + name: tensor for name, tensor in detector.state.items()}
    frozen = detector.extractor.backbone.tensors(detector.settings.levels)
    tensors = own | {BACKBONE_PREFIX + name: tensor for name, tensor in frozen.items()}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _manifest(contents: BundleContents, digests: dict[str, str]) -> Manifest:
    detector = contents.detector
    backbone = detector.extractor.backbone
    return Manifest(
        method=detector.name,
        settings=detector.settings.model_dump(mode="json"),
        backbone=BackboneFacts(
            name=backbone.name,
            levels=detector.settings.levels,
            weights_origin=contents.weights_origin,
            weights_tag=backbone.weights_tag,
        ),
        preprocessing=contents.preprocessing,
        rule=contents.rule.name,
        threshold=contents.threshold,
        map_range=contents.map_range,
        facts=StudyFacts.model_validate(plain(contents.facts)),
        versions=Versions(automl_ad=version("automl-ad"), torch=version("torch"), timm=version("timm")),
        files=digests,
    )


def _zipped(folder: Path) -> Path:
    """The files of ``folder`` as an archive beside it, uncompressed (weights do not shrink) and without dates."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in (MANIFEST, WEIGHTS, CALIBRATION):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr = 0o644 << 16
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return path


def _move(made: Path, place: Path, aside: Path) -> None:
    """Moves ``made`` to ``place``; what was there goes ``aside``, and back if the move fails."""
    if not place.is_dir():
        os.replace(made, place)
        return
    try:
        os.replace(place, aside)
        os.replace(made, place)
    except BaseException:
        if aside.exists() and not place.exists():
            os.replace(aside, place)
        raise
