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
from automl_ad.methods.anoseg.detector import AnoSeg, AnoSegSettings
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
from automl_ad.methods.pairs import PairSource
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


def test_what_fits_nowhere_is_refused_with_both_figures(memory: Callable[..., None]) -> None:
    memory(119)  # parts of one example are too small for batch norm
    with pytest.raises(NotEnoughMemoryError, match=r"needs about .* but .* on the GPU are free"):
        place(NEED, GPU)
    memory(300, host=999)
    with pytest.raises(NotEnoughMemoryError, match="for its training data"):
        place(NEED, GPU)
    memory(1179)
    with pytest.raises(NotEnoughMemoryError, match="on this machine"):
        place(replace(NEED, least=16), HOST)


def test_a_processor_has_one_memory(memory: Callable[..., None]) -> None:
    memory(1180)
    assert place(NEED, HOST) == Placement(HOST, HOST, 2)


def test_unknown_memory_is_taken_as_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_memory, "device_free_bytes", lambda _: None)
    assert place(NEED, HOST) == Placement(HOST, HOST)


amounts = st.floats(0, 1e12)


@given(amounts, amounts, amounts, st.integers(1, 64), st.sampled_from([1, 2]), amounts)
def test_a_fit_never_takes_more_than_is_free(
    fixed: float, stored: float, example: float, batch: int, least: int, free: float
) -> None:
    need = FitNeed(fixed, stored, example, batch, least)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fit_memory, "device_free_bytes", lambda _: free)
        patched.setattr(fit_memory, "free_bytes", lambda: stored)
        try:
            found = place(need, GPU)
        except NotEnoughMemoryError:
            assert need.total > free
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


@pytest.mark.parametrize("name", list(TRAINED))
def test_batches_are_divided_where_memory_is_short(
    name: str, normals: ImageSet, memory: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the images at a time, twice as many losses a step."""
    detector = TRAINED[name]()
    need = detector.fit_need(len(normals), SIZE)
    memory(need.fixed + need.stored + 0.6 * need.batch * need.example)
    plans, drawn = [], 0
    losses: list[float] = []

    def counted(model: nn.Module, loss: Callable[[], Tensor], plan: TrainingPlan, **how: Any) -> Any:
        def each() -> Tensor:
            nonlocal drawn
            drawn += 1
            value = loss()
            losses.append(float(value.detach()))
            return value

        plans.append(plan)
        return train(model, each, plan, **how)

    monkeypatch.setattr(f"{type(detector).__module__}.train", counted)
    detector.fit(normals, source(normals), Budget(), ignore_progress)
    assert {plan.accumulate for plan in plans} == {2}
    assert drawn == sum(2 * plan.steps for plan in plans)
    assert np.isfinite(losses).all()
    assert np.isfinite(detector.anomaly_maps(normals)).all()


@pytest.mark.parametrize("name", list(TRAINED))
def test_a_fit_without_room_does_not_begin(name: str, normals: ImageSet, memory: Callable[..., None]) -> None:
    memory(1000.0)
    with pytest.raises(NotEnoughMemoryError, match="The fit needs about"):
        TRAINED[name]().fit(normals, source(normals), Budget(), ignore_progress)


def test_estimates_grow_with_what_they_are_made_of() -> None:
    few, many = (
        RealNet(RealNetSettings(**LEVELS, pairs=pairs, batch=4), embedded()).fit_need(8, SIZE) for pairs in (10, 30)
    )
    assert many.stored == 3 * few.stored
    assert (many.fixed, many.example) == (few.fixed, few.example)
    small, large = (TRAINED["destseg"]().fit_need(8, (side, side)) for side in (64, 128))
    assert large.example == pytest.approx(4 * small.example, rel=0.05)
    assert large.stored == 4 * small.stored


@pytest.mark.parametrize("name", ["realnet", "destseg"])
def test_stored_data_are_as_large_as_estimated(name: str, normals: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = TRAINED[name]()
    kept: list[int] = []

    def noted(*given: Any) -> list[Tensor]:
        made = store_half(*given)
        kept.append(sum(tensor.nbytes for tensor in made))
        return made

    monkeypatch.setattr(f"{type(detector).__module__}.store_half", noted)
    detector.fit(normals, source(normals), Budget(), ignore_progress)
    first, second = kept
    pixels = SHORT["pairs"] * SIZE[0] * SIZE[1]
    expected = first + second + pixels if name == "realnet" else max(first + 3 * pixels, second)
    assert detector.fit_need(len(normals), SIZE).stored == expected
