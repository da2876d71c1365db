from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from made_studies import candidate, make_study
from PIL import Image

from automl_ad import Study
from automl_ad.bundle.runtime import heat, overlay
from automl_ad.data.image_set import ImageSet
from automl_ad.data.study_images import read_study_images
from automl_ad.errors import StoreError, StudyError
from automl_ad.evaluation.suite import NORMALS, Suite, keep_normals, save_suite
from automl_ad.evaluation.suite_scores import SuiteScores
from automl_ad.reporting.comparison import Comparison, PictureRow
from automl_ad.reporting.stored_rows import StoredRows
from automl_ad.store.artifacts import StudyFolder, load_arrays, save_arrays
from automl_ad.store.database import default_url
from automl_ad.study.suites import draw_study_data

Key = tuple[str, int]

NORMAL_SCORES = {0: [1, 2, 3, 4], 1: [40, 30, 20, 10]}
ANOMALY_SCORES = {0: [5, 2.5, 0, 3.5, 9], 1: [45, 5, 35, 5, 50]}


@pytest.fixture
def made(tmp_path: Path) -> Study:
    """Four normals, five anomalies and two trials whose scores are given above."""
    repository = make_study(tmp_path)
    folder = StudyFolder(tmp_path, "made")
    rng = np.random.default_rng(0)
    normals = ImageSet.of(rng.integers(0, 256, (4, 3, 32, 64)).astype(np.uint8))
    anomalies = ImageSet.of(rng.integers(0, 256, (5, 3, 32, 64)).astype(np.uint8))
    masks = np.zeros((5, 32, 64), bool)
    masks[:, :8, :4] = True
    cells = ("texture/0.7", "texture/0.95", "texture/0.95", "poisson/0.7", "poisson/0.95")
    save_suite(Suite(anomalies, masks, cells, (0, 1, 2, 3, 0), "digest"), normals, folder.suite / "proxy", "source")
    keep_normals(normals, folder.suite / "proxy")
    for number in (0, 1):
        repository.save_candidate("made", candidate(number))
        scores = SuiteScores(
            {"max": np.array(NORMAL_SCORES[number], np.float64)}, {"max": np.array(ANOMALY_SCORES[number], np.float64)}
        )
        scores.save(folder.trial(number) / "scores.npz")
        maps = {"normal": rng.normal(size=(4, 4, 8)), "anomaly": rng.normal(size=(5, 4, 8))}
        save_arrays(folder.trial(number) / "maps.npz", **{kind: m.astype(np.float32) for kind, m in maps.items()})
    repository.save_candidate("made", candidate(2, state="failed", reason="NaN"))
    repository.save_candidate("made", candidate(3))
    return Study(folder, default_url(tmp_path), repository)


def keys(rows: list[PictureRow]) -> list[Key]:
    return [(row.kind, row.index) for row in rows]


def test_scores_become_ranks_among_the_trial_s_own_normals(made: Study) -> None:
    rows = Comparison(made, [0, 1]).pictures
    assert keys(rows) == [("normal", n) for n in range(4)] + [("anomaly", n) for n in range(5)]
    assert [row.p[0] for row in rows] == [1.0, 0.8, 0.6, 0.4, 0.2, 0.6, 1.0, 0.4, 0.2]
    assert [row.p[1] for row in rows] == [0.4, 0.6, 0.8, 1.0, 0.2, 1.0, 0.4, 1.0, 0.2]
    assert [row.scores[1] for row in rows[4:]] == ANOMALY_SCORES[1]
    assert rows[0].spread == pytest.approx(np.log10(2.5))


def test_pictures_say_what_they_are(made: Study) -> None:
    normal, *_, last = Comparison(made, [0]).pictures
    assert (normal.family, normal.severity, normal.base, normal.mask_share) == (None, None, None, 0)
    assert (last.family, last.severity, last.base, last.mask_share) == ("poisson", 0.95, 0, 32 / 2048)
    assert last.spread == 0


def test_disagreement_first(made: Study) -> None:
    rows = Comparison(made, [0, 1]).ordered("disagreement")
    # Ratios of p: the first and the last normal and two anomalies 2.5, one anomaly 5/3, two normals 4/3, two none.
    ties = [("normal", 0), ("normal", 3), ("anomaly", 2), ("anomaly", 3)]
    assert keys(rows) == [*ties, ("anomaly", 1), ("normal", 1), ("normal", 2), ("anomaly", 0), ("anomaly", 4)]


def test_what_even_the_best_takes_for_normal_first(made: Study) -> None:
    # The smallest p of each: 0.2, 0.6, 0.4, 0.4, 0.2; the plainer of equals first.
    assert keys(Comparison(made, [0, 1]).ordered("worst_miss")) == [("anomaly", n) for n in (1, 2, 3, 4, 0)]


def test_normals_that_seem_odd_first(made: Study) -> None:
    # The smallest p: 0.4, 0.6, 0.6, 0.4; of all trials together the first pair and the second pair are equal.
    assert keys(Comparison(made, [0, 1]).ordered("worst_false_alarm")) == [("normal", n) for n in (0, 3, 1, 2)]
    assert keys(Comparison(made, [0]).ordered("worst_false_alarm")) == [("normal", n) for n in (3, 2, 1, 0)]


def test_only_a_family_or_a_severity(made: Study) -> None:
    comparison = Comparison(made, [0, 1])
    assert keys(comparison.ordered(family="texture")) == [("anomaly", 0), ("anomaly", 1), ("anomaly", 2)]
    assert keys(comparison.ordered("worst_miss", severity=0.95)) == [("anomaly", 1), ("anomaly", 2), ("anomaly", 4)]
    assert keys(comparison.ordered("disagreement", "poisson", 0.7)) == [("anomaly", 3)]
    assert len(comparison.ordered("worst_false_alarm", "poisson", 0.7)) == 4


def test_the_suite_can_be_looked_at_before_any_trial_has_ended(made: Study) -> None:
    comparison = Comparison(made, [])
    for by in ("suite", "disagreement", "worst_miss", "worst_false_alarm"):
        assert comparison.ordered(by)
    assert comparison.thumbnail(comparison.pictures[0], "image")
    assert comparison.suite.families == ("texture", "poisson")


@pytest.mark.parametrize("numbers", [[0, 0], [2], [99], [0, 1, 2, 3, 4], [-1]])
def test_trials_that_cannot_be_compared_are_refused(made: Study, numbers: list[int]) -> None:
    with pytest.raises(StudyError):
        Comparison(made, numbers)


def test_missing_files_are_named(made: Study) -> None:
    with pytest.raises(StoreError, match=r"3/scores\.npz is missing"):
        Comparison(made, [3])
    (made.folder.trial(0) / "maps.npz").write_bytes(b"nothing")
    comparison = Comparison(made, [0])
    with pytest.raises(StoreError, match=r"0/maps\.npz is damaged"):
        comparison.thumbnail(comparison.pictures[0], 0)
    shutil.rmtree(made.folder.suite)
    with pytest.raises(StoreError, match=r"suite\.json is missing"):
        Comparison(made, [0])


def test_scores_of_another_suite_are_refused(made: Study) -> None:
    SuiteScores({"max": np.zeros(4)}, {"max": np.zeros(6)}).save(made.folder.trial(0) / "scores.npz")
    with pytest.raises(StoreError, match="another proxy suite"):
        Comparison(made, [0])


def test_layers_show_what_they_say(made: Study) -> None:
    comparison, files = Comparison(made, [0, 1]), made.folder.suite / "proxy"
    row = comparison.pictures[4 + 2]
    image = load_arrays(files / "suite.npz")["images"][2].transpose(1, 2, 0)
    np.testing.assert_array_equal(opened(comparison.thumbnail(row, "image", None)), image)
    assert (opened(comparison.thumbnail(row, "mask", None)) != image).any()
    maps = load_arrays(made.folder.trial(1) / "maps.npz")
    low, high = np.quantile(maps["normal"], [0.5, 0.999])
    painted = overlay(image, heat(maps["anomaly"][2], (low, high)))
    np.testing.assert_array_equal(opened(comparison.thumbnail(row, 1, None)), painted)
    normal = comparison.pictures[3]
    shown = load_arrays(files / "normals.npz")["images"][3].transpose(1, 2, 0)
    for layer in ("image", "mask"):
        np.testing.assert_array_equal(opened(comparison.thumbnail(normal, layer, None)), shown)
    assert opened(comparison.thumbnail(row, 0, 16)).shape == (8, 16, 3)


def test_a_trial_that_is_not_compared_has_no_layer(made: Study) -> None:
    comparison = Comparison(made, [0])
    with pytest.raises(StudyError, match="Trial 1 is not one of those compared; choose among 0"):
        comparison.thumbnail(comparison.pictures[0], 1)


def test_what_was_shown_once_is_not_painted_again(made: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(made, [0, 1])
    before = [comparison.thumbnail(row, layer) for row in comparison.pictures for layer in ("image", "mask", 0, 1)]
    monkeypatch.setattr(StoredRows, "row", None)
    monkeypatch.setattr(np, "quantile", None)
    again = Comparison(made, [1, 0])
    assert [again.thumbnail(row, layer) for row in again.pictures for layer in ("image", "mask", 0, 1)] == before


def test_another_run_of_a_trial_is_painted_anew(made: Study) -> None:
    first = Comparison(made, [0])
    before = first.thumbnail(first.pictures[0], 0)
    save_arrays(
        made.folder.trial(0) / "maps.npz",
        normal=np.full((4, 4, 8), 3, np.float32) * np.arange(4, dtype=np.float32)[:, None, None],
        anomaly=np.zeros((5, 4, 8), np.float32),
    )
    second = Comparison(made, [0])
    assert second.thumbnail(second.pictures[3], 0) != before


def test_a_real_study_needs_no_images_any_more(study: Study, numbers: list[int]) -> None:
    """Its own files tell all: those of the user may have moved."""
    comparison = Comparison(study, numbers[:4])
    normals = read_study_images(study.settings)
    row = comparison.pictures[1]
    shown = opened(comparison.thumbnail(row, "image", None))
    np.testing.assert_array_equal(shown, normals.part("validation").hwc[1])
    anomaly = comparison.pictures[-1]
    suite = draw_study_data(study.settings, normals, study.folder, torch.device("cpu")).proxy
    np.testing.assert_array_equal(opened(comparison.thumbnail(anomaly, "image", None)), suite.anomalies.hwc[-1])
    assert anomaly.mask_share == suite.masks[-1].mean()
    for number in numbers[:4]:
        assert opened(comparison.thumbnail(anomaly, number)).shape == shown.shape


def test_a_suite_from_before_gets_its_normals_when_it_is_used_again(study: Study) -> None:
    path = study.folder.suite / "proxy" / NORMALS
    before = load_arrays(path)["images"]
    path.unlink()
    comparison = Comparison(study, [])
    with pytest.raises(StoreError, match=r"normals\.npz is missing"):
        comparison.thumbnail(comparison.pictures[0], "image", 77)
    draw_study_data(study.settings, read_study_images(study.settings), study.folder, torch.device("cpu"))
    np.testing.assert_array_equal(load_arrays(path)["images"], before)


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)))
