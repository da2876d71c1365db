"""One seed drives everything random; each use gets a stream of its own."""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(seed: int, purpose: str) -> int:
    """A 32-bit seed for one purpose: equal inputs give equal seeds, on every machine and after every resume."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big")


def derived_rng(seed: int, purpose: str) -> np.random.Generator:
    """A generator for one purpose."""
    return np.random.default_rng(derived_seed(seed, purpose))
