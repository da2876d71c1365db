from __future__ import annotations

import torch

from automl_ad.backbones.weights import Weights


def random_weights(name: str, tag: str = "random") -> Weights:
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=7)
    return Weights(dict(model.state_dict()), f"{name} drawn at random", tag)
