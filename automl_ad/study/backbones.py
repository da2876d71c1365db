"""The backbones of a study: those asked for, as far as their weights can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from automl_ad.backbones.base import NO_BACKBONE, Backbone, NoBackbone
from automl_ad.backbones.cache import FeatureCache
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.names import EMBEDDED, INSTALLED_NETWORK
from automl_ad.backbones.weights import has_local_weights, weights_folder
from automl_ad.backbones.zoo import FILTERS_SUFFIX, load_backbone, network_name
from automl_ad.errors import WeightsError
from automl_ad.methods.space import BackboneSpace, networks_first
from automl_ad.study.settings import StudySettings

_STAND_INS = (INSTALLED_NETWORK, EMBEDDED)
"""What stands in for the backbones of a preset where none of their weights can be had."""


@dataclass(frozen=True)
class BackboneSet:
    """Backbones ready for use.

    Attributes:
        extractors: By backbone name, in the order asked for.
        warnings: What could not be had, in sentences.
    """

    extractors: dict[str, FeatureExtractor]
    warnings: list[str]

    @property
    def tags(self) -> dict[str, str]:
        """Tag of the weights by name."""
        return {name: extractor.backbone.weights_tag for name, extractor in self.extractors.items()}

    @property
    def spaces(self) -> tuple[BackboneSpace, ...]:
        """What each backbone offers to a search."""
        return tuple(
            BackboneSpace(name, extractor.backbone.levels, extractor.backbone.strides, extractor.backbone.channels)
            for name, extractor in self.extractors.items()
        )

    @property
    def baseline(self) -> FeatureExtractor:
        """The one that the baseline runs on."""
        return self.extractors[networks_first(self.spaces)[0].name]

    def extractor(self, name: str) -> FeatureExtractor:
        """The extractor of a backbone, or of none."""
        return self._without_backbone if name == NO_BACKBONE else self.extractors[name]

    @cached_property
    def _without_backbone(self) -> FeatureExtractor:
        return FeatureExtractor(NoBackbone(), next(iter(self.extractors.values())).device)


def load_backbones(settings: StudySettings, device: torch.device, cache: FeatureCache) -> BackboneSet:
    """Loads the backbones of a study.

    Those that the user named must be had; those of a preset are left out when they cannot, and the network of every
    installation and the embedded backbone stand in when none can.

    Raises:
        InputError: A named backbone does not exist.
        WeightsError: A named backbone has no weights; the message names the ways to provide them.
    """
    weights_folder(settings.weights_dir)  # a folder that was named must exist, whatever backbones are wanted
    warnings: list[str] = []
    loaded: dict[str, Backbone | None] = {}
    for name in sorted(settings.backbones, key=lambda name: name.endswith(FILTERS_SUFFIX)):
        loaded[name] = _joined(name, loaded) or _load(name, settings, warnings)
    found = {name: backbone for name in settings.backbones if (backbone := loaded[name]) is not None}
    missing = [name for name in settings.backbones if name not in found]
    if missing and set(found) <= {EMBEDDED}:
        # The network of every installation, unless its package was removed or is damaged, and the filters.
        loaded |= {name: _load(name, settings, warnings) for name in _STAND_INS if name not in loaded}
        found = {name: backbone for name in _STAND_INS if (backbone := loaded[name]) is not None}
        warnings.append(
            f"No weights were found for {', '.join(missing)}: going on with {' and '.join(found)} "
            "(better: --weights-dir with <timm name>.safetensors files)."
        )
    return BackboneSet({name: FeatureExtractor(b, device, cache) for name, b in found.items()}, warnings)


def _joined(name: str, loaded: Mapping[str, Backbone | None]) -> Backbone | None:
    """A network with the filters, if the network is there already: both then are one in memory."""
    if not name.endswith(FILTERS_SUFFIX) or network_name(name) == EMBEDDED:
        return None
    network = loaded.get(name.removesuffix(FILTERS_SUFFIX))
    return None if network is None else JoinedBackbone(network)


def _load(name: str, settings: StudySettings, warnings: list[str]) -> Backbone | None:
    """The backbone; None, and a warning if its weights are there but of no use, when a preset can do without it."""
    try:
        return load_backbone(name, settings.weights_dir)
    except WeightsError as error:
        if settings.explicit_backbones:
            raise
        if has_local_weights(network_name(name), settings.weights_dir):
            warnings.append(f"Left out: {error}")
        return None
