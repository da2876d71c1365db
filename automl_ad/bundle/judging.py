"""What an evaluation asks of a bundle; whatever answers like this can be evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from automl_ad.data.preprocessing import Preprocessing


class Promise(Protocol):
    """A decision ``score > value`` and what it promises; see `automl_ad.bundle.runtime.Threshold`."""

    @property
    def value(self) -> float:
        """The value above which an image, or a pixel, is called anomalous."""

    @property
    def overkill(self) -> float:
        """At most this share of what is good is called anomalous, 0 to 1."""

    @property
    def message(self) -> str:
        """One sentence for the user."""


class Judgement(Protocol):
    """What a bundle says of one image."""

    @property
    def picture(self) -> npt.NDArray[np.uint8] | None:
        """uint8 [H, W, 3] as read, RGB, where pictures were asked for."""

    @property
    def anomaly_map(self) -> npt.NDArray[np.float32] | None:
        """float32 [h, w], raw, or None when there is an error."""

    @property
    def score(self) -> float:
        """Raw score, higher = more anomalous."""

    @property
    def error(self) -> str | None:
        """Why there is no score."""


class Judging(Protocol):
    """A bundle that judges images.

    It may also offer ``review_threshold()``, whose answer may be None, and ``mask_threshold()``, each a `Promise`.
    """

    @property
    def path(self) -> Path:
        """Where it was loaded from."""

    @property
    def manifest(self) -> Any:
        """What it is and where it came from: a mapping, or a pydantic model of one."""

    @property
    def calibration(self) -> npt.NDArray[np.float64]:
        """float64 [n], scores of normals by detectors that did not see them."""

    @property
    def size(self) -> tuple[int, int]:
        """The working size, (height, width) in pixels."""

    def threshold(self) -> Promise:
        """The decision on images."""

    def judge(self, sources: Sequence[Path], /, pictures: bool = False) -> Iterator[Judgement]:
        """Maps and scores, in the order of the files."""


def manifest_of(bundle: Judging) -> Mapping[str, Any]:
    """The manifest as plain JSON."""
    manifest = bundle.manifest
    plain: Mapping[str, Any] = manifest if isinstance(manifest, Mapping) else manifest.model_dump(mode="json")
    return plain


def preprocessing_of(bundle: Judging) -> Preprocessing:
    """How the bundle brings files to its working size."""
    return Preprocessing.model_validate(manifest_of(bundle)["preprocessing"])


def review_threshold(bundle: Judging) -> Promise | None:
    """The decision above which an image that is not rejected goes to review; None without a review."""
    return _offered(bundle, "review_threshold")


def mask_threshold(bundle: Judging) -> Promise | None:
    """The decision on pixels, or None where the bundle has none."""
    return _offered(bundle, "mask_threshold")


def _offered(bundle: Judging, name: str) -> Promise | None:
    threshold = getattr(bundle, name, None)
    found: Promise | None = threshold() if threshold else None
    return found
