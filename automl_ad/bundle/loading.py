"""Loads a bundle: as an ONNX graph for prediction, or as a torch detector."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.weights import Weights
from automl_ad.backbones.zoo import build_backbone
from automl_ad.bundle import runtime
from automl_ad.bundle.manifest import BackboneFacts, Manifest
from automl_ad.bundle.runtime import Bundle, read_bundle
from automl_ad.bundle.writing import DETECTOR_PREFIX, WEIGHTS, backbone_prefixes
from automl_ad.data.pixel_budget import PIXELS
from automl_ad.data.reading import read_deep_colour
from automl_ad.errors import AutomlAdError, BundleError
from automl_ad.methods.base import Detector
from automl_ad.methods.registry import candidate_class

__all__ = ["Bundle", "load_bundle", "load_detector"]


def load_bundle(path: str | Path, device: str = "cpu", threads: int | None = None) -> Bundle:
    """Loads a bundle for prediction with its runtime, which here also reads 16-bit colour images.

    Args:
        path: Folder or zip file of the bundle.
        device: Where the graph runs: ``cpu``, ``cuda`` or ``cuda:1``.
        threads: Threads of ONNX Runtime, and the most that read files; one per core when None.

    Raises:
        BundleError: A file is missing or altered, or the bundle has another schema version.
        InputError: The device is not available, or ``threads`` is below 1.
    """
    return runtime.load_bundle(path, device, threads, read_deep_colour, PIXELS)


def load_detector(path: str | Path, device: torch.device | str = "cpu") -> Detector:
    """Rebuilds the torch detector of a bundle from its weights; needs neither a hub nor a weights folder.

    Args:
        path: Folder or zip file of the bundle.
        device: Where the detector runs.

    Raises:
        BundleError: A file is missing or altered, or the bundle has another schema version.
    """
    content, files = read_bundle(Path(path), (WEIGHTS,))
    try:
        manifest = Manifest.model_validate(content)
        return _detector(manifest, load_tensors(files[WEIGHTS]), device)
    except (AutomlAdError, SafetensorError, ValueError, KeyError) as error:
        made = content.get("versions", {})
        reason = _first_error(error) if isinstance(error, ValidationError) else error
        raise BundleError(
            f"Bundle {path} cannot be rebuilt by this version ({reason}); export it again or install the versions that "
            f"wrote it: automl-ad {made.get('automl_ad')}, torch {made.get('torch')}, timm {made.get('timm')}."
        ) from error


def _detector(manifest: Manifest, tensors: dict[str, Tensor], device: torch.device | str) -> Detector:
    kind = candidate_class(manifest.method)
    backbones = manifest.backbone.each or (manifest.backbone,)
    extractors = {
        facts.name: FeatureExtractor(_backbone(facts, _with_prefix(prefix, tensors)), device)
        for prefix, facts in zip(backbone_prefixes(len(backbones)), backbones, strict=True)
    }
    settings = kind.settings_type.model_validate(manifest.settings)
    detector = kind.build(settings, extractors.__getitem__, manifest.facts.seed)
    detector.load_state(_with_prefix(DETECTOR_PREFIX, tensors))
    return detector


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _backbone(facts: BackboneFacts, tensors: dict[str, Tensor]) -> Backbone:
    network_tag = facts.weights_tag.partition("+")[0]
    backbone = build_backbone(facts.name, Weights(tensors, facts.weights_origin, network_tag) if tensors else None)
    # Fixed filters and levels are code, not tensors: another version of the code would silently compute other features.
    if backbone.weights_tag != facts.weights_tag:
        raise ValueError(f"it needs the features {facts.weights_tag}, but this version computes {backbone.weights_tag}")
    return backbone


def _first_error(error: ValidationError) -> str:
    """The first validation error, on one line."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
