"""Synthetic anomalies: families of defects drawn into good images."""
