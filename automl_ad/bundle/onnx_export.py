"""Exports a fitted detector as ONNX, and runs such a graph with ONNX Runtime."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from automl_ad.backbones.base import BACKBONE_JOINT
from automl_ad.bundle.graph import DetectorGraph
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.methods.base import Detector

OPSET = 18
"""The oldest opset that torch's exporter writes without conversion."""
BATCH = 8
INPUT, OUTPUTS = "images", ("map", "score")

_LIMIT = 2**31 - 1
"""Maximum size of a protobuf message, and so of a graph in one file, in bytes."""
_UNLIMITED = 2**62
_MAX_BATCH = 2**16
"""Upper bound of the dynamic batch size that is declared to the exporter."""


def export_graph(detector: Detector, aggregation: ScoreAggregation, size: tuple[int, int]) -> bytes:
    """Exports detector, enlarging of maps and score aggregation as one graph.

    Equal detectors give equal bytes, which are independent of the machine. The detector is not modified.

    Args:
        detector: A fitted detector.
        aggregation: Turns its maps into scores.
        size: (H, W) of the images, in pixels.

    Returns:
        An ONNX model without external data: ``images``, uint8 [n, H, W, 3], to ``map``, float32 [n, H, W], and
        ``score``, float32 [n].

    Raises:
        BundleError: The detector cannot be exported to ONNX.
    """
    with _isolated():
        module = copy.deepcopy(detector.to_module()).cpu().to(memory_format=torch.contiguous_format).eval()
        _check_size(sum(tensor.nbytes for tensor in module.state_dict().values()), detector.name)
        try:
            model = _exported(DetectorGraph(module, aggregation, size), size)
            _check_size(model.ByteSize(), detector.name)
            _check_operators(model)
        except ImportError as error:
            raise BundleError(f"Writing ONNX needs the package {error.name or error}; install it.") from error
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise BundleError(
                f"Detector {detector.name} on backbone {_backbones(detector)} cannot be written as ONNX "
                f"({_reason(error)}); export another trial."
            ) from error
        data: bytes = model.SerializeToString(deterministic=True)
    return data


def run_graph(model: bytes, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Runs a graph on the CPU in batches, with as many threads as torch uses.

    Args:
        model: Return value of `export_graph`.
        images: uint8 [N, H, W, 3], N at least 1.

    Returns:
        Maps, float32 [N, H, W], and scores, float32 [N].

    Raises:
        BundleError: ONNX Runtime cannot read the graph.
    """
    session = session_of(model)
    batches = [session.run(OUTPUTS, {INPUT: images[start : start + BATCH]}) for start in range(0, len(images), BATCH)]
    maps, scores = zip(*batches, strict=True)
    return np.concatenate(maps), np.concatenate(scores)


def session_of(model: bytes) -> Any:
    """An ONNX Runtime session on the CPU, with as many threads as torch uses.

    Raises:
        BundleError: ONNX Runtime cannot read the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # fatal only: errors are raised as exceptions
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base class
        raise BundleError(f"ONNX Runtime cannot read the graph ({_reason(error)}); export it again.") from error


def _exported(graph: nn.Module, size: tuple[int, int]) -> Any:
    """The graph as an ``onnx.ModelProto``, with constants folded and debug information removed."""
    from onnxscript import optimizer

    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("n", min=1, max=_MAX_BATCH)
    program = torch.onnx.export(
        graph,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: batch},),
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    # Slices and transposes of weights, however large, are folded here instead of at every start of a session.
    optimizer.optimize(program.model, input_size_limit=_UNLIMITED, output_size_limit=_UNLIMITED)
    model = program.model_proto
    strip(model)
    return model


def strip(model: Any) -> None:
    """Removes doc strings and metadata of an ``onnx.ModelProto``: they hold local paths and change from run to run."""
    for noted in (model, model.graph):
        noted.doc_string = ""
        del noted.metadata_props[:]
    del model.graph.value_info[:]
    parts = (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output)
    for part in (each for group in parts for each in group):
        part.doc_string = ""
        del part.metadata_props[:]


def _check_size(size: int, name: str) -> None:
    if size > _LIMIT:
        raise BundleError(
            f"Detector {name} takes {size / 2**30:.1f} GiB, and a graph in one file at most 2 GiB; export a trial with "
            "fewer channels or patches, or search at a smaller --image-size."
        )


def _check_operators(model: Any) -> None:
    domains = {entry.domain for entry in model.opset_import if entry.domain not in ("", "ai.onnx")}
    if domains or model.functions:
        raise ValueError(f"it needs operators of {', '.join(sorted(domains)) or 'local functions'}")


def _backbones(detector: Detector) -> str:
    return BACKBONE_JOINT.join(spec.backbone.name for spec in detector.feature_specs)


def _reason(error: BaseException) -> str:
    """The first line of the root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Runs the exporter on the CPU and without output, whatever default device or inference mode the caller has set."""
    with silenced(), torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        yield


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Suppresses stdout, stderr, warnings and logging; restores the previous state on exit."""
    disabled = logging.root.manager.disable
    sink = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
