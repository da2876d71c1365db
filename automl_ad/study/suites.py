"""The proxy suite and the hold-out suite of a study: drawn once, stored, and loaded when the study is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import torch

from automl_ad.data.image_set import ImageSet
from automl_ad.data.preprocessing import Preprocessing, working_size
from automl_ad.data.study_images import Split, StudyImages
from automl_ad.errors import InputError, StoreError
from automl_ad.evaluation.cells import cell_family
from automl_ad.evaluation.coverage import Coverage
from automl_ad.evaluation.plan import SuitePlan
from automl_ad.evaluation.severity import STRENGTHS, Panel, measure_detectability
from automl_ad.evaluation.suite import (
    Suite,
    draw_suite,
    keep_normals,
    load_suite,
    resize_images,
    resize_suite,
    save_suite,
)
from automl_ad.methods.registry import detector_class
from automl_ad.seeds import derived_rng, derived_seed
from automl_ad.store.artifacts import StudyFolder
from automl_ad.study.clock import Steps
from automl_ad.study.planning import Planner
from automl_ad.study.progress import Event, Listener, ignore_events
from automl_ad.study.reference_panel import reference_panel
from automl_ad.study.sdas import (
    SHARE_OF_BUDGET,
    SMALLEST_STOCK,
    Decision,
    keep_sheet,
    model_size,
    sdas_progress,
    stock_size,
)
from automl_ad.study.settings import StudySettings
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas.family import SdasFamily
from automl_ad.synthesis.sdas.gate import ReferenceDetector
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.synthesis.sdas.preparing import Outcome, prepare
from automl_ad.synthesis.sdas.settings import settings_for
from automl_ad.synthesis.sdas.source import SeededPool, spread_strengths
from automl_ad.synthesis.sdas.synthesiser import OutOfTimeError, Sdas
from automl_ad.training import Budget

SuiteName = Literal["proxy", "certify"]
SUITES: dict[SuiteName, Split] = {"proxy": "validation", "certify": "holdout"}
"""The suites by the names that their folders, hashes and random streams keep, and the split that each is drawn on."""

STOCK_STRENGTHS = (0.2, 1.0)
"""Strengths of ``sdas`` that methods may ask for."""


@dataclass(frozen=True)
class Views:
    """A study's images and suites at one working size.

    Attributes:
        preprocessing: How files become these arrays.
        normals: All readable good images; the splits index into it.
        proxy: What trials are scored on.
        holdout: What the best few are checked on again.
    """

    preprocessing: Preprocessing
    normals: ImageSet
    proxy: Suite
    holdout: Suite


@dataclass(frozen=True)
class StudyData:
    """Everything that a study's trials look at.

    Attributes:
        normals: The good images.
        proxy, holdout: Suites at the largest working size.
        stock: Opens the images of ``sdas`` that methods may learn from, and makes what is missing; see ``sources``.
        sources: Anomalies that methods can learn from in this study.
        warnings: What the suites had to do without, in sentences.
        coverage: The families that they hold, at which strengths; None if nobody kept it.
        plan: What a short time left of them; None where all was drawn that was asked for.
    """

    normals: StudyImages
    proxy: Suite
    holdout: Suite
    stock: Callable[[], SeededPool]
    sources: tuple[str, ...] = ("texture",)
    warnings: Sequence[str] = ()
    coverage: Coverage | None = None
    plan: SuitePlan | None = None
    _views: dict[int, Views] = field(default_factory=dict)

    def at(self, side: int) -> Views:
        """The images and suites at one of the study's sides; reduced once and kept."""
        if side not in self._views:
            how = self.normals.preprocessing[side]
            size = (how.height, how.width)
            images = resize_images(self.normals.images, size)
            if self.plan is not None and self.plan.learning is not None:
                images = images.without_shared_features()
            proxy, holdout = resize_suite(self.proxy, size), resize_suite(self.holdout, size)
            self._views[side] = Views(how, images, proxy, holdout)
        return self._views[side]


def study_panel(settings: StudySettings, normals: StudyImages, device: torch.device) -> Panel:
    """The reference panel of a study."""
    return reference_panel(normals.part("train"), normals.part("validation"), device, max(settings.sides))


def prepare_sdas(
    settings: StudySettings,
    normals: StudyImages,
    workspace: Path,
    device: torch.device,
    *,
    judge: Callable[[], ReferenceDetector],
    pictures: int,
    budget: Budget,
    listener: Listener,
) -> Outcome:
    """The diffusion model of a study's images, trained within the budget if the workspace has none yet.

    Args:
        settings: Of the study.
        normals: Its images.
        workspace: Its cache keeps models and their images.
        device: Where to compute.
        judge: Makes the reference panel of the study; called only if there is something to judge.
        pictures: How many images will be asked for.
        budget: Time limit for all of it, the images included.
        listener: Called with progress.
    """
    return prepare(
        SdasJob(
            train_images=normals.part("train").hwc,
            bases=normals.part("validation").hwc,
            settings=settings_for(model_size(settings.effort, device)),
            seed=settings.seed,
            cache=workspace / "cache" / "sdas",
            device=device,
            reference=judge,
            budget=budget,
            image_count=pictures,
            progress=sdas_progress(listener),
        )
    )


def draw_study_data(
    settings: StudySettings,
    normals: StudyImages,
    folder: StudyFolder,
    device: torch.device,
    listener: Listener = ignore_events,
    planner: Planner | None = None,
) -> StudyData:
    """Draws the suites of a study, or loads them when it is resumed.

    Args:
        settings: Of the study.
        normals: Its images.
        folder: Its folder.
        device: Where detectors and diffusion models compute.
        listener: Called with progress.
        planner: Makes the suites smaller where the time is short; all that was asked for is drawn when None. Suites
            that are drawn already stay as they are.

    Raises:
        InputError: No family can be drawn on these images.
        StoreError: A stored suite was altered, or nothing can be written.
    """
    return _SuiteBuilder(settings, normals, folder, device, listener, planner).data()


@dataclass(frozen=True)
class _Drawn:
    """Both suites, and what was decided while they were drawn."""

    decision: Decision
    coverage: Coverage
    suites: Mapping[SuiteName, Suite]


class _SuiteBuilder:
    """Draws the suites; severities are calibrated once, and only if something is to be drawn."""

    def __init__(
        self,
        settings: StudySettings,
        normals: StudyImages,
        folder: StudyFolder,
        device: torch.device,
        listener: Listener,
        planner: Planner | None,
    ) -> None:
        self._settings = settings
        self._normals = normals
        self._folder = folder
        self._device = device
        self._listener = listener
        self._planner = planner
        self._full = SuitePlan.full(settings.families, settings.severities, settings.per_cell)
        self._plan: SuitePlan | None = None
        self._too_short: str | None = None

    def data(self) -> StudyData:
        """Loads what is there and draws what is missing.

        All is drawn before anything is stored: an interrupted study must not keep one suite with a family and draw the
        other without it.

        Raises:
            InputError: No family can be drawn on these images.
            StoreError: A suite was lost and cannot be drawn again as it was.
        """
        folder = self._folder.suite
        self._plan = SuitePlan.load(folder, self._asked("proxy"))
        source = self._source("proxy")
        known = {name: load_suite(folder / name, self._source(name)) for name in SUITES}
        suites = {name: suite for name, suite in known.items() if suite is not None}
        decision, coverage = Decision.load(folder, source), Coverage.load(folder, source)
        if len(suites) < len(SUITES):
            if suites and self._plan is None:
                self._plan = self._full  # the other suite was drawn in full
            drawn = self._draw(_decided(decision, list(suites.values())))
            decision, coverage = drawn.decision, drawn.coverage
            self._require_like(suites, drawn.suites)
            source = self._source("proxy")
            if self._is_reduced:
                self._decided_plan.save(folder, self._asked("proxy"))
            if SdasFamily.name in self._settings.families:
                decision.save(folder, source)
            coverage.save(folder, source)
            for name in [name for name in SUITES if name not in suites]:
                suites[name] = drawn.suites[name]
                save_suite(suites[name], self._normals.part(SUITES[name]), folder / name, self._source(name))
        keep_normals(self._normals.part("validation"), folder / "proxy")
        sources = ("texture", SdasFamily.name) if _holds_sdas(suites["proxy"]) else ("texture",)
        known_of = {self._too_late(name) for name in self._settings.families}  # told in one sentence for all
        warnings = [*(decision.warnings if decision else ()), *(coverage.warnings if coverage else ())]
        warnings = [warning for warning in warnings if warning not in known_of]
        warnings += [self._too_short] if self._too_short is not None else []
        return StudyData(
            self._normals.learning_from(self._decided_plan.learning),
            suites["proxy"],
            suites["certify"],
            cache(self._stock),
            sources,
            [*self._reductions(), *dict.fromkeys(warnings)],
            coverage,
            self._plan if self._is_reduced else None,
        )

    @property
    def _is_reduced(self) -> bool:
        return self._plan is not None and self._plan != self._full

    @property
    def _decided_plan(self) -> SuitePlan:
        return self._plan or self._full

    def _reductions(self) -> list[str]:
        """What a short time took from the suites, as a sentence."""
        if not self._is_reduced:
            return []
        lack = self._decided_plan.describe(self._full)
        return [f"The time budget is short for this working size, so the proxy suite was reduced: {lack}."]

    @staticmethod
    def _too_late(family: str) -> str:
        return f"The family {family} was left out: the time budget is too short for it."

    def _decide_plan(self) -> None:
        """Plans once; the images of ``sdas`` are there already, so that no time needs to be left for them."""
        if self._plan is not None or self._planner is None:
            self._plan = self._decided_plan
            return
        drawable = tuple(name for name in self._settings.families if name != SdasFamily.name)
        context = self._context("proxy", None, "severities")
        if not drawable:
            self._plan = self._full
            return
        wanted = replace(self._full, families=drawable)
        self._listener(Event("suite", "Measuring how long the proxy suite will take"))
        plan, self._too_short = self._planner.plan(wanted, self._normals, context)
        kept = [name for name in self._settings.families if name in plan.families or name == SdasFamily.name]
        self._plan = replace(plan, families=tuple(kept))

    def _stock(self) -> SeededPool:
        """The images to learn from: some were made with the suites, the others are made for the first fit."""
        outcome = self._prepare(Budget())
        if outcome.sdas is None:
            raise StoreError(f"The pictures of the family sdas are lost and cannot be made again: {outcome.reason}.")
        decision = Decision.load(self._folder.suite, self._source("proxy"))
        smallest = self._stocked(outcome.sdas, SMALLEST_STOCK)
        if decision is None or decision.stock == SMALLEST_STOCK:
            return smallest
        return self._stocked(outcome.sdas, decision.stock)

    def _stocked(self, sdas: Sdas, count: int) -> SeededPool:
        """Images of the training images in turn, over all the strengths that methods ask for."""
        seed = derived_seed(self._settings.seed, "sdas/fit")
        pictures = self._normals.part("train").hwc
        bases = [pictures[place % len(pictures)] for place in range(count)]
        return SeededPool(sdas.reseeded(seed).fill_pool(bases, spread_strengths(*STOCK_STRENGTHS, count)), seed)

    def _draw(self, decided: Decision | None) -> _Drawn:
        """Both suites, with the family sdas if it was decided so or, before any decision, if it can be had."""
        if SdasFamily.name not in self._settings.families or (decided is not None and not decided.used):
            return self._drawn(decided or Decision(used=False), None)
        seconds = None if decided is not None else self._settings.time_budget * SHARE_OF_BUDGET
        outcome = self._prepare(Budget(seconds))
        if decided is not None and outcome.sdas is None:
            raise self._lost(f"the family sdas cannot be had now: {outcome.reason}")
        try:
            settings = self._settings
            stock = decided.stock if decided else stock_size(settings.effort, settings.time_budget, outcome.facts)
            drawn = self._drawn(Decision.of(outcome, stock), outcome.sdas)
            if outcome.sdas is not None and drawn.decision.used and self._learned_from:
                self._stocked(outcome.sdas, SMALLEST_STOCK)
            return drawn
        except OutOfTimeError as late:
            return self._drawn(Decision.of(Outcome(None, str(late), outcome.facts)), None)

    def _drawn(self, decision: Decision, sdas: Sdas | None) -> _Drawn:
        """Both suites, with the family sdas if there are images of it and they can be used on this product."""
        name = SdasFamily.name
        if sdas is None and self._settings.families == (name,):
            raise InputError(" ".join([*decision.warnings, "No other family was named; name more."]))
        self._decide_plan()
        plan = self._decided_plan
        steps = self._steps(plan)
        steps.begin("Calibrating the severities")
        coverage = self._coverage(sdas, plan, steps)
        if name in coverage.left_out:
            decision = replace(decision, used=False, warnings=[coverage.left_out[name], *decision.warnings])
        elif sdas is None and name in self._settings.families:
            coverage = coverage.without(name, next(iter(decision.warnings), f"The family {name} was left out."))
        for lost in [lost for lost in self._settings.families if lost not in plan.families]:
            coverage = coverage.without(lost, self._too_late(lost))
        steps.begin("Drawing the proxy suite")
        suites = {name: self._suite(name, coverage.strengths, sdas, steps) for name in SUITES}
        return _Drawn(decision, coverage, suites)

    def _require_like(self, known: Mapping[SuiteName, Suite], drawn: Mapping[SuiteName, Suite]) -> None:
        """Refuses to go on with one suite as it was and another one of other cells."""
        if any(suite.cell_names != drawn[name].cell_names for name, suite in known.items()):
            raise self._lost("other families or severities can be drawn now")

    def _lost(self, reason: str) -> StoreError:
        return StoreError(
            f"A suite in {self._folder.suite} was lost and cannot be drawn again as it was, since {reason}. "
            "Start the study under another --name."
        )

    def _suite(
        self, name: SuiteName, strengths: dict[str, dict[float, float]], sdas: Sdas | None, steps: Steps
    ) -> Suite:
        rng = derived_rng(self._settings.seed, f"suite/{name}")
        context = self._context(name, sdas, f"suite/{name}")
        return draw_suite(context, strengths, self._decided_plan.per_family, rng, steps.advance)

    def _source(self, name: SuiteName) -> str:
        """Digest of all that a suite depends on: a suite of other images or another plan must never serve."""
        if not self._is_reduced:
            return self._asked(name)
        return hashlib.sha256(f"{self._asked(name)}|{self._decided_plan}".encode()).hexdigest()

    def _asked(self, name: SuiteName) -> str:
        """Digest of all that a suite would depend on if there were time for all that was asked for."""
        fields = {"families", "severities", "per_cell", "sides", "seed", "texture_dir"}
        parts = [self._settings.model_dump_json(include=fields), self._normals.images.key, name]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    def _steps(self, plan: SuitePlan) -> Steps:
        """Counts anomalies: those that calibrate twice, as they are drawn and scored."""
        each = 2 * plan.calibrating + len(SUITES) * plan.per_family
        return Steps(self._listener, "suite", each * len(plan.families))

    def _coverage(self, sdas: Sdas | None, plan: SuitePlan, steps: Steps) -> Coverage:
        """Measured on the validation images, which are more than the hold-out images, for both suites.

        Raises:
            InputError: No family can be drawn.
        """
        settings = self._settings
        # In one stream of random numbers, what comes last changes nothing of what comes before.
        families = [name for name in plan.families if name != SdasFamily.name]
        families += [SdasFamily.name] if sdas is not None else []
        rng = derived_rng(settings.seed, "severities")
        context, panel = self._calibrating(plan, sdas)
        curves = measure_detectability(
            context, families, panel, plan.per_strength, rng, strengths=plan.strengths, tell=steps.advance
        )
        coverage = Coverage.of(curves, plan.severities)
        if not coverage.cells:
            raise InputError(
                f"None of the families {', '.join(families)} can be drawn on the images in {settings.images}, on which "
                "most of their drawings come to nothing; name more families."
            )
        return coverage

    @property
    def _learned_from(self) -> bool:
        """Whether a method of the study can learn from images of ``sdas``."""
        return any(SdasFamily.name in detector_class(name).learns_from for name in self._settings.methods)

    @cached_property
    def _panel(self) -> Panel:
        return study_panel(self._settings, self._normals, self._device)

    def _calibrating(self, plan: SuitePlan, sdas: Sdas | None) -> tuple[Context, Panel]:
        """What severities are calibrated with: at the working size, or at a smaller one where the time is short."""
        context = self._context("proxy", sdas, "severities")
        if plan.side is None:
            return context, self._panel
        size = working_size([self._normals.images.size], plan.side)
        smaller = replace(self._normals.good, images=resize_images(self._normals.images, size))
        normals = replace(self._normals, good=smaller)
        images = normals.part("validation").hwc
        panel = reference_panel(normals.part("train"), normals.part("validation"), self._device, plan.side)
        return replace(Context(images, Foreground.fit(images), context.texture_dir), sdas=context.sdas), panel

    def _prepare(self, budget: Budget) -> Outcome:
        settings = self._settings
        outcome = prepare_sdas(
            settings,
            self._normals,
            self._folder.workspace,
            self._device,
            judge=lambda: self._panel,
            pictures=settings.per_cell * (len(STRENGTHS) + len(SUITES) * len(settings.severities))
            + SMALLEST_STOCK * self._learned_from,
            budget=budget,
            listener=self._listener,
        )
        keep_sheet(outcome.sheet, self._folder.suite)
        return outcome

    def _context(self, name: SuiteName, sdas: Sdas | None, use: str) -> Context:
        source = None if sdas is None else sdas.reseeded(derived_seed(self._settings.seed, f"sdas/{use}"))
        return replace(self._ground[name], sdas=source)

    @cached_property
    def _ground(self) -> Mapping[SuiteName, Context]:
        """What families draw with on each split; what is found out about its images serves severities and suite."""
        images = {name: self._normals.part(split).hwc for name, split in SUITES.items()}
        return {
            name: Context(pictures, Foreground.fit(pictures), self._settings.texture_dir)
            for name, pictures in images.items()
        }


def _decided(recorded: Decision | None, suites: Sequence[Suite]) -> Decision | None:
    """The decision that a study is bound to: the suites that trials were scored on tell more than any record."""
    if not suites:
        return recorded
    used = _holds_sdas(suites[0])
    return recorded if recorded is not None and recorded.used == used else Decision(used)


def _holds_sdas(suite: Suite) -> bool:
    return any(cell_family(cell) == SdasFamily.name for cell in suite.cell_names)
