"""RealNet (Zhang, Xu and Zhou, CVPR 2024, arXiv 2403.05897): features selected by anomalies, rebuilt, and compared."""

from automl_ad.methods.realnet.detector import RealNet, RealNetSettings

__all__ = ["RealNet", "RealNetSettings"]
