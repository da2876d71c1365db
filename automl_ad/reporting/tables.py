"""Answers of the library as tables and sentences for people.

Each report takes one of the models of `automl_ad.results` and yields what to print, from top to bottom; text from the
user's disk is never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from automl_ad.bundle.figures import bias_correction_message, figures, marked_sentence, review_sentence
from automl_ad.data.left_aside import left_aside_sentence
from automl_ad.formatting import NONE, format_duration, interval, is_number, megabytes, number, percent, score
from automl_ad.methods.names import candidate_words, method_words
from automl_ad.reporting.messages import certainty_message, coverage_messages, ensemble_message, format_params
from automl_ad.results import (
    AssessedTrial,
    AssessmentResult,
    AuditResult,
    DefectResult,
    DemoResult,
    DeviceInfo,
    DoctorResult,
    EvaluationResult,
    ExportResult,
    ImageGroup,
    LeaderJudgement,
    PickResult,
    PlaceInfo,
    RerankResult,
    SearchResult,
    StudiesResult,
    SynthesisResult,
    TrialDetails,
    TrialResult,
    TrialsResult,
    WinnerResult,
)
from automl_ad.suggestions import suggested_command
from automl_ad.workspace import workspace_folder

Part = str | Text | Table
_ReadsFolder = SearchResult | EvaluationResult | AssessmentResult | SynthesisResult | AuditResult

TOP = 10
PROXY_NOTE = (
    "The proxy score is the mean of image AUROC and localisation AUROC on synthetic defects, against good images that "
    "the candidate was not trained on (0.5 = chance, 1 = perfect); real defects can differ."
)
RERANKED_NOTE = (
    "Prior and posterior: expected image AUROC before and after the real defects; only differences between trials are "
    "meaningful, and ± is one standard deviation."
)
_INTERVAL = "90 % interval"


def search_report(answer: SearchResult) -> Iterator[Part]:
    """The end of a search: counts, the ranked table, the winner, why, what is unknown, what next."""
    winner = answer.winner
    yield _counts(answer)
    yield trials_table(answer.ranking, "Ranked candidates", limit=TOP)
    yield from _hidden(answer)
    yield PROXY_NOTE
    yield _heading(f"Winner: trial {winner.trial}, {_candidate(winner)}")
    yield _summary(winner)
    yield from _bias_correction(winner)
    yield from filter(None, (ensemble_message(winner), certainty_message(answer)))
    yield from _tied(answer)
    yield from _list("Why this one", answer.why)
    yield from _list("What this search could not know", answer.unknown)
    yield from _list("Coverage", coverage_messages(answer.proxy.coverage))
    yield from _list("Warnings", answer.warnings)
    yield from _list("Next", answer.next)
    yield from _reranked(answer.defects)
    yield from _reading(answer)


def trials_report(answer: TrialsResult) -> Iterator[Part]:
    """Every trial of a study, best first."""
    if not answer.trials:
        yield f"Study {answer.study} has no trials yet."
        return
    yield trials_table(answer.trials, f"Trials of {answer.study}")
    yield PROXY_NOTE


def trials_table(trials: Sequence[TrialResult], title: str, *, limit: int | None = None) -> Table:
    """A ranked table, cut after ``limit`` rows; winner, tied set, baseline and pick are marked."""
    table = _table(
        title,
        "trial",
        "method",
        "backbone",
        "proxy\nscore",
        "90 %\ninterval",
        "ms an\nimage",
        "MB",
        "notes",
        right={0, 3, 5, 6},
    )
    for trial in trials[:limit]:
        table.add_row(*map(Text, _trial_row(trial)), style="bold" if trial.winner else "")
    return table


def studies_report(answer: StudiesResult) -> Iterator[Part]:
    """The studies of a workspace."""
    if not answer.studies:
        yield f"There are no studies here yet; start one with: {suggested_command('search', 'IMAGES')}"
        return
    table = _table("Studies", "study", "created (UTC)", "state", "trials", "images")
    for study in answer.studies:
        counts = ", ".join(f"{count} {state}" for state, count in study.trials if count)
        created = study.created_at[:16].replace("T", " ")
        table.add_row(*map(Text, (study.study, created, study.state, counts, study.images)))
    yield table


def trial_report(trial: TrialDetails) -> Iterator[Part]:
    """One trial: settings, scores by family and severity, costs, files."""
    yield _heading(f"Trial {trial.number}: {_candidate(trial)} ({trial.state})")
    if trial.reason:
        yield f"Reason: {trial.reason}"
    if trial.traceback:
        yield f"Traceback: {trial.traceback}"
    yield _summary(trial)
    yield from _pairs("Settings", format_params(trial.params))
    yield from _pairs("Proxy score by family", trial.families, score)
    yield from _bias_correction(trial)
    yield from _cells(trial)
    if trial.rule:
        yield f"Score aggregation: {trial.rule}"
    yield from _pairs("Image AUROC by score aggregation", trial.rules, score)
    yield from _pairs("Costs", _costs(trial))
    yield from _list("Artifacts", trial.artifacts)


def pick_report(answer: PickResult) -> Iterator[Part]:
    """What was recorded as the user's choice."""
    yield f"Trial {answer.trial} is now the pick of study {answer.study}."
    yield from (f"Export it with: {command}" for command in answer.next)


def export_report(answer: ExportResult) -> Iterator[Part]:
    """Where the bundle went, and what to do with it."""
    speed, parity = answer.speed, answer.parity
    yield f"Bundle written: {answer.bundle}"
    yield (
        f"Its graph ({answer.precision}, {speed.size_mb:.1f} MB) takes {speed.latency_ms:.0f} ms an image here. From "
        f"PyTorch it differs by {parity.relative:.1g} of the scores' range on {parity.images} images and in "
        f"{parity.decisions_changed} decisions."
    )
    yield answer.promise
    yield f"Try it with: {suggested_command('predict', answer.bundle, 'IMAGES')}"
    yield "Without automl-ad, in the (unzipped) bundle: pip install -r requirements.txt, then python predict.py IMAGES"


def metrics_report(answer: EvaluationResult) -> Iterator[Part]:
    """Metrics on labelled images."""
    yield _heading(f"{answer.images.good} good and {answer.images.defect} defective images")
    table = _table(None, "metric", "value", "90 %\ninterval", "meaning", right={1, 2})
    for figure in figures(answer):
        table.add_row(figure.name, figure.value, figure.interval, figure.meaning)
    yield table
    yield from _by_defect(answer.by_defect)
    yield from filter(None, (answer.promise_note, review_sentence(answer), marked_sentence(answer)))
    yield from _list("Left out", [f"{item.path}: {item.error}" for item in answer.errors])
    yield from _list("Warnings", answer.warnings)
    yield from _reading(answer)
    if answer.report:
        yield f"Report written: {answer.report}"


def assessment_report(answer: AssessmentResult) -> Iterator[Part]:
    """The finished trials of a study on real defects, and how good the choice was."""
    if answer.trials is not None:
        yield from _judgement(answer, answer.trials)
    yield from _reranked(answer.defects)
    yield from _leader_judged(answer.reranked)
    yield from _list("Warnings", answer.warnings or ())
    yield from _reading(answer)


def synthesis_report(answer: SynthesisResult) -> Iterator[Part]:
    """What was drawn, and where it lies."""
    height, width = answer.size
    yield _heading(f"{answer.count} anomalies of the family {answer.family} at strength {answer.strength:g}")
    yield f"Drawn on {answer.images} good images at {width} x {height} pixels, seed {answer.seed}."
    areas = [anomaly.area for anomaly in answer.anomalies]
    yield f"They cover {percent(min(areas))} to {percent(max(areas))} of an image."
    if answer.sdas is not None and "added_variance" in answer.sdas:
        yield f"For this product the strength is an added variance of s = {answer.sdas['added_variance']:.2g}."
    yield from _list("Warnings", answer.warnings)
    yield from _reading(answer)
    yield from _pairs("Written", {"folder": answer.output, "to look at": answer.contact_sheet})


def _reading(answer: _ReadsFolder) -> Iterator[Part]:
    """What the folder was taken for, and what was not read of it."""
    if answer.layout is not None:
        yield answer.layout.sentence
    if answer.left_aside:
        yield left_aside_sentence(answer.left_aside)


def audit_report(answer: AuditResult) -> Iterator[Part]:
    """What is unusual about an image folder."""
    yield _heading(f"{answer.images} readable images")
    yield from _pairs("Sizes (height x width)", answer.sizes, str)
    yield from _pairs("Pixel formats", answer.modes, str)
    yield from _pairs("Grey levels", _levels(answer), str)
    yield from _list("Unreadable", [f"{item.path}: {item.error}" for item in answer.unreadable])
    yield from _list("Showing the same image", [", ".join(group) for group in answer.duplicates])
    yield from _list("Unlike the others, worst first", [f"{item.path} ({item.score:.1f})" for item in answer.suspects])
    yield from _groups(answer.groups)
    go_on = f"nothing looks odd; go on with: {suggested_command('search', 'IMAGES')}"
    yield from _list("Advice", answer.advice or [go_on])
    yield from _reading(answer)


def _levels(answer: AuditResult) -> dict[str, str]:
    found = {} if answer.grey_levels is None else {"used": f"{answer.grey_levels} of 256"}
    if answer.white_level is not None:
        found["range"] = f"{answer.black_level} becomes black, {answer.white_level} white"
    return found


def _groups(groups: Sequence[ImageGroup]) -> Iterator[Part]:
    if not groups:
        return
    table = _table("Groups", "group", "images", "share", "what it is", "examples", right={1, 2})
    for group in groups:
        cells = (group.name, group.images, percent(group.share, 0), group.sentence, "\n".join(group.examples))
        table.add_row(*map(Text, map(str, cells)))
    yield table


def doctor_report(answer: DoctorResult) -> Iterator[Part]:
    """Versions, devices, backbones, places, and what follows from them."""
    yield _heading(f"automl-ad {answer.version}, Python {answer.python}, {answer.platform}")
    yield from _pairs("Packages", {name: found or "not installed" for name, found in answer.packages.items()}, str)
    yield from _list("Devices", [_device(device) for device in answer.devices])
    yield from _pairs("Backbones", {item.name: item.source or "not available" for item in answer.backbones}, str)
    yield f"Model hub: {_REACHED[answer.hub_reachable]}"
    yield from _list("Places", [_place(place) for place in answer.places])
    yield from _list("Problems", answer.problems)
    yield from _list("Advice", answer.advice or ["nothing stands in the way of a search"])


def demo_report(answer: DemoResult) -> Iterator[Part]:
    """What the demonstration drew and found, and its metrics on the drawn defects."""
    yield from search_report(answer)
    yield _heading("On the drawn test images, defects included, which the search never saw:")
    yield from metrics_report(answer.evaluation)
    image = answer.prediction.results[0]
    verdict = "anomalous" if image.anomalous else "good"
    yield f"One defective image, {image.path}: {verdict}, p-value {number(image.p_value, 3)}."
    written = {"data set": answer.dataset, "bundle": answer.bundle, "heatmap": image.heatmap}
    yield from _pairs("Written", written)


def flat_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """One row of a table: a mapping of numbers gets a column a key (``families.texture``), an interval two."""
    row: dict[str, Any] = {}
    for key, value in record.items():
        if key == "interval":
            row["interval_low"], row["interval_high"] = value or (None, None)
        elif isinstance(value, Mapping) and key != "params":
            row |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            row[key] = value
    return row


_FOLDED = {"backbone", "decision", "heatmap", "image", "images", "meaning", "notes", "settings", "study", "trials"}
_REACHED = {True: "answers", False: "does not answer", None: "not asked"}


def _table(title: str | None, *columns: str, right: Iterable[int] = ()) -> Table:
    """A table whose numbers are never broken; the columns of `_FOLDED` give way when the terminal is narrow."""
    heading = None if title is None else Text(title)
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        side: Literal["left", "right"] = "right" if index in set(right) else "left"
        table.add_column(column, justify=side, overflow="fold", no_wrap=column not in _FOLDED)
    return table


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _list(title: str, lines: Iterable[str]) -> Iterator[Part]:
    found = list(lines)
    if found:
        yield _heading(title)
        yield from (f"  {line}" for line in found)


def _pairs(title: str, values: Mapping[str, Any], form: Any = None) -> Iterator[Part]:
    shown = {key: (form or _words)(value) for key, value in values.items()}
    width = max(map(len, shown), default=0)
    yield from _list(title, [f"{key:<{width}}  {text}" for key, text in shown.items()])


def _counts(answer: SearchResult) -> str:
    trials = answer.trials
    counted = [f"{trials.complete} trials finished"]
    counted += [f"{count} {state}" for state, count in trials if state != "complete" and count]
    counted += [f"{answer.averages} ensemble{'s' * (answer.averages > 1)} built"] if answer.averages else []
    return f"Study {answer.study}: {', '.join(counted)} in {format_duration(answer.wall_s)}."


def _candidate(trial: TrialResult | WinnerResult) -> str:
    return candidate_words(trial.method, trial.backbone)


def _summary(trial: TrialResult | WinnerResult) -> str:
    text = f"Proxy score {score(trial.proxy_score)} ({_INTERVAL} {interval(trial.interval)})"
    return f"{text}, {number(trial.latency_ms, 1)} ms an image, {megabytes(trial.size_mb)}"


def _bias_correction(trial: TrialResult | WinnerResult) -> Iterator[Part]:
    if trial.advantage:
        yield bias_correction_message(trial.advantage)


def _cells(trial: TrialDetails) -> Iterator[Part]:
    """Both halves of the proxy score in every cell; trials of early versions have the first alone."""
    both = {cell: f"{score(value)}  {score(trial.located.get(cell))}" for cell, value in trial.cells.items()}
    yield from _pairs("Image and localisation AUROC by family and severity", both)


def _hidden(answer: SearchResult) -> Iterator[Part]:
    more = len(answer.ranking) - TOP
    if more > 0:
        from automl_ad.store.database import default_url  # with SQLAlchemy, which `doctor` can do without

        storage = None if answer.storage == default_url(workspace_folder(None)) else answer.storage
        yield f"{more} more are shown by: {suggested_command('trials', answer.study, storage=storage)}"


def _tied(answer: SearchResult) -> Iterator[Part]:
    others = [tied for tied in answer.tied if tied != answer.winner.trial]
    if others:
        listed = ", ".join(map(str, others))
        yield f"Tied set: trial{'s' * (len(others) > 1)} {listed} may be better on real defects."


def _trial_row(trial: TrialResult) -> list[str]:
    marks = [
        mark
        for mark, applies in (
            ("winner", trial.winner),
            ("tied", trial.tied),
            ("baseline", trial.default),
            ("picked", trial.picked),
        )
        if applies
    ]
    if trial.state != "complete":
        marks += [": ".join(filter(None, (trial.state, trial.reason)))]
    names = [str(trial.number), method_words(trial.method), _words(trial.backbone)]
    numbers = [score(trial.proxy_score), interval(trial.interval)]
    costs = [number(trial.latency_ms, 1), megabytes(trial.size_mb, unit="")]
    return [*names, *numbers, *costs, ", ".join(marks)]


def _costs(trial: TrialDetails) -> dict[str, str]:
    seconds = {"fit": trial.fit_s, "whole trial": trial.total_s}
    costs = {name: format_duration(value) for name, value in seconds.items() if is_number(value)}
    return costs | ({"peak memory": f"{trial.peak_mb:.0f} MB"} if is_number(trial.peak_mb) else {})


def _by_defect(kinds: Mapping[str, DefectResult]) -> Iterator[Part]:
    if kinds:
        columns = ("kind", "images", "found", "missed", "image\nAUROC", "90 %\ninterval")
        table = _table("By kind of defect", *columns, right={1, 2, 3, 4, 5})
        for kind, facts in kinds.items():
            counts = map(str, (facts.n, facts.found, facts.escapes))
            table.add_row(Text(kind), *counts, score(facts.image_auroc), interval(facts.image_auroc_interval))
        yield table


def _judgement(answer: AssessmentResult, trials: Sequence[AssessedTrial]) -> Iterator[Part]:
    title = f"Study {answer.study} on labelled images"
    table = _table(
        title, "trial", "method", "proxy\nscore", "image\nAUROC", "90 %\ninterval", "settings", "notes", right={0, 2, 3}
    )
    for trial in trials:
        table.add_row(*map(Text, _assessed_row(trial, answer)))
    yield table
    yield (
        f"Rank correlation of proxy score and image AUROC: Spearman {number(answer.spearman, 2)}, "
        f"Kendall {number(answer.kendall, 2)}."
    )
    regrets = {
        "of the selected trial": answer.regret,
        "of the training-free baseline": answer.default_regret,
        "of a trial picked at random": answer.random_regret,
        "of choosing with half of the labels": answer.labelled_floor,
    }
    yield from _pairs("Regret in points of image AUROC (the best trial's less the chosen one's)", regrets, _points)


def _reranked(defects: RerankResult | None) -> Iterator[Part]:
    """The trials re-ranked by a few real defects, apart from the search."""
    if defects is None:
        return
    columns = ("trial", "method", "backbone", "prior", "share of good\nimages below", "posterior", "±")
    counted = f"{defects.images} real defect{'s' * (defects.images != 1)}"
    table = _table(f"Re-ranked by {counted}, apart from the search", *columns, right={0, 3, 4, 5, 6})
    for trial in defects.trials[:TOP]:
        scores = map(score, (trial.prior, trial.mean_placement, trial.posterior, trial.sd))
        cells = (str(trial.number), trial.method, _words(trial.backbone), *scores)
        table.add_row(*map(Text, cells), style="bold" if trial.number == defects.leader else "")
    yield table
    yield RERANKED_NOTE
    yield defects.note
    yield from _list("To export that trial", defects.next)


def _leader_judged(judged: LeaderJudgement | None) -> Iterator[Part]:
    if judged is None:
        return
    images = judged.images
    title = f"Regret on the {images.good} good and {images.defect} defective images that did not re-rank, in points"
    regrets = {
        f"of trial {judged.leader}, which leads with the few defects": judged.regret,
        "of the selected trial": judged.selected_regret,
    }
    yield from _pairs(title, regrets, _points)
    yield from filter(None, [judged.note])


def _points(value: float | None) -> str:
    return number(value, 2)


def _assessed_row(trial: AssessedTrial, answer: AssessmentResult) -> list[str]:
    marks = [name for name, of in (("selected", answer.selected), ("best", answer.best_trial)) if of == trial.number]
    settings = ", ".join(f"{key}={_words(value)}" for key, value in format_params(trial.params).items())
    scores = [score(trial.proxy_score), score(trial.image_auroc)]
    return [str(trial.number), trial.method, *scores, interval(trial.image_auroc_interval), settings, ", ".join(marks)]


def _device(device: DeviceInfo) -> str:
    extent = f"{device.cores} cores" if device.cores else ""
    memory = f"{device.memory_mb / 1024:.1f} GiB" if device.memory_mb else ""
    return ", ".join(filter(None, (f"{device.device}: {device.name}", extent, memory)))


def _place(place: PlaceInfo) -> str:
    state = "writable" if place.writable else "NOT writable"
    free = f", {place.free_mb / 1024:.1f} GiB free" if place.free_mb is not None else ""
    return f"{place.what}: {place.path} ({state}{free})"


def _words(value: Any) -> str:
    if value is None:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)
