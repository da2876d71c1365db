"""A backbone with its device and feature cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.cache import FeatureCache, FeatureFile
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError

BATCH = 8


class FeatureExtractor:
    """Computes features of image sets, or reads them from the cache."""

    def __init__(
        self, backbone: Backbone, device: torch.device | str = "cpu", cache: FeatureCache | None = None
    ) -> None:
        """Moves the backbone to ``device``.

        Args:
            backbone: Frozen feature extractor.
            device: Where it runs; features come back on the same device.
            cache: Stores complete levels, unless they alone exceed its limit; None to recompute every time.
        """
        self.device = torch.device(device)
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last)
        self.cache = cache

    def maps(self, images: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """Features of float32 [B, 3, H, W] images in 0 to 1, not cached: one float32 [B, C, h, w] map per level."""
        return self.run(self.backbone, images, levels)

    def batches(self, images: ImageSet, levels: Sequence[int], size: int = BATCH) -> Iterator[list[Tensor]]:
        """Yields the features of ``images`` in order, ``size`` images at a time: float32 [b, C, h, w] per level.

        Raises:
            StoreError: The cache cannot be written.
        """
        base = images if images.base is None else images.base
        if self.cache is None or self._stored_bytes(base, levels) > self.cache.limit_bytes:
            for batch in images.batches(size):
                yield self.maps(torch.from_numpy(batch), levels)
            return
        with ExitStack() as stack:
            parts = [
                self._stored(base, part, theirs, self.cache, stack) for part, theirs in self.backbone.parts(levels)
            ]
            self.cache.shrink()  # after all files are open, which keeps them readable
            rows = np.arange(len(images)) if images.rows is None else images.rows
            for start in range(0, len(images), size):
                chosen = rows[start : start + size]
                yield self.backbone.join([[self._read(file, chosen) for file in files] for files in parts])

    def _stored_bytes(self, images: ImageSet, levels: Sequence[int]) -> int:
        """Approximate size of ``levels`` on disk; features larger than the cache are not stored."""
        height, width = images.size
        pairs = zip(*self.backbone.describe(levels), strict=True)
        return 2 * len(images) * sum(count * (height // stride) * (width // stride) for count, stride in pairs)

    def _stored(
        self, images: ImageSet, part: Backbone, levels: Sequence[int], cache: FeatureCache, stack: ExitStack
    ) -> list[FeatureFile]:
        """Opens the files of ``levels``; first computes, in one pass, those not yet cached."""
        paths = {level: cache.path(images.key, part.weights_tag, level) for level in levels}
        files = {level: cache.open(path) for level, path in paths.items()}
        lacking = [level for level, file in files.items() if file is None]
        if lacking:
            self._compute(images, part, lacking, [paths[level] for level in lacking], cache)
            files.update({level: cache.open(paths[level]) for level in lacking})
        opened = {level: stack.enter_context(file) for level, file in files.items() if file is not None}
        if len(opened) < len(files):
            raise StoreError(f"Feature cache {cache.folder} lost files while in use; increase its limit.")
        return [opened[level] for level in levels]

    def _compute(
        self, images: ImageSet, part: Backbone, levels: list[int], paths: list[Path], cache: FeatureCache
    ) -> None:
        with cache.write(paths, len(images)) as writers:
            for batch in images.batches(BATCH):
                for writer, maps in zip(writers, self.run(part, torch.from_numpy(batch), levels), strict=True):
                    writer.append(_half(maps))

    @torch.no_grad()
    def run(self, backbone: Backbone, images: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """See ``maps``; for any backbone on the same device, such as a component of this one."""
        inputs = images.to(self.device).contiguous(memory_format=torch.channels_last)
        return [level.float().contiguous() for level in backbone(inputs, levels)]

    def _read(self, file: FeatureFile, rows: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(file.read(rows)).to(self.device).float()


def _half(maps: Tensor) -> npt.NDArray[np.float16]:
    """Converts to half precision, clamped to its range, as an infinity would corrupt every mean."""
    limit = float(np.finfo(np.float16).max)
    return maps.clamp(-limit, limit).half().cpu().numpy()
