from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exportable import draw_parts, graph_of, pictures

from automl_ad.bundle.onnx_export import run_graph, session_of
from automl_ad.bundle.precision import Precision, converted
from automl_ad.errors import BundleError

onnx = pytest.importorskip("onnx")


def graph(model: bytes) -> Any:
    return onnx.load_from_string(model).graph


CASES = [
    ("patchcore-network", "fp16"),
    ("patchcore-network", "int8"),
    ("padim-network", "fp16"),
    ("padim-network", "int8"),
    ("destseg-network", "fp16"),
]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_fewer_bits_say_nearly_the_same_and_take_less(name: str, precision: Precision) -> None:
    whole = graph_of(name)
    small = converted(whole, precision, draw_parts(9, 7))
    maps, scores = run_graph(whole, pictures())
    for count in (1, 8):
        found_maps, found_scores = run_graph(small, pictures()[:count])
        allowed = 0.02 if precision == "fp16" else 0.5
        assert np.abs(found_scores - scores[:count]).max() <= allowed * scores.std()
        assert np.abs(found_maps - maps[:count]).mean() <= allowed * maps.std()
    saved = len(whole) - len(small)
    in_networks = sum(len(tensor.raw_data) for tensor in graph(whole).initializer if len(tensor.dims) == 4)
    assert saved > 0.4 * in_networks
    assert [entry.name for entry in graph(small).output] == ["map", "score"]


def test_distances_and_scores_keep_their_digits() -> None:
    whole, half = graph(graph_of("padim-network")), graph(converted(graph_of("padim-network"), "fp16", pictures()))
    kept = {tensor.name: tensor.raw_data for tensor in half.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    whiteners = [tensor for tensor in whole.initializer if len(tensor.dims) == 3 and tensor.dims[1] > 1]
    assert len(whiteners) == 3
    assert all(kept[tensor.name] == tensor.raw_data for tensor in whiteners)
    for node in half.node:
        if node.op_type in ("MatMul", "Sqrt", "TopK", "Resize"):
            assert not any(name.endswith("_half") for name in node.input)


def test_divisors_are_not_rounded_to_zero() -> None:
    """Between two convolutions: activations over something tiny."""
    weights = [onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), name) for name in ("first", "second")]
    tiny = onnx.numpy_helper.from_array(np.float32(1e-12), "tiny")
    make = onnx.helper.make_node
    nodes = [make("Conv", ["x", "first"], ["a"], "one"), make("Clip", ["a", "tiny"], ["b"], "at_least")]
    nodes += [make("Div", ["a", "b"], ["c"], "over"), make("Conv", ["c", "second"], ["y"], "two")]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 1, 1]) for name in ("x", "y")]
    made = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [*weights, tiny])
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    half = converted(model.SerializeToString(), "fp16", pictures())
    zeros = np.zeros((1, 2, 1, 1), np.float32)
    (found,) = session_of(half).run(None, {"x": zeros})
    np.testing.assert_array_equal(found, zeros)


def test_what_lies_between_convolutions_is_not_cast() -> None:
    half = graph(converted(graph_of("patchcore-network"), "fp16", pictures()))
    casts = [node for node in half.node if node.op_type == "Cast"]
    pixels, finer, coarser = 2, 1, 2  # from bytes and to half; a level within; the summands of the last
    assert len(casts) == pixels + finer + coarser


def test_eight_bits_are_weights_of_inner_convolutions_channel_by_channel() -> None:
    whole, small = graph(graph_of("padim-network")), graph(converted(graph_of("padim-network"), "int8", pictures()))
    shapes = {tensor.name: tuple(tensor.dims) for tensor in small.initializer}
    eight = {tensor.name for tensor in small.initializer if tensor.data_type == onnx.TensorProto.INT8}
    weights = [
        node for node in small.node if node.op_type == "DequantizeLinear" and len(shapes.get(node.input[0], ())) == 4
    ]
    assert {node.input[0] for node in weights} <= eight
    assert all(shapes[node.input[1]] == shapes[node.input[0]][:1] for node in weights)
    last = 2  # a convolution and the shortcut beside it
    assert len(weights) == sum(node.op_type == "Conv" for node in whole.node) - last


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_equal_arguments_give_equal_bytes_and_nothing_is_left_behind(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, again = (converted(graph_of("patchcore-network"), precision, draw_parts(9, 7)) for _ in range(2))
    assert first == again
    assert str(tmp_path).encode() not in first
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_fp32_is_the_graph_itself() -> None:
    assert converted(graph_of("padim-network"), "fp32", pictures()) is graph_of("padim-network")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fixed_filters_keep_their_digits(precision: Precision) -> None:
    with pytest.raises(BundleError, match=f"no network that {precision}"):
        converted(graph_of("padim"), precision, pictures())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(BundleError, match=r"int8 needs the package onnxruntime\.quantization"):
        converted(graph_of("padim-network"), "int8", pictures())
