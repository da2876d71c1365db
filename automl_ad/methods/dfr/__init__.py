"""DFR: reconstruction error of deep regional features, by an autoencoder or by principal components."""

from automl_ad.methods.dfr.detector import Dfr, DfrSettings

__all__ = ["Dfr", "DfrSettings"]
