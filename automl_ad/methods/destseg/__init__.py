"""DeSTSeg (Zhang et al., CVPR 2023, arXiv 2211.11317): a denoising student and a segmentation network."""

from automl_ad.methods.destseg.detector import DeStSeg, DeStSegSettings

__all__ = ["DeStSeg", "DeStSegSettings"]
