"""Creates sources of training anomalies from recipes."""

from __future__ import annotations

from collections.abc import Callable

from automl_ad.errors import InputError
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.hard_cutpaste import HardCutPasteSource
from automl_ad.synthesis.sdas.source import PoolSource, SeededPool
from automl_ad.synthesis.sources import AnomalySource, MixedSource, Recipe, TextureSource


def create_source(recipe: Recipe, context: Context, open_pool: Callable[[], SeededPool]) -> AnomalySource:
    """Creates the source described by a recipe.

    Args:
        recipe: Families, opacity and strength.
        context: Inputs of the families.
        open_pool: Opens the images of ``sdas``; called only if the recipe includes it.

    Raises:
        InputError: A family that cannot be used for training, or no image in the range of strengths.
        StoreError: The images are missing.
    """
    sources = [_source(family, recipe, context, open_pool) for family in recipe.families]
    return sources[0] if len(sources) == 1 else MixedSource(sources)


def _source(family: str, recipe: Recipe, context: Context, open_pool: Callable[[], SeededPool]) -> AnomalySource:
    if family == "texture":
        return TextureSource(context, recipe.opacity)
    if family == "cutpaste":
        return HardCutPasteSource(context, recipe.opacity)
    if family == "sdas":
        return _pool_source(open_pool(), recipe, context)
    raise InputError(f"Methods cannot train on the family {family!r}: choose among texture, cutpaste and sdas.")


def _pool_source(open_pool: SeededPool, recipe: Recipe, context: Context) -> PoolSource:
    return PoolSource(open_pool.pool, recipe.strength, context.foreground, recipe.opacity, open_pool.seed)
