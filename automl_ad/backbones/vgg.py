"""VGG networks with one level per ReLU and optional reflection padding, as published with DFR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from automl_ad.backbones.network import TimmBackbone, create_network
from automl_ad.backbones.weights import Weights

REFLECT_SUFFIX = "+reflect"


def is_vgg(name: str) -> bool:
    """Whether a backbone name is that of a VGG network, whatever its tag and suffixes."""
    return name.startswith("vgg")


class VggBackbone(TimmBackbone):
    """A VGG network (Simonyan and Zisserman 2015, arXiv 1409.1556) divided after every ReLU.

    VGG19 has 16 levels: relu1_1, relu1_2, relu2_1 and so on to relu5_4, of strides 1 to 16. With ``reflect``, every
    convolution uses reflection instead of zero padding, as in the released code of DFR (Shi, Yang and Qi 2021, arXiv
    2012.07122): zeros make the border look anomalous.
    """

    def __init__(self, name: str, weights: Weights, reflect: bool = False) -> None:
        """Builds the network and loads ``weights``.

        Args:
            name: timm model name.
            weights: Tensors in timm's names; the tag may already have this class's suffix.
            reflect: Whether convolutions use reflection padding.

        Raises:
            InputError: timm knows no such model.
            WeightsError: The tensors belong to another network.
        """
        super().__init__(name, weights)
        variant = "-relu"  # distinguishes these levels from timm's in bundles and in the feature cache
        if reflect:
            _reflect(self.network)
            self.name = f"{name}{REFLECT_SUFFIX}"
            variant = "-relu-reflect"
        self.weights_tag = weights.tag.removesuffix(variant) + variant

    def _build(self, name: str) -> Any:
        with torch.device("meta"):  # skips initialising 100 million unused classifier parameters, which takes seconds
            network = create_network(name)
        network.pre_logits = nn.Identity()
        return network.to_empty(device="cpu")  # layers without weights are never run

    def _level_info(self) -> list[dict[str, Any]]:
        facts, channels, stride = [], 0, 1
        for place, layer in enumerate(self.network.features):
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
            elif isinstance(layer, nn.MaxPool2d):
                stride *= 2
            elif isinstance(layer, nn.ReLU):
                facts.append({"module": f"features.{place}", "num_chs": channels, "reduction": stride})
        return facts

    def _maps(self, inputs: Tensor, indices: Sequence[int]) -> list[Tensor]:
        wanted = [int(self._modules_of_levels[index].rpartition(".")[2]) for index in indices]
        maps = []
        for place, layer in enumerate(self.network.features[: max(wanted, default=-1) + 1]):
            inputs = layer(inputs)
            if place in wanted:
                maps.append(
                    inputs
                )  # safe, as no later layer works in place: only convolutions and pooling follow a ReLU
        return maps


def _reflect(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "reflect"
