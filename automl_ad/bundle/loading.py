"""Reads a bundle back: checked, self-contained, without executing anything that it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors
from torch import Tensor

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.weights import Weights
from automl_ad.backbones.zoo import build_backbone
from automl_ad.bundle.container import open_container, read_files, read_manifest
from automl_ad.bundle.manifest import CALIBRATION, WEIGHTS, Manifest, first_fault
from automl_ad.bundle.prediction import Bundle
from automl_ad.bundle.writing import BACKBONE_PREFIX, CALIBRATION_KEY, DETECTOR_PREFIX
from automl_ad.errors import AutomlAdError, BundleError
from automl_ad.evaluation.metrics import finite_scores
from automl_ad.evaluation.scoring import ScoringRule
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.registry import detector_class

__all__ = ["Bundle", "load_bundle"]


def load_bundle(path: str | Path, device: torch.device | str = "cpu") -> Bundle:
    """Loads a bundle from its folder or zip file.

    Nothing else is needed: neither the hub nor a folder of weights.

    Args:
        path: What the export wrote.
        device: Where the detector runs.

    Raises:
        BundleError: A file is missing or altered, or the bundle is of another version.
    """
    path = Path(path)
    with open_container(path) as container:
        manifest = read_manifest(container)
        files = read_files(container, manifest)
    try:
        detector = _detector(manifest, load_tensors(files[WEIGHTS]), device)
        rule = ScoringRule.parse(manifest.rule)
        calibration = _calibration(files[CALIBRATION])
    except (AutomlAdError, SafetensorError, ValueError, KeyError) as error:
        made = manifest.versions
        reason = first_fault(error) if isinstance(error, ValidationError) else error
        raise BundleError(
            f"Bundle {path} cannot be used by this version ({reason}); export it again or install the versions that "
            f"wrote it: automl-ad {made.automl_ad}, torch {made.torch}, timm {made.timm}."
        ) from error
    return Bundle(path, manifest, detector, rule, calibration)


def _detector(manifest: Manifest, tensors: dict[str, Tensor], device: torch.device | str) -> FeatureDetector:
    kind = detector_class(manifest.method)
    backbone = _backbone(manifest, _below(BACKBONE_PREFIX, tensors))
    settings = kind.settings_type.model_validate(manifest.settings)
    detector = kind(settings, FeatureExtractor(backbone, device), manifest.facts.seed)
    detector.load_state(_below(DETECTOR_PREFIX, tensors))
    return detector


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _backbone(manifest: Manifest, tensors: dict[str, Tensor]) -> Backbone:
    facts = manifest.backbone
    network_tag = facts.weights_tag.partition("+")[0]
    backbone = build_backbone(facts.name, Weights(tensors, facts.weights_origin, network_tag) if tensors else None)
    # Fixed filters and levels are code, not tensors: those of another version would map differently without a word.
    if backbone.weights_tag != facts.weights_tag:
        raise ValueError(f"its features are those of {facts.weights_tag}, here they would be {backbone.weights_tag}")
    return backbone


def _calibration(content: bytes) -> npt.NDArray[np.float64]:
    scores = finite_scores(load_arrays(content)[CALIBRATION_KEY], "calibration scores").astype(np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError("it holds no calibration scores")
    return scores
