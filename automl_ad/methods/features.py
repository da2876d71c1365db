"""Base class of detectors on frozen features: batching, alignment of feature levels, search helpers."""

from __future__ import annotations

import math
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
from automl_ad.methods.base import Detector, DetectorSettings, Extractors, FeatureSpec, MethodSettings
from automl_ad.methods.fit_memory import FitNeed, Placement, place
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import Space, decode_levels, encode_levels

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Align = Literal["bilinear", "nearest"]


def align(maps: Sequence[Tensor], size: tuple[int, int], mode: Align = "bilinear") -> Tensor:
    """Resamples feature levels to one grid and concatenates their channels.

    Finer levels are average-pooled over each grid cell, coarser ones interpolated.

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
        head: Maps the list of feature maps to float32 [B, h, w].
        levels: The feature levels used.
        uses_images: Whether the images are appended to the head's input list.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, levels: tuple[int, ...], uses_images: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.levels = levels
        self.uses_images = uses_images

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 3, H, W] in 0 to 1 to float32 [B, h, w]."""
        maps = self.backbone(images, self.levels)
        result: Tensor = self.head([*maps, images] if self.uses_images else maps)
        return result


class FeatureDetector(Detector):
    """A detector of a searchable method: a small head on the levels of one frozen backbone.

    A subclass fits ``self.head``, a module that maps the list of feature maps to float32 [B, h, w] and whose
    persistent buffers and parameters hold all fitted state.

    Attributes:
        uses_images: Whether the head's input list ends with the images themselves, float32 [B, 3, H, W].
        head: The fitted module.
    """

    settings_type: ClassVar[type[MethodSettings]]
    settings: MethodSettings
    uses_images: ClassVar[bool] = False
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
    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """See ``Detector.feature_specs``."""
        return (FeatureSpec(self.extractor.backbone, self.settings.levels),)

    @property
    def device(self) -> torch.device:
        """See ``Detector.device``."""
        return self.extractor.device

    def anomaly_map(self, images: Tensor) -> Tensor:
        """See ``Detector.anomaly_map``."""
        return self.map_from_features(self.extractor.maps(images, self.settings.levels), images)

    def map_from_features(self, features: Sequence[Tensor], images: Tensor) -> Tensor:
        """Anomaly maps from precomputed features, float32 [B, C, h, w] a level, of images float32 [B, 3, H, W]."""
        return self._map([*features, *self._image_inputs(images)])

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
        return DetectorModule(self.extractor.backbone, self.head, self.settings.levels, self.uses_images)

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: the features of the images in work."""
        del images
        return FitNeed(fixed=4.0 * BATCH * sum(math.prod(shape) for shape in self._level_shapes(size)))

    @classmethod
    @abstractmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """Draws the parameters of a candidate from ``trial`` within ``space``."""

    @classmethod
    @abstractmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """Settings to try first within ``space``, the published ones first."""

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        """A head whose tensors have the shapes of those in ``state``."""
        raise AssertionError("a feature detector defines its head")  # pragma: no cover

    @torch.inference_mode()
    def _map(self, maps: list[Tensor]) -> Tensor:
        result: Tensor = self.head(maps)
        return result.float()

    def _batches(self, images: ImageSet, size: int = BATCH) -> Iterator[list[Tensor]]:
        """The head's inputs for ``images``, ``size`` images at a time."""
        features = self.extractor.batches(images, self.settings.levels, size)
        if not self.uses_images:
            return features
        shown = (self._image_inputs(torch.from_numpy(batch)) for batch in images.batches(size))
        return ([*maps, *pixels] for maps, pixels in zip(features, shown, strict=True))

    def _image_inputs(self, images: Tensor) -> list[Tensor]:
        return [images.to(self.extractor.device)] if self.uses_images else []

    def _require_source(self, anomalies: PairSource | None) -> PairSource:
        """The source of anomalies of a method that needs one.

        Raises:
            ValueError: It is None.
        """
        if anomalies is None:
            raise ValueError(f"{self.name} trains on anomalies: fit needs a source of them")
        return anomalies

    def _level_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """About what the levels of an image of ``size`` are: (channels, rows, columns) of each."""
        pairs = zip(*self.extractor.backbone.describe(self.settings.levels), strict=True)
        return [(count, max(1, size[0] // stride), max(1, size[1] // stride)) for count, stride in pairs]

    def _placement(self, normals: ImageSet) -> Placement:
        """Where the fit to ``normals`` keeps its data.

        Raises:
            NotEnoughMemoryError: There is no room for it.
        """
        return place(self.fit_need(len(normals), normals.size), self.extractor.device)

    @property
    def _half_precision(self) -> bool:
        """Whether training uses half precision: always on a GPU; on a CPU it saves a fifth of the time at best."""
        return self.extractor.device.type == "cuda"

    def _generator(self) -> torch.Generator:
        """A CPU generator, so that results do not depend on the device."""
        return torch.Generator().manual_seed(self.seed)


def suggest_backbone(trial: BaseTrial, space: Space, method: str) -> str:
    """Suggests a backbone; each method has its own parameter, since the best backbone differs between methods."""
    names = [backbone.name for backbone in space.backbones]
    return str(trial.suggest_categorical(f"{method}.backbone", names))


def suggest_families(trial: BaseTrial, method: str, space: Space) -> str:
    """Suggests the families of synthetic anomalies to train on, among those available in the study."""
    options = [*space.sources, "both"] if len(space.sources) > 1 else list(space.sources)
    return str(trial.suggest_categorical(f"{method}.families", options))


def suggest_levels(trial: BaseTrial, method: str, backbone: str, choices: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Suggests levels; the parameter name includes the backbone, as level numbers differ between networks."""
    options = [encode_levels(choice) for choice in choices]
    return decode_levels(str(trial.suggest_categorical(f"{method}.levels.{backbone}", options)))
