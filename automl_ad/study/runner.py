"""The life cycle of a search: begun or resumed, trials run, ensembles built, the hold-out check, the answer."""

from __future__ import annotations

import logging
from collections.abc import Collection

import optuna
from optuna.exceptions import StorageInternalError

from automl_ad.backbones.cache import FeatureCache
from automl_ad.data.splits import STORED_SPLITS
from automl_ad.data.study_images import StudyImages
from automl_ad.errors import NoCandidateError, StoreError, StudyError
from automl_ad.methods.names import ENSEMBLE
from automl_ad.results import CoverageResult, ProxyResult, ReducedSuite, SearchOutcome, TrialCounts, WinnerResult
from automl_ad.selection.decision import Decision, Finalist, decide, limitations
from automl_ad.selection.holdout import NEEDED, by_need, learned_families, shortlist
from automl_ad.selection.lead_model import lead_models_for
from automl_ad.selection.ranking import BASELINE_TRIAL, baseline_of, contains_baseline, ranked, usable
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url, optuna_storage, without_password
from automl_ad.store.plain_json import plain
from automl_ad.store.records import CandidateRecord, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.backbones import BackboneSet, load_backbones
from automl_ad.study.clock import Clock, Steps
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.ensembles import add_ensembles
from automl_ad.study.holdout import HoldoutCheck
from automl_ad.study.log import log_start
from automl_ad.study.loop import open_optuna, recheck_s, search_loop
from automl_ad.study.machine import quiet_optuna, resolve_device
from automl_ad.study.optuna_trials import withdraw_unfinished
from automl_ad.study.planning import Planner
from automl_ad.study.progress import Event, Listener
from automl_ad.study.rescore import rescore_trials
from automl_ad.study.settings import StudySettings
from automl_ad.study.stored_rendering import RENDERING
from automl_ad.study.suites import StudyData, draw_study_data
from automl_ad.study.trial import describe_error
from automl_ad.suggestions import suggested_command
from automl_ad.workspace import workspace_folder

_log = logging.getLogger(__name__)

TIME_TO_LOOK = 0.3
"""Share of the time budget that must be left after the suites for a look at the images as an audit takes it."""


class SearchRunner:
    """Runs one search, or goes on with one of the same name and meaning.

    Args:
        folder: Where the study keeps its files.
        url: Database URL.
        repository: Its tables.
        settings: What to search.
        clock: Started when the search was.
        listener: Called with progress.
    """

    def __init__(
        self,
        folder: StudyFolder,
        url: str,
        repository: Repository,
        settings: StudySettings,
        clock: Clock,
        listener: Listener,
    ) -> None:
        self._name = folder.name
        self._folder = folder
        self._url = url
        self._repository = repository
        self._settings = settings
        self._clock = clock
        self._listener = listener

    def run(self, normals: StudyImages) -> SearchOutcome:
        """Searches and keeps the answer in the database.

        Args:
            normals: The good images.

        Raises:
            InputError: The images or the settings cannot be used.
            StudyError: The study exists with another meaning.
            StoreError: Files or the database cannot be read or written.
            NoCandidateError: No candidate could be used.
        """
        log_start(self._settings.model_dump(mode="json"))
        device = resolve_device(self._settings.device)
        backbones = load_backbones(self._settings, device, feature_cache(self._folder))
        self._begin(normals, backbones)
        self._tell("suite", "Preparing the proxy suite")
        planner = Planner(lambda: self._clock.remaining, backbones.baseline)
        data = draw_study_data(self._settings, normals, self._folder, device, self._listener, planner)
        self._require_same_suite(data.proxy.digest)
        context = StudyContext.of(data, backbones, self._folder, self._settings)
        self._repository.set_suite(self._name, data.proxy.digest)
        _log.info("Proxy suite %s on %s, backbones %s", data.proxy.digest, device, ", ".join(backbones.tags))
        warnings = [*self._warnings_of(normals), *backbones.warnings, *data.warnings]
        self._repository.set_warnings(self._name, warnings)
        for warning in warnings:
            _log.warning("%s", warning)
            self._tell("warning", warning)
        ensembles = self._run_trials(context, warnings)
        return self._conclude(context, ensembles, warnings)

    def _warnings_of(self, normals: StudyImages) -> list[str]:
        """What there is to say of the images; without a look for groups and odd ones where hardly any time is left."""
        if self._clock.remaining >= TIME_TO_LOOK * self._clock.budget_s:
            return normals.warnings
        audit = suggested_command("audit", self._settings.images)
        unseen = f"The time budget left no room to look for groups and odd ones among the images; run `{audit}`."
        return [*normals.warnings_at_once, unseen]

    def _begin(self, normals: StudyImages, backbones: BackboneSet) -> None:
        """Creates the study's record, or checks that the existing one means the same."""
        meaning = plain(self._settings.meaning(backbones.tags, normals.fingerprint))
        meaning |= {RENDERING: normals.rendering.model_dump(mode="json")}
        settings = self._settings.model_dump(mode="json")
        known = self._repository.find_study(self._name)
        if known is None:
            record = StudyRecord(
                name=self._name,
                settings=settings,
                meaning=meaning,
                images=str(self._settings.images),
                fingerprint=normals.fingerprint,
                splits={name: list(getattr(normals.splits, split)) for name, split in STORED_SPLITS.items()},
            )
            self._repository.create_study(record)
            return
        # Studies of earlier versions lack the rendering; `renderer_of` has read their images as before.
        compared = meaning.keys() if RENDERING in known.meaning else meaning.keys() - {RENDERING}
        changed = sorted(key for key in compared if known.meaning.get(key) != meaning[key])
        if changed:
            raise StudyError(
                f"Study {self._name} was made with other {', '.join(changed)}; give the new search another --name, "
                "or repeat the old settings to resume."
            )
        self._require_current_scores()
        self._repository.set_settings(self._name, settings)
        self._repository.set_answer(self._name, None)  # an old answer must not outlive what may change it
        _log.info("Resumed")

    def _require_current_scores(self) -> None:
        """Refuses to go on with trials whose proxy scores mean something else: those of early versions."""
        complete = [record for record in self._repository.candidates(self._name) if record.state == "complete"]
        if not all(_scored_as_now(record) for record in complete):
            raise StudyError(
                f"Study {self._name} was searched by an earlier version, which scored candidates differently; give the "
                "new search another --name."
            )

    def _require_same_suite(self, digest: str) -> None:
        """Refuses to go on with trials that were scored on another suite, which was lost.

        One that was reduced for a short time cannot be drawn again as it was.
        """
        known = self._repository.get_study(self._name).suite_hash
        if known not in (None, digest) and self._repository.candidates(self._name):
            raise StudyError(
                f"The proxy suite of study {self._name} was lost, and its trials were scored on it; give the new "
                "search another --name."
            )

    def _run_trials(self, context: StudyContext, warnings: list[str]) -> list[int]:
        """Runs the trials and builds the ensembles; returns the numbers of the latter."""
        with quiet_optuna():
            study = open_optuna(self._name, optuna_storage(self._url))
            try:
                search_loop(study, context, self._settings, self._repository, self._clock, self._listener)
                rescore_trials(context, self._name, self._repository)
                ensembles = self._add_ensembles(study, context, warnings)
                withdraw_unfinished(study)
            except StorageInternalError as error:
                raise StoreError(
                    f"The database {without_password(self._url)} stopped taking results; see that the disk has room "
                    "and the file is writable, then run the same command again."
                ) from error
        return ensembles

    def _add_ensembles(self, study: optuna.Study, context: StudyContext, warnings: list[str]) -> list[int]:
        if not self._settings.ensemble:
            return []
        numbers, skipped = add_ensembles(
            study, context, self._settings, self._repository, BASELINE_TRIAL, self._listener, self._clock
        )
        if skipped:
            warnings.append(
                f"The time budget left no room for {skipped} of {skipped + len(numbers)} ensembles; with more "
                "--time-budget the same command adds them."
            )
        rescore_trials(context, self._name, self._repository)
        return numbers

    def _conclude(self, context: StudyContext, ensembles: Collection[int], warnings: list[str]) -> SearchOutcome:
        records = self._repository.candidates(self._name)
        ranking = ranked(usable(records, self._settings))
        if not ranking:
            raise NoCandidateError(_why_none(records))
        chosen = shortlist(ranking, self._settings.holdout_candidates, BASELINE_TRIAL, ensembles)
        learned = learned_families(chosen)
        finalists = self._check(context, chosen, learned, warnings)
        hedged = {record.number for record in chosen if contains_baseline(record)}
        lead_models = lead_models_for([record.backbone for record, _ in ranking])
        baseline = baseline_of(records)
        decision = decide(finalists, baseline, hedged, lead_models)
        outcome = self._outcome(context, decision, baseline, finalists, learned, records, warnings)
        self._repository.set_answer(self._name, outcome.to_json())
        _log.info("Trial %d wins after %.1f s", decision.winner, self._clock.elapsed)
        self._tell("finish", f"Trial {decision.winner} wins")
        return outcome

    def _check(
        self, context: StudyContext, chosen: list[CandidateRecord], learned: Collection[str], warnings: list[str]
    ) -> list[Finalist]:
        """The hold-out check; a candidate that fails in it is left out with a warning."""
        self._repository.clear_holdout(self._name)
        check, late = HoldoutCheck(context, learned), 0
        finalists: list[Finalist] = []
        steps = Steps(self._listener, "certify", len(chosen))
        steps.begin("Checking the best again")
        for record in by_need(chosen, BASELINE_TRIAL):
            if len(finalists) >= NEEDED and not check.is_scored(record) and recheck_s(record) > self._clock.remaining:
                late += 1
                continue
            try:
                finalist, cells = check.finalist(record)
            except StoreError:
                raise
            except Exception as error:  # one candidate's fault must not cost the others their answer
                warnings.append(f"Trial {record.number} failed on the hold-out images: {describe_error(error)}")
                _log.warning("%s", warnings[-1], exc_info=error)
                continue
            finally:
                steps.advance()
            self._repository.set_holdout(self._name, record.number, finalist.value, cells)
            _log.info("Trial %d in the hold-out check: %.4f", record.number, finalist.value)
            finalists.append(finalist)
        if not finalists:
            raise NoCandidateError(f"No candidate could be checked again: {warnings[-1]}")
        if late:
            warnings.append(
                f"The time budget left no room for {late} of {len(chosen)} candidates in the hold-out check; with more "
                "--time-budget the same command checks them."
            )
        order = [record.number for record in chosen]
        return sorted(finalists, key=lambda finalist: order.index(finalist.number))

    def _outcome(
        self,
        context: StudyContext,
        decision: Decision,
        baseline: int | None,
        finalists: list[Finalist],
        learned: Collection[str],
        records: list[CandidateRecord],
        warnings: list[str],
    ) -> SearchOutcome:
        winner = next(record for record in records if record.number == decision.winner)
        states = [record.state for record in records if record.method != ENSEMBLE]
        coverage = context.data.coverage
        return SearchOutcome(
            study=self._name,
            storage=without_password(self._url),
            images=len(context.data.normals.images),
            trials=TrialCounts(**{state: states.count(state) for state in ("complete", "pruned", "failed")}),
            averages=sum(record.method == ENSEMBLE for record in usable(records, self._settings)),
            wall_s=self._clock.elapsed,
            proxy=ProxyResult(
                suite=context.data.proxy.digest,
                families=tuple(winner.families),
                coverage=None if coverage is None else CoverageResult.model_validate(coverage.facts),
                reduced=_reduced(context.data, self._settings),
            ),
            winner=_winner(winner),
            tied=decision.tied,
            certified=tuple(finalist.number for finalist in finalists),
            default_trial=baseline,
            default_kept=decision.default_kept,
            certainty=decision.certainty,
            why=decision.why,
            unknown=tuple(limitations(winner.families, learned)),
            warnings=tuple(warnings),
            layout=context.data.normals.good.layout,
            left_aside=context.data.normals.good.left_aside,
            next=next_commands(self._folder, self._url, winner.number),
        )

    def _tell(self, stage: str, message: str) -> None:
        self._listener(Event(stage, message, elapsed_s=self._clock.elapsed))


def feature_cache(folder: StudyFolder, *, may_be_read_only: bool = False) -> FeatureCache:
    """The features of a workspace, shared by all its studies: they depend on images and weights alone."""
    return FeatureCache(folder.workspace / "cache" / "features", may_be_read_only=may_be_read_only)


def next_commands(folder: StudyFolder, url: str, number: int) -> tuple[str, ...]:
    """Commands that work as they stand after a search that trial ``number`` won."""
    name, bundle, place = folder.name, f"{folder.name}_bundle", place_options(folder, url)
    return (
        suggested_command("show", name, trial=number, **place),
        suggested_command("export", name, output=bundle, **place),
        suggested_command("predict", bundle, "PATH_TO_NEW_IMAGES", output="heatmaps"),
    )


def export_command(folder: StudyFolder, url: str, trial: int | str) -> str:
    """The command that exports one trial, by its number or as ``picked``."""
    place = place_options(folder, url)
    return suggested_command("export", folder.name, trial=trial, output=f"{folder.name}_bundle", **place)


def place_options(folder: StudyFolder, url: str) -> dict[str, str]:
    """The options of a command that lead to the study where it does not lie in the default workspace."""
    place = {}
    if folder.workspace != workspace_folder(None):
        place["workspace"] = str(folder.workspace)
    if url != default_url(folder.workspace):
        place["storage"] = without_password(url)
    return place


def _winner(record: CandidateRecord) -> WinnerResult:
    shared = {name: getattr(record, name) for name in WinnerResult.model_fields if name != "trial"}
    return WinnerResult(trial=record.number, **shared)


def _reduced(data: StudyData, settings: StudySettings) -> ReducedSuite | None:
    plan = data.plan
    if plan is None:
        return None
    return ReducedSuite(
        per_cell=plan.per_cell,
        severities=plan.severities,
        families=plan.families,
        calibration_anomalies=plan.calibrating,
        calibration_side=plan.side or max(settings.sides),
        requested_per_cell=settings.per_cell,
        training_images=len(data.normals.splits.train),
    )


def _scored_as_now(record: CandidateRecord) -> bool:
    return bool(record.localisation_auroc) and record.advantage == configuration_of(record).parameters.advantage


def _why_none(records: list[CandidateRecord]) -> str:
    reasons = [record.reason for record in records if record.reason]
    if not reasons:
        return "No candidate met the limits (--max-latency-ms, --max-size-mb): raise them or choose smaller backbones."
    return f"No candidate could be used; the reason of the first of {len(reasons)} that ended early: {reasons[0]}"
