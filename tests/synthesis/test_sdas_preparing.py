"""Preparation with real, tiny trainings and judges whose verdicts are written down."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tiny_sdas import TINY as SMALL
from tiny_sdas import draw_parts, odd_denoiser
from torch import Tensor

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.synthesis.sdas import job as commission_module
from automl_ad.synthesis.sdas.denoiser import position_channels
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.synthesis.sdas.learning import learn
from automl_ad.synthesis.sdas.model_file import ModelFile
from automl_ad.synthesis.sdas.preparing import MIN_IMAGES, Outcome, prepare
from automl_ad.synthesis.sdas.settings import NetworkSettings
from automl_ad.synthesis.sdas.synthesiser import Sampler
from automl_ad.training import Budget, TrainingLog, TrainingPlan

Images = npt.NDArray[np.uint8]

NETWORK = NetworkSettings(patch=4, widths=(8,), attention=(False,))
TINY = SMALL.model_copy(update={"network": NETWORK, "batch": 2, "start_step": 50})
TIMED_STEPS = 3
"""A training of so few steps only tells how long a step takes."""
FIT, BASES = draw_parts(12), draw_parts(4, seed=1)
DIVERGED = "its training diverged twice, the second time at a quarter of the learning rate"
FAULT = "its anomalies are not found more easily when they are stronger (reference image AUROC 0.50, 0.50, 0.50, 0.50)"


class Judges:
    """Makes judges that refuse the first ``refusals`` models, and counts them."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.made = 0

    def __call__(self) -> ReferenceDetector:
        self.made += 1
        return ReferenceDetector(rises=self.made > self.refusals)


class ReferenceDetector:
    """Finds each set of anomalies more easily than the one before, or none at all."""

    def __init__(self, rises: bool) -> None:
        self.rises = rises
        self.found = 0.5

    def detectability(self, images: ImageSet) -> float:
        self.found += 0.06 * self.rises
        return self.found

    def distance(self, images: ImageSet) -> float:
        return 1.0


class Trainings:
    """Spies on the training: how it began, and with what plan. May let some of them diverge."""

    def __init__(self) -> None:
        self.plans: list[TrainingPlan] = []
        self.seeds: list[int] = []
        self.began: list[dict[str, Tensor]] = []
        self.measured = 0
        self.diverging = 0

    def __call__(
        self, denoiser: Any, crops: Any, settings: Any, plan: TrainingPlan, seed: int, *rest: Any
    ) -> TrainingLog:
        if plan.steps <= TIMED_STEPS:
            self.measured += 1
        else:
            self.plans.append(plan)
            self.seeds.append(seed)
            self.began.append({name: weight.clone() for name, weight in denoiser.state_dict().items()})
            if self.diverging > 0:
                self.diverging -= 1
                with torch.no_grad():
                    next(denoiser.parameters()).fill_(float("nan"))
                raise FloatingPointError("the loss became nan at step 5")
        return learn(denoiser, crops, settings, plan, seed, *rest)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    spy = Trainings()
    monkeypatch.setattr(commission_module, "learn", spy)
    return spy


def never() -> Any:
    raise AssertionError("there was nothing to judge")


def job_in(cache: Path, judge: Callable[[], Any] = never, **changes: Any) -> SdasJob:
    device = torch.device("cpu")
    whole = SdasJob(train_images=FIT, bases=BASES, settings=TINY, seed=0, cache=cache, device=device, reference=judge)
    return replace(whole, **changes)


def usable(outcome: Outcome) -> bool:
    return outcome.sdas is not None and outcome.reason is None


def reason_of(outcome: Outcome) -> str:
    assert outcome.sdas is None
    assert outcome.reason is not None
    return outcome.reason


class TestPassing:
    def test_it_is_trained_judged_and_makes_images(self, tmp_path: Path, trainings: Trainings) -> None:
        judges = Judges()
        told = list[tuple[str, int, int, float | None]]()
        outcome = prepare(job_in(tmp_path, judges, progress=lambda *what: told.append(what)))
        assert usable(outcome)
        assert (len(trainings.plans), judges.made, list(outcome.warnings)) == (1, 1, [])
        assert trainings.plans[0] == TINY.plan()
        assert (outcome.facts["fault"], outcome.facts["rounds"], outcome.facts["steps"]) == (None, 1, 8)
        assert json.dumps(dict(outcome.facts))
        assert outcome.sheet is not None
        assert outcome.sheet.is_file()

        assert outcome.sdas is not None
        bases = draw_parts(6, seed=2)
        images = outcome.sdas.synthesise(list(bases), [0.1] * 6)
        assert np.abs(np.stack(images).astype(float) - bases).mean() < 20
        assert len({image.tobytes() for image in images}) == 6
        phrases = [what[0].split(",")[0] for what in told]
        assert phrases == ["Training SDAS", "Checking synthetic images"] + 2 * ["Making synthetic images"]
        assert [what[1:] for what in told[-2:]] == [(4, 6, None), (6, 6, None)]
        assert told[0][1:] == (8, 8, 0.0)

    def test_the_second_time_nothing_is_trained_or_judged(self, tmp_path: Path, trainings: Trainings) -> None:
        first = prepare(job_in(tmp_path, Judges()))
        weights = list(tmp_path.rglob("*.safetensors"))
        content = weights[0].read_bytes()
        measured = trainings.measured
        second = prepare(job_in(tmp_path, budget=Budget(seconds=0.01)))
        assert usable(second)
        assert (len(trainings.plans), trainings.measured) == (1, measured)
        assert (second.facts, second.sheet) == (first.facts, first.sheet)
        assert [path.read_bytes() for path in tmp_path.rglob("*.safetensors")] == [content]

    def test_the_model_that_is_loaded_is_the_one_that_was_trained(self, tmp_path: Path) -> None:
        made = []
        for seed in (3, 4, 3):
            outcome = prepare(job_in(tmp_path, Judges()))
            assert outcome.sdas is not None
            for path in tmp_path.rglob("pictures.json"):
                path.unlink()
            made.append(outcome.sdas.reseeded(seed).synthesise([BASES[0]], [0.5])[0])
        np.testing.assert_array_equal(made[0], made[2])
        assert (made[0] != made[1]).any()

    def test_the_same_seed_gives_the_same_model_anywhere(self, tmp_path: Path) -> None:
        weights = {}
        with torch.random.fork_rng(devices=[]):
            for number, (name, seed) in enumerate((("a", 0), ("b", 0), ("c", 1))):
                torch.manual_seed(number)
                before = torch.get_rng_state()
                weights[name] = prepare(job_in(tmp_path / name, Judges(), seed=seed)).facts["weights"]
                assert torch.equal(torch.get_rng_state(), before)
        assert weights["a"] == weights["b"] != weights["c"]

    @pytest.mark.parametrize(
        "changes",
        [{"train_images": draw_parts(12, seed=9)}, {"seed": 1}, {"settings": TINY.model_copy(update={"rate": 2e-3})}],
        ids=["images", "seed", "settings"],
    )
    def test_other_images_seeds_and_settings_have_other_folders(
        self, tmp_path: Path, trainings: Trainings, changes: dict[str, Any]
    ) -> None:
        ours, theirs = job_in(tmp_path, Judges()), job_in(tmp_path, Judges(), **changes)
        assert ours.folder != theirs.folder
        assert ours.folder.parent == theirs.folder.parent == tmp_path
        assert usable(prepare(ours))
        assert usable(prepare(theirs))
        assert len(trainings.plans) == 2

    def test_gate_images_do_not_change_the_folder(self, tmp_path: Path) -> None:
        others = {"bases": draw_parts(4, seed=5), "budget": Budget(seconds=9), "image_count": 7}
        assert job_in(tmp_path).folder == job_in(tmp_path, **others).folder

    def test_two_studies_at_once_train_one_model(self, tmp_path: Path, trainings: Trainings) -> None:
        outcomes = list[Outcome]()
        threads = [
            threading.Thread(target=lambda: outcomes.append(prepare(job_in(tmp_path, Judges())))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [usable(outcome) for outcome in outcomes] == [True, True]
        assert len(trainings.plans) == 1

    @pytest.mark.parametrize("encodes", [True, False])
    def test_images_are_made_with_what_was_learned(self, tmp_path: Path, encodes: bool) -> None:
        settings, denoiser = TINY.model_copy(update={"encodes": encodes}), odd_denoiser(network=NETWORK)
        made = job_in(tmp_path, settings=settings).sampler(denoiser)(BASES, [0.5] * 4, [0] * 4)
        encoding = Encoding.of(FIT) if encodes else Encoding.plain(32, 32)
        place = position_channels(encoding.mean)
        expected = Sampler(denoiser, settings, encoding, place)(BASES, [0.5] * 4, [0] * 4)
        nowhere = Sampler(denoiser, settings, encoding, torch.zeros_like(place))(BASES, [0.5] * 4, [0] * 4)
        np.testing.assert_array_equal(made, expected)
        assert (made != nowhere).any()

    def test_grey_parts_get_a_grey_model(self, tmp_path: Path) -> None:
        grey = FIT.mean(3, keepdims=True).astype(np.uint8).repeat(3, axis=3)
        outcome = prepare(job_in(tmp_path, Judges(), train_images=grey))
        assert outcome.sdas is not None
        image = outcome.sdas.synthesise([BASES[0]], [1.0])[0]
        assert not np.ptp(image.astype(int), axis=2).any()

    @pytest.mark.parametrize(("count", "judged"), [(3, 3), (10, 8)])
    def test_eight_bases_are_judged_or_those_that_there_are(self, tmp_path: Path, count: int, judged: int) -> None:
        seen: dict[str, list[ImageSet]] = {"detectability": [], "distance": []}

        class Looking(ReferenceDetector):
            def detectability(self, images: ImageSet) -> float:
                seen["detectability"].append(images)
                return super().detectability(images)

            def distance(self, images: ImageSet) -> float:
                seen["distance"].append(images)
                return super().distance(images)

        bases = draw_parts(count, seed=4)
        assert usable(prepare(job_in(tmp_path, lambda: Looking(rises=True), bases=bases)))
        assert [len(images) for images in seen["detectability"]] == [3 * judged] * (4 + 8)  # the scale, the table
        (normal,) = seen["distance"]
        # Sampling starts from the base, so its image is nearer to it than to the others.
        distances = np.abs(normal.hwc[:, None].astype(float) - bases[None]).mean((2, 3, 4))
        assert distances.argmin(1).tolist() == list(range(judged))


class TestRefused:
    def test_training_goes_on_until_it_passes(self, tmp_path: Path, trainings: Trainings) -> None:
        judges = Judges(refusals=1)
        outcome = prepare(job_in(tmp_path, judges))
        assert usable(outcome)
        assert judges.made == 2
        first, second = trainings.plans
        assert (first.steps, second.steps) == (8, 4)
        assert second.rate == first.rate / 2
        assert trainings.seeds[0] != trainings.seeds[1]
        assert (outcome.facts["rounds"], outcome.facts["steps"], outcome.facts["fault"]) == (2, 12, None)
        assert len(outcome.facts["losses"]) > 6

    def test_an_extension_begins_where_the_training_ended(self, tmp_path: Path, trainings: Trainings) -> None:
        alone = prepare(job_in(tmp_path / "alone", Judges()))
        assert alone.sdas is not None
        prepare(job_in(tmp_path / "extended", Judges(refusals=1)))
        trained = job_in(tmp_path / "alone").denoiser()
        load_into(trained, tmp_path / "alone")
        for name, weight in trained.state_dict().items():
            assert torch.equal(trainings.began[2][name], weight)
        assert any((trainings.began[2][name] != weight).any() for name, weight in trainings.began[0].items())

    @pytest.mark.parametrize("extensions", [0, 2])
    def test_after_all_extensions_the_reason_is_given(
        self, tmp_path: Path, trainings: Trainings, extensions: int
    ) -> None:
        judges, settings = Judges(refusals=99), TINY.model_copy(update={"extensions": extensions})
        outcome = prepare(job_in(tmp_path, judges, settings=settings))
        assert reason_of(outcome) == FAULT
        assert [plan.steps for plan in trainings.plans] == [8] + [4] * extensions
        assert judges.made == extensions + 1
        assert (outcome.facts["fault"], outcome.facts["rounds"]) == (FAULT, extensions + 1)
        assert outcome.sheet is not None
        assert outcome.sheet.is_file()

        measured = trainings.measured
        later = prepare(job_in(tmp_path, settings=settings))
        assert (later.reason, later.facts, later.sheet) == (outcome.reason, outcome.facts, outcome.sheet)
        assert (len(trainings.plans), trainings.measured) == (extensions + 1, measured)

    def test_one_that_passes_at_last_passed(self, tmp_path: Path, trainings: Trainings) -> None:
        assert usable(prepare(job_in(tmp_path, Judges(refusals=2))))
        assert usable(prepare(job_in(tmp_path)))
        assert len(trainings.plans) == 3

    def test_an_extension_needs_no_more_than_the_time_of_an_extension(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It takes 50 seconds, the whole training 100."""
        monkeypatch.setattr(commission_module, "learn", a_second_a_batch)
        settings, judges = TINY.model_copy(update={"steps": 100}), Judges(refusals=1)
        prepare(job_in(tmp_path, judges, settings=settings, budget=UntilJudged(judges)))
        hurried = prepare(job_in(tmp_path, settings=settings, budget=Budget(seconds=45)))
        assert reason_of(hurried) == FAULT
        assert usable(prepare(job_in(tmp_path, Judges(), settings=settings, budget=Budget(seconds=80))))

    def test_without_time_for_an_extension_a_later_study_makes_it(self, tmp_path: Path, trainings: Trainings) -> None:
        judges = Judges(refusals=1)
        hurried = job_in(tmp_path, judges, budget=UntilJudged(judges))
        assert reason_of(prepare(hurried)) == FAULT
        assert [plan.steps for plan in trainings.plans] == [8]

        outcome = prepare(job_in(tmp_path, Judges()))
        assert usable(outcome)
        assert [plan.steps for plan in trainings.plans] == [8, 4]
        assert (outcome.facts["rounds"], outcome.facts["steps"]) == (2, 12)


def a_second_a_batch(
    denoiser: Any, crops: Any, settings: Any, plan: TrainingPlan, seed: int, *rest: Any
) -> TrainingLog:
    """Makes one step, and claims that it made all of them with a second for each batch."""
    log = learn(denoiser, crops, settings, replace(plan, steps=1, accumulate=1), seed, *rest)
    return replace(log, steps=plan.steps, seconds=float(plan.steps * plan.accumulate))


class UntilJudged(Budget):
    """Ends with the first verdict."""

    def __init__(self, judges: Judges) -> None:
        super().__init__()
        object.__setattr__(self, "judges", judges)

    @property
    def left(self) -> float:
        return 0.0 if self.judges.made else 1e9  # type: ignore[attr-defined]


def load_into(denoiser: Any, cache: Path) -> None:
    job = job_in(cache)
    ModelFile(job.folder, job.identity).load(denoiser)


class TestUnusable:
    @pytest.mark.parametrize("count", [1, MIN_IMAGES - 1])
    def test_too_few_images(self, tmp_path: Path, trainings: Trainings, count: int) -> None:
        reason = reason_of(prepare(job_in(tmp_path, train_images=FIT[:count])))
        assert reason == f"it needs 12 or more good training images but has {count}"
        untouched(tmp_path, trainings)

    @pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
    def test_flat_images(self, tmp_path: Path, trainings: Trainings, colour: tuple[int, int, int]) -> None:
        rng = np.random.default_rng(0)
        fit = (np.full(FIT.shape, colour) + np.where(rng.random(FIT.shape) < 0.1, 1, 0)).clip(0, 255).astype(np.uint8)
        reason = reason_of(prepare(job_in(tmp_path, train_images=fit)))
        assert reason == "every good image is of one uniform colour, so there is nothing to learn"
        untouched(tmp_path, trainings)

    def test_flat_images_of_different_light_are_flat(self, tmp_path: Path, trainings: Trainings) -> None:
        fit = np.arange(0, 240, 20, dtype=np.uint8).reshape(-1, 1, 1, 1) + np.zeros(FIT.shape, np.uint8)
        assert "one uniform colour" in reason_of(prepare(job_in(tmp_path, train_images=fit)))
        untouched(tmp_path, trainings)

    @pytest.mark.parametrize(("height", "width"), [(30, 32), (32, 34)])
    def test_sides_that_the_network_cannot_halve(
        self, tmp_path: Path, trainings: Trainings, height: int, width: int
    ) -> None:
        assert NETWORK.divisor == 4
        fit = draw_parts(12, side=36)[:, :height, :width]
        reason = reason_of(prepare(job_in(tmp_path, train_images=fit)))
        assert reason == "its network needs image sides that are multiples of 4"
        untouched(tmp_path, trainings)

    def test_no_time_at_all(self, tmp_path: Path, trainings: Trainings) -> None:
        reason = reason_of(prepare(job_in(tmp_path, budget=Budget(seconds=0.01))))
        assert reason == (
            "it needs 1 min 00 s or more on this machine but its share of the time budget is 0.0 s; "
            "use a longer --time-budget"
        )
        assert trainings.measured == 0
        untouched(tmp_path, trainings)

    @pytest.mark.parametrize(
        "changes", [{"image_count": 10**7}, {"settings": TINY.model_copy(update={"steps": 10**7})}]
    )
    def test_too_little_time(self, tmp_path: Path, trainings: Trainings, changes: dict[str, Any]) -> None:
        outcome = prepare(job_in(tmp_path, budget=Budget(seconds=3599), **changes))
        assert (outcome.facts, outcome.sheet) == ({}, None)
        needed, left = reason_of(outcome).split(" or more on this machine but its share of the time budget is ")
        assert needed.startswith("it needs ")
        assert " h " in needed
        assert left.startswith("59 min ")
        assert left.endswith("; use a longer --time-budget")
        untouched(tmp_path, trainings)

    def test_the_time_of_a_step_counts_all_its_batches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """20 steps of 3 batches take 60 seconds."""
        monkeypatch.setattr(commission_module, "learn", a_second_a_batch)
        settings = TINY.model_copy(update={"accumulate": 3, "steps": 20})
        reason = reason_of(prepare(job_in(tmp_path, settings=settings, budget=Budget(seconds=50))))
        assert reason.startswith("it needs 1 min 00 s or more on this machine ")
        assert usable(prepare(job_in(tmp_path, Judges(), settings=settings, budget=Budget(seconds=90))))

    def test_a_training_is_given_the_time_that_the_images_leave(self, tmp_path: Path) -> None:
        seconds = []

        def spying(denoiser: Any, crops: Any, settings: Any, plan: Any, seed: int, budget: Budget, *rest: Any) -> Any:
            if plan.steps > TIMED_STEPS:
                seconds.append(budget.left)
            return learn(denoiser, crops, settings, plan, seed, budget, *rest)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(commission_module, "learn", spying)
            prepare(job_in(tmp_path, Judges(), budget=Budget(seconds=1e6), image_count=20_000))
        assert 0 < seconds[0] < 1e6 - 2


class TestDivergence:
    def test_once_it_begins_anew_at_a_quarter_of_the_rate(self, tmp_path: Path, trainings: Trainings) -> None:
        trainings.diverging = 1
        outcome = prepare(job_in(tmp_path, Judges()))
        assert usable(outcome)
        assert [plan.rate for plan in trainings.plans] == [TINY.rate, TINY.rate / 4]
        assert trainings.plans[1] == replace(trainings.plans[0], rate=TINY.rate / 4)
        first, second = trainings.began
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert (outcome.facts["rate"], outcome.facts["steps"]) == (TINY.rate / 4, 8)

    def test_twice_it_is_left_out(self, tmp_path: Path, trainings: Trainings) -> None:
        trainings.diverging = 2
        outcome = prepare(job_in(tmp_path))
        assert reason_of(outcome) == DIVERGED
        assert (outcome.facts["fault"], outcome.sheet) == (DIVERGED, None)
        assert len(trainings.plans) == 2
        assert not list(tmp_path.rglob("*.safetensors"))

    def test_what_diverged_twice_is_not_tried_again(self, tmp_path: Path, trainings: Trainings) -> None:
        trainings.diverging = 2
        prepare(job_in(tmp_path))
        measured = trainings.measured
        later = prepare(job_in(tmp_path, budget=Budget(seconds=1e6)))
        assert reason_of(later) == DIVERGED
        assert (len(trainings.plans), trainings.measured) == (2, measured)
        assert usable(prepare(job_in(tmp_path, Judges(), seed=1)))

    def test_an_extension_that_diverges_twice_ends_it_for_good(self, tmp_path: Path, trainings: Trainings) -> None:
        def judge() -> ReferenceDetector:
            trainings.diverging = 2
            return ReferenceDetector(rises=False)

        assert reason_of(prepare(job_in(tmp_path, judge))) == DIVERGED
        assert [plan.steps for plan in trainings.plans] == [8, 4, 4]
        assert reason_of(prepare(job_in(tmp_path))) == DIVERGED
        assert len(trainings.plans) == 3

    def test_an_extension_that_diverges_begins_anew_from_the_kept_model(
        self, tmp_path: Path, trainings: Trainings
    ) -> None:
        settings = TINY.model_copy(update={"extensions": 1})
        judges = Judges(refusals=1)

        class Diverging(Judges):
            def __call__(self) -> ReferenceDetector:
                trainings.diverging = 1 if self.made == 0 else 0
                return judges()

        outcome = prepare(job_in(tmp_path, Diverging(), settings=settings))
        assert usable(outcome)
        assert [plan.steps for plan in trainings.plans] == [8, 4, 4]
        _, first, second = trainings.began
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not any(weight.isnan().any() for weight in second.values())


class TestStore:
    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, trainings: Trainings) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"cannot be written .*; choose another --workspace"):
            prepare(job_in(tmp_path / "file" / "cache"))
        assert (trainings.plans, trainings.measured) == ([], 0)

    def test_a_lock_that_cannot_be_had(self, tmp_path: Path, trainings: Trainings) -> None:
        job = job_in(tmp_path)
        (job.folder / ".training.lock").mkdir(parents=True)
        with pytest.raises(StoreError, match=rf"{job.folder} cannot be written .*; choose another --workspace\."):
            prepare(job)
        assert (trainings.plans, trainings.measured) == ([], 0)

    def test_a_model_that_cannot_be_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        with pytest.raises(StoreError, match="No space left on device"):
            prepare(job_in(tmp_path, Judges()))

    @pytest.mark.parametrize("damage", [lambda text: "{", lambda text: text.replace('"rounds"', '"round"')])
    def test_damaged_facts_are_trained_anew(
        self, tmp_path: Path, trainings: Trainings, damage: Callable[[str], str]
    ) -> None:
        job = job_in(tmp_path, Judges())
        prepare(job)
        facts = job.folder / "model.json"
        facts.write_text(damage(facts.read_text()))
        assert usable(prepare(job_in(tmp_path, Judges())))
        assert len(trainings.plans) == 2

    def test_images_of_an_earlier_model_are_not_used(self, tmp_path: Path) -> None:
        job = job_in(tmp_path, Judges())
        first = prepare(job)
        assert first.sdas is not None
        (early,) = first.sdas.synthesise([BASES[0]], [0.1])
        other = replace(job, seed=1).denoiser()
        with torch.no_grad():
            other.network.conv_out.weight += 0.1
        ModelFile(job.folder, job.identity).save(other, dict(first.facts), {1.0: list(BASES)})
        second = prepare(job_in(tmp_path))
        (warning,) = second.warnings
        assert "came from another weights" in warning
        assert second.sdas is not None
        assert (second.sdas.synthesise([BASES[0]], [0.1])[0] != early).any()

    def test_only_the_folder_is_written(self, tmp_path: Path) -> None:
        job = job_in(tmp_path / "cache", Judges())
        prepare(job)
        assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {job.folder}


def untouched(cache: Path, trainings: Trainings) -> None:
    """Nothing was trained for good."""
    assert trainings.plans == []
    assert not list(cache.rglob("model*"))
