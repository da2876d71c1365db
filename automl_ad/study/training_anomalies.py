"""What the methods of a study learn from: synthetic anomalies by recipe, drawn on the images of each fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.pairs import PairSource
from automl_ad.seeds import derived_seed
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas.source import SeededPool
from automl_ad.synthesis.sources import Recipe
from automl_ad.synthesis.training import create_source

_KEPT = 2
"""Sources held in memory, each with the pairs that it drew last."""


class TrainingAnomalies:
    """Sources of training anomalies; candidates that want the same of the same images share one.

    Args:
        seed: The study's seed.
        texture_dir: Folder of the user's own texture images.
        stock: Makes or opens the images of ``sdas``; called only when a recipe wants them.
    """

    def __init__(self, seed: int, texture_dir: Path | None, stock: Callable[[], SeededPool]) -> None:
        self._seed = seed
        self._texture_dir = texture_dir
        self._stock = stock
        self._sources: OrderedDict[tuple[str, Recipe], PairSource] = OrderedDict()

    def of(self, recipe: Recipe | None, normals: ImageSet) -> PairSource | None:
        """The source of a recipe on good images, which alone it draws upon; None without a recipe.

        Raises:
            StoreError: Images of ``sdas`` are wanted and lost.
        """
        if recipe is None:
            return None
        key = (normals.key, recipe)
        if key not in self._sources:
            self._sources[key] = self._create(recipe, normals)
            if len(self._sources) > _KEPT:
                self._sources.popitem(last=False)
        self._sources.move_to_end(key)
        return self._sources[key]

    def _create(self, recipe: Recipe, normals: ImageSet) -> PairSource:
        pictures = normals.hwc
        context = Context(pictures, Foreground.fit(pictures), self._texture_dir)
        source = create_source(recipe, context, self._stock)
        return PairSource(source, derived_seed(self._seed, f"pairs/{recipe}"))
