"""AnoSeg (Song et al., arXiv 2110.03396): an untrained network reconstructs an image and predicts its mask."""

from automl_ad.methods.anoseg.detector import AnoSeg, AnoSegSettings

__all__ = ["AnoSeg", "AnoSegSettings"]
