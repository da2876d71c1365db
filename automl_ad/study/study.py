"""A study: started or opened, read, asked, exported."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from automl_ad.bundle.export import ExportImages, bundle_contents
from automl_ad.bundle.precision import Precision
from automl_ad.bundle.writing import check_output, write_bundle
from automl_ad.data.choosing_rendering import Renderer
from automl_ad.data.folder import find_images
from automl_ad.data.labelled_sets import LabelledSet, read_labelled
from automl_ad.data.study_images import ReadingWatch, StudyImages, read_study_images
from automl_ad.errors import InputError, StudyError, WeightsError
from automl_ad.memory import memory_explained
from automl_ad.results import (
    AssessmentResult,
    HoldoutResult,
    PickResult,
    RerankResult,
    SearchOutcome,
    SearchResult,
    Timings,
    TrialDetails,
    TrialResult,
)
from automl_ad.selection.few_defects import Choice, judge_leader, rerank
from automl_ad.selection.ranking import baseline_of, is_baseline, ranked, usable
from automl_ad.store.artifacts import StudyFolder, remove_leftovers
from automl_ad.store.database import default_url, open_engine
from automl_ad.store.records import CandidateRecord, PickRecord, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.assess import labelled_scores, summarise
from automl_ad.study.backbones import BackboneSet, load_backbones
from automl_ad.study.clock import Clock, Steps, timed
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import refit
from automl_ad.study.log import TRACEBACK_FILE, study_log
from automl_ad.study.machine import resolve_device, study_arithmetic
from automl_ad.study.memory_need import require_memory, search_need
from automl_ad.study.progress import Event, Listener, ignore_events, is_searched, progress_kept, study_lock
from automl_ad.study.real_defects import DefectImages, among_defects, find_defects, gather_evidence
from automl_ad.study.runner import SearchRunner, export_command, feature_cache, place_options
from automl_ad.study.settings import StudySettings, changed_settings
from automl_ad.study.stored_rendering import renderer_of
from automl_ad.study.suites import draw_study_data
from automl_ad.suggestions import suggested_command
from automl_ad.synthesis.textures import TextureFolder
from automl_ad.workspace import workspace_folder


class Study:
    """One search over one folder of good images, and its results."""

    def __init__(self, folder: StudyFolder, url: str, repository: Repository, images: str | Path | None = None) -> None:
        self.name = folder.name
        self._images = None if images is None else Path(images).absolute()
        self.folder = folder
        self.url = url
        self._repository = repository

    @classmethod
    def open(
        cls,
        name: str,
        workspace: str | Path | None = None,
        storage: str | None = None,
        *,
        images: str | Path | None = None,
    ) -> Study:
        """Opens a study that exists.

        Args:
            name: Its name.
            workspace: Its workspace; the default one when None.
            storage: Database URL; the workspace's SQLite file when None.
            images: Where its good images are now, if they were moved since the search; the contents are compared when
                they are needed.

        Raises:
            StoreError: There is no database.
            StudyError: There is no such study in it.
        """
        folder = StudyFolder(workspace_folder(workspace), name)
        url = storage or default_url(folder.workspace)
        study = cls(folder, url, Repository(open_engine(url, must_exist=True)), images)
        study._record()
        return study

    @classmethod
    def run(
        cls,
        settings: StudySettings,
        folder: StudyFolder,
        storage: str | None,
        listener: Listener,
        defects: Path | None = None,
    ) -> Study:
        """Searches, or goes on with a search of the same name and meaning.

        Args:
            settings: What to search.
            folder: Where the study keeps its files.
            storage: Database URL; the workspace's SQLite file when None.
            listener: Called with progress.
            defects: Folder of a few real defects that re-rank the trials when the search has ended; see `rerank`.

        Raises:
            InputError: The images, the defects or the settings cannot be used.
            StudyError: The study exists with another meaning, or another process is at it.
            NoCandidateError: No candidate could be used.
        """
        url = storage or default_url(folder.workspace)
        clock = Clock(settings.time_budget)
        if settings.texture_dir is not None:
            TextureFolder.open(settings.texture_dir)  # refused now, before a study of that name exists
        find_images(settings.images)  # likewise
        if defects is not None:
            find_defects(defects)  # likewise
        study = cls(folder, url, Repository(open_engine(url)))
        with (
            study_lock(folder, url),
            progress_kept(folder, listener) as tell,
            memory_explained("The search"),
            study_log(folder),
            study_arithmetic(),
        ):
            tell = timed(tell, clock)
            remove_leftovers(folder.root)
            tell(Event("audit", f"Reading {settings.images}", elapsed_s=clock.elapsed))
            renderer = renderer_of(study._repository.find_study(study.name))
            normals = read_study_images(settings, renderer, _watch(settings, tell, "The search"))
            if defects is not None:
                DefectImages.read(defects, normals)  # refused before the search, not after it
            outcome = SearchRunner(folder, url, study._repository, settings, clock, tell).run(normals)
            if defects is not None:
                with_defects = outcome.model_copy(update={"defects": study.rerank(defects, tell)})
                study._repository.set_answer(study.name, with_defects.to_json())
        return study

    @property
    def repository(self) -> Repository:
        """The door to the database, for readers."""
        return self._repository

    @property
    def settings(self) -> StudySettings:
        """The settings of the newest run of the study, with the folder of images that it was opened with."""
        settings = StudySettings(**self._record().settings)
        return settings if self._images is None else changed_settings(settings, images=self._images)

    @property
    def searching(self) -> bool:
        """Whether a process searches the study right now, as far as its lock can be seen from here."""
        return is_searched(self.folder, self.url)

    def outcome(self) -> SearchOutcome | None:
        """The outcome of the search without the ranked table; None before the search has ended."""
        answer = self._record().answer
        return None if answer is None else SearchOutcome.model_validate(answer)

    def answer(self) -> SearchResult:
        """The outcome of the search and the ranked table.

        Raises:
            StudyError: The search has not ended.
        """
        return SearchResult(**dict(self._ended()), ranking=tuple(self.trials()))

    def trials(self) -> list[TrialResult]:
        """All trials, the usable ones ranked first."""
        outcome = self.outcome()
        records = self._repository.candidates(self.name)
        good = usable(records, self.settings)
        order = [record for record, _ in ranked(good)]
        placed = {record.number for record in order}
        rest = [record for record in records if record.number not in placed]
        pick = self._repository.newest_pick(self.name)
        picked = None if pick is None else pick.number
        return [TrialResult(**trial_fields(record, outcome, picked)) for record in order + rest]

    def show(self, number: int) -> TrialDetails:
        """Everything known of one trial.

        Raises:
            StudyError: There is no such trial.
        """
        record = self._repository.candidate(self.name, number)
        trial = next(trial for trial in self.trials() if trial.number == number)
        folder = self.folder.trial(number)
        traceback = folder / TRACEBACK_FILE
        return TrialDetails(
            **dict(trial),
            cells=record.image_auroc,
            located=record.localisation_auroc,
            rules=record.aggregations,
            certify=_holdout(record),
            timings=Timings(fit_s=record.fit_s, total_s=record.total_s),
            artifacts=tuple(str(path) for path in sorted(folder.glob("*"))),
            traceback=str(traceback) if record.state == "failed" and traceback.is_file() else None,
        )

    def pick(self, number: int, note: str = "") -> PickResult:
        """Records the user's own choice; the newest counts.

        Raises:
            StudyError: There is no such trial, or it did not finish.
        """
        return self._choose(self._finished(number).number, note)

    def unpick(self, note: str = "") -> PickResult:
        """Takes the newest choice back; it stays on record.

        Raises:
            StudyError: No choice counts.
        """
        if self._repository.newest_pick(self.name) is None:
            raise StudyError(f"No trial of study {self.name} is picked, so there is nothing to take back.")
        return self._choose(None, note)

    def picks(self) -> list[PickRecord]:
        """All choices and withdrawals, oldest first."""
        return self._repository.picks(self.name)

    def chosen(self, trial: str | int) -> CandidateRecord:
        """A complete trial.

        Args:
            trial: ``best``, ``picked`` or a trial number.

        Raises:
            StudyError: There is no such trial, or it is not complete.
        """
        if trial == "best":
            return self._finished(self._ended().winner.trial)
        if trial == "picked":
            pick = self._repository.newest_pick(self.name)
            if pick is None or pick.number is None:
                command = suggested_command("pick", self.name, trial="N", **place_options(self.folder, self.url))
                raise StudyError(f"No trial of study {self.name} was picked; run `{command}`.")
            return self._finished(pick.number)
        return self._finished(int(trial))

    @study_arithmetic()
    def export(
        self,
        output: str | Path,
        trial: str | int = "best",
        listener: Listener | None = None,
        precision: Precision = "fp32",
    ) -> Path:
        """Refits a candidate on all normals and writes it as a bundle.

        Args:
            output: Folder, or file ending in ``.zip``.
            trial: ``best``, ``picked`` or a trial number.
            listener: Called with progress.
            precision: Numbers that the graph computes with: ``fp32``, ``fp16`` or ``int8``.

        Raises:
            StudyError: There is no such candidate.
            InputError: The images changed since the search, or the output cannot be written.
            BundleError: The candidate cannot be written as a graph that agrees with it.
        """
        record = self.chosen(trial)
        check_output(Path(output))
        tell = listener or ignore_events
        with memory_explained("The export"):
            return self._export(Path(output), record, tell, precision)

    def _export(self, output: Path, record: CandidateRecord, tell: Listener, precision: Precision) -> Path:
        context, steps = self.context(tell), Steps(tell, "finish")

        def fitting(done: int, total: int) -> None:
            what = "Calibrating" if done < total - 1 else "Fitting"
            steps.reach(f"{what} trial {record.number} on good images", done, total)

        winner = refit(context, record, self.settings.folds, fitting)
        tell(Event("finish", f"Writing trial {record.number} as a graph"))
        study = self._record()
        facts = {
            "study": self.name,
            "images": len(context.data.normals.images),
            "suite": study.suite_hash,
            "fingerprint": study.fingerprint,
            "seed": self.settings.seed,
        }
        views = context.data.at(configuration_of(record).side)
        images = ExportImages(views.preprocessing, views.normals, views.proxy, context.data.normals.good.facts)
        return write_bundle(output, bundle_contents(record, winner, images, precision, facts))

    def context(self, listener: Listener = ignore_events) -> StudyContext:
        """Images, suites and backbones of a finished or interrupted search, checked against what it saw.

        Args:
            listener: Called with progress.

        Raises:
            InputError: The images changed since, or cannot be read.
            WeightsError: A backbone's weights changed since, or are not available.
        """
        settings, known = self.settings, self._record()
        watch = _watch(settings, listener, f"Study {self.name}")
        normals = self._good_images(settings, renderer_of(known), watch)
        if normals.fingerprint != known.fingerprint:
            if self._images is not None:
                raise InputError(
                    f"--images {self._images} does not hold the images that study {self.name} was searched with; name "
                    "the folder that holds them all and no others."
                )
            raise InputError(
                f"The images in {settings.images} changed since study {self.name}; restore them or search again."
            )
        device = resolve_device(settings.device)
        backbones = load_backbones(settings, device, feature_cache(self.folder, may_be_read_only=True))
        self._check_weights(backbones, known.meaning["backbones"])
        data = draw_study_data(settings, normals, self.folder, device, listener)
        return StudyContext.of(data, backbones, self.folder, settings)

    def _good_images(self, settings: StudySettings, renderer: Renderer, watch: ReadingWatch) -> StudyImages:
        if self._images is None and not settings.images.exists():
            raise InputError(
                f"{settings.images}, the folder of good images of study {self.name}, does not exist; if it was moved, "
                "name its new place with --images."
            )
        return read_study_images(settings, renderer, watch)

    @study_arithmetic()
    def rerank(self, defects: str | Path, listener: Listener | None = None) -> RerankResult:
        """Re-ranks the finished trials by a few real defects, apart from the search: nothing of it changes.

        Args:
            defects: Folder of 1 to 20 pictures of defects.
            listener: Called with progress.

        Raises:
            InputError: The pictures cannot be used.
            StudyError: No trial has finished.
        """
        find_defects(Path(defects))  # refused at once, not when all images have been read
        records = self._complete()
        tell = listener or ignore_events
        with memory_explained("The re-ranking"):
            return self._reranked(self.context(tell), records, self._choice(records), Path(defects), tell)

    @study_arithmetic()
    def assess(
        self,
        dataset: str | Path | None = None,
        listener: Listener | None = None,
        *,
        defects: str | Path | None = None,
    ) -> AssessmentResult:
        """Judges every finished trial on labelled images, beside its proxy score, or re-ranks by a few defects.

        Args:
            dataset: Labelled images in any of the layouts of `automl_ad.data.layouts`.
            listener: Called with progress.
            defects: Folder of 1 to 20 pictures of defects, instead of ``dataset`` or beside it.

        Returns:
            The figures on labelled images, the re-ranking by a few defects, or both.

        Raises:
            InputError: The pictures cannot be used, or there are none to judge by.
            StudyError: No trial has finished.
        """
        if dataset is None and defects is None:
            raise InputError("assess needs real defects: give labelled images as DATASET, a few as --defects, or both.")
        labelled, few = (None if given is None else Path(given) for given in (dataset, defects))
        if few is not None:
            find_defects(few)  # both refused at once, not when all images have been read
        given = None if labelled is None else read_labelled(labelled, masks=False)
        with memory_explained("The assessment"):
            return self._assess(given, few, self._complete(), listener or ignore_events)

    def _assess(
        self, given: LabelledSet | None, few: Path | None, records: list[CandidateRecord], tell: Listener
    ) -> AssessmentResult:
        choice = self._choice(records)
        context, answer = self.context(tell), AssessmentResult(study=self.name)
        reranked = None if few is None else self._reranked(context, records, choice, few, tell)
        if given is not None:
            scores, labels = labelled_scores(context, records, given.images, tell)
            answer = summarise(self.name, records, scores, labels, choice.number, baseline_of(records), context.seed)
            if few is not None and reranked is not None:
                shown = among_defects([image.path for image in given.images], few, context.data.normals)
                numbers = [record.number for record in records]
                judgement = judge_leader(numbers, scores, labels, shown, reranked.leader, choice.number)
                answer = answer.model_copy(update={"reranked": judgement})
            answer = answer.model_copy(update=_said(given))
        return answer.model_copy(update={"defects": reranked})

    def _reranked(
        self, context: StudyContext, records: list[CandidateRecord], choice: Choice, defects: Path, listener: Listener
    ) -> RerankResult:
        ranking = ranked(usable(records, self.settings))
        if not ranking:
            raise StudyError(f"No finished trial of study {self.name} is within the limits: raise them to re-rank.")
        pictures = DefectImages.read(defects, context.data.normals)
        evidence = gather_evidence(context, [record for record, _ in ranking], pictures.images, listener)
        result = rerank(ranking, choice, evidence, pictures.notes)
        command = export_command(self.folder, self.url, result.leader)
        return result.model_copy(update={"next": (command,) if result.changed else ()})

    def _complete(self) -> list[CandidateRecord]:
        records = [record for record in self._repository.candidates(self.name) if record.state == "complete"]
        if not records:
            raise StudyError(f"Study {self.name} has no finished trial to assess: run the search first.")
        return records

    def _choice(self, records: list[CandidateRecord]) -> Choice:
        """The trial that the search chose; before it has, the baseline, as nothing else was in a hold-out check.

        Where the baseline is not usable or there is none, the first of the ranking.
        """
        outcome = self.outcome()
        if outcome is not None:
            return Choice(outcome.winner.trial)
        order = [record for record, _ in ranked(usable(records, self.settings))] or records[:1]
        baseline = baseline_of(order)
        return Choice(order[0].number if baseline is None else baseline, final=False)

    def _choose(self, number: int | None, note: str) -> PickResult:
        pick = PickRecord(number=number, note=note, who=_user())
        self._repository.add_pick(self.name, pick)
        following = () if number is None else (export_command(self.folder, self.url, "picked"),)
        at = pick.at.isoformat()
        return PickResult(study=self.name, trial=number, note=note, who=pick.who, at=at, next=following)

    def _check_weights(self, backbones: BackboneSet, known: Mapping[str, str]) -> None:
        """Refuses to go on with other weights than those that the search saw."""
        for name, tag in known.items():
            if backbones.tags.get(name) != tag:
                state = "changed" if name in backbones.tags else "are not available"
                raise WeightsError(
                    f"The weights of backbone {name} {state}: study {self.name} was searched with them; "
                    "name the folder that holds them with AUTOML_AD_WEIGHTS."
                )

    def _ended(self) -> SearchOutcome:
        outcome = self.outcome()
        if outcome is None:
            raise StudyError(f"Study {self.name} has no answer yet: run the same search command again to finish it.")
        return outcome

    def _finished(self, number: int) -> CandidateRecord:
        record = self._repository.candidate(self.name, number)
        if record.state != "complete":
            raise StudyError(f"Trial {number} of study {self.name} is {record.state}; choose a complete one.")
        return record

    def _record(self) -> StudyRecord:
        return self._repository.get_study(self.name)


def _watch(settings: StudySettings, tell: Listener, what: str) -> ReadingWatch:
    """Refuses images for which there is no memory, and tells how many are read."""
    steps = Steps(tell, "audit")

    def read(done: int, total: int) -> None:
        steps.reach(f"Reading {settings.images}", done, total)

    return ReadingWatch(require_memory(search_need(settings), what), read)


_SHARED = sorted(TrialResult.model_fields.keys() & ({item.name for item in fields(CandidateRecord)} | {"interval"}))
"""What a trial's result takes from its record under the same name."""


def trial_fields(record: CandidateRecord, outcome: SearchOutcome | None, picked: int | None) -> dict[str, Any]:
    """The fields of a `TrialResult`.

    Args:
        record: The trial.
        outcome: Of its search; None before that has ended.
        picked: Number of the trial that the user's choice names.
    """
    return {
        **{name: getattr(record, name) for name in _SHARED},
        "certify_score": record.holdout_score,
        "winner": outcome is not None and record.number == outcome.winner.trial,
        "default": is_baseline(record) if outcome is None else record.number == outcome.default_trial,
        "tied": outcome is not None and record.number in outcome.tied,
        "picked": record.number == picked,
    }


def _holdout(record: CandidateRecord) -> HoldoutResult | None:
    if record.holdout_score is None:
        return None
    return HoldoutResult(value=record.holdout_score, cells=record.holdout_auroc)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for the user id, as in some containers
        return ""


def _said(given: LabelledSet) -> dict[str, Any]:
    """What an assessment says of the labelled images that it read."""
    return {"layout": given.layout, "left_aside": given.left_aside, "warnings": given.warnings}
