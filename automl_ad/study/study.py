"""A study from start to answer, and what can be asked of it afterwards."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError

from automl_ad.backbones.cache import FeatureCache
from automl_ad.bundle.export import ExportImages, bundle_contents
from automl_ad.bundle.precision import Precision
from automl_ad.bundle.writing import check_output, write_bundle
from automl_ad.data.folder import find_images
from automl_ad.data.labelled import labelled_images
from automl_ad.data.splits import STORED_SPLITS
from automl_ad.data.study_images import StudyImages, read_study_images
from automl_ad.errors import InputError, NoCandidateError, StoreError, StudyError, WeightsError
from automl_ad.methods.registry import ENSEMBLE
from automl_ad.selection.decision import Decision, Finalist, decide, limitations
from automl_ad.selection.few_defects import Choice, among_defects, judge_leader, rerank
from automl_ad.selection.holdout import learned_families, shortlist
from automl_ad.selection.lead_model import lead_models_for
from automl_ad.selection.ranking import BASELINE_TRIAL, contains_baseline, ranked, usable
from automl_ad.store.artifacts import StudyFolder, remove_leftovers
from automl_ad.store.database import default_url, open_engine, optuna_storage, without_password
from automl_ad.store.plain_json import plain
from automl_ad.store.records import CandidateRecord, PickRecord, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.assess import labelled_scores, summarise
from automl_ad.study.backbones import BackboneSet, load_backbones
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.defect_images import DefectImages, find_defects
from automl_ad.study.detectors import refit
from automl_ad.study.devices import resolve_device
from automl_ad.study.ensembles import add_ensembles
from automl_ad.study.holdout import HoldoutCheck
from automl_ad.study.loop import Clock, open_optuna, search_loop
from automl_ad.study.progress import Event, Listener, ignore_events, is_searched, progress_kept, study_lock
from automl_ad.study.rescore import rescore_trials
from automl_ad.study.settings import StudySettings
from automl_ad.study.suites import draw_study_data
from automl_ad.study.trial import describe_error
from automl_ad.synthesis.textures import TextureFolder
from automl_ad.workspace import workspace_folder


class Study:
    """One search over one folder of good images, and its results."""

    def __init__(self, folder: StudyFolder, url: str, repository: Repository) -> None:
        self.name = folder.name
        self.folder = folder
        self.url = url
        self._repository = repository

    @classmethod
    def open(cls, name: str, workspace: str | Path | None = None, storage: str | None = None) -> Study:
        """Opens a study that exists.

        Args:
            name: Its name.
            workspace: Its workspace; the default one when None.
            storage: Database URL; the workspace's SQLite file when None.

        Raises:
            StoreError: There is no database.
            StudyError: There is no such study in it.
        """
        folder = StudyFolder(workspace_folder(workspace), name)
        url = storage or default_url(folder.workspace)
        study = cls(folder, url, Repository(open_engine(url, must_exist=True)))
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
            listener: Told the progress.
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
        with study_lock(folder, url), progress_kept(folder, listener) as tell:
            remove_leftovers(folder.root)
            tell(Event("audit", f"Reading {settings.images}", elapsed_s=clock.elapsed))
            normals = read_study_images(settings)
            if defects is not None:
                DefectImages.read(defects, normals)  # refused before the search, not after it
            study._search(settings, normals, clock, tell)
            if defects is not None:
                answer = study._ended() | {"defects": study.rerank(defects, tell)}
                study._repository.set_answer(study.name, plain(answer))
        return study

    @property
    def repository(self) -> Repository:
        """The door to the database, for readers."""
        return self._repository

    @property
    def settings(self) -> StudySettings:
        """The settings of the newest run of the study."""
        return StudySettings(**self._record().settings)

    @property
    def searching(self) -> bool:
        """Whether a process searches the study right now, as far as its lock can be seen from here."""
        return is_searched(self.folder, self.url)

    def outcome(self) -> dict[str, Any] | None:
        """The outcome of the search as it is kept, without the ranked table; None before the search has ended."""
        answer = self._record().answer
        return None if answer is None else dict(answer)

    def answer(self) -> dict[str, Any]:
        """The outcome of the search and the ranked table.

        Raises:
            StudyError: The search has not ended.
        """
        return self._ended() | {"ranking": self.trials()}

    def trials(self) -> list[dict[str, Any]]:
        """All trials, the usable ones ranked first."""
        answer = self._record().answer or {}
        records = self._repository.candidates(self.name)
        good = usable(records, self.settings)
        order = [record for record, _ in ranked(good)]
        placed = {record.number for record in order}
        rest = [record for record in records if record.number not in placed]
        pick = self._repository.newest_pick(self.name)
        marks = {"tied": set(answer.get("tied", ())), "picked": {pick.number} if pick else set()}
        return [_row(record, marks, answer.get("winner", {}).get("trial")) for record in order + rest]

    def show(self, number: int) -> dict[str, Any]:
        """Everything known of one trial.

        Raises:
            StudyError: There is no such trial.
        """
        record = self._repository.candidate(self.name, number)
        row = next(row for row in self.trials() if row["number"] == number)
        files = sorted(self.folder.trial(number).glob("*")) if self.folder.trial(number).is_dir() else []
        return row | {
            "rule": record.rule,
            "cells": dict(record.image_auroc),
            "located": dict(record.localisation_auroc),
            "rules": dict(record.aggregations),
            "certify": _holdout(record),
            "timings": {"fit_s": record.fit_s, "total_s": record.total_s},
            "artifacts": [str(path) for path in files],
        }

    def pick(self, number: int, note: str = "") -> dict[str, Any]:
        """Records the user's own choice; the newest counts.

        Raises:
            StudyError: There is no such trial, or it did not finish.
        """
        return self._choose(self._finished(number).number, note)

    def unpick(self, note: str = "") -> dict[str, Any]:
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
            return self._finished(int(self._ended()["winner"]["trial"]))
        if trial == "picked":
            pick = self._repository.newest_pick(self.name)
            if pick is None or pick.number is None:
                raise StudyError(
                    f"No trial of study {self.name} was picked; run `automl-ad pick {self.name} --trial N`."
                )
            return self._finished(pick.number)
        return self._finished(int(trial))

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
            listener: Told what is going on.
            precision: Numbers that the graph computes with: ``fp32``, ``fp16`` or ``int8``.

        Raises:
            StudyError: There is no such candidate.
            InputError: The images changed since the search, or the output cannot be written.
            BundleError: The candidate cannot be written as a graph that agrees with it.
        """
        record = self.chosen(trial)
        check_output(Path(output))
        tell = listener or ignore_events
        context = self.context()

        def fitting(done: int, total: int) -> None:
            what = "Calibrating" if done < total - 1 else "Fitting"
            tell(Event("finish", f"{what} trial {record.number} on good images", done, total))

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
        images = ExportImages(views.preprocessing, views.normals, views.proxy)
        return write_bundle(Path(output), bundle_contents(record, winner, images, precision, facts))

    def context(self) -> StudyContext:
        """Images, suites and backbones of a finished or interrupted search, checked against what it saw.

        Raises:
            InputError: The images changed since, or cannot be read.
            WeightsError: A backbone's weights changed since, or are not at hand.
        """
        settings, known = self.settings, self._record()
        normals = read_study_images(settings)
        if normals.fingerprint != known.fingerprint:
            raise InputError(
                f"The images in {settings.images} changed since study {self.name}; restore them or search again."
            )
        device = resolve_device(settings.device)
        backbones = load_backbones(settings, device, self._cache())
        self._check_weights(backbones, known.meaning["backbones"])
        data = draw_study_data(settings, normals, self.folder, device)
        return StudyContext.of(data, backbones, self.folder, settings)

    def rerank(self, defects: str | Path, listener: Listener | None = None) -> dict[str, Any]:
        """Re-ranks the finished trials by a few real defects, apart from the search: nothing of it changes.

        Args:
            defects: Folder of 1 to 20 pictures of defects.
            listener: Told the progress.

        Returns:
            See `automl_ad.selection.few_defects.rerank`; ``next`` holds the command that exports another leader.

        Raises:
            InputError: The pictures cannot be used.
            StudyError: No trial has finished.
        """
        find_defects(Path(defects))  # refused at once, not when all images have been read
        records = self._complete()
        return self._reranked(self.context(), records, self._choice(records), Path(defects), listener or ignore_events)

    def assess(
        self,
        dataset: str | Path | None = None,
        listener: Listener | None = None,
        *,
        defects: str | Path | None = None,
    ) -> dict[str, Any]:
        """Judges every finished trial on labelled images, beside its proxy score, or re-ranks by a few defects.

        Args:
            dataset: Labelled images in MVTec layout.
            listener: Told the progress.
            defects: Folder of 1 to 20 pictures of defects, instead of ``dataset`` or beside it.

        Returns:
            With ``dataset``, the figures of `automl_ad.study.assess.summarise`. With ``defects``, the key ``defects``,
            see `rerank`. With both, ``reranked`` as well, see `automl_ad.selection.few_defects.judge_leader`.

        Raises:
            InputError: The pictures cannot be used, or there are none to judge by.
            StudyError: No trial has finished.
        """
        if dataset is None and defects is None:
            raise InputError("assess needs real defects: give labelled images as DATASET, a few as --defects, or both.")
        labelled, few = (None if given is None else Path(given) for given in (dataset, defects))
        if few is not None:
            find_defects(few)  # both refused at once, not when all images have been read
        if labelled is not None:
            labelled_images(labelled)
        records, tell = self._complete(), listener or ignore_events
        choice = self._choice(records)
        context, answer = self.context(), dict[str, Any](study=self.name)
        if few is not None:
            answer["defects"] = self._reranked(context, records, choice, few, tell)
        if labelled is not None:
            scores, labels = labelled_scores(context, records, labelled, tell)
            answer |= summarise(records, scores, labels, choice.number, BASELINE_TRIAL, context.seed)
        if labelled is not None and few is not None:
            shown = among_defects([image.path for image in labelled_images(labelled)], few, context.data.normals)
            numbers, leader = [record.number for record in records], int(answer["defects"]["leader"])
            answer["reranked"] = judge_leader(numbers, scores, labels, shown, leader, choice.number)
        return answer

    def _reranked(
        self, context: StudyContext, records: list[CandidateRecord], choice: Choice, defects: Path, listener: Listener
    ) -> dict[str, Any]:
        ranking = ranked(usable(records, self.settings))
        if not ranking:
            raise StudyError(f"No finished trial of study {self.name} is within the limits: raise them to re-rank.")
        pictures = DefectImages.read(defects, context.data.normals)
        result = rerank(context, ranking, choice, pictures, listener)
        return result | {"next": [self._export_command(result["leader"])] if result["changed"] else []}

    def _complete(self) -> list[CandidateRecord]:
        records = [record for record in self._repository.candidates(self.name) if record.state == "complete"]
        if not records:
            raise StudyError(f"Study {self.name} has no finished trial to assess: run the search first.")
        return records

    def _choice(self, records: list[CandidateRecord]) -> Choice:
        """The trial that the search chose; before it has, the default, as nothing else has been through a final check.

        Where the default is not usable, the first of the ranking.
        """
        answer = self.outcome()
        if answer is not None:
            return Choice(int(answer["winner"]["trial"]))
        order = [record.number for record, _ in ranked(usable(records, self.settings))]
        return Choice(BASELINE_TRIAL if BASELINE_TRIAL in order else (order or [records[0].number])[0], final=False)

    def _choose(self, number: int | None, note: str) -> dict[str, Any]:
        pick = PickRecord(number=number, note=note, who=_user())
        self._repository.add_pick(self.name, pick)
        return {"study": self.name, "trial": number, "note": note, "who": pick.who, "at": pick.at.isoformat()}

    def _search(self, settings: StudySettings, normals: StudyImages, clock: Clock, listener: Listener) -> None:
        device = resolve_device(settings.device)
        backbones = load_backbones(settings, device, self._cache())
        self._begin(settings, normals, backbones)
        listener(Event("suite", "Drawing the proxy suite", elapsed_s=clock.elapsed))
        data = draw_study_data(settings, normals, self.folder, device, listener)
        context = StudyContext.of(data, backbones, self.folder, settings)
        self._repository.set_suite(self.name, context.data.proxy.digest)
        warnings = [*normals.warnings, *backbones.warnings, *data.warnings]
        self._repository.set_warnings(self.name, warnings)
        for warning in warnings:
            listener(Event("warning", warning, elapsed_s=clock.elapsed))
        study = open_optuna(self.name, optuna_storage(self.url))
        try:
            search_loop(study, context, settings, self._repository, clock, listener)
            rescore_trials(context, self.name, self._repository)
            averages: list[int] = []
            if settings.ensemble:
                averages = add_ensembles(study, context, settings, self._repository, BASELINE_TRIAL, listener)
                rescore_trials(context, self.name, self._repository)
        except StorageInternalError as error:
            raise StoreError(
                f"The database {without_password(self.url)} stopped taking results; see that the disk has room and the "
                "file is writable, then run the same command again."
            ) from error
        self._conclude(context, settings, averages, warnings, clock, listener)

    def _begin(self, settings: StudySettings, normals: StudyImages, backbones: BackboneSet) -> None:
        """Creates the study's record, or checks that the one there means the same."""
        meaning = plain(settings.meaning(backbones.tags, normals.fingerprint))
        known = self._repository.find_study(self.name)
        if known is not None:
            changed = sorted(key for key in meaning if known.meaning.get(key) != meaning[key])
            if changed:
                raise StudyError(
                    f"Study {self.name} was made with other {', '.join(changed)}; give the new search another --name, "
                    "or repeat the old settings to resume."
                )
            self._require_scores()
            self._repository.set_settings(self.name, settings.model_dump(mode="json"))
            self._repository.set_answer(self.name, None)  # an old answer must not outlive what may change it
            return
        record = StudyRecord(
            name=self.name,
            settings=settings.model_dump(mode="json"),
            meaning=meaning,
            images=str(settings.images),
            fingerprint=normals.fingerprint,
            splits={name: list(getattr(normals.splits, split)) for name, split in STORED_SPLITS.items()},
        )
        self._repository.create_study(record)

    def _require_scores(self) -> None:
        """Refuses to go on with trials whose proxy scores mean something else: those of early versions."""
        complete = [record for record in self._repository.candidates(self.name) if record.state == "complete"]
        if not all(_scored_as_now(record) for record in complete):
            raise StudyError(
                f"Study {self.name} was searched by an earlier version, which scored candidates otherwise; give the "
                "new search another --name."
            )

    def _conclude(
        self,
        context: StudyContext,
        settings: StudySettings,
        averages: Collection[int],
        warnings: list[str],
        clock: Clock,
        listener: Listener,
    ) -> None:
        records = self._repository.candidates(self.name)
        ranking = ranked(usable(records, settings))
        if not ranking:
            raise NoCandidateError(_why_none(records))
        chosen = shortlist(ranking, settings.holdout_candidates, BASELINE_TRIAL, averages)
        self._repository.clear_holdout(self.name)
        finalists = []
        home = learned_families(chosen)
        check = HoldoutCheck(context, home)
        for done, record in enumerate(chosen):
            listener(Event("certify", "Checking the best again", done, len(chosen), clock.elapsed))
            finalist = self._certified(check, record, warnings)
            finalists += [finalist] if finalist is not None else []
        if not finalists:
            raise NoCandidateError(f"No candidate could be checked again: {warnings[-1]}")
        hedges = {record.number for record in chosen if contains_baseline(record)}
        lead_models = lead_models_for([record.backbone for record, _ in ranking])
        decision = decide(finalists, BASELINE_TRIAL, hedges, lead_models)
        winner = next(record for record in records if record.number == decision.winner)
        answer = self._answer(context, winner, decision, finalists, home, records, warnings, clock)
        self._repository.set_answer(self.name, plain(answer))
        listener(Event("finish", f"Trial {winner.number} wins", elapsed_s=clock.elapsed))

    def _certified(self, check: HoldoutCheck, record: CandidateRecord, warnings: list[str]) -> Finalist | None:
        """The finalist; None, and a warning, when the candidate fails on the certify images."""
        try:
            finalist, cells = check.finalist(record)
        except StoreError:
            raise
        except Exception as error:  # one candidate's fault must not cost the others their answer
            warnings.append(f"Trial {record.number} failed on the certify images: {describe_error(error)}")
            return None
        self._repository.set_holdout(self.name, record.number, finalist.value, cells)
        return finalist

    def _answer(
        self,
        context: StudyContext,
        winner: CandidateRecord,
        decision: Decision,
        finalists: list[Finalist],
        home: Collection[str],
        records: list[CandidateRecord],
        warnings: list[str],
        clock: Clock,
    ) -> dict[str, Any]:
        states = [record.state for record in records if record.method != ENSEMBLE]
        coverage = context.data.coverage
        return {
            "study": self.name,
            "storage": without_password(self.url),
            "images": len(context.data.normals.images),
            "trials": {state: states.count(state) for state in ("complete", "pruned", "failed")},
            "averages": sum(record.method == ENSEMBLE for record in usable(records, self.settings)),
            "wall_s": clock.elapsed,
            "proxy": {
                "suite": context.data.proxy.digest,
                "families": list(winner.families),
                "coverage": None if coverage is None else coverage.facts,
            },
            "winner": {
                "trial": winner.number,
                "method": winner.method,
                "backbone": winner.backbone,
                "params": dict(winner.params),
                "rule": winner.rule,
                "proxy_score": winner.proxy_score,
                "advantage": winner.advantage,
                "interval": winner.interval,
                "latency_ms": winner.latency_ms,
                "size_mb": winner.size_mb,
            },
            "tied": list(decision.tied),
            "certified": [finalist.number for finalist in finalists],
            "default_trial": BASELINE_TRIAL,
            "default_kept": decision.default_kept,
            "certainty": decision.certainty,
            "why": list(decision.why),
            "unknown": limitations(winner.families, home),
            "warnings": warnings,
            "next": self._next_commands(winner.number),
        }

    def _next_commands(self, number: int) -> list[str]:
        """Commands that work as they stand."""
        name = shlex.quote(self.name)
        return [
            f"automl-ad show {name} --trial {number}{self._place()}",
            f"automl-ad export {name} --output {name}_bundle{self._place()}",
            f"automl-ad predict {name}_bundle PATH_TO_NEW_IMAGES --output heatmaps",
        ]

    def _export_command(self, number: int) -> str:
        name = shlex.quote(self.name)
        return f"automl-ad export {name} --trial {number} --output {name}_bundle{self._place()}"

    def _place(self) -> str:
        """The options that lead to the study where it does not lie in the default workspace."""
        place = ""
        if self.folder.workspace != workspace_folder(None):
            place = f" --workspace {shlex.quote(str(self.folder.workspace))}"
        if self.url != default_url(self.folder.workspace):
            place += f" --storage {shlex.quote(without_password(self.url))}"
        return place

    def _check_weights(self, backbones: BackboneSet, is_searched: Mapping[str, str]) -> None:
        """Refuses to go on with other weights than those that the search saw."""
        for name, tag in is_searched.items():
            if backbones.tags.get(name) != tag:
                state = "changed" if name in backbones.tags else "are not at hand"
                raise WeightsError(
                    f"The weights of backbone {name} {state}: study {self.name} was searched with them; "
                    "name the folder that holds them with AUTOML_AD_WEIGHTS."
                )

    def _ended(self) -> dict[str, Any]:
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

    def _cache(self) -> FeatureCache:
        """Features are shared by all studies of the workspace: they depend on images and weights alone."""
        return FeatureCache(self.folder.workspace / "cache" / "features")


def _row(record: CandidateRecord, marks: Mapping[str, set[int]], winner: int | None) -> dict[str, Any]:
    return {
        "number": record.number,
        "state": record.state,
        "method": record.method,
        "backbone": record.backbone,
        "params": dict(record.params),
        "rule": record.rule,
        "proxy_score": record.proxy_score,
        "interval": record.interval,
        "families": dict(record.families),
        "advantage": record.advantage,
        "certify_score": record.holdout_score,
        "latency_ms": record.latency_ms,
        "size_mb": record.size_mb,
        "peak_mb": record.peak_mb,
        "fit_s": record.fit_s,
        "total_s": record.total_s,
        "reason": record.reason,
        "winner": record.number == winner,
        "default": record.number == BASELINE_TRIAL,
        **{mark: record.number in numbers for mark, numbers in marks.items()},
    }


def _holdout(record: CandidateRecord) -> dict[str, Any] | None:
    if record.holdout_score is None:
        return None
    return {"value": record.holdout_score, "cells": dict(record.holdout_auroc)}


def _scored_as_now(record: CandidateRecord) -> bool:
    return bool(record.localisation_auroc) and record.advantage == configuration_of(record).parameters.advantage


def _why_none(records: list[CandidateRecord]) -> str:
    reasons = [record.reason for record in records if record.reason]
    if not reasons:
        return "No candidate met the limits (--max-latency-ms, --max-size-mb): raise them or choose smaller backbones."
    return f"No candidate could be used; the first of {len(reasons)} that ended early said: {reasons[0]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for the user id, as in some containers
        return ""
