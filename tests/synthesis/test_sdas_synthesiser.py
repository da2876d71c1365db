"""The sampler by what its images depend on, and the images kept by what is made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tiny_sdas import TINY, draw_parts, odd_denoiser

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.synthesis.sdas import synthesiser
from automl_ad.synthesis.sdas.denoiser import position_channels
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.pool import ImagePool, Request
from automl_ad.synthesis.sdas.scale import StrengthScale
from automl_ad.synthesis.sdas.synthesiser import OutOfTimeError, Sampler, Sdas, as_planes, batch_on
from automl_ad.training import Budget

Images = npt.NDArray[np.uint8]
IDENTITY: dict[str, Any] = {"images": "abc", "weights": "def"}
BASES = draw_parts(5)
ROUNDING = 3
"""Levels that a network's rounding in half precision may owe to its batch."""


def sampler(learned: Images | None = None, **changes: Any) -> Sampler:
    """Of a model of the learned images, or one that sees images as they are."""
    encoding = Encoding.plain(*BASES.shape[1:3]) if learned is None else Encoding.of(learned)
    denoiser, settings = odd_denoiser(channels=encoding.channels), TINY.model_copy(update=changes)
    return Sampler(denoiser, settings, encoding, position_channels(encoding.mean))


def apart(one: Images, other: Images) -> npt.NDArray[np.float64]:
    """Mean difference of each image in levels."""
    return np.abs(one.astype(float) - other).mean((1, 2, 3))


class TestSampler:
    def test_a_image_does_not_depend_on_its_batch(self) -> None:
        strengths, seeds = [0.0, 0.1, 0.2, 0.5, 1.0], [0, 0, 3, 1, 2]
        together = sampler()(BASES, strengths, seeds)
        assert (together.dtype, together.shape) == (np.uint8, BASES.shape)
        order = [4, 2, 0]
        some = sampler()(BASES[order], [strengths[i] for i in order], [seeds[i] for i in order])
        alone = np.concatenate([sampler()(BASES[i : i + 1], [strengths[i]], [seeds[i]]) for i in range(5)])
        assert np.abs(some.astype(int) - together[order]).max() <= ROUNDING
        assert np.abs(alone.astype(int) - together).max() <= ROUNDING

    def test_is_the_same_each_time_and_leaves_all_else_alone(self) -> None:
        before, bases = torch.get_rng_state(), BASES.copy()
        once = sampler()(bases, [0.3] * 5, [7] * 5)
        np.testing.assert_array_equal(sampler()(bases, [0.3] * 5, [7] * 5), once)
        np.testing.assert_array_equal(bases, BASES)
        assert torch.equal(torch.get_rng_state(), before)

    def test_seed_and_base_decide_the_noise(self) -> None:
        twice = BASES[[0, 0]]
        assert (apart(*np.split(sampler()(twice, [0.2] * 2, [0, 1]), 2)) > ROUNDING).all()
        nearly = twice.copy()
        nearly[1, -1, -1, -1] ^= 1
        assert (apart(*np.split(sampler()(nearly, [0.2] * 2, [0, 0]), 2)) > ROUNDING).all()

    def test_the_stronger_the_farther_from_what_is_normal(self) -> None:
        normal, *odd = (sampler()(BASES, [strength] * 5, [0] * 5) for strength in (0.0, 0.5, 2.0, 8.0))
        distances = [apart(images, normal).mean() for images in odd]
        assert 0.2 < distances[0] < distances[1] < distances[2]

    def test_without_added_variance_a_variant_is_its_base(self) -> None:
        same = sampler(BASES)(BASES, [0.0, 1.0, 0.0, 1.0, 0.0], [0] * 5)
        np.testing.assert_array_equal(same[::2], BASES[::2])
        assert (apart(same, BASES)[1::2] > ROUNDING).all()

    def test_variants_of_one_base_share_its_chain(self) -> None:
        """Six images of two bases: the network sees two chains to the bases beside the six."""
        seen, ours = set[int](), sampler()
        ours._denoiser.register_forward_pre_hook(lambda _, given: seen.add(len(given[0])))
        added, order = [0.1, 0.1, 0.5, 0.5, 2.0, 0.0], [0, 1, 0, 1, 0, 1]
        made = ours(BASES[order], added, [0] * 6)
        assert seen == {8}
        for image, base, s in zip(made, order, added, strict=True):
            alone = sampler()(BASES[base : base + 1], [s], [0])
            assert np.abs(image.astype(int) - alone[0]).max() <= ROUNDING

    def test_the_published_model_starts_from_noise_and_adds_variance_throughout(self) -> None:
        published = sampler(perturbed_from=None, start_step=1000)
        normal, odd = published(BASES, [0.0] * 5, [0] * 5), published(BASES, [1.0] * 5, [0] * 5)
        np.testing.assert_array_equal(normal, published.normals(BASES, [0] * 5))
        assert (apart(normal, BASES) > 5).all()
        assert (apart(odd, normal) > ROUNDING).all()

    def test_noise_is_shared_by_all_strengths(self) -> None:
        """Two strengths of one seed are closer than two seeds of one strength: strength alone makes the difference."""
        weak, strong, other = (sampler()(BASES, [s] * 5, [n] * 5) for s, n in ((0.1, 0), (0.2, 0), (0.1, 1)))
        assert (apart(weak, strong) < 0.3 * apart(weak, other)).all()

    def test_the_base_shows_the_more_the_lower_sampling_starts(self) -> None:
        away = [apart(sampler(start_step=step).normals(BASES, [0] * 5), BASES).mean() for step in (1, 101, 401)]
        assert away[0] < 3 < away[1] < away[2]

    def test_from_pure_noise_the_base_gives_no_more_than_the_seed(self) -> None:
        images = sampler(start_step=1000).normals(BASES, [0] * 5)
        others = sampler(start_step=1000).normals(BASES, [1] * 5)
        assert (apart(images, others) > 5).all()

    def test_grey_models_make_grey_images(self) -> None:
        bases = BASES[..., :1].repeat(3, axis=3)
        grey = sampler(bases)(bases, [0.5] * 5, [0] * 5)
        assert not np.ptp(grey.astype(int), axis=3).any()

    def test_images_may_be_larger_than_the_crops_and_oblong(self) -> None:
        bases = np.ascontiguousarray(draw_parts(2, side=64)[:, :, :48])
        assert sampler(bases)(bases, [0.1] * 2, [0] * 2).shape == (2, 64, 48, 3)

    def test_images_reach_as_far_as_the_good_ones(self) -> None:
        """Sampled at timestep 0 alone, where there is almost no noise, nothing may be cut off."""
        encoding = Encoding.of(BASES)
        assert encoding.max_abs > 1.5
        settings = TINY.model_copy(update={"start_step": 1})
        nearly = Sampler(odd_denoiser(oddity=0), settings, encoding, position_channels(encoding.mean))
        assert np.abs(nearly.normals(BASES, [0] * 5).astype(int) - BASES).max() < 12

    def test_what_was_learned_tells_where_the_product_is(self) -> None:
        encoding = Encoding.plain(32, 32)
        ours, theirs = (
            Sampler(odd_denoiser(), TINY, encoding, position_channels(mean)).normals(BASES, [0] * 5)
            for mean in (torch.zeros(3, 32, 32), torch.full((3, 32, 32), 0.5))
        )
        assert (apart(ours, theirs) > 0.5).all()

    def test_every_base_needs_its_strength_and_seed(self) -> None:
        with pytest.raises(ValueError, match="strengths"):
            sampler()(BASES, [0.1] * 4, [0] * 5)
        with pytest.raises(ValueError, match="zip"):
            sampler()(BASES, [0.1] * 5, [0] * 4)


class Scripted:
    """Images that tell base, strength and seed apart; remembers every call, and being loaded."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, float, int]]] = []
        self.loaded = 0

    def load(self) -> Any:
        self.loaded += 1
        return self

    def __call__(self, bases: Images, strengths: Sequence[float], seeds: Sequence[int]) -> Images:
        self.calls.append([(pixel_hash(b), s, n) for b, s, n in zip(bases, strengths, seeds, strict=True)])
        return np.stack([made(b, s, n) for b, s, n in zip(bases, strengths, seeds, strict=True)])


def made(base: Images, strength: float, seed: int) -> Images:
    return (base + np.uint8(round(strength * 100)) + np.uint8(3 * seed)).astype(np.uint8)


def never() -> Sampler:
    raise AssertionError("nothing was to be made")


def sdas_of(folder: Path, load: Callable[[], Any], **options: Any) -> Sdas:
    scale = StrengthScale(full=1.0, power=1.0)
    return Sdas(load, ImagePool.open(folder, IDENTITY), **{"scale": scale, "seed": 0, "batch": 2, **options})


class TestSdas:
    def test_makes_what_is_asked_in_batches(self, tmp_path: Path) -> None:
        scripted, told = Scripted(), list[tuple[int, int]]()
        sdas = sdas_of(tmp_path, scripted.load, seed=4, progress=lambda done, total: told.append((done, total)))
        strengths = [0.1, 0.2, 0.3, 0.2, 0.1]
        images = sdas.synthesise(list(BASES), strengths)
        for image, base, strength in zip(images, BASES, strengths, strict=True):
            np.testing.assert_array_equal(image, made(base, strength, 4))
        assert [len(call) for call in scripted.calls] == [2, 2, 1]
        assert told == [(2, 5), (4, 5), (5, 5)]

    def test_the_scale_tells_what_a_strength_means(self, tmp_path: Path) -> None:
        scripted = Scripted()
        sdas = sdas_of(tmp_path, scripted.load, scale=StrengthScale(full=0.64))
        sdas.synthesise([BASES[0]] * 3, [0.25, 0.5, 1.0])
        assert [s for call in scripted.calls for _, s, _ in call] == pytest.approx([0.04, 0.16, 0.64])
        assert sdas.fill_pool([], []).strengths() == [0.25, 0.5, 1.0]

    def test_a_pool_is_filled_without_holding_all_of_its_images(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[int] = []
        get = ImagePool.get

        def watched(self: ImagePool, requests: Sequence[Any], *rest: Any) -> list[Images]:
            held.append(len(requests))
            return get(self, requests, *rest)

        monkeypatch.setattr(synthesiser, "_AT_ONCE", 2)
        monkeypatch.setattr(ImagePool, "get", watched)
        told: list[tuple[int, int]] = []
        sdas = sdas_of(tmp_path, Scripted().load, progress=lambda done, total: told.append((done, total)))
        pool = sdas.fill_pool(list(BASES), [0.1] * 5)
        assert (len(pool), held) == (5, [2, 2, 1])
        assert told == [(2, 5), (4, 5), (5, 5)]

    def test_what_a_pool_holds_already_counts_as_done(self, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        sdas = sdas_of(tmp_path, Scripted().load, progress=lambda done, total: told.append((done, total)))
        sdas.synthesise(list(BASES[:2]), [0.1] * 2)
        told.clear()
        sdas.fill_pool(list(BASES), [0.1] * 5)
        assert told == [(4, 5), (5, 5)]
        told.clear()
        sdas.fill_pool(list(BASES), [0.1] * 5)
        assert told == []

    def test_a_pool_whose_last_images_are_there_is_told_to_be_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[tuple[int, int]] = []
        sdas = sdas_of(tmp_path, Scripted().load, progress=lambda done, total: told.append((done, total)))
        by_hash = sorted(BASES, key=lambda base: Request(base, 0.1).key)
        sdas.synthesise(by_hash[2:], [0.1] * 3)
        told.clear()
        monkeypatch.setattr(synthesiser, "_AT_ONCE", 2)
        sdas.fill_pool(list(BASES), [0.1] * 5)
        assert told == [(2, 5), (5, 5)]

    def test_a_second_call_makes_nothing(self, tmp_path: Path) -> None:
        scripted = Scripted()
        first = sdas_of(tmp_path, scripted.load).synthesise(list(BASES), [0.1] * 5)
        assert len(scripted.calls) == 3
        again = sdas_of(tmp_path, never).synthesise(list(BASES[::-1]), [0.1] * 5)
        np.testing.assert_array_equal(again[::-1], first)

    def test_a_model_is_not_loaded_before_it_is_needed(self, tmp_path: Path) -> None:
        scripted = Scripted()
        sdas = sdas_of(tmp_path, scripted.load)
        assert sdas.synthesise([], []) == []
        assert scripted.loaded == 0
        sdas.synthesise([BASES[0]], [0.1])
        assert scripted.loaded == 1

    def test_only_what_is_missing_is_made(self, tmp_path: Path) -> None:
        scripted = Scripted()
        sdas = sdas_of(tmp_path, scripted.load)
        sdas.synthesise([BASES[0]], [0.1])
        sdas.synthesise(list(BASES[[0, 1, 0]]), [0.1, 0.1, 0.2])
        assert scripted.calls[1:] == [[(pixel_hash(BASES[1]), 0.1, 0), (pixel_hash(BASES[0]), 0.2, 0)]]

    def test_reseeded_it_gives_other_images_of_the_same_model(self, tmp_path: Path) -> None:
        scripted = Scripted()
        sdas = sdas_of(tmp_path, scripted.load, seed=1)
        ours, theirs = (one.synthesise([BASES[0]], [0.1])[0] for one in (sdas, sdas.reseeded(2)))
        np.testing.assert_array_equal(ours, made(BASES[0], 0.1, 1))
        np.testing.assert_array_equal(theirs, made(BASES[0], 0.1, 2))
        again = sdas_of(tmp_path, never, seed=2)
        np.testing.assert_array_equal(again.reseeded(1).synthesise([BASES[0]], [0.1])[0], ours)
        np.testing.assert_array_equal(again.synthesise([BASES[0]], [0.1])[0], theirs)

    def test_without_time_only_what_is_there_can_be_had(self, tmp_path: Path) -> None:
        sdas_of(tmp_path, Scripted().load).synthesise(list(BASES[:2]), [0.1] * 2)
        late = sdas_of(tmp_path, never, budget=Budget(seconds=0))
        assert len(late.synthesise(list(BASES[:2]), [0.1] * 2)) == 2
        for one in (late, late.reseeded(1)):
            with pytest.raises(OutOfTimeError, match=r"could not be computed within its share"):
                one.synthesise(list(BASES), [0.1] * 5)

    def test_batches_made_in_time_are_kept(self, tmp_path: Path) -> None:
        budget, scripted = Budget(seconds=1e9), Scripted()

        def watch(done: int, total: int) -> None:
            object.__setattr__(budget, "seconds", 0)

        with pytest.raises(OutOfTimeError):
            sdas_of(tmp_path, scripted.load, budget=budget, progress=watch).synthesise(list(BASES), [0.1] * 5)
        assert [len(call) for call in scripted.calls] == [2]
        kept = [base for base in BASES if pixel_hash(base) in {made[0] for made in scripted.calls[0]}]
        assert len(sdas_of(tmp_path, never).synthesise(kept, [0.1] * 2)) == 2

    def test_with_a_real_sampler(self, tmp_path: Path) -> None:
        image = sdas_of(tmp_path, sampler, batch=3).synthesise(list(BASES), [0.1] * 5)[4]
        alone = sampler()(BASES[4:], [0.1], [0])[0]
        assert np.abs(image.astype(int) - alone).max() <= ROUNDING


def test_planes_are_the_same_images() -> None:
    planes = as_planes(BASES)
    assert (planes.shape, planes.is_contiguous()) == ((5, 3, 32, 32), True)
    np.testing.assert_array_equal(planes.numpy().transpose(0, 2, 3, 1), BASES)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_device_has_its_batch(device: str) -> None:
    assert batch_on(torch.device(device)) >= 1
