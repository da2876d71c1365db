"""Any timm model as a backbone, with complete or truncated weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, normalise
from automl_ad.backbones.weights import Weights, require_known
from automl_ad.errors import InputError, WeightsError


class TimmBackbone(Backbone):
    """A timm network divided into levels by ``forward_intermediates``, for CNNs and vision transformers.

    Weights that contain only the first levels of the network are accepted; the other levels are then unavailable.
    """

    def __init__(self, name: str, weights: Weights) -> None:
        """Builds the network and loads ``weights``.

        Args:
            name: timm model name.
            weights: Tensors in timm's names.

        Raises:
            InputError: timm knows no such model, or it has no feature levels.
            WeightsError: The tensors belong to another network.
        """
        super().__init__()
        self.name = name
        self.weights_tag = weights.tag
        self.origin = weights.origin
        self.network = self._build(name)
        self.licence = _licence(name, weights.origin, self.network.pretrained_cfg)
        info = self._level_info()
        self._modules_of_levels = [str(entry["module"]) for entry in info]
        self._count = len(info)
        self._patch = _patch_size(self.network)
        config = self.network.pretrained_cfg
        self._mean, self._std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
        held = _load(self.network, weights, self._modules_of_levels, name)
        self.levels = tuple(i - self._count for i in range(held))
        self.channels = tuple(int(entry["num_chs"]) for entry in info[:held])
        self.strides = tuple(int(entry["reduction"]) for entry in info[:held])
        self.freeze()

    def forward(self, images: Tensor, levels: Sequence[int] | None = None) -> list[Tensor]:
        """See ``Backbone.forward``.

        Raises:
            InputError: The network cannot take images of this size.
        """
        wanted = self.levels if levels is None else tuple(levels)
        self.positions(wanted)
        indices = sorted({level + self._count for level in wanted})
        inputs = self._resize_to_patches(normalise(images, self._mean, self._std))
        try:
            maps = self._maps(inputs, indices)
        except AssertionError as error:  # raised by timm for unsupported sizes
            size = f"{images.shape[-2]}x{images.shape[-1]}"
            raise InputError(
                f"Backbone {self.name} cannot take images of {size} ({error}); choose another --image-size or backbone."
            ) from error
        by_index = dict(zip(indices, maps, strict=True))
        return [by_index[level + self._count] for level in wanted]

    def tensors(self, levels: Sequence[int]) -> dict[str, Tensor]:
        """The tensors that ``levels`` need, in timm's names, as stored in a bundle."""
        self.positions(levels)
        ends = _level_ends(self.network, self._modules_of_levels)
        needed = max((ends[i] for level in levels for i in range(level + self._count + 1)), default=0)
        return dict(list(self.network.state_dict().items())[:needed])

    def _build(self, name: str) -> Any:
        """The network, before its weights are loaded."""
        return create_network(name)

    def _level_info(self) -> list[dict[str, Any]]:
        """timm's feature info of each level, finest first: its last ``module``, ``num_chs`` and ``reduction``."""
        return [dict(entry) for entry in self.network.feature_info]

    def _maps(self, inputs: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """The levels at ascending ``indices`` for normalised images."""
        maps: list[Tensor] = self.network.forward_intermediates(
            inputs, indices=indices, intermediates_only=True, stop_early=True, output_fmt="NCHW"
        )
        return maps

    def _resize_to_patches(self, images: Tensor) -> Tensor:
        """Resizes to a multiple of the patch size: patch 14 does not divide multiples of 32."""
        height, width = images.shape[-2:]
        target = [max(self._patch, round(side / self._patch) * self._patch) for side in (height, width)]
        if target == [height, width]:
            return images
        return functional.interpolate(images, size=target, mode="bilinear", align_corners=False, antialias=True)


def create_network(name: str) -> Any:
    """timm's model ``name`` without its last layer.

    Raises:
        InputError: timm knows no such model, or it has no feature levels.
    """
    import timm

    require_known(name)
    settings: dict[str, Any] = {"pretrained": False, "num_classes": 0}
    try:
        try:
            model = timm.create_model(name, dynamic_img_size=True, **settings)
        except TypeError:  # convolutional networks have no such argument and take any size
            model = timm.create_model(name, **settings)
    except RuntimeError as error:
        raise InputError(f"Backbone {name!r} cannot be built by timm ({error}); choose another model.") from error
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        raise InputError(f"Backbone {name!r} offers no intermediate features in timm; choose another model.")
    return model


def _licence(name: str, origin: str, config: Mapping[str, Any]) -> str:
    """The licence that timm states for its own weights; unknown for a file that only has the network's name."""
    stated = config.get("license") or "not stated"
    if origin.startswith(("hub:", "package ")) or "." in name:
        return f"{stated}, according to timm for {name}"
    return f"unknown, depends on the source of the file (timm's own weights of {name}: {stated})"


def _patch_size(network: nn.Module) -> int:
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(patch[0] if isinstance(patch, Sequence) else patch)


def _load(network: nn.Module, weights: Weights, modules: list[str], name: str) -> int:
    """Loads the available weights and returns how many levels, from the finest, are complete.

    A level is complete if no parameter up to its end is missing. timm registers modules in execution order, so the
    first missing name truncates the network.
    """
    own = network.state_dict()
    tensors = {key: value for key, value in weights.tensors.items() if key in own}
    cut = next((i for i, key in enumerate(own) if key not in tensors and not _is_counter(key)), len(own))
    held = len(list(takewhile(lambda end: end <= cut, _level_ends(network, modules))))
    misfit = _misfit(network, weights.tensors, cut) or (None if held else f"{list(own)[cut]} is missing")
    if misfit:
        raise WeightsError(
            f"Weights {weights.origin} do not fit backbone {name} ({misfit}); provide the file that timm has for it."
        )
    network.load_state_dict(tensors, strict=False)
    return held


def _misfit(network: nn.Module, tensors: dict[str, Tensor], cut: int) -> str | None:
    """Why ``tensors`` cannot be this network's first ``cut`` tensors; None if they can."""
    own = network.state_dict()
    wrong = [key for key, value in tensors.items() if key in own and value.shape != own[key].shape]
    if wrong:
        return f"{wrong[0]} has shape {list(tensors[wrong[0]].shape)} instead of {list(own[wrong[0]].shape)}"
    later = [key for key in list(own)[cut:] if key in tensors and not _is_counter(key)]
    if later:
        return f"{list(own)[cut]} is missing although {later[0]} is there"
    surplus = _surplus_block(network, tensors)
    return f"{surplus} belongs to a deeper network" if surplus else None


def _surplus_block(network: nn.Module, keys: Iterable[str]) -> str | None:
    """A key of a block that this network does not have, which indicates a deeper network of the same widths.

    Other unknown keys are ignored: classifiers, and buffers in timm's own files.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    for key in keys:
        parts = key.split(".")
        for i in range(1, len(parts)):
            stage, block = modules.get(".".join(parts[:i])), ".".join(parts[: i + 1])
            if isinstance(stage, containers) and block not in modules:
                return key
    return None


def _is_counter(key: str) -> bool:
    """Whether the key is batch norm's step counter, which older files lack and inference ignores."""
    return key.endswith("num_batches_tracked")


def _level_ends(network: nn.Module, modules: list[str]) -> list[int]:
    """For each of ``modules``, the number of state dict entries up to its end.

    Modules without parameters count too (``act1`` ends after ``bn1``); a name that is not a module, which some models
    use for their stem, ends with the whole network.
    """
    order = {name: i for i, (name, _) in enumerate(network.named_modules(remove_duplicate=False))}
    owners = [order[name.rpartition(".")[0]] for name in network.state_dict()]
    ends = []
    for module in modules:
        last = max((i for name, i in order.items() if f"{name}.".startswith(f"{module}.")), default=len(order))
        ends.append(sum(owner <= last for owner in owners))
    return ends
