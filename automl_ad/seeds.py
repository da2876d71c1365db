"""Independent random streams from one seed."""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(seed: int, purpose: str) -> int:
    """A 32-bit seed for one purpose; a function of the arguments only, on every machine and after every resume."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big")


def derived_rng(seed: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose, see `derived_seed`."""
    return np.random.default_rng(derived_seed(seed, purpose))
