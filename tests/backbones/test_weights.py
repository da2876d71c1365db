from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from automl_ad.backbones import weights as weights_module
from automl_ad.backbones.weights import (
    WEIGHTS_VARIABLE,
    find_weights,
    has_local_weights,
    hub_reachable,
    require_known,
    weights_folder,
)
from automl_ad.errors import InputError, WeightsError

TENSORS = {"conv1.weight": torch.arange(6.0).half().reshape(2, 3)}


def save(folder: Path, name: str = "resnet34", tensors: dict[str, torch.Tensor] = TENSORS) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    save_file(tensors, str(folder / f"{name}.safetensors"))
    return folder / f"{name}.safetensors"


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    """``hub_reachable`` remembers its answer for a process; each test asks anew."""
    hub_reachable.cache_clear()
    yield
    hub_reachable.cache_clear()


@pytest.mark.parametrize("name", ["resnet34", "resnet34.tv_in1k"])
def test_folder_is_searched_by_name_with_and_without_tag(tmp_path: Path, no_sources: Path, name: str) -> None:
    path = save(tmp_path / "w")
    found = find_weights(name, tmp_path / "w")
    assert found is not None
    assert found.origin == str(path)
    assert found.tensors["conv1.weight"].dtype == torch.float32
    torch.testing.assert_close(found.tensors["conv1.weight"], TENSORS["conv1.weight"].float())
    assert has_local_weights(name, tmp_path / "w")
    assert not has_local_weights("resnet18", tmp_path / "w")


def test_tag_follows_the_content(tmp_path: Path, no_sources: Path) -> None:
    tags = []
    for folder, value in [("a", 0.0), ("b", 0.0), ("c", 1.0)]:
        save(tmp_path / folder, tensors={"x": torch.full((2,), value)})
        found = find_weights("resnet34", tmp_path / folder)
        assert found is not None
        tags.append(found.tag)
    assert tags[0] == tags[1] != tags[2]


def test_one_file_under_two_model_names_has_two_tags(tmp_path: Path, no_sources: Path) -> None:
    save(tmp_path, "vit_base_patch16_clip_224")
    save(tmp_path, "vit_base_patch16_clip_quickgelu_224")
    plain = find_weights("vit_base_patch16_clip_224", tmp_path)
    quick = find_weights("vit_base_patch16_clip_quickgelu_224", tmp_path)
    assert plain is not None
    assert quick is not None
    assert plain.tag != quick.tag


def test_environment_names_the_folder_unless_one_is_given(
    tmp_path: Path, no_sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "named")
    (tmp_path / "given").mkdir()
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "named"))
    assert has_local_weights("resnet34")
    assert weights_folder(tmp_path / "given") == tmp_path / "given"
    assert not has_local_weights("resnet34", tmp_path / "given")


def test_missing_folder_is_refused_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"nowhere \(--weights-dir\) does not exist"):
        weights_folder(tmp_path / "nowhere")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=rf"nowhere \({WEIGHTS_VARIABLE}\) does not exist"):
        weights_folder(None)


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:5], lambda b: b"", lambda b: b"\xff" * len(b)])
def test_damaged_file_is_named(tmp_path: Path, no_sources: Path, damage: object) -> None:
    path = save(tmp_path / "w")
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=r"resnet34\.safetensors cannot be read"):
        find_weights("resnet34", tmp_path / "w")


def test_hub_cache_is_read_without_asking_the_hub(no_sources: Path) -> None:
    assert find_weights("resnet34", hub=False) is None
    repository = no_sources / "models--timm--resnet34.tv_in1k"
    revision = "0" * 40
    save(repository / "snapshots" / revision, "model")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    found = find_weights("resnet34", hub=False)
    assert found is not None
    assert found.origin == "hub:timm/resnet34.tv_in1k"
    assert has_local_weights("resnet34")


def test_hub_is_asked_only_when_allowed(no_sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(weights_module, "hub_reachable", lambda: bool(asked.append("hub")))
    assert find_weights("resnet34", hub=False) is None
    assert asked == []
    assert find_weights("resnet34") is None
    assert asked == ["hub"]


def test_unknown_tag_has_no_weights(no_sources: Path) -> None:
    assert find_weights("test_vit.nonsense") is None


@pytest.mark.parametrize("name", ["resnet19", "resnet18.nonsense", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="not known to timm"):
        require_known(name)


@pytest.mark.usefixtures("fresh_probe")
def test_offline_mode_of_the_hub_client_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(constants, "ENDPOINT", "https://mirror")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights_module, "_answers", lambda endpoint: bool(asked.append(endpoint) or True))
    assert hub_reachable()
    assert asked == ["https://mirror"]
    hub_reachable.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_reachable()
    assert asked == ["https://mirror"]


@pytest.mark.usefixtures("fresh_probe")
def test_a_hub_that_hangs_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights_module, "_HUB_TIMEOUT_S", -0.8)
    monkeypatch.setattr(weights_module, "_answers", lambda endpoint: time.sleep(2) or True)
    started = time.monotonic()
    assert not hub_reachable()
    assert time.monotonic() - started < 1.5


def test_closed_port_does_not_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not weights_module._answers(f"http://127.0.0.1:{port}")
    assert not weights_module._answers("no address")


def test_any_http_status_is_an_answer() -> None:
    import http.server
    import threading

    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # answers HEAD with 501
    threading.Thread(target=server.handle_request, daemon=True).start()
    assert weights_module._answers(f"http://127.0.0.1:{server.server_port}")
    server.server_close()


@pytest.mark.parametrize(("name", "tag"), weights_module.PUBLISHED_TAGS.items())
def test_bare_names_mean_the_published_weights_on_the_hub(name: str, tag: str) -> None:
    repository = weights_module._hub_id(name)
    assert repository is not None
    assert repository.endswith(f"{name}.{tag}")


def test_a_tag_of_the_users_own_is_kept() -> None:
    repository = weights_module._hub_id("resnet18.a1_in1k")
    assert repository is not None
    assert repository.endswith("resnet18.a1_in1k")
