"""The synthesis families by name."""

from __future__ import annotations

from automl_ad.errors import InputError
from automl_ad.synthesis.base import AnomalyFamily, Context
from automl_ad.synthesis.cutpaste import CutPasteFamily
from automl_ad.synthesis.missing import MissingFamily
from automl_ad.synthesis.names import FAMILY_NAMES
from automl_ad.synthesis.photometric import PhotometricFamily
from automl_ad.synthesis.poisson import PoissonFamily
from automl_ad.synthesis.scratch import ScratchFamily
from automl_ad.synthesis.sdas.family import SdasFamily
from automl_ad.synthesis.speck import SpeckFamily
from automl_ad.synthesis.texture import TextureFamily
from automl_ad.synthesis.warp import WarpFamily

_FAMILIES: dict[str, type[AnomalyFamily]] = {
    family.name: family
    for family in (
        TextureFamily,
        CutPasteFamily,
        PoissonFamily,
        PhotometricFamily,
        ScratchFamily,
        SpeckFamily,
        MissingFamily,
        WarpFamily,
        SdasFamily,
    )
}


def create_family(name: str, context: Context) -> AnomalyFamily:
    """Makes the family of that name.

    Args:
        name: One of `FAMILY_NAMES`.
        context: What it may draw upon.

    Returns:
        The family, ready to draw.

    Raises:
        InputError: If the name is unknown, or the family cannot use the context.
    """
    if name not in _FAMILIES:
        raise InputError(f"There is no synthesis family called {name!r}: choose from {', '.join(FAMILY_NAMES)}.")
    return _FAMILIES[name](context)
