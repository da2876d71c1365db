"""Settles the scoring rules once all trials are known: each method gets one, and its trials are judged under it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automl_ad.evaluation.suite_scores import SuiteScores, proxy_score, shared_aggregation
from automl_ad.store.records import CandidateRecord
from automl_ad.store.repository import Repository
from automl_ad.study.context import StudyContext
from automl_ad.study.trial import SCORES, score_fields


def rescore_trials(context: StudyContext, study: str, repository: Repository) -> None:
    """Gives all complete trials of a method the scoring rule that serves the method best; no detector runs again.

    A trial was judged under the rule that was best when it ended: early ones under a rule that few had chosen. Averages
    count as one method, too: each must not have the rule that happens to flatter it.

    Args:
        context: The study's suites and files.
        study: Its name.
        repository: Where its trials are.

    Raises:
        StoreError: A trial's scores are damaged, or the database cannot be written.
    """
    by_method: dict[str, list[CandidateRecord]] = defaultdict(list)
    for record in repository.candidates(study):
        if record.state == "complete":
            by_method[record.method].append(record)
    for records in by_method.values():
        for record in _settled(context, records):
            repository.save_candidate(study, record)


def _settled(context: StudyContext, records: Sequence[CandidateRecord]) -> list[CandidateRecord]:
    """The trials of one method that another rule is to judge, judged by it."""
    means = [record.cells["rules"] for record in records]
    rule = shared_aggregation(means)
    return [_judged(context, record, means) for record in records if record.rule != rule]


def _judged(context: StudyContext, record: CandidateRecord, means: Sequence[dict[str, float]]) -> CandidateRecord:
    path = context.folder.trial(record.number) / SCORES
    if not path.is_file():
        return record  # one trial's lost file must not cost the others their answer
    scores = SuiteScores.load(path)
    suite, home = context.data.at(int(record.params["side"])).proxy, record.learned_from
    others = [each for each in means if each is not record.cells["rules"]]
    result = proxy_score(scores, suite, context.plan, home, others, advantage=record.advantage)
    return replace(record, **score_fields(result))
