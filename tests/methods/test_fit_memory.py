from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from automl_ad.backbones.base import NoBackbone
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import NotEnoughMemoryError
from automl_ad.memory import GIB
from automl_ad.methods import fit_memory
from automl_ad.methods.anoseg import detector as anoseg
from automl_ad.methods.anoseg.detector import AnoSeg, AnoSegSettings
from automl_ad.methods.anoseg.losses import joint_loss
from automl_ad.methods.destseg.detector import DeStSeg, DeStSegSettings
from automl_ad.methods.dfr.detector import Dfr, DfrSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.fit_memory import (
    DEVICE_SHARE,
    HOST,
    FitNeed,
    Placement,
    activation_bytes,
    device_free_bytes,
    place,
    store_half,
    take_rows,
    weights_bytes,
)
from automl_ad.methods.padim import Padim, PadimSettings
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.patchcore import PatchCore, PatchCoreSettings
from automl_ad.methods.realnet.detector import RealNet, RealNetSettings
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sources import TextureSource
from automl_ad.training import Budget, TrainingPlan, ignore_progress, train

GPU = torch.device("cuda")
NEED = FitNeed(fixed=100, stored=1000, example=10, batch=16, least=2)
SIZE = (64, 64)
SHORT: dict[str, Any] = {"pairs": 8, "batch": 4}


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Sets the free bytes of a device and of the host."""

    def set_free(device: float, host: float = GIB) -> None:
        monkeypatch.setattr(fit_memory, "device_free_bytes", lambda _: device)
        monkeypatch.setattr(fit_memory, "free_bytes", lambda: host)

    return set_free


@pytest.mark.parametrize(
    ("free", "placement"),
    [
        (1260, Placement(GPU, GPU)),  # 100 + 1000 + 16 * 10
        (1259, Placement(GPU, HOST)),
        (260, Placement(GPU, HOST)),
        (259, Placement(GPU, HOST, 2)),
        (180, Placement(GPU, HOST, 2)),
        (179, Placement(GPU, HOST, 4)),
        (120, Placement(GPU, HOST, 8)),
    ],
)
def test_data_leave_the_device_before_batches_are_divided(
    memory: Callable[..., None], free: float, placement: Placement
) -> None:
    memory(free)
    assert place(NEED, GPU) == placement


def test_data_stay_on_the_device_where_the_host_has_no_room(memory: Callable[..., None]) -> None:
    memory(1259, host=999)
    assert place(NEED, GPU) == Placement(GPU, GPU, 2)


def test_the_log_tells_that_batches_are_divided(memory: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    memory(259)
    place(NEED, GPU)
    assert "Batches of 16 do not fit on the GPU; their gradients are accumulated over 2 parts." in caplog.text


def test_what_fits_nowhere_is_refused_with_both_figures(memory: Callable[..., None]) -> None:
    many = replace(NEED, fixed=100 * GIB, stored=1000 * GIB, example=10 * GIB, host=GIB)
    memory(119 * GIB, host=2000 * GIB)  # parts of one example are too small for batch norm
    with pytest.raises(
        NotEnoughMemoryError, match=r"needs about 120\.0 GB of memory, but 119\.0 GB of the GPU's are free"
    ):
        place(many, GPU)
    memory(3000 * GIB, host=GIB // 2)
    with pytest.raises(NotEnoughMemoryError, match=r"about 1\.0 GB of host memory too, but 0\.5 GB are free"):
        place(many, GPU)
    memory(1260 * GIB)
    with pytest.raises(NotEnoughMemoryError, match=r"needs about 1261\.0 GB of memory, but 1260\.0 GB are free"):
        place(many, HOST)


def test_results_on_a_cpu_do_not_depend_on_what_else_runs(memory: Callable[..., None]) -> None:
    memory(1260)
    assert place(NEED, HOST) == Placement(HOST, HOST)
    memory(1259)
    with pytest.raises(NotEnoughMemoryError):
        place(NEED, HOST)


def test_batches_of_one_may_leave_their_data_on_the_host(memory: Callable[..., None]) -> None:
    memory(500)
    assert place(replace(NEED, batch=1), GPU) == Placement(GPU, HOST)


def test_unknown_memory_is_taken_as_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_memory, "device_free_bytes", lambda _: None)
    assert place(NEED, HOST) == Placement(HOST, HOST)


amounts = st.floats(0, 1e12)


@given(amounts, amounts, amounts, st.integers(0, 6), st.sampled_from([1, 2]), amounts)
def test_a_fit_never_takes_more_than_is_free_and_is_refused_only_if_it_must(
    fixed: float, stored: float, example: float, doublings: int, least: int, free: float
) -> None:
    batch = 2**doublings
    need = FitNeed(fixed=fixed, stored=stored, example=example, batch=batch, least=least)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fit_memory, "device_free_bytes", lambda _: free)
        patched.setattr(fit_memory, "free_bytes", lambda: stored)
        try:
            found = place(need, GPU)
        except NotEnoughMemoryError:
            assert fixed + example * min(batch, least) > free
            return
    assert batch % found.accumulate == 0
    assert found.accumulate == 1 or batch // found.accumulate >= least
    held = stored if found.store == GPU else 0.0
    assert fixed + held + batch / found.accumulate * example <= free


def test_a_share_of_the_gpu_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"free": 900, "allocated": 0, "reserved": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (state["free"], 1000))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: state["allocated"])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: state["reserved"])
    state["free"] = 990
    assert device_free_bytes(GPU) == DEVICE_SHARE * 1000
    state["free"] = 300  # another program holds 700
    assert device_free_bytes(GPU) == 300
    state.update(free=300, allocated=200, reserved=500)  # what this process has cached is free as well
    assert device_free_bytes(GPU) == 600
    state.update(free=800, allocated=200, reserved=200)
    assert device_free_bytes(GPU) == DEVICE_SHARE * 1000 - 200


def test_activations_are_the_tensors_kept_for_gradients() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        found = activation_bytes(lambda count: net(torch.empty(count, 3)).mean())
    assert found == 4 * (3 + 4)  # the inputs of both layers; that of the second is what ReLU keeps, too
    assert weights_bytes(net) == 4 * 4 * (3 * 4 + 4 + 4 + 1)


def test_batches_are_joined_in_half_precision_and_read_back() -> None:
    batches = [[torch.full((count, 2), float(count)), torch.arange(count)] for count in (3, 1)]
    twos, ones = store_half(iter(batches), 4, HOST)
    assert twos.dtype == ones.dtype == torch.float16
    assert twos.tolist() == [[3.0, 3.0]] * 3 + [[1.0, 1.0]]
    assert take_rows(ones, torch.tensor([2, 2, 3]), HOST).tolist() == [2.0, 2.0, 0.0]
    assert take_rows(ones, torch.tensor([2]), torch.device("meta")).is_meta  # wherever it is to go


@pytest.fixture(scope="module")
def normals() -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet.of(rng.integers(90, 110, (8, 3, *SIZE), dtype=np.uint8))


def source(normals: ImageSet) -> PairSource:
    return PairSource(TextureSource(Context(normals.hwc, Foreground.fit(normals.hwc)), (0.5, 1.0)), 0)


def embedded() -> FeatureExtractor:
    return FeatureExtractor(EmbeddedBackbone())


LEVELS: dict[str, Any] = {"backbone": "embedded", "levels": (-3, -2)}
TRAINED: dict[str, Callable[[], FeatureDetector]] = {
    "realnet": lambda: RealNet(RealNetSettings(**LEVELS, **SHORT, steps=2), embedded()),
    "destseg": lambda: DeStSeg(DeStSegSettings(**LEVELS, **SHORT, student_steps=2, head_steps=2), embedded()),
    "anoseg": lambda: AnoSeg(AnoSegSettings(size=64, width=8, **SHORT, steps=2), FeatureExtractor(NoBackbone())),
    "dfr": lambda: Dfr(DfrSettings(**LEVELS, stride=8, steps=2, batch=64, vectors=256), embedded()),
}


TRAINING_FREE: dict[str, Callable[[], FeatureDetector]] = {
    "padim": lambda: Padim(PadimSettings(**LEVELS), embedded()),
    "patchcore": lambda: PatchCore(PatchCoreSettings(**LEVELS), embedded()),
}


class Drawn:
    """Notes, of every loss, how many examples were drawn and its value; and the plans of the trainings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, detector: FeatureDetector) -> None:
        self.plans: list[TrainingPlan] = []
        self.examples: list[int] = []
        self._randint = torch.randint
        monkeypatch.setattr(f"{type(detector).__module__}.train", self._train)
        monkeypatch.setattr(torch, "randint", self._draw)

    def _train(self, model: nn.Module, loss: Callable[[], Tensor], plan: TrainingPlan, **how: Any) -> Any:
        self.plans.append(plan)
        return train(model, loss, plan, **how)

    def _draw(self, high: int, shape: tuple[int, ...], **how: Any) -> Tensor:
        self.examples.append(shape[0])
        return self._randint(high, shape, **how)


@pytest.mark.parametrize("name", list(TRAINED))
def test_batches_are_divided_where_a_gpu_is_short_of_memory(
    name: str, normals: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the examples at a time, twice as many losses a step."""
    detector = TRAINED[name]()
    anomalies = source(normals)
    anomalies.pairs(normals, SHORT["pairs"])
    drawn = Drawn(monkeypatch, detector)
    monkeypatch.setattr(type(detector), "_placement", lambda *_: Placement(HOST, HOST, 2))
    detector.fit(normals, anomalies, Budget(), ignore_progress)
    assert {plan.accumulate for plan in drawn.plans} == {2}
    assert drawn.examples == [detector.fit_need(8, SIZE).batch // 2] * sum(2 * plan.steps for plan in drawn.plans)
    assert np.isfinite(detector.anomaly_maps(normals)).all()


def test_a_divided_batch_gives_destsegs_student_the_gradient_of_the_whole(
    normals: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is a sum over the batch: with equal images, parts of it must add up to the same."""
    seen: dict[int, float] = {}
    same = ImageSet.of(np.repeat(normals.pixels[:1], 8, axis=0))
    for parts in (1, 2):
        detector = TRAINED["destseg"]()
        losses: list[float] = []

        def noted(
            model: nn.Module, loss: Callable[[], Tensor], plan: TrainingPlan, *, kept: list[float] = losses, **how: Any
        ) -> Any:
            def each() -> Tensor:
                value = loss()
                kept.append(float(value.detach()) / plan.accumulate)
                return value

            return train(model, each, plan, **how)

        monkeypatch.setattr(f"{type(detector).__module__}.train", noted)
        monkeypatch.setattr(type(detector), "_placement", lambda *_, parts=parts: Placement(HOST, HOST, parts))
        detector.fit(same, source(same), Budget(), ignore_progress)
        seen[parts] = sum(losses[:parts])  # of the first step
    assert seen[2] == pytest.approx(seen[1], rel=0.2)


def test_anosegs_discriminator_joins_in_after_so_many_steps_not_losses(
    normals: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[bool] = []

    def noted(generator: Any, discriminator: Any, images: Tensor, *rest: Any) -> Tensor:
        if not images.is_meta:
            joined.append(discriminator is not None)
        return joint_loss(generator, discriminator, images, *rest)

    monkeypatch.setattr(anoseg, "joint_loss", noted)
    monkeypatch.setattr(AnoSeg, "_placement", lambda *_: Placement(HOST, HOST, 2))
    detector = AnoSeg(AnoSegSettings(size=64, width=8, **SHORT, steps=3, warmup=1), FeatureExtractor(NoBackbone()))
    detector.fit(normals, source(normals), Budget(), ignore_progress)
    assert joined == [False, False, True, True, True, True]


@pytest.mark.parametrize("name", ["padim", "patchcore", *TRAINED])
@pytest.mark.parametrize("side", [32, 64])
def test_every_fit_is_estimated_at_every_size(name: str, side: int) -> None:
    need = (TRAINED | TRAINING_FREE)[name]().fit_need(8, (side, side))
    assert need.fixed > 0
    assert need.on_device(Placement(HOST, HOST)) >= need.on_device(Placement(GPU, GPU)) > need.fixed * 0.99


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["patchcore", *TRAINED])
def test_data_on_the_host_serve_a_gpu(name: str, normals: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = (TRAINED | TRAINING_FREE)[name]()
    detector.extractor = FeatureExtractor(detector.extractor.backbone, "cuda:0")
    monkeypatch.setattr(type(detector), "_placement", lambda *_: Placement(torch.device("cuda:0"), HOST))
    detector.fit(normals, source(normals), Budget(), ignore_progress)
    assert np.isfinite(detector.anomaly_maps(normals)).all()


@pytest.mark.parametrize("name", [*TRAINED, "padim", "patchcore"])
def test_a_fit_without_room_does_not_begin(name: str, normals: ImageSet, memory: Callable[..., None]) -> None:
    memory(1000.0)
    with pytest.raises(NotEnoughMemoryError, match="The fit needs about"):
        (TRAINED | TRAINING_FREE)[name]().fit(normals, source(normals), Budget(), ignore_progress)


def test_estimates_grow_with_what_they_are_made_of() -> None:
    few, many = (
        RealNet(RealNetSettings(**LEVELS, pairs=pairs, batch=4), embedded()).fit_need(8, SIZE) for pairs in (10, 30)
    )
    assert many.stored == 3 * few.stored
    assert (many.fixed, many.example) == (few.fixed, few.example)
    small, large = (TRAINED["destseg"]().fit_need(8, (side, side)) for side in (64, 128))
    assert large.example == pytest.approx(4 * small.example, rel=0.05)
    assert large.stored == 4 * small.stored
    assert large.host == 4 * small.host


@pytest.mark.parametrize(("name", "share"), [("realnet", 0.0), ("destseg", 0.0), ("destseg", 0.5)])
def test_stored_data_are_as_large_as_estimated(
    name: str, share: float, normals: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = TRAINED[name]()
    detector.settings = detector.settings.model_copy(update={"normal_share": share})
    kept: list[int] = []

    def noted(*given: Any) -> list[Tensor]:
        made = store_half(*given)
        kept.append(sum(tensor.nbytes for tensor in made))
        return made

    monkeypatch.setattr(f"{type(detector).__module__}.store_half", noted)
    detector.fit(normals, source(normals), Budget(), ignore_progress)
    first, second = kept
    pixels = SHORT["pairs"] * SIZE[0] * SIZE[1]
    masks = 4 * pixels / (1 - share)  # in single precision until they are reduced
    expected = first + second + pixels if name == "realnet" else max(first + 3 * pixels, second + masks)
    assert detector.fit_need(len(normals), SIZE).stored == expected
