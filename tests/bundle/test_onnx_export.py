from __future__ import annotations

import logging
import platform
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from exportable import RULE, SIZE, VARIANTS, fitted, graph_of, pictures, unfitted
from torch import Tensor, nn

from automl_ad.bundle import onnx_export
from automl_ad.bundle.onnx_export import export_graph, run_graph
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import score_maps
from automl_ad.evaluation.metrics import Floats, resize_maps
from automl_ad.methods.patchcore import PatchCore

onnx = pytest.importorskip("onnx")


def answers(name: str) -> tuple[Floats, Floats]:
    """Enlarged maps and scores of the detector in torch."""
    maps = fitted(name).anomaly_maps(ImageSet.from_hwc(list(pictures())))
    return resize_maps(maps, SIZE), score_maps(maps, RULE, SIZE)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_graph_says_what_the_detector_says_whatever_the_batch(name: str) -> None:
    maps, scores = answers(name)
    assert scores.std() > 0
    session = onnx_export.session_of(graph_of(name))
    for count in (1, 3, 8):
        found_maps, found_scores = session.run(["map", "score"], {"images": pictures()[:count]})
        assert found_maps.dtype == found_scores.dtype == np.float32
        np.testing.assert_allclose(found_scores, scores[:count], atol=1e-5 * scores.std(), rtol=1e-6)
        np.testing.assert_allclose(found_maps, maps[:count], atol=2e-3 * maps.std())


def test_run_graph_goes_through_any_number_of_images() -> None:
    many = np.concatenate([pictures(), pictures()[:3]])
    maps, scores = run_graph(graph_of("padim"), many)
    assert maps.shape == (11, *SIZE)
    np.testing.assert_allclose(scores[8:], scores[:3], rtol=1e-5)


@pytest.mark.skipif(platform.machine() == "ARM64", reason="OpenVINO has no wheels for Windows on ARM")
@pytest.mark.parametrize("name", ["patchcore", "padim-network", "anoseg"])
def test_openvino_reads_the_graph(name: str) -> None:
    import openvino

    core = openvino.Core()
    # Processors that know bfloat16 would be used that way.
    compiled = core.compile_model(core.read_model(graph_of(name)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    maps, scores = answers(name)
    for count in (1, 8):
        found = compiled(pictures()[:count])
        np.testing.assert_allclose(found["score"], scores[:count], atol=1e-3 * scores.std())
        np.testing.assert_allclose(found["map"], maps[:count], atol=1e-2 * maps.std(), rtol=1e-4)


def test_equal_detectors_give_equal_bytes_wherever_they_are_exported() -> None:
    again = unfitted("padim-network")
    again.load_state(fitted("padim-network").state)
    with torch.inference_mode(), torch.device("meta"):
        assert export_graph(again, RULE, SIZE) == graph_of("padim-network")


@pytest.mark.parametrize("name", ["patchcore-network", "anoseg"])
def test_a_graph_tells_nothing_of_where_it_was_made(name: str) -> None:
    model = onnx.load_from_string(graph_of(name))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # weights may spell anything
    notes = model.SerializeToString()
    for secret in (str(Path(__file__).parents[2]), str(Path.home()), sys.prefix, "site-packages", ".py", "forward"):
        assert secret.encode() not in notes


def test_a_graph_is_one_plain_file() -> None:
    model = onnx.load_from_string(graph_of("patchcore-network"))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    (given,), (found_map, found_score) = model.graph.input, model.graph.output
    sides = given.type.tensor_type.shape.dim
    assert (given.name, found_map.name, found_score.name) == ("images", "map", "score")
    assert sides[0].dim_param == found_score.type.tensor_type.shape.dim[0].dim_param != ""
    assert [side.dim_value for side in sides[1:]] == [*SIZE, 3]


def test_constants_are_computed_once() -> None:
    """A third of PaDiM's whiteners is zeros in blocks, which are not written."""
    head = fitted("padim-network").head
    assert len(graph_of("padim-network")) < head.whitener.nbytes


def test_nothing_else_changes(capfd: pytest.CaptureFixture[str]) -> None:
    detector = unfitted("patchcore-network")
    detector.load_state(fitted("patchcore-network").state)
    before = {key: value.clone() for key, value in detector.state.items()}
    detector.head.train()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters, disabled, drawn = list(warnings.filters), logging.root.manager.disable, torch.get_rng_state()
        export_graph(detector, RULE, SIZE)
        assert warnings.filters == filters
    assert not caught
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == disabled
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.is_grad_enabled()
    assert detector.head.training
    assert all(torch.equal(value, before[key]) for key, value in detector.state.items())


class Undecided(nn.Module):
    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[0][:, 0] * (1 if float(maps[0].sum()) > 0 else 2)


def test_what_cannot_be_written_is_refused_with_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    detector = unfitted("patchcore-network")
    detector.head = Undecided()
    with pytest.raises(BundleError, match=r"patchcore on backbone test_resnet cannot be written .*data-dependent"):
        export_graph(detector, RULE, SIZE)
    assert capfd.readouterr() == ("", "")


def test_what_does_not_fit_into_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_LIMIT", 1000)
    with pytest.raises(BundleError, match=r"patchcore takes .* at most 2 GiB"):
        export_graph(fitted("patchcore"), RULE, SIZE)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(BundleError, match="needs the package onnxscript"):
        export_graph(fitted("anoseg"), RULE, SIZE)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(BundleError, match="ONNX Runtime cannot read"):
        run_graph(b"no graph", pictures())


def test_images_are_scored_in_strips_where_a_memory_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fitted("patchcore-network")
    assert isinstance(detector, PatchCore)
    whole = detector.anomaly_maps(ImageSet.from_hwc(list(pictures())))
    monkeypatch.setattr("automl_ad.methods.patchcore._HELD", 5 * whole.shape[2] * len(detector.head.memory))
    _, found = run_graph(export_graph(detector, RULE, SIZE), pictures())
    np.testing.assert_allclose(found, score_maps(whole, RULE, SIZE), rtol=1e-5)
