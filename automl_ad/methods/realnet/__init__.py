"""RealNet (Zhang, Xu and Zhou, CVPR 2024, arXiv 2403.05897): features selected by anomalies, rebuilt, and compared."""
