"""Frozen feature extractors: any timm model, the embedded filter pyramid, and both joined."""
