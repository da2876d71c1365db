"""Converts a graph to a lower precision: network weights in fp16, or convolutions in int8.

Only networks are converted. What follows them (distances, covariances, scores) needs the digits of float32, and so do
fixed filters, whose responses go through logarithms.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.onnx_export import BATCH, INPUT, silenced, strip
from automl_ad.errors import BundleError

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_NETWORKS = (*_CONVOLUTIONS, "LayerNormalization", "Softmax")
"""Operators that occur in networks only: a matrix product before one of them is part of a network."""
_ELEMENTWISE = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu", "Add", "Mul")
_POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean")
_LIGHT = frozenset((*_ELEMENTWISE, *_POOLING, "Concat", "Transpose"))
"""Operators that are safe in fp16 and have inputs of one type; division is not, since a small divisor may become 0."""
_HALF = "_half"
_LARGEST_HALF = float(np.finfo(np.float16).max)


def converted(model: bytes, precision: Precision, images: npt.NDArray[np.uint8]) -> bytes:
    """Converts a graph to another precision; its inputs and outputs are unchanged.

    Args:
        model: Return value of `onnx_export.export_graph`.
        precision: ``fp16`` stores network weights in half precision. ``int8`` computes convolutions in eight bits,
            calibrated on ``images``. ``fp32`` returns the graph itself.
        images: uint8 [n, H, W, 3], good images; used by ``int8`` only.

    Returns:
        An ONNX model; equal arguments give equal bytes.

    Raises:
        BundleError: The graph has nothing to convert, or a package for it is missing.
    """
    if precision == "fp32":
        return model
    try:
        changed = _halved(model) if precision == "fp16" else _quantised(model, images)
    except ImportError as error:
        missing = error.name or error
        raise BundleError(f"Precision {precision} needs the package {missing}; install it or use fp32.") from error
    strip(changed)
    data: bytes = changed.SerializeToString(deterministic=True)
    return data


def _halved(model: bytes) -> Any:
    import onnx

    changed = onnx.load_from_string(model)
    heavy = _heavy(changed.graph)
    _check_any(heavy, "fp16")
    _Halving(changed.graph, heavy | _between(changed.graph, heavy)).apply()
    return changed


class _Halving:
    """Converts some nodes of a graph to half precision and casts their inputs and outputs.

    A float32 value keeps its name; its half-precision version has a suffix.
    """

    def __init__(self, graph: Any, chosen: set[str]) -> None:
        self._graph = graph
        self._chosen = chosen
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        others = (node.input for node in graph.node if node.name not in chosen)
        self._used_in_float = {name for names in others for name in names} | {out.name for out in graph.output}
        self._halves: set[str] = set()
        self._nodes: list[Any] = []

    def apply(self) -> None:
        """Rewrites the graph in place."""
        for node in self._graph.node:
            if node.name in self._chosen:
                self._convert(node)
            else:
                self._nodes.append(node)
        _replace(self._graph.node, self._nodes)
        used = {name for node in self._nodes for name in node.input}
        _replace(self._graph.initializer, [tensor for name, tensor in self._weights.items() if name in used])

    def _convert(self, node: Any) -> None:
        node.input[:] = [self._half_of(name) for name in node.input]
        self._nodes.append(node)
        for place, name in enumerate(node.output):
            node.output[place] = name + _HALF
            self._halves.add(name)
            if name in self._used_in_float:
                self._cast(name + _HALF, name, "FLOAT")

    def _half_of(self, name: str) -> str:
        weight = self._weights.get(name)
        if not name or (weight is not None and weight.data_type != _type("FLOAT")):
            return name
        if name not in self._halves:
            self._halves.add(name)
            if weight is None:
                self._cast(name, name + _HALF, "FLOAT16")
            else:
                self._weights[name + _HALF] = _half_weight(weight)
        return name + _HALF

    def _cast(self, source: str, target: str, kind: str) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=_type(kind)))


def _half_weight(weight: Any) -> Any:
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight).clip(-_LARGEST_HALF, _LARGEST_HALF)
    return numpy_helper.from_array(values.astype(np.float16), weight.name + _HALF)


def _type(name: str) -> int:
    from onnx import TensorProto

    return int(TensorProto.DataType.Value(name))


def _replace(field: Any, values: Iterable[Any]) -> None:
    values = list(values)
    del field[:]
    field.extend(values)


def _quantised(model: bytes, images: npt.NDArray[np.uint8]) -> Any:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    whole = onnx.load_from_string(model)
    inner = _inner_convolutions(whole.graph)
    _check_any(inner, "int8")
    with silenced(), tempfile.TemporaryDirectory() as folder:
        prepared, target = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        shape_inference.quant_pre_process(whole, str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(target),
            _CalibrationImages(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=sorted(inner),
            per_channel=True,
            reduce_range=True,  # CPUs without VNNI add two products in 16 bits, where two full 8-bit products overflow
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(str(target))


class _CalibrationImages:
    """Feeds images to the calibration in batches; a duck-typed CalibrationDataReader, whose import is deferred."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._batches = iter([images[start : start + BATCH] for start in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next batch; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _check_any(nodes: set[str], precision: str) -> None:
    if not nodes:
        raise BundleError(f"This detector has no network that {precision} could make smaller; export it as fp32.")


def _heavy(graph: Any) -> set[str]:
    """Names of the nodes with network weights."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    inside = _leading_to(graph, _NETWORKS)
    return {
        node.name
        for node in graph.node
        if (node.op_type in _CONVOLUTIONS and _channels(node, shapes) > 1)
        or (node.op_type in ("MatMul", "Gemm") and len(shapes.get(node.input[1], ())) == 2 and node.name in inside)
    }


def _channels(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """Input channels of a convolution; those of fixed filters have one."""
    shape = shapes.get(node.input[1], (0, 0))
    if node.op_type == "ConvTranspose":
        return shape[0]
    return shape[1] * next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _inner_convolutions(graph: Any) -> set[str]:
    """Convolutions of networks that are followed by another one.

    The last convolutions compute the maps or the features that maps are computed from. Quantisation clips to the range
    seen on good images, and anomalous values beyond it must not be clipped there.
    """
    kinds = {node.name: node.op_type for node in graph.node}
    inside = _leading_to(graph, _CONVOLUTIONS)
    return {name for name in _heavy(graph) if kinds[name] == "Conv" and name in inside}


def _leading_to(graph: Any, kinds: Iterable[str]) -> set[str]:
    """Names of the nodes from whose outputs a node of one of ``kinds`` can be reached."""
    needed: set[str] = set()
    found: set[str] = set()
    for node in reversed(graph.node):
        leads = not needed.isdisjoint(node.output)
        if leads:
            found.add(node.name)
        if leads or node.op_type in kinds:
            needed.update(node.input)
    return found


def _between(graph: Any, heavy: set[str]) -> set[str]:
    """Names of light nodes on a path of light nodes from one of ``heavy`` to another."""
    after: set[str] = set()
    before: set[str] = set()
    for nodes, reached, ends, starts in (
        (graph.node, after, "output", "input"),
        (reversed(graph.node), before, "input", "output"),
    ):
        for node in nodes:
            passes = node.op_type in _LIGHT and not reached.isdisjoint(getattr(node, starts))
            if node.name in heavy or passes:
                reached.update(getattr(node, ends))
    return {
        node.name
        for node in graph.node
        if node.op_type in _LIGHT and not after.isdisjoint(node.input) and not before.isdisjoint(node.output)
    }
