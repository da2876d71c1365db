"""What the detectors on frozen features share: the walk over the images and the alignment of levels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.extractor import BATCH, FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import Detector, DetectorSettings, Extractors, MethodSettings, Reading
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import Space, decode_levels, encode_levels

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Align = Literal["bilinear", "nearest"]


def align(maps: Sequence[Tensor], size: tuple[int, int], mode: Align = "bilinear") -> Tensor:
    """Brings feature levels to one grid and stacks their channels.

    Finer levels are averaged over each cell of the grid, coarser ones interpolated.

    Args:
        maps: float32 [B, C_i, h_i, w_i] each.
        size: (rows, columns) of the grid.
        mode: How coarser levels are interpolated.

    Returns:
        float32 [B, sum of C_i, rows, columns].
    """
    return torch.cat([_to_grid(level, size, mode) for level in maps], 1)


def _to_grid(level: Tensor, size: tuple[int, int], mode: Align) -> Tensor:
    height, width = level.shape[-2:]
    if (height, width) == size:
        return level
    if height >= size[0] and width >= size[1]:
        if height % size[0] == 0 and width % size[1] == 0:
            return functional.avg_pool2d(level, (height // size[0], width // size[1]))
        return functional.adaptive_avg_pool2d(level, size)
    if mode == "nearest":
        return functional.interpolate(level, size=size, mode="nearest")
    return functional.interpolate(level, size=size, mode="bilinear", align_corners=False)


class DetectorModule(nn.Module):
    """Backbone and head in one module, for export.

    Args:
        backbone: Frozen feature extractor.
        head: From the list of its maps to float32 [B, h, w].
        levels: Which maps.
        sees_images: Whether the head gets the images as a last entry of the list.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, levels: tuple[int, ...], sees_images: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.levels = levels
        self.sees_images = sees_images

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 3, H, W] in 0 to 1 to float32 [B, h, w]."""
        maps = self.backbone(images, self.levels)
        result: Tensor = self.head([*maps, images] if self.sees_images else maps)
        return result


class FeatureDetector(Detector):
    """A detector of a method that can be searched: a small head over the levels of one frozen backbone.

    A subclass fits ``self.head``: a module from the list of feature maps to float32 [B, h, w], whose persistent
    buffers and parameters are all of its state.

    Attributes:
        sees_images: Whether the list that the head gets ends with the images themselves, float32 [B, 3, H, W].
        head: The fitted module.
    """

    settings_type: ClassVar[type[MethodSettings]]
    settings: MethodSettings
    sees_images: ClassVar[bool] = False
    head: nn.Module

    def __init__(self, settings: MethodSettings, extractor: FeatureExtractor, seed: int = 0) -> None:
        """Prepares an unfitted detector.

        Raises:
            InputError: The backbone lacks one of the levels.
        """
        extractor.backbone.positions(settings.levels)
        self.settings = settings
        self.extractor = extractor
        self.seed = seed

    @classmethod
    def build(cls, settings: DetectorSettings, extractors: Extractors, seed: int = 0) -> FeatureDetector:
        """See ``Detector.build``."""
        assert isinstance(settings, cls.settings_type)
        return cls(settings, extractors(settings.backbone), seed)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """See ``Detector.readings``."""
        return (Reading(self.extractor.backbone, self.settings.levels),)

    @property
    def device(self) -> torch.device:
        """See ``Detector.device``."""
        return self.extractor.device

    def anomaly_map(self, images: Tensor) -> Tensor:
        """See ``Detector.anomaly_map``."""
        return self.map_of(self.extractor.maps(images, self.settings.levels), images)

    def map_of(self, features: Sequence[Tensor], images: Tensor) -> Tensor:
        """The map of images, float32 [B, 3, H, W], whose features, float32 [B, C, h, w] a level, are at hand."""
        return self._map([*features, *self._shown(images)])

    def anomaly_maps(self, images: ImageSet) -> npt.NDArray[np.float32]:
        """See ``Detector.anomaly_maps``."""
        return np.concatenate([self._map(maps).cpu().numpy() for maps in self._batches(images)])

    @property
    def state(self) -> dict[str, Tensor]:
        """See ``Detector.state``."""
        return {key: value.detach().cpu().contiguous() for key, value in self.head.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See ``Detector.load_state``."""
        try:
            head = self._empty_head(state)
            head.load_state_dict(dict(state))
        except (KeyError, IndexError, RuntimeError) as error:
            raise ValueError(f"the tensors are not those of a fitted {self.name}") from error
        self.head = head.to(self.extractor.device).eval()

    def to_module(self) -> nn.Module:
        """See ``Detector.to_module``."""
        return DetectorModule(self.extractor.backbone, self.head, self.settings.levels, self.sees_images)

    @classmethod
    @abstractmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """Draws the parameters of a candidate from ``trial`` within ``space``."""

    @classmethod
    @abstractmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """Settings worth trying first within ``space``, the published ones foremost."""

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        """A head whose tensors have the shapes found in ``state``."""
        raise AssertionError("a feature detector defines its head")  # pragma: no cover

    @torch.inference_mode()
    def _map(self, maps: list[Tensor]) -> Tensor:
        result: Tensor = self.head(maps)
        return result.float()

    def _batches(self, images: ImageSet, size: int = BATCH) -> Iterator[list[Tensor]]:
        """What the head gets of ``images``, ``size`` of them at a time."""
        features = self.extractor.batches(images, self.settings.levels, size)
        if not self.sees_images:
            return features
        shown = (self._shown(torch.from_numpy(batch)) for batch in images.batches(size))
        return ([*maps, *pixels] for maps, pixels in zip(features, shown, strict=True))

    def _shown(self, images: Tensor) -> list[Tensor]:
        return [images.to(self.extractor.device)] if self.sees_images else []

    def _needed(self, anomalies: PairSource | None) -> PairSource:
        """The source of anomalies that the method cannot do without.

        Raises:
            ValueError: There is none.
        """
        if anomalies is None:
            raise ValueError(f"{self.name} learns from anomalies: fit needs a source of them")
        return anomalies

    @property
    def _halves(self) -> bool:
        """Whether training computes in half precision: always on a GPU; on a CPU it gains a fifth at best."""
        return self.extractor.device.type == "cuda"

    def _generator(self) -> torch.Generator:
        """A generator on the CPU, so that every device draws the same numbers."""
        return torch.Generator().manual_seed(self.seed)


def suggest_backbone(trial: BaseTrial, space: Space, method: str) -> str:
    """Draws a backbone of the space; each method has its own choice, since what suits one may not suit another."""
    names = [backbone.name for backbone in space.backbones]
    return str(trial.suggest_categorical(f"{method}.backbone", names))


def suggest_families(trial: BaseTrial, method: str, space: Space) -> str:
    """Draws the anomalies to learn from, of those that the study can make: one kind, or both."""
    options = [*space.sources, "both"] if len(space.sources) > 1 else list(space.sources)
    return str(trial.suggest_categorical(f"{method}.families", options))


def suggest_levels(trial: BaseTrial, method: str, backbone: str, choices: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Draws levels; the name carries the backbone, for level numbers of two networks mean different things."""
    options = [encode_levels(choice) for choice in choices]
    return decode_levels(str(trial.suggest_categorical(f"{method}.levels.{backbone}", options)))
