"""Names of the backbones that every installation has, apart from their code, which imports torch."""

EMBEDDED = "embedded"
"""The fixed filter bank."""
INSTALLED_NETWORK = "tf_efficientnet_lite0"
"""The timm model whose weights are a package that the product depends on."""
