"""The names of the synthesis families, apart from their classes, so that the settings know them without OpenCV."""

FAMILY_NAMES = ("texture", "cutpaste", "poisson", "photometric", "scratch", "speck", "missing", "warp", "sdas")
"""Every family that `automl_ad.synthesis.registry.create_family` knows."""
