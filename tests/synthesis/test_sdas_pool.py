"""The pool by round trips, by what is counted as made, and by what damage on disk does to it."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.errors import StoreError
from automl_ad.synthesis.sdas.pool import ImageKey, ImagePool, Request

Image = npt.NDArray[np.uint8]
IDENTITY: dict[str, Any] = {"images": "abc", "model": {"widths": (8, 16), "rate": 0.001}, "seed": 0}

pictures = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
greys = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(1))).map(lambda a: a.repeat(3, axis=2))


def base(number: int, side: int = 8) -> Image:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


class Generator:
    """Pictures that tell base, strength and seed apart; remembers every call."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, float, int]]] = []

    def __call__(self, images: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
        self.calls.append([(pixel_hash(i), s, n) for i, s, n in zip(images, strengths, seeds, strict=True)])
        return np.stack([made(*facts) for facts in zip(images, strengths, seeds, strict=True)])

    @property
    def keys(self) -> list[ImageKey]:
        return [ImageKey(*facts) for call in self.calls for facts in call]


def made(image: Image, strength: float, seed: int) -> Image:
    return (image + np.uint8(round(strength * 100)) + np.uint8(10 * seed)).astype(np.uint8)


def never(*_: object) -> Image:
    raise AssertionError("nothing was to be made")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pool of three pictures, of bases 0 to 2 at strengths 0.1 to 0.3."""
    ImagePool(tmp_path / "pool", IDENTITY).get(REQUESTS, Generator())
    return tmp_path / "pool"


REQUESTS = [Request(base(number), (number + 1) / 10) for number in range(3)]
KEYS = [request.key for request in REQUESTS]
MORE = [Request(base(number), 0.5) for number in range(4)]


class TestKeys:
    @given(st.floats(0, 1e308))
    @example(-0.0)
    @example(5e-324)
    def test_strengths_keep_two_digits(self, strength: float) -> None:
        key = ImageKey.of(base(0), strength, 0)
        assert math.isclose(key.strength, strength, rel_tol=0.05, abs_tol=1e-320)
        assert ImageKey(key.base, key.strength, 0) == key
        assert len(Decimal(repr(key.strength)).normalize().as_tuple().digits) <= 2
        assert math.copysign(1, key.strength) == 1

    @pytest.mark.parametrize(
        ("strength", "rounded"), [(0.1449, 0.14), (0.1451, 0.15), (0.0996, 0.1), (0, 0.0), (123, 120.0), (9.96, 10.0)]
    )
    def test_rounding_by_hand(self, strength: float, rounded: float) -> None:
        assert ImageKey.of(base(0), strength, 0).strength == rounded
        assert ImageKey.of(base(0), np.float32(strength), 0).strength == rounded

    @pytest.mark.parametrize(("strength", "seed"), [(-0.1, 0), (math.nan, 0), (math.inf, 0), (1.797e308, 0), (0.1, -1)])
    def test_impossible_ones_are_refused(self, strength: float, seed: int) -> None:
        with pytest.raises(ValueError, match="no image can have"):
            ImageKey.of(base(0), strength, seed)

    @pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
    def test_other_arrays_are_no_base(self, image: npt.NDArray[Any]) -> None:
        with pytest.raises(ValueError, match="uint8"):
            ImageKey.of(image, 0.1, 0)

    def test_a_base_must_be_a_hash(self) -> None:
        with pytest.raises(ValueError, match="base"):
            ImageKey("../" + "a" * 61, 0.1, 0)

    def test_the_file_name_says_it_all(self) -> None:
        digest = pixel_hash(base(0))
        assert ImageKey.of(base(0), 0.152, 7).file_name == f"{digest[:32]}_s0.15_7.png"

    @given(st.sets(st.tuples(st.integers(0, 5), st.floats(0, 1e308), st.integers(0, 2**70)), min_size=2))
    def test_file_names_differ_as_keys_do_and_suit_any_system(self, facts: set[tuple[int, float, int]]) -> None:
        keys = {ImageKey.of(base(number), strength, seed) for number, strength, seed in facts}
        names = {key.file_name for key in keys}
        assert len({name.lower() for name in names}) == len(keys)
        assert all(set(name) <= set("0123456789abcdef_s.e+-png") and len(name) < 80 for name in names)


class TestRoundTrip:
    @given(st.one_of(pictures, greys))
    @settings(max_examples=50, deadline=None)
    def test_images_come_back_as_they_were_made(self, picture: Image) -> None:
        with tempfile.TemporaryDirectory() as name:
            request = Request(np.zeros_like(picture), 0.1)
            first = ImagePool(Path(name), {}).get([request], lambda *_: picture[None])
            again = ImagePool.open(Path(name), {}).get([request], never)
        for result in (*first, *again):
            assert (result.dtype, result.flags.writeable) == (np.uint8, True)
            np.testing.assert_array_equal(result, picture)

    def test_grey_takes_one_channel(self, tmp_path: Path) -> None:
        grey = np.repeat(base(0)[:, :, :1], 3, axis=2)
        pool = ImagePool(tmp_path, {})
        pool.get([Request(base(1), 0.1), Request(base(1), 0.2)], lambda *_: np.stack([grey, base(2)]))
        shapes = [
            cv2.imread(str(tmp_path / "pictures" / key.file_name), cv2.IMREAD_UNCHANGED).shape
            for key in pool.slice(0, 1)
        ]
        assert shapes == [(8, 8), (8, 8, 3)]

    def test_a_generator_may_use_its_array_again(self, tmp_path: Path) -> None:
        array = np.zeros((1, 8, 8, 3), np.uint8)

        def generate(images: Image, strengths: Sequence[float], seeds: Sequence[int]) -> Image:
            array[:] = round(strengths[0] * 100)
            return array

        results = ImagePool(tmp_path, {}).get(REQUESTS, generate, batch=1)
        assert [int(picture[0, 0, 0]) for picture in results] == [10, 20, 30]


class TestGet:
    def test_results_are_in_order_and_each_is_made_once(self, tmp_path: Path) -> None:
        generate, pool = Generator(), ImagePool.open(tmp_path / "pool", IDENTITY)
        wanted = [REQUESTS[i] for i in (2, 0, 2, 1, 0)]
        results = pool.get(wanted, generate, batch=2)
        for result, request in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(result, made(request.base, request.strength, request.seed))
        assert [len(call) for call in generate.calls] == [2, 1]
        assert generate.keys == [KEYS[2], KEYS[0], KEYS[1]]
        pool.get(wanted, never)
        assert len(pool) == 3

    def test_strengths_that_round_alike_are_one_image_made_at_the_rounded_strength(self, tmp_path: Path) -> None:
        generate = Generator()
        results = ImagePool(tmp_path, {}).get([Request(base(0), 0.1512), Request(base(0), 0.1479)], generate)
        assert generate.calls == [[(pixel_hash(base(0)), 0.15, 0)]]
        np.testing.assert_array_equal(results[0], results[1])

    def test_seed_and_strength_and_base_tell_images_apart(self, tmp_path: Path) -> None:
        generate = Generator()
        requests = [Request(base(n), s, seed) for n in (0, 1) for s in (0.1, 0.2) for seed in (0, 1)]
        ImagePool(tmp_path, {}).get(requests, generate)
        assert len(set(generate.keys)) == 8

    def test_only_what_is_missing_is_made_and_watched(self, folder: Path) -> None:
        generate, seen = Generator(), list[tuple[int, int]]()
        more = [Request(base(number), 0.5) for number in range(5)]
        pool = ImagePool.open(folder, IDENTITY)
        pool.get([*REQUESTS, *more], generate, batch=2, progress=lambda *step: seen.append(step))
        assert generate.keys == [request.key for request in more]
        assert seen == [(2, 5), (4, 5), (5, 5)]
        pool.get(REQUESTS, never, progress=never)
        assert len(seen) == 3

    def test_a_batch_is_on_disk_before_the_next_is_made(self, tmp_path: Path) -> None:
        generate, before = Generator(), list[int]()

        def looked_at(*batch: Any) -> Image:
            before.append(len(ImagePool.open(tmp_path, IDENTITY)))
            return generate(*batch)

        ImagePool(tmp_path, IDENTITY).get(REQUESTS, looked_at, batch=1)
        assert before == [0, 1, 2]

    def test_what_is_at_hand_needs_no_lock_and_no_writing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = contents(folder)
        monkeypatch.setattr("automl_ad.synthesis.sdas.pool.FileLock", never)
        assert len(ImagePool.open(folder, IDENTITY).get(REQUESTS, never)) == 3
        assert contents(folder) == before

    def test_nothing_is_created_before_something_is_written(self, tmp_path: Path) -> None:
        pool = ImagePool.open(tmp_path / "pool", IDENTITY)
        assert (len(pool), pool.get([], never), pool.warnings) == (0, [], [])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "result",
        [
            np.zeros((2, 8, 8, 3), np.uint8),
            np.zeros((3, 8, 9, 3), np.uint8),
            np.zeros((3, 8, 8), np.uint8),
            np.zeros((3, 8, 8, 3), np.float32),
            None,
        ],
    )
    def test_a_wrong_result_is_refused_before_it_is_stored(self, tmp_path: Path, result: Any) -> None:
        pool = ImagePool(tmp_path, IDENTITY)
        with pytest.raises(ValueError, match=r"uint8 \(3, 8, 8, 3\)"):
            pool.get(REQUESTS, lambda *_: result)
        assert set(contents(tmp_path)) <= {".lock"}
        assert len(pool) == 0

    def test_bases_of_two_sizes_and_empty_batches_are_refused(self, tmp_path: Path) -> None:
        pool = ImagePool(tmp_path / "pool", IDENTITY)
        with pytest.raises(ValueError, match="same size"):
            pool.get([Request(base(0), 0.1), Request(base(0, side=9), 0.1)], never)
        with pytest.raises(ValueError, match="at least 1"):
            pool.get(REQUESTS, never, batch=0)
        assert list(tmp_path.iterdir()) == []


class TestQueries:
    @pytest.fixture
    def pool(self, tmp_path: Path) -> ImagePool:
        pool = ImagePool(tmp_path, {})
        grid = [Request(base(number), strength) for strength in (0.3, 0.0, 0.1, 0.2) for number in (1, 0)]
        pool.get(grid, Generator())
        return ImagePool.open(tmp_path, {})

    def test_strengths_are_distinct_and_sorted(self, pool: ImagePool) -> None:
        assert pool.strengths() == [0.0, 0.1, 0.2, 0.3]

    def test_a_slice_has_both_ends_and_is_sorted(self, pool: ImagePool) -> None:
        chosen = pool.slice(0.1, 0.2)
        assert chosen == sorted(ImageKey.of(base(n), s, 0) for n in (0, 1) for s in (0.1, 0.2))
        assert all(key in pool for key in chosen)
        assert pool.slice(0.11, 0.19) == []

    def test_a_slice_of_some_bases(self, pool: ImagePool) -> None:
        chosen = pool.slice(0.2, 9, bases={pixel_hash(base(1))})
        assert chosen == [ImageKey.of(base(1), 0.2, 0), ImageKey.of(base(1), 0.3, 0)]
        assert pool.slice(0, 9, bases=[]) == []

    def test_what_was_never_made_is_not_there(self, pool: ImagePool) -> None:
        key = ImageKey.of(base(0), 0.2, 1)
        assert key not in pool
        with pytest.raises(StoreError, match=r"_1\.png is not among"):
            pool.read(key)


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _no_image(path: Path) -> None:
    path.write_bytes(b"this is no PNG")


def _altered(path: Path) -> None:
    image = cv2.imread(str(path))
    image[3, 4, 1] ^= 1
    cv2.imwrite(str(path), image)


def _swapped(path: Path) -> None:
    path.write_bytes((path.parent / KEYS[2].file_name).read_bytes())


class TestDamagedImages:
    @pytest.mark.parametrize("damage", [_missing, _empty, _cut_short, _no_image, _altered, _swapped])
    def test_they_are_not_served_but_made_anew(self, folder: Path, damage: Callable[[Path], None]) -> None:
        damage(folder / "pictures" / KEYS[1].file_name)
        pool = ImagePool.open(folder, IDENTITY)
        with pytest.raises(StoreError, match=KEYS[1].file_name):
            pool.read(KEYS[1])
        assert KEYS[1] not in pool
        assert (KEYS[0] in pool, KEYS[2] in pool) == (True, True)
        for fresh in (pool, ImagePool.open(folder, IDENTITY)):
            results = fresh.get(REQUESTS, generate := Generator())
            np.testing.assert_array_equal(results[1], made(base(1), 0.2, 0))
            assert generate.keys == ([KEYS[1]] if fresh is pool else [])
            assert (len(fresh), fresh.warnings) == (3, [])

    def test_one_that_is_gone_is_not_counted(self, folder: Path) -> None:
        (folder / "pictures" / KEYS[0].file_name).unlink()
        pool = ImagePool.open(folder, IDENTITY)
        assert (len(pool), pool.strengths()) == (2, [0.2, 0.3])

    def test_one_damaged_while_the_pool_is_open_is_made_anew(self, folder: Path) -> None:
        pool, generate = ImagePool.open(folder, IDENTITY), Generator()
        _altered(folder / "pictures" / KEYS[2].file_name)
        pool.get(REQUESTS, generate)
        assert generate.keys == [KEYS[2]]

    def test_a_stray_image_is_not_served(self, folder: Path) -> None:
        request = Request(base(9), 0.4)
        stray = folder / "pictures" / request.key.file_name
        cv2.imwrite(str(stray), base(9))
        pool = ImagePool.open(folder, IDENTITY)
        assert request.key not in pool
        np.testing.assert_array_equal(pool.get([request], Generator())[0], made(base(9), 0.4, 0))
        np.testing.assert_array_equal(cv2.imread(str(stray))[..., ::-1], made(base(9), 0.4, 0))

    def test_strays_and_leftovers_go_when_the_pool_grows_and_nothing_else(self, folder: Path) -> None:
        stray = folder / "pictures" / ImageKey.of(base(8), 0.4, 0).file_name
        leftover = folder / "pictures" / f".{'0' * 32}.png"
        own = [folder / "pictures" / "notes.txt", folder / "pictures" / "holiday.png", folder / "notes.txt"]
        for path in (stray, leftover, *own):
            path.write_bytes(b"x")
        ImagePool.open(folder, IDENTITY).get([Request(base(9), 0.4)], Generator())
        assert [path.exists() for path in (stray, leftover, *own)] == [False, False, True, True, True]


def _change(**changes: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def _change_entry(**changes: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        content["pictures"][0] |= changes
        path.write_text(json.dumps(content))

    return damage


class TestManifest:
    def test_it_lists_all_facts(self, folder: Path) -> None:
        content = json.loads((folder / "pictures.json").read_text())
        assert content["schema"] == 1
        assert content["identity"] == json.loads(json.dumps(IDENTITY))
        assert content["pictures"] == [
            {
                "file": key.file_name,
                "base": key.base,
                "strength": key.strength,
                "seed": key.seed,
                "pixels": pixel_hash(made(REQUESTS[KEYS.index(key)].base, key.strength, key.seed)),
            }
            for key in sorted(KEYS)
        ]
        assert {path.name for path in (folder / "pictures").iterdir()} == {key.file_name for key in KEYS}

    @pytest.mark.parametrize("identity", [IDENTITY, json.loads(json.dumps(IDENTITY)), dict(reversed(IDENTITY.items()))])
    def test_an_identity_is_the_same_after_json(self, folder: Path, identity: dict[str, Any]) -> None:
        pool = ImagePool.open(folder, identity)
        assert (len(pool), pool.warnings) == (3, [])

    def test_an_identity_without_json_form_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="JSON"):
            ImagePool.open(tmp_path, {"model": object()})

    @pytest.mark.parametrize(
        ("identity", "named"),
        [
            (IDENTITY | {"seed": 1}, "another seed,"),
            (IDENTITY | {"model": {"widths": [8, 17], "rate": 0.001}}, "another model,"),
            ({"images": "abc", "seed": 0}, "another model,"),
            (IDENTITY | {"new": None}, "another new,"),
            ({"images": "x", "model": 0, "seed": 0}, "another images and model,"),
        ],
    )
    def test_images_of_another_identity_give_way(self, folder: Path, identity: dict[str, Any], named: str) -> None:
        pool = ImagePool.open(folder, identity)
        assert (len(pool), pool.slice(0, 9)) == (0, [])
        assert len(pool.warnings) == 1
        assert str(folder) in pool.warnings[0]
        assert named in pool.warnings[0]
        assert len(ImagePool.open(folder, IDENTITY)) == 3
        generate = Generator()
        pool.get(REQUESTS[:1], generate)
        assert generate.keys == KEYS[:1]
        assert [path.name for path in (folder / "pictures").iterdir()] == [KEYS[0].file_name]
        assert (len(pool.warnings), ImagePool.open(folder, identity).warnings) == (1, [])

    def test_old_images_stay_until_a_new_one_is_stored(self, folder: Path) -> None:
        before = contents(folder)

        def fail(*_: object) -> Image:
            raise FloatingPointError

        with pytest.raises(FloatingPointError):
            ImagePool.open(folder, {}).get(REQUESTS, fail)
        assert contents(folder) == before

    @pytest.mark.parametrize(
        ("damage", "named"),
        [
            (_empty, "cannot be read"),
            (_cut_short, "cannot be read"),
            (_no_image, "cannot be read"),
            (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read"),
            (lambda path: path.write_text("[]"), "cannot be read"),
            (lambda path: path.write_text("null"), "cannot be read"),
            (lambda path: path.write_text("{}"), "cannot be read"),
            (_change(schema=2), "format 2, not 1"),
            (_change(identity="abc"), "cannot be read"),
            (_change(pictures=None), "cannot be read"),
            (_change(pictures=["a"]), "cannot be read"),
            (_change_entry(file="../../secret.png"), "cannot be read"),
            (_change_entry(base="../" + "a" * 61), "cannot be read"),
            (_change_entry(base=None), "cannot be read"),
            (_change_entry(strength=-1), "cannot be read"),
            (_change_entry(strength=math.nan), "cannot be read"),
            (_change_entry(strength="0.1"), "cannot be read"),
            (_change_entry(strength=10**400), "cannot be read"),
            (_change_entry(strength=0.1234), "cannot be read"),
            (_change_entry(seed=0.5), "cannot be read"),
            (_change_entry(seed=-1), "cannot be read"),
            (_change_entry(pixels=None), "cannot be read"),
        ],
    )
    def test_a_damaged_one_starts_the_pool_anew(
        self, folder: Path, damage: Callable[[Path], object], named: str
    ) -> None:
        damage(folder / "pictures.json")
        pool, generate = ImagePool.open(folder, IDENTITY), Generator()
        assert (len(pool), len(pool.warnings)) == (0, 1)
        assert str(folder) in pool.warnings[0]
        assert named in pool.warnings[0]
        pool.get(REQUESTS, generate)
        assert generate.keys == KEYS
        mended = ImagePool.open(folder, IDENTITY)
        assert (len(mended), mended.warnings) == (3, [])

    def test_one_that_may_not_be_read_is_a_warning(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*_: object) -> bool:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "exists", forbidden)
        pool = ImagePool.open(folder, IDENTITY)
        assert (len(pool), len(pool.warnings)) == (0, 1)

    def test_a_lost_one_starts_the_pool_anew(self, folder: Path) -> None:
        (folder / "pictures.json").unlink()
        pool = ImagePool.open(folder, IDENTITY)
        assert (len(pool), pool.warnings) == (0, [])
        pool.get(REQUESTS, generate := Generator())
        assert generate.keys == KEYS


class TestFullDisk:
    @pytest.mark.parametrize("function", ["replace", "write_bytes", "write_text"])
    @pytest.mark.parametrize("allowed", [0, 1, 2, 3, 4])
    def test_the_pool_keeps_what_it_had(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, allowed: int
    ) -> None:
        """The disk fills up after some writes; two batches take 4 pictures and 2 lists."""
        owner: Any = os if function == "replace" else Path
        original, left = getattr(owner, function), [allowed]

        def filling(path: Any, *rest: Any, **options: Any) -> object:
            left[0] -= 1
            if left[0] < 0:
                if function != "replace":
                    original(path, rest[0][: len(rest[0]) // 2], *rest[1:], **options)
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return original(path, *rest, **options)

        pool, generate = ImagePool.open(folder, IDENTITY), Generator()
        lists = {"replace": allowed // 3, "write_bytes": allowed // 2, "write_text": allowed}[function]
        fails = allowed < {"replace": 6, "write_bytes": 4, "write_text": 2}[function]
        with monkeypatch.context() as patched:
            patched.setattr(owner, function, filling)
            if fails:
                with pytest.raises(StoreError, match=rf"{folder}.*\.(png|json) cannot be written \(No space left"):
                    pool.get(MORE, generate, batch=2)
            else:
                pool.get(MORE, generate, batch=2)
        stored = 3 + 2 * min(lists, 2)
        for survivor in (pool, ImagePool.open(folder, IDENTITY)):
            assert (len(survivor), survivor.warnings) == (stored, [])
            assert len(survivor.get(REQUESTS, never)) == 3
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
        again = Generator()
        pool.get(MORE, again, batch=2)
        assert again.keys == [request.key for request in MORE[stored - 3 :]]

    def test_a_pool_that_cannot_even_begin(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"\.lock cannot be written .* choose another --workspace"):
            ImagePool.open(tmp_path / "file" / "pool", IDENTITY).get(REQUESTS, never)

    def test_a_fault_of_the_generator_is_not_blamed_on_the_disk(self, tmp_path: Path) -> None:
        def fail(*_: object) -> Image:
            raise OSError("the weights are gone")

        pool = ImagePool(tmp_path, IDENTITY)
        with pytest.raises(OSError, match="the weights are gone"):
            pool.get(REQUESTS, fail)
        assert len(pool.get(REQUESTS, Generator())) == 3


CHILD = """
import sys
from pathlib import Path
import numpy as np
from automl_ad.synthesis.sdas.pool import ImagePool, Request
assert "torch" not in sys.modules
pool = ImagePool.open(Path(sys.argv[1]), {})
print("ready", flush=True)
pool.get([Request(np.full((8, 8, 3), 7, np.uint8), 0.7)], lambda images, strengths, seeds: images)
"""


class TestSharing:
    def test_two_pools_on_one_folder_merge(self, tmp_path: Path) -> None:
        one, two = ImagePool.open(tmp_path, IDENTITY), ImagePool.open(tmp_path, IDENTITY)
        first, second = Generator(), Generator()
        one.get(REQUESTS[:2], first)
        two.get(REQUESTS[1:], second)
        assert (first.keys, second.keys) == (KEYS[:2], KEYS[2:])
        assert (len(one), len(two), len(ImagePool.open(tmp_path, IDENTITY))) == (2, 3, 3)
        one.get(REQUESTS, never)
        assert len(one) == 3

    def test_pools_in_threads_make_each_image_once(self, tmp_path: Path) -> None:
        generate, results = Generator(), list[list[Image]]()
        requests = [Request(base(number), 0.1) for number in range(6)]

        def grow(order: Sequence[Request]) -> None:
            results.append(ImagePool.open(tmp_path, IDENTITY).get(order, generate, batch=2))

        threads = [threading.Thread(target=grow, args=(requests,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 4
        assert sorted(generate.keys) == sorted(request.key for request in requests)
        assert len(ImagePool.open(tmp_path, IDENTITY)) == 6

    def test_another_process_waits_and_its_images_are_kept(self, tmp_path: Path) -> None:
        children: list[subprocess.Popen[str]] = []

        def generate(images: Image, *_: object) -> Image:
            command = [sys.executable, "-c", CHILD, str(tmp_path)]
            children.append(child := subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.3)  # time enough for a child that does not wait
            assert child.poll() is None
            return images

        ImagePool(tmp_path, {}).get(REQUESTS[:1], generate)
        children[0].communicate(timeout=60)
        assert children[0].returncode == 0
        assert ImagePool.open(tmp_path, {}).strengths() == [0.1, 0.7]
