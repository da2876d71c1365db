from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.data.image_set import ImageSet
from automl_ad.data.study_images import read_study_images
from automl_ad.errors import InputError, StoreError
from automl_ad.evaluation.plan import SuitePlan
from automl_ad.evaluation.severity import STRENGTHS
from automl_ad.evaluation.suite import Suite
from automl_ad.methods.synthetic_training import PUBLISHED_STRENGTH
from automl_ad.seeds import derived_seed
from automl_ad.store.artifacts import StudyFolder
from automl_ad.study import suites
from automl_ad.study.progress import Event
from automl_ad.study.sdas import SMALLEST_STOCK, Decision, stock_size
from automl_ad.study.settings import StudySettings, requested_settings
from automl_ad.study.suites import STOCK_STRENGTHS, StudyData, draw_study_data
from automl_ad.synthesis import registry
from automl_ad.synthesis.names import FAMILY_NAMES
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.synthesis.sdas.pool import ImageKey
from automl_ad.synthesis.sdas.source import SeededPool
from automl_ad.synthesis.sdas.synthesiser import Sdas

CPU = torch.device("cpu")
TRAINING_FREE = tuple(name for name in FAMILY_NAMES if name != "sdas")


METHODS = ("padim", "patchcore", "dfr")
"""None of them learns from anomalies."""
LEARNING = {"methods": ("padim", "realnet")}


def settings_for(images: Path, **options: object) -> StudySettings:
    defaults = {"image_size": 64, "families": TRAINING_FREE, "methods": METHODS}
    return requested_settings(images, **(defaults | options))  # type: ignore[arg-type]


def test_names_and_order_of_files_do_not_matter(parts: Path, tmp_path: Path) -> None:
    originals = sorted((parts / "train" / "good").iterdir())
    (tmp_path / "deep").mkdir()
    for index, path in enumerate(reversed(originals)):
        shutil.copy(path, tmp_path / "deep" / f"renamed_{index}.png")
    first, second = read_study_images(settings_for(parts)), read_study_images(settings_for(tmp_path))
    assert first.fingerprint == second.fingerprint
    assert first.splits == second.splits
    np.testing.assert_array_equal(first.images.pixels, second.images.pixels)


def test_unreadable_files_are_left_out_and_listed(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    (images / "notes.png").write_text("not a picture")
    whole = (images / "000.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    normals = read_study_images(settings_for(images))
    assert len(normals.images) == 24
    warning = next(text for text in normals.warnings if "unreadable" in text)
    assert warning.startswith("2 unreadable images")
    assert "notes.png" in warning
    assert "cut.png" in warning


def test_excluded_images_are_as_if_they_were_not_there(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    without = settings_for(images, exclude=("003.png", "007.png"))
    excluded = read_study_images(without)
    whole = read_study_images(settings_for(images))
    for name in ("003.png", "007.png"):
        (images / name).unlink()
    removed = read_study_images(settings_for(images))
    assert len(excluded.images) == 22
    assert excluded.fingerprint == removed.fingerprint != whole.fingerprint
    assert excluded.splits == removed.splits
    gone = read_study_images(without)
    assert gone.fingerprint == removed.fingerprint


def test_when_no_file_can_be_read_the_first_fault_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"None of the 1 images.*a\.png"):
        read_study_images(settings_for(tmp_path))


def test_eleven_images_are_too_few(parts: Path, tmp_path: Path) -> None:
    for path in sorted((parts / "train" / "good").iterdir())[:11]:
        shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match=r"11 distinct images.*at least 12"):
        read_study_images(settings_for(tmp_path))


def test_images_that_are_all_identical_are_refused(parts: Path, tmp_path: Path) -> None:
    for index in range(20):
        shutil.copy(parts / "train" / "good" / "000.png", tmp_path / f"{index}.png")
    with pytest.raises(InputError, match="only 1 distinct"):
        read_study_images(settings_for(tmp_path))


def test_few_images_and_mixed_shapes_are_warned_of(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    rng = np.random.default_rng(5)
    cv2.imwrite(str(images / "wide.png"), rng.integers(0, 255, (64, 160, 3), dtype=np.uint8))
    warnings = " ".join(read_study_images(settings_for(images)).warnings)
    assert "Only 25 good images" in warnings
    assert "aspect" in warnings


def test_a_suite_is_drawn_once_and_then_read(parts: Path, tmp_path: Path) -> None:
    settings = settings_for(parts)
    normals = read_study_images(settings)
    folder = StudyFolder(tmp_path, "parts")
    first = draw_study_data(settings, normals, folder, CPU)
    stamp = (folder.suite / "proxy" / "suite.npz").stat().st_mtime_ns
    second = draw_study_data(settings, normals, folder, CPU)
    assert (folder.suite / "proxy" / "suite.npz").stat().st_mtime_ns == stamp
    assert (first.proxy.digest, first.holdout.digest) == (second.proxy.digest, second.holdout.digest)
    assert first.proxy.digest != first.holdout.digest


def test_proxy_and_certify_use_the_images_of_their_own_split(parts: Path, tmp_path: Path) -> None:
    settings = settings_for(parts)
    normals = read_study_images(settings)
    data = draw_study_data(settings, normals, StudyFolder(tmp_path, "parts"), CPU)
    check_bases(data)


def check_bases(data: StudyData) -> None:
    """Where the masks say that nothing was changed, every anomaly is the image of its split that it names."""
    splits = data.normals.splits
    for suite, rows in ((data.proxy, splits.validation), (data.holdout, splits.holdout)):
        bases = data.normals.images.pixels[list(rows)]
        for image, mask, base in zip(suite.anomalies.pixels, suite.masks, suite.bases, strict=True):
            np.testing.assert_array_equal(image[:, ~mask], bases[base][:, ~mask])
            assert mask.any()


def test_smaller_sides_are_views_of_the_same_suite(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("sides: [64, 96]\nmethods: [padim]\nbackbones: [embedded]\nfamilies: [texture, photometric]\n")
    settings = requested_settings(parts, study_file=file)
    data = draw_study_data(settings, read_study_images(settings), StudyFolder(tmp_path, "parts"), CPU)
    small, large = data.at(64), data.at(96)
    assert small.normals.size == (64, 64)
    assert large.normals.size == (96, 96)
    assert small.proxy.cells == large.proxy.cells
    assert data.at(64) is small


def test_files_reach_a_smaller_side_by_the_way_that_the_study_took(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("sides: [64, 96]\nmethods: [padim]\nbackbones: [embedded]\nfamilies: [texture, photometric]\n")
    settings = requested_settings(parts, study_file=file)
    normals = read_study_images(settings)
    data = draw_study_data(settings, normals, StudyFolder(tmp_path, "parts"), CPU)
    loaded = {normals.preprocessing[64].load(path).tobytes() for path in (parts / "train" / "good").iterdir()}
    assert {image.tobytes() for image in data.at(64).normals.pixels} == loaded


def test_without_the_family_sdas_its_library_is_never_loaded(parts: Path, tmp_path: Path) -> None:
    """It takes seconds, and memory."""
    script = f"""
import sys
from pathlib import Path
import torch
from automl_ad.data.study_images import read_study_images
from automl_ad.study.suites import draw_study_data
from automl_ad.study.settings import requested_settings
from automl_ad.store.artifacts import StudyFolder
from automl_ad.training import Budget, TrainingPlan, ignore_progress, train
assert "diffusers" not in sys.modules, "imported"
settings = requested_settings(Path({str(parts)!r}), image_size=64, families=("cutpaste",), per_cell=4)
model = torch.nn.Linear(1, 1)
train(model, lambda: model(torch.ones(1, 1)).sum(), TrainingPlan(2, 0.1), budget=Budget(), report=ignore_progress)
assert "diffusers" not in sys.modules, "trained"
images = read_study_images(settings)
draw_study_data(settings, images, StudyFolder(Path({str(tmp_path)!r}), "parts"), torch.device("cpu"))
assert "diffusers" not in sys.modules, "used"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


FEW: dict[str, Any] = {"image_size": 32, "per_cell": 4, "severities": (0.8,), "time_budget": 600.0}
"""Settings of studies whose suites are drawn quickly, with time enough for a tiny diffusion model."""
SHORT: dict[str, Any] = {"time_budget": 100.0}
"""A quarter of it is too short for any."""
LATE = "The family sdas was left out: its images could not be computed within its share of the time budget."


def draw(images: Path, workspace: Path, name: str = "parts", **options: object) -> StudyData:
    settings = settings_for(images, **(FEW | {"families": ("texture", "sdas")} | options))
    return draw_study_data(settings, read_study_images(settings), StudyFolder(workspace, name), CPU)


def suite_folder(workspace: Path, name: str = "parts") -> Path:
    return StudyFolder(workspace, name).suite


def families(suite: Suite) -> set[str]:
    return {cell.split("/")[0] for cell in suite.cells}


def digests(data: StudyData) -> tuple[str, str]:
    return data.proxy.digest, data.holdout.digest


def hashes(images: ImageSet) -> set[str]:
    return {pixel_hash(picture) for picture in images.hwc}


def stop_at(use: str, stop: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls ``stop`` before the first pictures for this use are made."""
    reseeded = Sdas.reseeded

    def stopping(self: Sdas, seed: int) -> Sdas:
        if seed == derived_seed(0, f"sdas/{use}"):
            stop()
        return reseeded(self, seed)

    monkeypatch.setattr(Sdas, "reseeded", stopping)


def check_same(one: StudyData, other: StudyData, family: str) -> None:
    """Both suites hold the same anomalies of one family."""
    for ours, theirs in ((one.proxy, other.proxy), (one.holdout, other.holdout)):
        rows = [[row for row, cell in enumerate(suite.cells) if cell.startswith(family)] for suite in (ours, theirs)]
        assert rows[0]
        np.testing.assert_array_equal(ours.anomalies.pixels[rows[0]], theirs.anomalies.pixels[rows[1]])
        np.testing.assert_array_equal(ours.masks[rows[0]], theirs.masks[rows[1]])


class TestSdas:
    def test_it_is_in_both_suites_and_leaves_a_record(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        data = draw(parts, tmp_path)
        for suite in (data.proxy, data.holdout):
            assert suite.cells == ("texture/0.8",) * 4 + ("sdas/0.8",) * 4
        assert list(data.warnings) == []
        check_bases(data)

        decision = json.loads((suite_folder(tmp_path) / "sdas.json").read_text())
        assert (decision["used"], decision["warnings"], decision["facts"]["fault"]) == (True, [], None)
        assert (decision["facts"]["steps"], decision["facts"]["rounds"]) == (4, 1)
        sheet = cv2.imread(str(suite_folder(tmp_path) / "sdas.png"))
        assert sheet.shape[0] > 160
        assert [path.name for path in (tmp_path / "cache" / "sdas").iterdir()] == [tiny_sdas[0].folder.name]

    def test_the_other_families_are_what_they_are_without_it(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        having = draw(parts, tmp_path, "with")
        lacking = draw(parts, tmp_path, "without", families=("texture",))
        late = draw(parts, tmp_path / "elsewhere", **SHORT)
        assert families(having.proxy) == {"texture", "sdas"}
        assert families(late.proxy) == families(lacking.proxy) == {"texture"}
        check_same(having, lacking, "texture")
        check_same(having, late, "texture")

    @pytest.mark.parametrize("budget", [600.0, 1.0])
    def test_another_study_on_the_same_images_trains_and_samples_nothing(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int], budget: float
    ) -> None:
        first = draw(parts, tmp_path, "first")
        assert tiny_sdas
        assert sampled
        tiny_sdas.clear()
        sampled.clear()
        second = draw(parts, tmp_path, "second", time_budget=budget)
        assert (tiny_sdas, sampled) == ([], [])
        assert digests(second) == digests(first)
        assert list(second.warnings) == []
        for name in ("sdas.json", "sdas.png"):
            contents = [(suite_folder(tmp_path, study) / name).read_bytes() for study in ("first", "second")]
            assert contents[0] == contents[1]

    def test_every_use_has_pictures_of_its_own(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
    ) -> None:
        data = draw(parts, tmp_path)
        uses = {use: derived_seed(0, f"sdas/{use}") for use in ("severities", "suite/proxy", "suite/certify")}
        assert len(set(uses.values()) - {0}) == 3
        assert set(sampled) == {*uses.values(), 0}  # 0 is the study's own: of measuring and of the gate
        pool = json.loads(next((tmp_path / "cache" / "sdas").rglob("pictures.json")).read_text())["pictures"]
        bases = {use: {entry["base"] for entry in pool if entry["seed"] == seed} for use, seed in uses.items()}
        proxy, certify = (hashes(data.normals.part(split)) for split in ("validation", "holdout"))
        assert bases["suite/proxy"] <= proxy
        assert bases["severities"] <= proxy
        assert bases["suite/certify"] <= certify
        assert all(bases.values())

    def test_it_learns_from_the_images_of_the_fit_and_tells_what_is_going_on(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        settings, events = settings_for(parts, **(FEW | {"families": ("sdas",)})), list[Event]()
        normals = read_study_images(settings)
        data = draw_study_data(settings, normals, StudyFolder(tmp_path, "parts"), CPU, events.append)
        assert families(data.proxy) == families(data.holdout) == {"sdas"}
        np.testing.assert_array_equal(tiny_sdas[0].train_images, normals.part("train").hwc)
        np.testing.assert_array_equal(tiny_sdas[0].bases, normals.part("validation").hwc)
        told = [(event.message.split(",")[0], event.total) for event in events if event.stage == "sdas"]
        made = [total for message, total in told if message == "Making synthetic images"]
        assert list(dict.fromkeys(told))[:2] == [("Training SDAS", 4), ("Checking synthetic images", 1)]
        # First the pictures of at most four different images on each rung of the ladder.
        assert made[0] in {len(STRENGTHS) * bases for bases in (1, 2, 3, 4)}


class TestSdasLeftOut:
    def test_a_short_budget_leaves_it_out_for_good(self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]) -> None:
        first = draw(parts, tmp_path, **SHORT)
        (warning,) = first.warnings
        assert warning.startswith("The family sdas was left out: it needs 1 min 00 s or more on this machine ")
        assert warning.endswith("use a longer --time-budget.")
        assert json.loads((suite_folder(tmp_path) / "sdas.json").read_text())["used"] is False
        assert not (suite_folder(tmp_path) / "sdas.png").exists()
        for budget in (SHORT["time_budget"], 6000.0):
            resumed = draw(parts, tmp_path, time_budget=budget)
            assert list(resumed.warnings) == [warning]
            assert digests(resumed) == digests(first)
        assert families(first.proxy) == families(first.holdout) == {"texture"}
        assert tiny_sdas == []

    def test_another_study_with_more_time_gets_it(self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]) -> None:
        draw(parts, tmp_path, "short", **SHORT)
        assert "sdas" in families(draw(parts, tmp_path, "long").proxy)

    @pytest.mark.parametrize("use", ["severities", "suite/proxy", "suite/certify", "fit"])
    def test_time_that_runs_out_in_the_midst_of_it_takes_it_from_both_suites(
        self,
        parts: Path,
        tmp_path: Path,
        tiny_sdas: list[SdasJob],
        sampled: list[int],
        monkeypatch: pytest.MonkeyPatch,
        use: str,
    ) -> None:
        stop_at(use, lambda: object.__setattr__(tiny_sdas[0].budget, "seconds", 0), monkeypatch)
        first = draw(parts, tmp_path, **LEARNING)
        assert list(first.warnings) == [LATE]
        assert first.sources == ("texture",)
        uses = ("severities", "suite/proxy", "suite/certify", "fit")
        made = [derived_seed(0, f"sdas/{one}") in sampled for one in uses]
        assert made == [uses.index(one) < uses.index(use) for one in uses]
        without = draw(parts, tmp_path / "elsewhere", families=("texture",))
        for suite in (first.proxy, first.holdout):
            assert families(suite) == {"texture"}
        check_same(first, without, "texture")
        decision = json.loads((suite_folder(tmp_path) / "sdas.json").read_text())
        assert (decision["used"], decision["warnings"], decision["facts"]["rounds"]) == (False, [LATE], 1)

        sampled.clear()
        resumed = draw(parts, tmp_path, time_budget=6000.0, **LEARNING)
        assert (digests(resumed), list(resumed.warnings), sampled) == (digests(first), [LATE], [])


class TestSdasInterrupted:
    @pytest.mark.parametrize("use", ["severities", "suite/certify", "fit"])
    def test_an_interrupt_decides_nothing(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], monkeypatch: pytest.MonkeyPatch, use: str
    ) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            stop_at(use, interrupt, patched)
            with pytest.raises(KeyboardInterrupt):
                draw(parts, tmp_path, **LEARNING)
        assert {path.name for path in suite_folder(tmp_path).iterdir()} <= {"sdas.png"}
        tiny_sdas.clear()
        resumed = draw(parts, tmp_path, **LEARNING)
        assert tiny_sdas == []
        assert digests(resumed) == digests(draw(parts, tmp_path / "elsewhere"))
        assert resumed.sources == ("texture", "sdas")
        assert families(resumed.proxy) == families(resumed.holdout) == {"texture", "sdas"}

    @pytest.mark.parametrize("lost", [["studies/parts/suite/certify"], ["studies/parts/suite/proxy", "cache"]])
    def test_a_suite_that_was_lost_is_drawn_anew_as_it_was_decided(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], lost: list[str]
    ) -> None:
        """Whatever time that takes: the other suite holds the family already."""
        first = draw(parts, tmp_path)
        for name in lost:
            shutil.rmtree(tmp_path / name)
        again = draw(parts, tmp_path, time_budget=1.0)
        assert digests(again) == digests(first)
        assert list(again.warnings) == []

    def test_a_suite_that_cannot_be_drawn_as_it_was_is_never_mixed(
        self, parts: Path, tmp_path: Path, tiny_sdas: None, judge_sdas: Callable[[str | None], None]
    ) -> None:
        draw(parts, tmp_path)
        shutil.rmtree(suite_folder(tmp_path) / "certify")
        shutil.rmtree(tmp_path / "cache")
        judge_sdas("its pictures are noise")
        with pytest.raises(StoreError, match=r"cannot be drawn again as it was.*its pictures are noise"):
            draw(parts, tmp_path)

    def test_the_suites_tell_more_than_a_lost_record(self, parts: Path, tmp_path: Path, tiny_sdas: None) -> None:
        before = draw(parts, tmp_path)
        (suite_folder(tmp_path) / "sdas.json").unlink()
        shutil.rmtree(tmp_path / "cache")
        again = draw(parts, tmp_path, **SHORT)
        assert digests(again) == digests(before)
        assert list(again.warnings) == []


def made_to_learn_from(sampled: list[int]) -> int:
    """How many of the pictures were made for methods to learn from."""
    return sampled.count(derived_seed(0, "sdas/fit"))


def keys_of(stock: SeededPool) -> list[ImageKey]:
    """The pictures of a stock."""
    return [key for key in stock.pool.slice(0, 1) if key.seed == stock.seed]


def no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_stock_is_what_the_effort_asks_for_and_a_tenth_of_the_time_allows() -> None:
    pace = {"seconds_a_picture": 2.0}
    assert stock_size("faithful", 24 * 3600.0, pace) == 4320
    assert stock_size("faithful", 48 * 3600.0, pace) == 4800
    assert stock_size("thorough", 8 * 3600.0, pace) == 960
    assert stock_size("balanced", 60.0, pace) == SMALLEST_STOCK


def test_a_decision_of_an_earlier_version_has_the_smallest_stock(tmp_path: Path) -> None:
    decided = Decision(used=True, warnings=[], stock=90)
    decided.save(tmp_path, "a")
    assert Decision.load(tmp_path, "a") == decided
    path = tmp_path / "sdas.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "stock"}))
    assert Decision.load(tmp_path, "a") == replace(decided, stock=SMALLEST_STOCK)


class TestStock:
    """Pictures of sdas that methods learn from."""

    def test_they_are_made_while_the_suites_are_drawn(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
    ) -> None:
        data = draw(parts, tmp_path, **LEARNING)
        assert made_to_learn_from(sampled) == SMALLEST_STOCK
        assert tiny_sdas[0].image_count == 4 * (len(STRENGTHS) + 2) + SMALLEST_STOCK
        tiny_sdas.clear()
        sampled.clear()
        stock = data.stock()
        assert data.stock() is stock
        assert (tiny_sdas, sampled) == ([], [])

    def test_they_are_of_the_images_of_the_fit_over_all_strengths(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        data = draw(parts, tmp_path, **LEARNING)
        keys = keys_of(data.stock())
        assert len(keys) == SMALLEST_STOCK
        assert {key.base for key in keys} == hashes(data.normals.part("train"))
        strengths = sorted(key.strength for key in keys)
        assert (strengths[0], strengths[-1]) == STOCK_STRENGTHS
        assert np.diff(strengths).max() < 0.021
        assert sum(strength >= PUBLISHED_STRENGTH[0] for strength in strengths) >= SMALLEST_STOCK / 2

    def test_suites_are_the_same_whatever_learns_and_their_pictures_are_others(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        learned, free = draw(parts, tmp_path, **LEARNING), draw(parts, tmp_path / "elsewhere")
        assert digests(learned) == digests(free)
        seeds = {key.seed for key in learned.stock().pool.slice(0, 1)}
        assert seeds == {
            derived_seed(0, f"sdas/{use}") for use in ("severities", "suite/proxy", "suite/certify", "fit")
        }

    def test_a_resumed_study_opens_them_and_makes_none(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
    ) -> None:
        first = draw(parts, tmp_path, **LEARNING).stock()
        tiny_sdas.clear()
        sampled.clear()
        resumed = draw(parts, tmp_path, time_budget=1.0, **LEARNING)
        assert resumed.sources == ("texture", "sdas")
        stock = resumed.stock()
        assert (tiny_sdas, sampled) == ([], [])
        assert keys_of(stock) == keys_of(first)
        for key in keys_of(stock)[::10]:
            np.testing.assert_array_equal(stock.pool.read(key), first.pool.read(key))

    def test_the_first_fit_makes_as_many_as_were_decided_however_often_the_study_is_resumed(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(suites, "stock_size", lambda *_: SMALLEST_STOCK + 20)
        data = draw(parts, tmp_path, **LEARNING)
        assert made_to_learn_from(sampled) == SMALLEST_STOCK
        keys = keys_of(data.stock())
        assert len(keys) == made_to_learn_from(sampled) > SMALLEST_STOCK + 10  # some strengths are among the first
        monkeypatch.setattr(suites, "stock_size", lambda *_: SMALLEST_STOCK)
        sampled.clear()
        assert keys_of(draw(parts, tmp_path, time_budget=9000.0, **LEARNING).stock()) == keys
        assert sampled == []

    def test_a_disk_that_fills_up_while_more_are_made_is_a_sentence_and_keeps_those_there_are(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(suites, "stock_size", lambda *_: SMALLEST_STOCK + 20)
        data = draw(parts, tmp_path, **LEARNING)
        with monkeypatch.context() as full:
            full.setattr("os.replace", no_space)
            with pytest.raises(StoreError, match="No space left on device"):
                data.stock()
        pool = draw(parts, tmp_path, **LEARNING).stock().pool
        assert not list(pool.folder.rglob("*.tmp*"))
        assert len([key for key in pool.slice(0, 1) if key.seed == derived_seed(0, "sdas/fit")]) > SMALLEST_STOCK

    def test_where_nothing_learns_from_them_they_are_made_when_asked_for(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
    ) -> None:
        data = draw(parts, tmp_path)
        assert made_to_learn_from(sampled) == 0
        assert tiny_sdas[0].image_count == 4 * (len(STRENGTHS) + 2)
        assert len(keys_of(data.stock())) == made_to_learn_from(sampled) == SMALLEST_STOCK

    def test_they_are_made_again_as_they_were_if_they_were_lost(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], sampled: list[int]
    ) -> None:
        stock = draw(parts, tmp_path, **LEARNING).stock()
        before = {key: pixel_hash(stock.pool.read(key)) for key in keys_of(stock)}
        shutil.rmtree(stock.pool.folder / "pictures")
        again = draw(parts, tmp_path, time_budget=1.0, **LEARNING).stock()
        assert {key: pixel_hash(again.pool.read(key)) for key in keys_of(again)} == before

    def test_a_model_that_was_lost_and_fails_is_an_error_and_no_other_pictures(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob], judge_sdas: Callable[[str | None], None]
    ) -> None:
        draw(parts, tmp_path, **LEARNING)
        shutil.rmtree(tmp_path / "cache")
        judge_sdas("its pictures are noise")
        resumed = draw(parts, tmp_path, **LEARNING)
        assert resumed.sources == ("texture", "sdas")
        with pytest.raises(StoreError, match=r"sdas are lost and cannot be made again: its pictures are noise\."):
            resumed.stock()

    def test_without_the_family_there_are_textures_alone(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        assert draw(parts, tmp_path, families=("cutpaste",), **LEARNING).sources == ("texture",)
        assert draw(parts, tmp_path, families=("sdas",)).sources == ("texture", "sdas")
        assert draw(parts, tmp_path / "elsewhere", **SHORT, **LEARNING).sources == ("texture",)


class TestSdasAmongOthers:
    def test_its_place_in_the_list_does_not_matter(self, parts: Path, tmp_path: Path, tiny_sdas: None) -> None:
        having = draw(parts, tmp_path, families=("sdas", "texture"))
        without = draw(parts, tmp_path / "elsewhere", families=("texture",))
        check_same(having, without, "texture")

    def test_alone_and_left_out_there_is_nothing_to_judge_by(
        self, parts: Path, tmp_path: Path, tiny_sdas: None
    ) -> None:
        with pytest.raises(InputError, match=r"The family sdas was left out: it needs .*\. No other family was named"):
            draw(parts, tmp_path, families=("sdas",), **SHORT)

    def test_who_does_not_ask_for_it_gets_no_record(self, parts: Path, tmp_path: Path, tiny_sdas: None) -> None:
        draw(parts, tmp_path, families=("texture",))
        assert not (suite_folder(tmp_path) / "sdas.json").exists()


def cannot_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes of a family any more."""
    monkeypatch.setattr(registry._FAMILIES[name], "attempt", lambda *_: None)


class TestCoverage:
    def test_it_is_kept_beside_the_suites_and_a_resumed_study_has_it(self, parts: Path, tmp_path: Path) -> None:
        first = draw(parts, tmp_path, families=("texture", "cutpaste"))
        assert first.coverage is not None
        assert list(first.coverage.cells) == ["texture", "cutpaste"]
        content = json.loads((suite_folder(tmp_path) / "coverage.json").read_text())
        assert content["drawn"]["texture"]["0.8"]["strength"] == first.coverage.strengths["texture"][0.8]
        assert draw(parts, tmp_path, families=("texture", "cutpaste")).coverage == first.coverage

    def test_suites_hold_the_cells_that_it_tells(self, parts: Path, tmp_path: Path) -> None:
        data = draw(parts, tmp_path, families=("texture", "speck"), severities=(0.7, 0.85, 0.95))
        assert data.coverage is not None
        cells = {f"{name}/{severity:g}" for name, of in data.coverage.cells.items() for severity in of}
        assert set(data.proxy.cell_names) == set(data.holdout.cell_names) == cells

    def test_a_family_of_which_nothing_comes_is_left_out_with_a_warning(
        self, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cannot_draw("warp", monkeypatch)
        warning = "The family warp was left out: most attempts to draw it on these images fail."
        for _ in range(2):
            data = draw(parts, tmp_path, families=("warp", "texture"))
            assert families(data.proxy) == families(data.holdout) == {"texture"}
            assert list(data.warnings) == [warning]
            assert data.coverage is not None
            assert data.coverage.left_out == {"warp": warning}

    def test_when_nothing_comes_of_any_the_user_is_told_and_nothing_is_written(
        self, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cannot_draw("warp", monkeypatch)
        cannot_draw("speck", monkeypatch)
        with pytest.raises(InputError, match=r"None of the families warp, speck can be drawn on the images in .*parts"):
            draw(parts, tmp_path, families=("warp", "speck"))
        assert not suite_folder(tmp_path).exists()

    def test_a_study_whose_record_is_lost_goes_on_with_its_suites(self, parts: Path, tmp_path: Path) -> None:
        first = draw(parts, tmp_path, families=("texture",))
        (suite_folder(tmp_path) / "coverage.json").unlink()
        again = draw(parts, tmp_path, families=("texture",))
        assert digests(again) == digests(first)
        assert (again.coverage, list(again.warnings)) == (None, [])

    def test_a_lost_suite_comes_back_as_it_was_or_not_at_all(
        self, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = draw(parts, tmp_path, families=("texture", "warp"))
        shutil.rmtree(suite_folder(tmp_path) / "certify")
        assert digests(draw(parts, tmp_path, families=("texture", "warp"))) == digests(first)
        shutil.rmtree(suite_folder(tmp_path) / "certify")
        cannot_draw("warp", monkeypatch)
        with pytest.raises(
            StoreError, match="drawn again as it was, since other families or severities can be drawn now"
        ):
            draw(parts, tmp_path, families=("texture", "warp"))
        assert not (suite_folder(tmp_path) / "certify").exists()

    def test_few_images_are_enough_for_every_family(self, parts: Path, tmp_path: Path) -> None:
        images = tmp_path / "good"
        images.mkdir()
        for path in sorted((parts / "train" / "good").iterdir())[:16]:
            shutil.copy(path, images)
        data = draw(images, tmp_path, families=TRAINING_FREE)
        assert families(data.proxy) == set(TRAINING_FREE)
        check_bases(data)


SHRUNK = SuitePlan(("texture", "speck"), (0.8,), per_cell=4, strengths=(0.03, 0.15, 1.0), per_strength=4, side=32)


class Planning:
    """A planner that has its plan ready, and counts how often it was asked."""

    def __init__(self, plan: SuitePlan | None, warning: str | None = None) -> None:
        self.answer, self.warning, self.asked = plan, warning, 0

    def plan(self, full: SuitePlan, *_: object) -> tuple[SuitePlan, str | None]:
        self.asked += 1
        return self.answer or full, self.warning


def draw_planned(images: Path, workspace: Path, planner: Planning | None, **options: object) -> StudyData:
    given = {"families": ("texture", "speck", "warp"), "severities": (0.7, 0.8), "image_size": 64} | options
    settings = settings_for(images, **(FEW | {"per_cell": 5} | given))
    folder = StudyFolder(workspace, "parts")
    return draw_study_data(settings, read_study_images(settings), folder, CPU, planner=planner)  # type: ignore[arg-type]


class TestPlanned:
    """Suites that a short time made smaller."""

    def test_with_time_enough_the_suites_are_those_without_a_plan(self, parts: Path, tmp_path: Path) -> None:
        planner = Planning(None)
        planned, plain = draw_planned(parts, tmp_path / "a", planner), draw_planned(parts, tmp_path / "b", None)
        assert digests(planned) == digests(plain)
        assert (planned.plan, list(planned.warnings), planner.asked) == (None, list(plain.warnings), 1)
        assert not (suite_folder(tmp_path / "a") / SuitePlan.file).exists()

    def test_a_smaller_plan_is_drawn_told_and_kept(self, parts: Path, tmp_path: Path) -> None:
        data = draw_planned(parts, tmp_path, Planning(SHRUNK, "Too short."))
        assert data.plan == SHRUNK
        for suite in (data.proxy, data.holdout):
            assert suite.cells == ("texture/0.8",) * 4 + ("speck/0.8",) * 4
        check_bases(data)
        reduced, *others = data.warnings
        assert reduced.startswith("The time budget is short for this working size, so the proxy suite was reduced: 4")
        assert "no warp" in reduced
        assert others == ["Too short."]
        assert data.coverage is not None
        assert list(data.coverage.left_out) == ["warp"]

    def test_a_resumed_study_has_the_suite_of_its_plan_whatever_time_it_has_now(
        self, parts: Path, tmp_path: Path
    ) -> None:
        first, planner = draw_planned(parts, tmp_path, Planning(SHRUNK)), Planning(None)
        for lost in (None, "certify", "proxy"):
            if lost is not None:
                shutil.rmtree(suite_folder(tmp_path) / lost)
            again = draw_planned(parts, tmp_path, planner)
            assert digests(again) == digests(first)
            assert (again.plan, list(again.warnings)) == (SHRUNK, list(first.warnings))
        assert planner.asked == 0

    def test_candidates_learn_from_fewer_images_if_it_says_so(self, parts: Path, tmp_path: Path) -> None:
        full = draw_planned(parts, tmp_path / "a", Planning(SHRUNK))
        few = draw_planned(parts, tmp_path / "b", Planning(replace(SHRUNK, learning=5)))
        again = draw_planned(parts, tmp_path / "b", None)
        assert digests(few) == digests(again) == digests(full)
        before, after = full.normals.splits, few.normals.splits
        assert len(before.train) > 5
        assert after == again.normals.splits == replace(before, train=after.train)
        assert len(set(after.train)) == 5
        assert set(after.train) < set(before.train)
        assert (after.train[0], after.train[-1]) == (before.train[0], before.train[-1])
        # Features are computed of the images that are used.
        assert few.at(64).normals.take(after.train).base is None
        assert full.at(64).normals.take(before.train).base is not None

    def test_the_plan_alone_decides_the_content(self, parts: Path, tmp_path: Path) -> None:
        first = draw_planned(parts, tmp_path / "a", Planning(SHRUNK))
        second = draw_planned(parts, tmp_path / "b", Planning(SHRUNK, "Too short."))
        assert digests(first) == digests(second)
        other = draw_planned(parts, tmp_path / "c", Planning(replace(SHRUNK, per_cell=5)))
        assert set(digests(first)).isdisjoint(digests(other))

    def test_a_study_that_was_drawn_in_full_stays_so(self, parts: Path, tmp_path: Path) -> None:
        first, planner = draw_planned(parts, tmp_path, None), Planning(SHRUNK)
        shutil.rmtree(suite_folder(tmp_path) / "certify")
        again = draw_planned(parts, tmp_path, planner)
        assert (digests(again), again.plan, planner.asked) == (digests(first), None, 0)

    def test_progress_counts_to_the_end_and_tells_the_time_left(self, parts: Path, tmp_path: Path) -> None:
        events: list[Event] = []
        settings = settings_for(parts, **(FEW | {"families": ("texture", "speck")}))
        draw_study_data(settings, read_study_images(settings), StudyFolder(tmp_path, "parts"), CPU, events.append)
        told = [event for event in events if event.total]
        assert [event.done for event in told] == sorted(event.done for event in told)
        assert told[-1].done == told[-1].total
        assert told[-1].left_s == 0
        assert list(dict.fromkeys(event.message for event in told)) == [
            "Calibrating the severities",
            "Drawing the proxy suite",
        ]


class TestCoverageOfSdas:
    def test_pictures_of_which_nothing_comes_leave_it_out_of_all(
        self,
        parts: Path,
        tmp_path: Path,
        tiny_sdas: list[SdasJob],
        sampled: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        cannot_draw("sdas", monkeypatch)
        warning = "The family sdas was left out: most attempts to draw it on these images fail."
        first = draw(parts, tmp_path, **LEARNING)
        assert families(first.proxy) == families(first.holdout) == {"texture"}
        assert (list(first.warnings), first.sources) == ([warning], ("texture",))
        assert made_to_learn_from(sampled) == 0
        check_same(first, draw(parts, tmp_path / "elsewhere", families=("texture",)), "texture")

        shutil.rmtree(suite_folder(tmp_path) / "certify")
        again = draw(parts, tmp_path, **LEARNING)
        assert (digests(again), list(again.warnings)) == (digests(first), [warning])

    def test_it_tells_when_the_model_could_not_be_had(
        self, parts: Path, tmp_path: Path, tiny_sdas: list[SdasJob]
    ) -> None:
        data = draw(parts, tmp_path, **SHORT)
        assert data.coverage is not None
        assert list(data.coverage.left_out) == ["sdas"]
        assert [data.coverage.left_out["sdas"]] == list(data.warnings)
