"""Chooses the score aggregation of each method once all trials are known, and rescores its trials under it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from automl_ad.evaluation.suite_scores import SuiteScores, proxy_score, shared_aggregation
from automl_ad.store.records import CandidateRecord
from automl_ad.store.repository import Repository
from automl_ad.study.context import StudyContext
from automl_ad.study.trial import SCORES, score_fields


def rescore_trials(context: StudyContext, study: str, repository: Repository) -> None:
    """Rescores all complete trials of a method under the score aggregation that is best for the method on average.

    While the search ran, a trial was scored under the aggregation that was best when it ended, early ones therefore
    with little evidence. Ensembles count as one method, so that none of them gets the aggregation that suits it by
    chance. No detector runs again.

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
        for record in _rescored(context, records):
            repository.save_candidate(study, record)


def _rescored(context: StudyContext, records: Sequence[CandidateRecord]) -> list[CandidateRecord]:
    """The trials of one method whose aggregation changes, rescored."""
    means = [record.aggregations for record in records]
    rule = shared_aggregation(means)
    return [_judged(context, record, means) for record in records if record.rule != rule]


def _judged(context: StudyContext, record: CandidateRecord, means: Sequence[Mapping[str, float]]) -> CandidateRecord:
    path = context.folder.trial(record.number) / SCORES
    if not path.is_file():
        return record  # one trial's lost file must not cost the others their answer
    scores = SuiteScores.load(path)
    suite, learned = context.data.at(int(record.params["side"])).proxy, record.learned_from
    others = [each for each in means if each is not record.aggregations]
    result = proxy_score(scores, suite, context.plan, learned, others, advantage=record.advantage)
    return replace(record, **score_fields(result))
