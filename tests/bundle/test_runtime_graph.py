from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from toy_bundle import SIZE, flat_image, toy_files, toy_model, write_files, write_toy

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import load_bundle
from automl_ad.errors import BundleError, InputError

NAMES = {
    "model": "ModelProto",
    "training": "TrainingInfoProto",
    "graph": "GraphProto",
    "function": "FunctionProto",
    "node": "NodeProto",
    "attribute": "AttributeProto",
    "sparse": "SparseTensorProto",
    "tensor": "TensorProto",
}


def refusal(path: Path, model: onnx.ModelProto | bytes) -> str:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(BundleError) as refused:
        load_bundle(write_files(path, toy_files(model=content)))
    return str(refused.value)


def elsewhere() -> TensorProto:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def plant(place: str) -> onnx.ModelProto:
    """The toy with a tensor that lies in another file."""
    model = toy_model()
    node, far = model.graph.node[0], elsewhere()
    if place == "initializer":
        model.graph.initializer.append(far)
    elif place == "sparse":
        model.graph.sparse_initializer.add().indices.CopyFrom(far)
    elif place == "sparse values":
        model.graph.sparse_initializer.add().values.CopyFrom(far)
    elif place == "attribute":
        node.attribute.add(name="t").t.CopyFrom(far)
    elif place == "tensors":
        node.attribute.add(name="t").tensors.append(far)
    elif place == "sparse attribute":
        node.attribute.add(name="t").sparse_tensor.values.CopyFrom(far)
    elif place == "sparse attributes":
        node.attribute.add(name="t").sparse_tensors.add().indices.CopyFrom(far)
    elif place == "branch":
        node.attribute.add(name="g").g.initializer.append(far)
    elif place == "branches":
        node.attribute.add(name="g").graphs.add().node.add().attribute.add(name="t").t.CopyFrom(far)
    elif place == "function":
        model.functions.add().node.add().attribute.add(name="t").t.CopyFrom(far)
    elif place == "function attribute":
        model.functions.add().attribute_proto.add(name="t").t.CopyFrom(far)
    else:
        model.training_info.add().algorithm.initializer.append(far)
    return model


class TestOtherFiles:
    def test_every_way_to_a_tensor_is_looked_at(self) -> None:
        """Against onnx's own description of its messages, so that no way is forgotten."""
        for kind, name in NAMES.items():
            fields = getattr(onnx, name).DESCRIPTOR.fields
            ways = {
                field.number: next(key for key, value in NAMES.items() if value == field.message_type.name)
                for field in fields
                if field.message_type and field.message_type.name in NAMES.values()
            }
            assert runtime._MESSAGES[kind] == ways
        tensor = TensorProto.DESCRIPTOR.fields_by_name
        assert (tensor["external_data"].number, tensor["data_location"].number) == (13, 14)

    @pytest.mark.parametrize(
        "place",
        [
            *("initializer", "sparse", "sparse values", "attribute", "tensors", "sparse attribute"),
            *("sparse attributes", "branch", "branches", "function", "function attribute", "training"),
        ],
    )
    def test_a_tensor_in_another_file_is_refused(self, tmp_path: Path, place: str) -> None:
        assert "model.onnx keeps data in other files" in refusal(tmp_path / "made", plant(place))

    def test_half_a_mention_is_enough(self) -> None:
        named = TensorProto()
        named.external_data.add(key="location", value="x")
        for tensor in (named, TensorProto(data_location=TensorProto.EXTERNAL)):
            model = toy_model(initializer=[helper.make_tensor("grey", TensorProto.FLOAT, [], [128.0]), tensor])
            assert runtime._has_external_data(model.SerializeToString())
        assert not runtime._has_external_data(toy_model().SerializeToString())

    def test_tags_that_other_readers_would_cut_are_refused(self) -> None:
        # Field 14 with bits above the 32 that protobuf keeps: seen as another field here, as data_location there.
        tag = (14 << 3) | (1 << 32)
        varint = bytes((tag >> shift & 0x7F) | 0x80 for shift in range(0, 28, 7)) + bytes([tag >> 28])
        hidden = varint + b"\x01"
        model = b"\x3a" + bytes([len(hidden) + 2]) + b"\x2a" + bytes([len(hidden)]) + hidden
        with pytest.raises(ValueError, match="not a field"):
            runtime._has_external_data(model)

    def test_deep_graphs_are_looked_through_without_recursion(self) -> None:
        def field(number: int, content: bytes) -> bytes:
            return varint(number << 3 | 2) + varint(len(content)) + content

        def varint(value: int) -> bytes:
            return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

        graph = field(5, elsewhere().SerializeToString())
        for _ in range(3000):
            graph = field(1, field(5, field(6, graph)))
        assert runtime._has_external_data(field(7, graph))

    @given(st.binary(max_size=200), st.integers(0, 400))
    @settings(max_examples=150, deadline=None)
    def test_damage_is_an_error_or_an_answer(self, junk: bytes, cut: int) -> None:
        content = toy_model().SerializeToString()[:cut] + junk
        with contextlib.suppress(ValueError):
            assert not runtime._has_external_data(content) or b"\x6a" in content or b"\x70" in content

    @pytest.mark.parametrize("content", [b"\xff" * 40, b"\x3a\x50ab", b"\x0b", b"\x3a"])
    def test_a_damaged_model_is_refused(self, tmp_path: Path, content: bytes) -> None:
        assert "model.onnx is not an ONNX model; copy or export" in refusal(tmp_path / "made", content)


def info(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


IMAGES = info("images", TensorProto.UINT8, ["n", *SIZE, 3])
MAP, SCORE = info("map", TensorProto.FLOAT, ["n", *SIZE]), info("score", TensorProto.FLOAT, ["n"])


class TestContract:
    @pytest.mark.parametrize(
        "changes",
        [
            {"inputs": [IMAGES, info("more", TensorProto.FLOAT, [1])]},
            {"inputs": [info("images", TensorProto.UINT8, [1, *SIZE, 3])]},
            {"inputs": [info("images", TensorProto.UINT8, ["n", "h", "w", 3])]},
            {"inputs": [info("images", TensorProto.UINT8, ["n", *SIZE[::-1], 3])]},
            {"inputs": [info("images", TensorProto.FLOAT, ["n", *SIZE, 3])]},
            {"outputs": [MAP]},
            {"outputs": [MAP, SCORE, info("means", TensorProto.FLOAT, ["n", *SIZE])]},
        ],
    )
    def test_other_inputs_or_outputs_are_refused(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        message = refusal(tmp_path / "made", toy_model(**changes))
        assert "does not take uint8 images [N, 32, 48, 3] and give a float map and score" in message

    def test_outputs_of_another_type_are_refused(self, tmp_path: Path) -> None:
        nodes = [*toy_model().graph.node[:4], helper.make_node("ArgMax", ["map"], ["score"], axis=1)]
        message = refusal(
            tmp_path / "made", toy_model(nodes=nodes, outputs=[MAP, info("score", TensorProto.INT64, [])])
        )
        assert "does not take uint8 images" in message

    def test_another_working_size_is_refused(self, tmp_path: Path) -> None:
        other = toy_model((48, 32)).SerializeToString()
        assert "does not take uint8 images [N, 32, 48, 3]" in refusal(tmp_path / "made", other)

    def test_unknown_operators_are_refused_in_one_line(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        nodes = [*toy_model().graph.node[:4], helper.make_node("Frobnicate", ["map"], ["score"])]
        message = refusal(tmp_path / "made", toy_model(nodes=nodes))
        assert f"model.onnx cannot be used by onnxruntime {onnxruntime.__version__} (" in message
        assert "Frobnicate" in message
        assert "\n" not in message
        assert capfd.readouterr() == ("", "")

    def test_the_format_of_onnx_runtime_itself_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / "model.ort")
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(toy_model().SerializeToString(), options)
        content = (tmp_path / "model.ort").read_bytes()
        assert content[4:8] == b"ORTM"
        onnxruntime.InferenceSession(content)  # which is what a session does when nobody forbids it
        monkeypatch.setattr(runtime, "_has_external_data", lambda model: False)
        assert "cannot be used by onnxruntime" in refusal(tmp_path / "made", content)

    def test_shapes_that_are_not_as_declared_are_refused(self, tmp_path: Path) -> None:
        shape = helper.make_tensor("shape", TensorProto.INT64, [3], [-1, SIZE[1], SIZE[0]])
        nodes = [
            *toy_model().graph.node[:3],
            helper.make_node("Abs", ["distances"], ["upright"]),
            helper.make_node("Reshape", ["upright", "shape"], ["map"]),
            toy_model().graph.node[4],
        ]
        initializer = [*toy_model().graph.initializer, shape]
        outputs = [info("map", TensorProto.FLOAT, None), SCORE]  # type: ignore[arg-type]  # no shape at all
        model = toy_model(nodes=nodes, initializer=initializer, outputs=outputs).SerializeToString()
        bundle = load_bundle(write_files(tmp_path / "made", toy_files(model=model)))
        with pytest.raises(BundleError, match="gives maps or scores of another shape"):
            bundle.maps(np.zeros((1, *SIZE, 3), np.uint8))

    def test_a_graph_that_fails_is_one_sentence(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7])
        nodes = [*toy_model().graph.node[:4], helper.make_node("Reshape", ["map", "shape"], ["score"])]
        model = toy_model(nodes=nodes, initializer=[*toy_model().graph.initializer, shape])
        bundle = load_bundle(write_files(tmp_path / "made", toy_files(model=model.SerializeToString())))
        with pytest.raises(BundleError, match=r"model\.onnx fails on an image \(") as refused:
            bundle.predict(np.zeros((1, *SIZE, 3), np.uint8))
        assert "\n" not in str(refused.value)
        assert capfd.readouterr() == ("", "")


class TestDevice:
    def test_threads_reach_the_session(self, tmp_path: Path) -> None:
        path = write_toy(tmp_path / "made")
        assert load_bundle(path, threads=3)._graph._session.get_session_options().intra_op_num_threads == 3
        assert load_bundle(path)._graph._session.get_session_options().intra_op_num_threads == 0
        with pytest.raises(InputError, match="--threads 0 is too few"):
            load_bundle(path, threads=0)

    def test_a_gpu_needs_the_other_onnxruntime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_toy(tmp_path / "made")
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(InputError, match="pip install onnxruntime-gpu"):
            load_bundle(path, "cuda")
        for device in ("tpu", "cuda:x", "CPU"):
            with pytest.raises(InputError, match="give 'cpu' or 'cuda', also 'cuda:1', or 'auto'"):
                load_bundle(path, device)

    def test_a_gpu_is_asked_for_by_number(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def session(model: bytes, options: Any, providers: list[Any], **rest: Any) -> Any:
            asked.append(providers)
            return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        # ONNX Runtime falls back to the processor without a word when CUDA's libraries are not there.
        with pytest.raises(InputError, match="device 'cuda' cannot be reached"):
            load_bundle(write_toy(tmp_path / "made"), "cuda:1")
        assert asked == [[("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]]

    def test_auto_takes_what_there_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, asked = write_toy(tmp_path / "made"), []
        real = onnxruntime.InferenceSession

        def session(model: bytes, options: Any, providers: list[Any], **rest: Any) -> Any:
            asked.append(providers)
            return real(model, options, providers=["CPUExecutionProvider"])  # as where CUDA's libraries are missing

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        for available in (["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]):
            monkeypatch.setattr(onnxruntime, "get_available_providers", lambda found=available: found)
            assert len(load_bundle(path, "auto").predict(flat_image(10))["results"]) == 1
        assert asked == [
            [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"],
            ["CPUExecutionProvider"],
        ]

    def test_onnxruntime_that_cannot_be_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(InputError, match=r"onnxruntime cannot be loaded \(.*\): pip install onnxruntime"):
            load_bundle(write_toy(tmp_path / "made"))
