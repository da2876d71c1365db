"""Answers of the library as tables and sentences for people.

Each function takes one of the JSON answers and yields what to print, from top to bottom; text from the user's disk is
never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from automl_ad.bundle.figures import figures, marked_sentence, review_sentence
from automl_ad.formatting import NONE, format_duration, megabytes
from automl_ad.formatting import interval as _interval
from automl_ad.formatting import is_number as _is_number
from automl_ad.formatting import number as _number
from automl_ad.formatting import percent as _percent
from automl_ad.formatting import score as _score
from automl_ad.reporting.messages import bias_correction_message, certainty_message, coverage_messages, ensemble_message
from automl_ad.reporting.params import format_params

Answer = Mapping[str, Any]
Part = str | Text | Table

TOP = 10
PROXY_NOTE = (
    "The proxy score is the mean of two AUROCs on synthetic defects, of their images and of their places, against good "
    "parts that the candidate had not seen (0.5 = by chance, 1 = always); real defects can differ."
)
RERANKED_NOTE = (
    "Expected before and now: the image AUROC that the search alone and that the defects as well would have; only "
    "differences between trials mean something, and ± is one standard deviation."
)
_INTERVAL = "90 % interval"


def search_report(answer: Answer) -> Iterator[Part]:
    """The end of a search: counts, the ranked table, the winner, why, what is unknown, what next."""
    winner = answer["winner"]
    yield _counts(answer)
    yield trials_table(answer["ranking"], "Ranked candidates", limit=TOP)
    yield from _hidden(answer)
    yield PROXY_NOTE
    yield _heading(f"Winner: trial {winner['trial']}, {_candidate(winner)}")
    yield _worth(winner)
    yield from _taken_off(winner)
    yield from filter(None, (ensemble_message(winner), certainty_message(answer)))
    yield from _tied(answer)
    yield from _list("Why this one", answer["why"])
    yield from _list("What this search could not know", answer["unknown"])
    yield from _list("Coverage", coverage_messages(answer.get("proxy", {}).get("coverage")))
    yield from _list("Warnings", answer["warnings"])
    yield from _list("Next", answer["next"])
    yield from _reranked(answer.get("defects"))


def trials_report(answer: Answer) -> Iterator[Part]:
    """Every trial of a study, best first."""
    trials = answer["trials"]
    if not trials:
        yield f"Study {answer['study']} has no trials yet."
        return
    yield trials_table(trials, f"Trials of {answer['study']}")
    yield PROXY_NOTE


def trials_table(trials: Sequence[Answer], title: str, *, limit: int | None = None) -> Table:
    """A ranked table, cut after ``limit`` rows; tied, default, picked and winning trials are marked."""
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
        table.add_row(*map(Text, _trial_row(trial)), style="bold" if trial.get("winner") else "")
    return table


def studies_report(studies: Sequence[Answer]) -> Iterator[Part]:
    """The studies of a workspace."""
    if not studies:
        yield "There are no studies here yet; start one with: automl-ad search IMAGES"
        return
    table = _table("Studies", "study", "created (UTC)", "state", "trials", "images")
    for study in studies:
        counts = ", ".join(f"{count} {state}" for state, count in study.get("trials", {}).items() if count)
        created = _words(study.get("created_at"))[:16].replace("T", " ")
        cells = (study["study"], created, study.get("state"), counts, study.get("images"))
        table.add_row(*(Text(_words(cell)) for cell in cells))
    yield table


def trial_report(trial: Answer) -> Iterator[Part]:
    """One trial: settings, scores by family and severity, costs, files."""
    yield _heading(f"Trial {trial['number']}: {_candidate(trial)} ({trial.get('state', 'unknown')})")
    if trial.get("reason"):
        yield f"Reason: {trial['reason']}"
    yield _worth(trial)
    yield from _pairs("Settings", format_params(trial.get("params") or {}))
    yield from _pairs("Proxy score by family", trial.get("families"), _score)
    yield from _taken_off(trial)
    yield from _cells(trial)
    if trial.get("rule"):
        yield f"Scoring rule: {trial['rule']}"
    yield from _pairs("Image AUROC by scoring rule", trial.get("rules"), _score)
    yield from _pairs("Costs", _costs(trial))
    yield from _list("Artifacts", trial.get("artifacts") or [])


def pick_report(answer: Answer) -> Iterator[Part]:
    """What was recorded as the user's choice."""
    yield f"Trial {answer['trial']} is now the pick of study {answer['study']}."
    yield f"Export it with: automl-ad export {answer['study']} --trial picked --output FILE.zip"


def export_report(answer: Answer) -> Iterator[Part]:
    """Where the bundle went, and what to do with it."""
    speed, parity = answer["speed"], answer["parity"]
    yield f"Bundle written: {answer['bundle']}"
    yield (
        f"Its graph ({answer['precision']}, {speed['size_mb']:.1f} MB) takes {speed['latency_ms']:.0f} ms an image "
        f"here. From PyTorch it differs by {parity['relative']:.1g} of the scores' spread on {parity['images']} images "
        f"and in {parity['decisions_changed']} decisions."
    )
    yield answer["promise"]
    yield f"Try it with: automl-ad predict {answer['bundle']} IMAGES"
    yield "Without automl-ad, in the (unzipped) bundle: pip install -r requirements.txt, then python predict.py IMAGES"


def predictions_report(answer: Answer) -> Iterator[Part]:
    """One row an image."""
    results = answer["results"]
    with_maps = any(result.get("heatmap") for result in results)
    table = _table(None, "image", "score", "p-value", "decision", *(["heatmap"] if with_maps else []), right={1, 2})
    for result in results:
        cells = [result["path"], _number(result.get("score"), 4), _number(result.get("p_value"), 3), _decision(result)]
        cells += [_words(result.get("heatmap"))] if with_maps else []
        table.add_row(*map(Text, cells), style="red" if result.get("anomalous") or result.get("error") else "")
    yield table
    yield _tally(answer)
    if answer.get("promise"):
        yield answer["promise"]


def metrics_report(answer: Answer) -> Iterator[Part]:
    """Metrics on labelled images."""
    counts = answer["images"]
    yield _heading(f"{counts['good']} good and {counts['defect']} defective images")
    table = _table(None, "metric", "value", "90 %\ninterval", "meaning", right={1, 2})
    for figure in figures(answer):
        table.add_row(figure.name, figure.value, figure.interval, figure.meaning)
    yield table
    yield from _by_defect(answer["by_defect"])
    yield from filter(None, (answer.get("promise_note"), review_sentence(answer), marked_sentence(answer)))
    yield from _list("Left out", [f"{item['path']}: {item['error']}" for item in answer.get("errors", [])])
    if answer.get("report"):
        yield f"Report written: {answer['report']}"


def assessment_report(answer: Answer) -> Iterator[Part]:
    """The finished trials of a study on real defects, and how good the choice was."""
    if "trials" in answer:
        yield from _judgement(answer)
    yield from _reranked(answer.get("defects"))
    yield from _leader_judged(answer.get("reranked"))


def synthesis_report(answer: Answer) -> Iterator[Part]:
    """What was drawn, and where it lies."""
    height, width = answer["size"]
    yield _heading(f"{answer['count']} anomalies of the family {answer['family']} at strength {answer['strength']:g}")
    yield f"Drawn on {answer['images']} good images at {width} x {height} pixels, seed {answer['seed']}."
    areas = [anomaly["area"] for anomaly in answer["anomalies"]]
    yield f"They cover {_percent(min(areas))} to {_percent(max(areas))} of an image."
    yield from _list("Warnings", answer["warnings"])
    yield from _pairs("Written", {"folder": answer["output"], "to look at": answer["contact_sheet"]})


def audit_report(answer: Answer) -> Iterator[Part]:
    """What is odd about an image folder."""
    yield _heading(f"{answer['images']} readable images")
    yield from _pairs("Sizes (height x width)", answer["sizes"], str)
    yield from _pairs("Pixel formats", answer["modes"], str)
    yield from _list("Unreadable", [f"{item['path']}: {item['error']}" for item in answer["unreadable"]])
    yield from _list("Showing the same picture", [", ".join(group) for group in answer["duplicates"]])
    yield from _list("Unlike the others, worst first", [f"{s['path']} ({s['score']:.1f})" for s in answer["suspects"]])
    yield from _list("Advice", answer["advice"] or ["nothing looks odd; go on with: automl-ad search IMAGES"])


def doctor_report(answer: Answer) -> Iterator[Part]:
    """Versions, devices, backbones, places, and what follows from them."""
    yield _heading(f"automl-ad {answer['version']}, Python {answer['python']}, {answer['platform']}")
    yield from _pairs("Packages", {name: found or "not installed" for name, found in answer["packages"].items()}, str)
    yield from _list("Devices", [_device(device) for device in answer["devices"]])
    yield from _pairs("Backbones", {item["name"]: item["source"] or "not here" for item in answer["backbones"]}, str)
    yield f"Model hub: {_REACHED[answer['hub_reachable']]}"
    yield from _list("Places", [_place(place) for place in answer["places"]])
    yield from _list("Problems", answer["problems"])
    yield from _list("Advice", answer["advice"] or ["nothing stands in the way of a search"])


def demo_report(answer: Answer) -> Iterator[Part]:
    """What the demonstration drew and found, and what the drawn defects say of it."""
    yield from search_report(answer)
    yield _heading("On the drawn test images, defects included, which the search never saw:")
    yield from metrics_report(answer["evaluation"])
    picture = answer["prediction"]["results"][0]
    verdict = "anomalous" if picture["anomalous"] else "good"
    yield f"One defective picture, {picture['path']}: {verdict}, p-value {picture['p_value']:.3f}."
    written = {"data set": answer["dataset"], "bundle": answer["bundle"], "heatmap": picture["heatmap"]}
    yield from _pairs("Written", written)


def csv_row(record: Answer) -> dict[str, Any]:
    """One flat row: a mapping of numbers gets a column a key (``families.texture``), an interval two, others JSON."""
    import json

    row: dict[str, Any] = {}
    for key, value in record.items():
        if key == "interval":
            row["interval_low"], row["interval_high"] = value or (None, None)
        elif isinstance(value, Mapping) and key != "params":
            row |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            row[key] = json.dumps(value) if isinstance(value, Mapping | list) else value
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


def _list(title: str, lines: Sequence[str]) -> Iterator[Part]:
    if lines:
        yield _heading(title)
        yield from (f"  {line}" for line in lines)


def _pairs(title: str, values: Answer | None, form: Any = None) -> Iterator[Part]:
    shown = {key: (form or _words)(value) for key, value in (values or {}).items()}
    width = max(map(len, shown), default=0)
    yield from _list(title, [f"{key:<{width}}  {text}" for key, text in shown.items()])


def _counts(answer: Answer) -> str:
    trials = answer["trials"]
    counted = [f"{trials['complete']} trials finished"]
    counted += [f"{trials[state]} {state}" for state in ("pruned", "failed") if trials.get(state)]
    averages = answer.get("averages", 0)
    counted += [f"{averages} average{'s' * (averages > 1)} formed"] if averages else []
    return f"Study {answer['study']}: {', '.join(counted)} in {format_duration(answer['wall_s'])}."


def _candidate(trial: Answer) -> str:
    method, backbone = trial.get("method"), trial.get("backbone")
    return f"{_words(method)} on {backbone}" if backbone else _words(method)


def _worth(trial: Answer) -> str:
    score = f"Proxy score {_score(trial.get('proxy_score'))} ({_INTERVAL} {_interval(trial.get('interval'))})"
    return f"{score}, {_number(trial.get('latency_ms'), 1)} ms an image, {megabytes(trial.get('size_mb'))}"


def _taken_off(trial: Answer) -> Iterator[Part]:
    if trial.get("advantage"):
        yield bias_correction_message(trial["advantage"])


def _cells(trial: Answer) -> Iterator[Part]:
    """Both halves of the proxy score in every cell; trials of early versions have the first alone."""
    located = trial.get("located") or {}
    both = {cell: f"{_score(value)}  {_score(located.get(cell))}" for cell, value in (trial.get("cells") or {}).items()}
    yield from _pairs("AUROC by family and severity: of images, and of the defects' places", both)


def _hidden(answer: Answer) -> Iterator[Part]:
    more = len(answer["ranking"]) - TOP
    if more > 0:
        yield f"{more} more are shown by: automl-ad trials {answer['study']}"


def _tied(answer: Answer) -> Iterator[Part]:
    others = [number for number in answer["tied"] if number != answer["winner"]["trial"]]
    if others:
        listed = ", ".join(map(str, others))
        yield f"Tied with it, since they may well be better on real defects: trial{'s' * (len(others) > 1)} {listed}."


def _trial_row(trial: Answer) -> list[str]:
    marks = [mark for mark in ("winner", "tied", "default", "picked") if trial.get(mark)]
    if trial.get("state") != "complete":
        marks += [": ".join(filter(None, (trial.get("state"), trial.get("reason"))))]
    names = [str(trial["number"]), _words(trial.get("method")), _words(trial.get("backbone"))]
    numbers = [_score(trial.get("proxy_score")), _interval(trial.get("interval"))]
    costs = [_number(trial.get("latency_ms"), 1), megabytes(trial.get("size_mb"), unit="")]
    return [*names, *numbers, *costs, ", ".join(marks)]


def _costs(trial: Answer) -> dict[str, str]:
    keys = {"fit": "fit_s", "whole trial": "total_s"}
    costs = {name: format_duration(trial[key]) for name, key in keys.items() if _is_number(trial.get(key))}
    return costs | ({"peak memory": f"{trial['peak_mb']:.0f} MB"} if _is_number(trial.get("peak_mb")) else {})


def _decision(result: Answer) -> str:
    if result.get("error"):
        return f"error: {result['error']}"
    if result.get("decision") == "review":
        return "review"
    return "anomalous" if result.get("anomalous") else "good"


def _tally(answer: Answer) -> str:
    results = answer["results"]
    broken = sum(bool(result.get("error")) for result in results)
    flagged = sum(bool(result.get("anomalous")) for result in results)
    unsure = sum(result.get("decision") == "review" for result in results)
    ending = f", {unsure} to review" if answer.get("review") is not None else ""
    ending += f", {broken} could not be read" if broken else ""
    return (
        f"{flagged} of {len(results) - broken} images anomalous at threshold {_number(answer['threshold'], 4)}{ending}."
    )


def _by_defect(kinds: Answer) -> Iterator[Part]:
    if kinds:
        columns = ("kind", "images", "found", "missed", "image\nAUROC", "90 %\ninterval")
        table = _table("By kind of defect", *columns, right={1, 2, 3, 4, 5})
        for kind, facts in kinds.items():
            counts = (str(facts[key]) for key in ("n", "found", "escapes"))
            scores = (_score(facts["image_auroc"]), _interval(facts["image_auroc_interval"]))
            table.add_row(Text(kind), *counts, *scores)
        yield table


def _judgement(answer: Answer) -> Iterator[Part]:
    title = f"Study {answer['study']} on labelled images"
    table = _table(
        title, "trial", "method", "proxy\nscore", "image\nAUROC", "90 %\ninterval", "settings", "notes", right={0, 2, 3}
    )
    for trial in answer["trials"]:
        table.add_row(*map(Text, _assessed_row(trial, answer)))
    yield table
    yield f"Rank agreement of proxy score and image AUROC: Spearman {_number(answer.get('spearman'), 2)}, " + (
        f"Kendall {_number(answer.get('kendall'), 2)}."
    )
    yield from _pairs("Regret in points of image AUROC (the best trial's less the chosen one's)", _regrets(answer))


def _reranked(defects: Answer | None) -> Iterator[Part]:
    """What a few real defects say of the trials, apart from the search."""
    if defects is None:
        return
    columns = ("trial", "method", "backbone", "expected\nbefore", "share of good\nparts below", "expected\nnow", "±")
    counted = f"{defects['images']} real defect{'s' * (defects['images'] != 1)}"
    table = _table(f"Re-ranked by {counted}, apart from the search", *columns, right={0, 3, 4, 5, 6})
    for trial in defects["trials"][:TOP]:
        figures = (_score(trial[key]) for key in ("prior", "mean_placement", "posterior", "sd"))
        cells = (str(trial["number"]), _words(trial["method"]), _words(trial["backbone"]), *figures)
        table.add_row(*map(Text, cells), style="bold" if trial["number"] == defects["leader"] else "")
    yield table
    yield RERANKED_NOTE
    yield defects["note"]
    yield from _list("To export that trial", defects.get("next") or [])


def _leader_judged(judged: Answer | None) -> Iterator[Part]:
    if judged is None:
        return
    images = judged["images"]
    title = (
        f"Regret on the {images['good']} good and {images['defect']} defective images that did not re-rank, in points"
    )
    names = {
        "regret": f"of trial {judged['leader']}, which leads with the few defects",
        "selected_regret": "of the selected trial",
    }
    yield from _pairs(title, {name: _number(judged[key], 2) for key, name in names.items()})
    yield from filter(None, [judged["note"]])


def _assessed_row(trial: Answer, answer: Answer) -> list[str]:
    number = trial["number"]
    marks = [name for name, key in (("selected", "selected"), ("best", "best_trial")) if answer.get(key) == number]
    settings = ", ".join(f"{key}={_words(value)}" for key, value in format_params(trial.get("params") or {}).items())
    scores = [_score(trial.get("proxy_score")), _score(trial.get("image_auroc"))]
    return [
        str(number),
        trial["method"],
        *scores,
        _interval(trial.get("image_auroc_interval")),
        settings,
        ", ".join(marks),
    ]


def _regrets(answer: Answer) -> dict[str, str]:
    names = {
        "regret": "of the selected trial",
        "default_regret": "of the training-free default",
        "random_regret": "of a trial picked at random",
        "labelled_floor": "of choosing with half of the labels",
    }
    return {name: _number(answer.get(key), 2) for key, name in names.items()}


def _device(device: Answer) -> str:
    extent = f"{device['cores']} cores" if device.get("cores") else ""
    memory = f"{device['memory_mb'] / 1024:.1f} GiB" if device.get("memory_mb") else ""
    return ", ".join(filter(None, (f"{device['device']}: {device['name']}", extent, memory)))


def _place(place: Answer) -> str:
    state = "writable" if place["writable"] else "NOT writable"
    free = f", {place['free_mb'] / 1024:.1f} GiB free" if place.get("free_mb") is not None else ""
    return f"{place['what']}: {place['path']} ({state}{free})"


def _words(value: Any) -> str:
    if value is None:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)
