"""Complete bundles around a graph of five nodes: the map is the distance of the mean pixel from grey."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

SIZE = (32, 48)
SCORES = [float(score) for score in range(1, 100)]
"""Scores of 99 normals: one hundredth a step."""


def toy_model(size: tuple[int, int] = SIZE, **changes: Any) -> onnx.ModelProto:
    """map = |mean over channels of (pixel - 128)|, score = its maximum; ``changes`` replace parts of the graph."""
    height, width = size
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["means"], axes=[3], keepdims=0),
        helper.make_node("Sub", ["means", "grey"], ["distances"]),
        helper.make_node("Abs", ["distances"], ["map"]),
        helper.make_node("ReduceMax", ["map"], ["score"], axes=[1, 2], keepdims=0),
    ]
    parts: dict[str, Any] = {
        "nodes": nodes,
        "name": "toy",
        "inputs": [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", height, width, 3])],
        "outputs": [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", height, width]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
        ],
        "initializer": [helper.make_tensor("grey", TensorProto.FLOAT, [], [128.0])],
    }
    graph = helper.make_graph(**parts | changes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def toy_files(size: tuple[int, int] = SIZE, model: bytes | None = None, **sections: Any) -> dict[str, bytes]:
    """The files of a bundle; ``sections`` replace those of the manifest, or of the calibration by its name."""
    calibration = {
        "scores": SCORES,
        "pixel_shares": [0.5, 0.1, 0.04, 0.009, 0.0],
        "pixel_values": [5.0, 20.0, 40.0, 60.0, 90.0],
    }
    files = {
        "model.onnx": toy_model(size).SerializeToString() if model is None else model,
        "calibration.json": json.dumps(sections.pop("calibration", calibration)).encode(),
        "weights.safetensors": b"\x08" + bytes(40),
        "samples/a.png": b"no image, but nobody looks",
    }
    manifest: dict[str, Any] = {
        "schema_version": 2,
        "decision": {"overkill": 0.05, "review": None, "mask": 0.05, "threshold": None},
        "method": "toy",
        "preprocessing": {"height": size[0], "width": size[1], "white_level": 65535, "via": None},
        "map_range": [10.0, 60.0],
        "facts": {"study": "Gehäuse", "interval": [0.5, 0.75], "latency_ms": None},
    }
    return {"bundle.json": seal(manifest | sections, files), **files}


def seal(manifest: dict[str, Any], files: dict[str, bytes] | None = None) -> bytes:
    """The bytes of a manifest with its checksum, and with the digests of ``files`` where they are given."""
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in (files or {}).items()}
    whole = {"files": listed, **manifest}
    sealed = {key: value for key, value in whole.items() if key not in ("checksum", "decision")}
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return json.dumps(whole | {"checksum": hashlib.sha256(canonical).hexdigest()}, indent=2).encode()


def write_files(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    """Writes a folder, or an archive when ``path`` ends in ``.zip``."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_toy(path: Path, **options: Any) -> Path:
    """Writes a valid bundle; options as for `toy_files`."""
    return write_files(path, toy_files(**options))


def flat_image(score: float, size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    """Grey but for one bright pixel, so that the toy's score is ``score`` (up to 127)."""
    image = np.full((*size, 3), 128, np.uint8)
    image[size[0] // 4, size[1] // 2] = 128 + score
    return image
