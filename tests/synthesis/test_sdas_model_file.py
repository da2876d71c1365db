"""The model on disk by round trips, and by what damage does to it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_sdas import draw_parts, odd_denoiser

from automl_ad.errors import StoreError
from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.model_file import ModelFile
from automl_ad.synthesis.sdas.settings import NetworkSettings

IDENTITY: dict[str, Any] = {"images": "abc", "settings": {"widths": (16, 16), "rate": 0.001}, "seed": 0}
FACTS: dict[str, Any] = {"fault": None, "rounds": 2, "losses": [0.5, 0.25], "distance": 1.1}
DRAWN = {0.0: list(draw_parts(3)), 0.2: list(draw_parts(3, seed=1)), 1.0: list(draw_parts(3, seed=2))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that passed."""
    ModelFile(tmp_path / "model", IDENTITY).save(odd_denoiser(1), FACTS, DRAWN)
    return tmp_path / "model"


def loaded(model: ModelFile) -> Denoiser:
    denoiser = odd_denoiser(99)
    model.load(denoiser)
    return denoiser


def same(one: Denoiser, other: Denoiser) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def is_empty(model: ModelFile) -> bool:
    return (model.facts, model.passed, model.rounds, model.digest, model.sheet) == ({}, False, 0, "", None)


def weights_of(folder: Path) -> Path:
    """The one file of weights."""
    (path,) = folder.glob("*.safetensors")
    return path


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the JSON file; a change that returns something puts that in its place."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    other = change(content)
    path.write_text(json.dumps(content if other is None else other))


class TestRoundTrip:
    def test_weights_and_facts_come_back(self, folder: Path) -> None:
        model = ModelFile(folder, IDENTITY)
        assert FACTS.items() <= model.facts.items()
        assert (model.passed, model.rounds) == (True, 2)
        assert same(loaded(model), odd_denoiser(1))

    def test_who_saved_it_has_the_same_facts(self, tmp_path: Path) -> None:
        model = ModelFile(tmp_path, IDENTITY)
        model.save(odd_denoiser(1), FACTS, DRAWN)
        assert model.facts == ModelFile(tmp_path, IDENTITY).facts
        assert same(loaded(model), odd_denoiser(1))

    def test_tensors_in_any_layout_are_kept(self, tmp_path: Path) -> None:
        model = ModelFile(tmp_path, IDENTITY)
        model.save(odd_denoiser(1).to(memory_format=torch.channels_last), FACTS, DRAWN)
        assert same(loaded(model), odd_denoiser(1))

    def test_the_digest_tells_weights_apart(self, folder: Path, tmp_path: Path) -> None:
        digests = []
        for seed in (1, 2):
            model = ModelFile(tmp_path / str(seed), IDENTITY)
            model.save(odd_denoiser(seed), FACTS, DRAWN)
            digests.append(model.digest)
        assert len(digests[0]) == 64
        assert digests[0] == ModelFile(folder, IDENTITY).digest != digests[1]

    def test_one_that_the_gate_refused_is_kept_but_did_not_pass(self, tmp_path: Path) -> None:
        ModelFile(tmp_path, IDENTITY).save(odd_denoiser(1), {"fault": "it is noise", "rounds": 1}, DRAWN)
        model = ModelFile(tmp_path, IDENTITY)
        assert (model.passed, model.rounds, model.facts["fault"]) == (False, 1, "it is noise")
        assert same(loaded(model), odd_denoiser(1))

    def test_a_later_one_takes_its_place(self, folder: Path) -> None:
        early, late = ModelFile(folder, IDENTITY), ModelFile(folder, IDENTITY)
        late.save(odd_denoiser(2), FACTS | {"rounds": 3}, DRAWN)
        early.reload()
        assert early.rounds == 3
        assert same(loaded(early), odd_denoiser(2))

    def test_weights_that_nobody_needs_any_more_are_removed(self, folder: Path) -> None:
        before = weights_of(folder)
        ModelFile(folder, IDENTITY).save(odd_denoiser(2), FACTS, DRAWN)
        assert weights_of(folder) != before

    def test_weights_are_kept_when_they_are_saved_again(self, folder: Path) -> None:
        ModelFile(folder, IDENTITY).save(odd_denoiser(1), FACTS | {"rounds": 3}, DRAWN)
        model = ModelFile(folder, IDENTITY)
        assert model.rounds == 3
        assert same(loaded(model), odd_denoiser(1))

    def test_nothing_is_created_before_it_is_saved(self, tmp_path: Path) -> None:
        assert is_empty(ModelFile(tmp_path / "model", IDENTITY))
        assert list(tmp_path.iterdir()) == []

    def test_the_sheet_shows_one_row_a_strength(self, folder: Path) -> None:
        sheet = ModelFile(folder, IDENTITY).sheet
        assert sheet is not None
        content = cv2.imread(str(sheet))[..., ::-1]
        assert content.shape == (2 + 3 * (160 + 14 + 2), 2 + 3 * (160 + 2), 3)
        for row, images in enumerate(DRAWN.values()):
            for column, image in enumerate(images):
                top, left = 2 + row * 176, 2 + column * 162
                shown = content[top : top + 160, left : left + 160]
                np.testing.assert_array_equal(shown, image.repeat(5, axis=0).repeat(5, axis=1))


class TestGivingUp:
    def test_the_reason_is_kept_without_a_model(self, tmp_path: Path) -> None:
        ModelFile(tmp_path, IDENTITY).record_failure("it diverged", 7)
        model = ModelFile(tmp_path, IDENTITY)
        assert (model.passed, model.rounds, model.facts) == (False, 7, {"fault": "it diverged", "rounds": 7})
        assert (model.digest, model.sheet) == ("", None)
        assert list(tmp_path.glob("*.safetensors")) == []
        assert ModelFile(tmp_path, IDENTITY | {"seed": 1}).facts == {}

    def test_an_earlier_model_does_not_count_any_more(self, folder: Path) -> None:
        model = ModelFile(folder, IDENTITY)
        model.record_failure("it diverged", 7)
        for one in (model, ModelFile(folder, IDENTITY)):
            assert (one.passed, one.rounds, one.digest, one.sheet) == (False, 7, "", None)

    def test_one_that_is_saved_later_counts(self, tmp_path: Path) -> None:
        model = ModelFile(tmp_path, IDENTITY)
        model.record_failure("it diverged", 7)
        model.save(odd_denoiser(1), FACTS, DRAWN)
        assert ModelFile(tmp_path, IDENTITY).passed
        assert same(loaded(ModelFile(tmp_path, IDENTITY)), odd_denoiser(1))

    def test_a_folder_that_cannot_be_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"model\.json cannot be written .* choose another --workspace"):
            ModelFile(tmp_path / "file" / "model", IDENTITY).record_failure("it diverged", 7)


class TestForeign:
    @pytest.mark.parametrize(
        "change", [{"images": "abd"}, {"settings": {"widths": (16, 16), "rate": 0.002}}, {"seed": 1}, {"more": 1}]
    )
    def test_the_model_of_something_else_is_ignored(self, folder: Path, change: dict[str, Any]) -> None:
        assert is_empty(ModelFile(folder, IDENTITY | change))

    def test_tuples_and_numpy_numbers_are_what_they_are_in_json(self, folder: Path) -> None:
        alike = {"images": "abc", "settings": {"widths": [16, 16], "rate": np.float64(0.001)}, "seed": np.int64(0)}
        assert ModelFile(folder, alike).passed

    def test_another_version_is_ignored(self, folder: Path) -> None:
        edit(folder, lambda content: content.update(schema=0))
        assert is_empty(ModelFile(folder, IDENTITY))


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"null", b"{}", b'"facts"', b"\xff\xfe\xfa"])
    def test_damaged_facts_count_as_none(self, folder: Path, content: bytes) -> None:
        (folder / "model.json").write_bytes(content)
        assert is_empty(ModelFile(folder, IDENTITY))

    @pytest.mark.parametrize("facts", [None, [], "passed", {}, {"rounds": 1}, {"fault": None}])
    def test_facts_of_another_form_count_as_none(self, folder: Path, facts: object) -> None:
        edit(folder, lambda content: content.update(facts=facts))
        assert is_empty(ModelFile(folder, IDENTITY))

    @pytest.mark.parametrize("change", [{"rounds": "x"}, {"rounds": None}, {"rounds": 1.5}, {"weights": 7}])
    def test_facts_of_another_kind_count_as_none(self, folder: Path, change: dict[str, Any]) -> None:
        edit(folder, lambda content: content["facts"].update(change))
        assert is_empty(ModelFile(folder, IDENTITY))

    def test_facts_without_weights_count_as_none(self, folder: Path) -> None:
        weights_of(folder).unlink()
        assert is_empty(ModelFile(folder, IDENTITY))

    def test_weights_without_facts_count_as_none(self, folder: Path) -> None:
        (folder / "model.json").unlink()
        assert is_empty(ModelFile(folder, IDENTITY))

    @pytest.mark.parametrize("where", [0, 9, -1])
    def test_altered_weights_are_never_used(self, folder: Path, where: int) -> None:
        path = weights_of(folder)
        content = bytearray(path.read_bytes())
        content[where] ^= 1
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path.name} was altered .*; delete the folder and run again\."):
            loaded(ModelFile(folder, IDENTITY))

    def test_half_the_weights_are_never_used(self, folder: Path) -> None:
        path = weights_of(folder)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(StoreError, match=rf"{path.name} was altered"):
            loaded(ModelFile(folder, IDENTITY))

    def test_weights_that_vanish_are_reported(self, folder: Path) -> None:
        model, path = ModelFile(folder, IDENTITY), weights_of(folder)
        path.unlink()
        with pytest.raises(StoreError, match=rf"{path.name} cannot be read \(FileNotFoundError\)"):
            loaded(model)

    def test_weights_that_are_none_are_reported(self, folder: Path) -> None:
        digest = hashlib.sha256(b"no tensors").hexdigest()
        path = folder / f"model-{digest[:16]}.safetensors"
        path.write_bytes(b"no tensors")
        edit(folder, lambda content: content["facts"].update(weights=digest))
        with pytest.raises(StoreError, match=rf"{path.name} cannot be read \(SafetensorError\)"):
            loaded(ModelFile(folder, IDENTITY))

    def test_weights_of_another_shape_are_reported(self, folder: Path) -> None:
        wider = odd_denoiser(network=NetworkSettings(patch=2, widths=(32, 32), attention=(False, False)))
        with pytest.raises(StoreError, match=r"\.safetensors cannot be read \(RuntimeError\)"):
            ModelFile(folder, IDENTITY).load(wider)


def fill_disk(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """Lets so many files be written."""
    original, left = os.replace, [allowed]

    def filling(source: Any, target: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        original(source, target)

    monkeypatch.setattr(os, "replace", filling)


class TestFullDisk:
    @pytest.mark.parametrize("allowed", [0, 1, 2])
    def test_a_model_that_is_not_whole_counts_as_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
    ) -> None:
        model = ModelFile(tmp_path, IDENTITY)
        with monkeypatch.context() as patched:
            fill_disk(patched, allowed)
            with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
                model.save(odd_denoiser(1), FACTS, DRAWN)
        assert is_empty(ModelFile(tmp_path, IDENTITY))
        assert not list(tmp_path.glob(".*"))
        model.save(odd_denoiser(1), FACTS, DRAWN)
        assert same(loaded(ModelFile(tmp_path, IDENTITY)), odd_denoiser(1))

    @pytest.mark.parametrize("allowed", [0, 1, 2])
    def test_the_old_model_stays_readable(self, folder: Path, monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
        with monkeypatch.context() as patched:
            fill_disk(patched, allowed)
            with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
                ModelFile(folder, IDENTITY).save(odd_denoiser(2), FACTS | {"rounds": 3}, DRAWN)
        survivor = ModelFile(folder, IDENTITY)
        assert survivor.rounds == 2
        assert same(loaded(survivor), odd_denoiser(1))
        survivor.save(odd_denoiser(2), FACTS | {"rounds": 3}, DRAWN)
        assert weights_of(folder).name == f"model-{survivor.digest[:16]}.safetensors"

    def test_a_folder_that_cannot_be_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        model = ModelFile(tmp_path / "file" / "model", IDENTITY)
        with pytest.raises(StoreError, match=r"\.safetensors cannot be written .* choose another --workspace"):
            model.save(odd_denoiser(1), FACTS, DRAWN)
        assert is_empty(model)
