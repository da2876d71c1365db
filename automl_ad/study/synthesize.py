"""Synthetic anomalies with masks on their own, for those who want no search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.data.study_images import GoodImages, ReadingWatch, StudyImages, divide, read_images
from automl_ad.errors import InputError
from automl_ad.memory import memory_explained
from automl_ad.results import SynthesisResult
from automl_ad.seeds import derived_rng, derived_seed
from automl_ad.store.plain_json import plain
from automl_ad.study.anomaly_folder import AnomalyFolder, check_output
from automl_ad.study.clock import Steps
from automl_ad.study.machine import resolve_device, study_arithmetic
from automl_ad.study.memory_need import require_memory, synthesis_need
from automl_ad.study.progress import Event, Listener, ignore_events
from automl_ad.study.settings import StudySettings
from automl_ad.study.suites import prepare_sdas, study_panel
from automl_ad.synthesis.base import AnomalyFamily, Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.names import FAMILY_NAMES
from automl_ad.synthesis.registry import create_family
from automl_ad.synthesis.sdas.family import SdasFamily
from automl_ad.synthesis.sdas.preparing import Outcome
from automl_ad.synthesis.sdas.synthesiser import Sdas
from automl_ad.synthesis.sources import rounds
from automl_ad.training import Budget

MOST = 100_000
"""Anomalies of one run."""
_AT_ONCE = 256
"""Base images per call of `AnomalyFamily.expect`; bounds the memory."""

_Anomaly = tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], int]
"""Image, mask and the number of the base."""


@dataclass(frozen=True)
class SynthesisRequest:
    """What is to be drawn.

    Attributes:
        family: One of ``FAMILY_NAMES``.
        strength: In (0, 1]: how visible, 1 = easy to see.
        count: Anomalies, 1 to ``MOST``.

    Raises:
        InputError: One of them is not possible.
    """

    family: str
    strength: float
    count: int

    def __post_init__(self) -> None:
        if self.family not in FAMILY_NAMES:
            raise InputError(f"--family {self.family!r} does not exist; choose among {', '.join(FAMILY_NAMES)}.")
        if not 0 < self.strength <= 1:
            raise InputError(f"--strength {self.strength:g} is not above 0 and at most 1; give for example 0.5.")
        if not 1 <= self.count <= MOST:
            raise InputError(f"--count {self.count} is not possible; give 1 to {MOST}.")


@study_arithmetic()
def synthesize(
    settings: StudySettings,
    request: SynthesisRequest,
    output: Path,
    workspace: Path,
    listener: Listener = ignore_events,
) -> SynthesisResult:
    """Draws anomalies on the good images of a folder and writes them with their masks.

    The family ``sdas`` trains a diffusion model, unless a search with the same images, seed, size and kind of device
    left one in the workspace; a later search finds it there in turn.

    Args:
        settings: As of a study on the same folder.
        request: What is to be drawn.
        output: Folder that is new or empty.
        workspace: Where models are kept.
        listener: Called with progress.

    Raises:
        InputError: The images cannot be used for this family, or the output cannot be written.
        StoreError: The workspace cannot be written.
    """
    check_output(output, settings.images)
    listener(Event("audit", f"Reading {settings.images}"))
    with memory_explained("The synthesis"):
        return _synthesize(settings, request, output, workspace, listener)


def _synthesize(
    settings: StudySettings, request: SynthesisRequest, output: Path, workspace: Path, listener: Listener
) -> SynthesisResult:
    reading, drawing = Steps(listener, "audit"), Steps(listener, "suite")
    good = read_images(
        settings,
        watch=ReadingWatch(
            require_memory(synthesis_need, "The synthesis"),
            lambda done, total: reading.reach(f"Reading {settings.images}", done, total),
        ),
    )
    _warn(good.warnings, listener)
    with AnomalyFolder.create(output, request.count) as folder:
        outcome = _prepared(settings, good, request, workspace, listener)
        for done, (image, mask, base) in enumerate(_drawn(settings, good, request, outcome.sdas), 1):
            folder.add(image, mask, good.paths[base])
            drawing.reach("Drawing anomalies", done, request.count)
        facts = _facts(settings, good, request, outcome)
        return SynthesisResult.model_validate(folder.finish(plain(facts)))


def _prepared(
    settings: StudySettings, good: GoodImages, request: SynthesisRequest, workspace: Path, listener: Listener
) -> Outcome:
    """The diffusion model, if the family needs one."""
    if request.family != SdasFamily.name:
        return Outcome(None, None, {})
    device = resolve_device(settings.device)
    normals = _divided(settings, good)
    outcome = prepare_sdas(
        settings,
        normals,
        workspace,
        device,
        judge=cache(lambda: study_panel(settings, normals, device)),
        pictures=request.count,
        budget=Budget(),
        listener=listener,
    )
    if outcome.reason is not None:
        raise InputError(
            f"--family sdas cannot be drawn from {settings.images}: {outcome.reason}; choose another --family."
        )
    _warn(outcome.warnings, listener)
    return outcome


def _divided(settings: StudySettings, good: GoodImages) -> StudyImages:
    """As for a search, so that both find the same model."""
    try:
        return divide(settings, good)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}, or choose another --family.") from error


def _drawn(
    settings: StudySettings, good: GoodImages, request: SynthesisRequest, sdas: Sdas | None
) -> Iterator[_Anomaly]:
    """The anomalies; those of a smaller count come first among those of a larger one."""
    pictures = good.images.hwc
    context = Context(pictures, Foreground.fit(pictures), settings.texture_dir)
    families = _families(settings, request.family, context, sdas)
    orders = rounds(len(pictures), request.count, derived_rng(settings.seed, "synthesize/bases"))
    rng = derived_rng(settings.seed, "synthesize/anomalies")
    for order, family in zip(orders, families, strict=False):
        for start in range(0, len(order), _AT_ONCE):
            chunk = order[start : start + _AT_ONCE]
            family.prepare(list(pictures[chunk]), [request.strength] * len(chunk))
            for base in chunk:
                yield (*family.draw(pictures[base], request.strength, rng), int(base))


def _families(settings: StudySettings, name: str, context: Context, sdas: Sdas | None) -> Iterator[AnomalyFamily]:
    """A family for each round; a diffusion model has other images of the same bases for every one."""
    if sdas is None:
        yield from repeat(create_family(name, context))
    else:
        for number in count():
            source = sdas.reseeded(derived_seed(settings.seed, f"sdas/synthesize/{number}"))
            yield create_family(name, replace(context, sdas=source))


def _facts(settings: StudySettings, good: GoodImages, request: SynthesisRequest, outcome: Outcome) -> dict[str, Any]:
    sdas = outcome.sdas
    return {
        "images": len(good.images),
        "family": request.family,
        "strength": request.strength,
        "count": request.count,
        "seed": settings.seed,
        "size": list(good.images.size),
        "sdas": None if sdas is None else {**outcome.facts, "added_variance": sdas.added_variance(request.strength)},
        "warnings": [*good.warnings, *outcome.warnings],
        "layout": good.layout.to_json(),
        "left_aside": [entry.to_json() for entry in good.left_aside],
    }


def _warn(warnings: Sequence[str], listener: Listener) -> None:
    for warning in warnings:
        listener(Event("warning", warning))
