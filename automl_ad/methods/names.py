"""The names of the methods, apart from their classes, so that the command line knows them without importing torch."""

METHODS = ("padim", "patchcore", "dfr", "realnet", "destseg", "anoseg")
"""Every method that can be searched, training-free ones first."""
