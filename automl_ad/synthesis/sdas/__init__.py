"""Strength-controlled diffusion anomaly synthesis (SDAS) of RealNet (CVPR 2024), trained on the user's own normals."""
