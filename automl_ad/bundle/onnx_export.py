"""A fitted detector as ONNX, and such a graph run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from automl_ad.bundle.graph import DetectorGraph
from automl_ad.bundle.silence import silence
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.methods.base import BACKBONE_JOINT, Detector

OPSET = 18
"""The oldest that torch's exporter speaks natively."""
BATCH = 8
INPUT, OUTPUTS = "images", ("map", "score")

_LIMIT = 2**31 - 1
"""Bytes of a protobuf message, and so of a graph in one file."""
_WITHOUT_BOUND = 2**62
_MOST_IMAGES = 2**16
"""Images of a batch that the exporter must allow for."""


def export_graph(detector: Detector, rule: ScoreAggregation, size: tuple[int, int]) -> bytes:
    """Writes a detector, enlarged maps and the scoring rule as one graph.

    Equal detectors give equal bytes, which hold nothing of the machine that they were made on. The detector stays as
    it is.

    Args:
        detector: Fitted.
        rule: Turns its maps into scores.
        size: (H, W) of the images, in pixels.

    Returns:
        An ONNX model without external data: ``images``, uint8 [n, H, W, 3], to ``map``, float32 [n, H, W], and
        ``score``, float32 [n].

    Raises:
        BundleError: The detector cannot be written as such a graph.
    """
    with _undisturbed():
        module = copy.deepcopy(detector.to_module()).cpu().to(memory_format=torch.contiguous_format).eval()
        _require_room(sum(tensor.nbytes for tensor in module.state_dict().values()), detector.name)
        try:
            model = _exported(DetectorGraph(module, rule, size), size)
            _require_room(model.ByteSize(), detector.name)
            _require_plain(model)
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
    """Runs a graph on the CPU, a few images at a time and on as many threads as torch uses.

    Args:
        model: What `export_graph` gives.
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
    """A session of ONNX Runtime on the CPU, on as many threads as torch uses.

    Raises:
        BundleError: ONNX Runtime cannot read the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # fatal: what is wrong comes as an exception
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        raise BundleError(f"ONNX Runtime cannot read the graph ({_reason(error)}); export it again.") from error


def _exported(graph: nn.Module, size: tuple[int, int]) -> Any:
    """The graph as an ``onnx.ModelProto``, with all constants computed and nothing said of where it comes from."""
    from onnxscript import optimizer

    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("n", min=1, max=_MOST_IMAGES)
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
    # Slices and transposes of weights, however large, are taken here and not at every start of a session.
    optimizer.optimize(program.model, input_size_limit=_WITHOUT_BOUND, output_size_limit=_WITHOUT_BOUND)
    model = program.model_proto
    strip(model)
    return model


def strip(model: Any) -> None:
    """Removes the notes of an ``onnx.ModelProto``: they name files of this machine and change from run to run."""
    for noted in (model, model.graph):
        noted.doc_string = ""
        del noted.metadata_props[:]
    del model.graph.value_info[:]
    parts = (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output)
    for part in (each for group in parts for each in group):
        part.doc_string = ""
        del part.metadata_props[:]


def _require_room(size: int, name: str) -> None:
    if size > _LIMIT:
        raise BundleError(
            f"Detector {name} takes {size / 2**30:.1f} GiB, and a graph in one file at most 2 GiB; export a trial with "
            "fewer channels or patches, or search at a smaller --image-size."
        )


def _require_plain(model: Any) -> None:
    domains = {entry.domain for entry in model.opset_import if entry.domain not in ("", "ai.onnx")}
    if domains or model.functions:
        raise ValueError(f"it needs operators of {', '.join(sorted(domains)) or 'its own'}")


def _backbones(detector: Detector) -> str:
    return BACKBONE_JOINT.join(reading.backbone.name for reading in detector.readings)


def _reason(error: BaseException) -> str:
    """The first line of what started it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets the exporter work on the CPU and in silence, whatever the surroundings have set."""
    with silence(), torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        yield
