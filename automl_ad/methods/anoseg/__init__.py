"""AnoSeg (arXiv 2110.03396): an image rebuilt and its mask predicted by one network that sees no other than these."""

from automl_ad.methods.anoseg.detector import AnoSeg, AnoSegSettings

__all__ = ["AnoSeg", "AnoSegSettings"]
