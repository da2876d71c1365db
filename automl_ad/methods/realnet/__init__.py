"""RealNet (Zhang, Xu and Zhou, CVPR 2024, arXiv 2403.05897): reconstruction of anomaly-aware selected features."""

from automl_ad.methods.realnet.detector import RealNet, RealNetSettings

__all__ = ["RealNet", "RealNetSettings"]
