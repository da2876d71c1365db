"""Writes a bundle atomically: complete, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from automl_ad.backbones.base import BACKBONE_JOINT
from automl_ad.bundle import runtime
from automl_ad.bundle.calibration import Calibration
from automl_ad.bundle.manifest import BackboneFacts, Decision, Manifest, Speed, StudyFacts, Versions
from automl_ad.bundle.model_card import model_card
from automl_ad.bundle.parity import Parity
from automl_ad.bundle.precision import Precision
from automl_ad.data.image_facts import ImageFacts
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.errors import BundleError, InputError
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.methods.base import Detector, FeatureSpec

WEIGHTS = "weights.safetensors"
CARD, REQUIREMENTS, PROGRAM = "model_card.md", "requirements.txt", "predict.py"
SAMPLES = "samples/"
DETECTOR_PREFIX = "detector."
RUNTIME_PACKAGES = {"onnxruntime": ">=1.18,<2", "numpy": ">=1.26,<3", "pillow": ">=10.3,<13"}
"""Packages that ``predict.py`` needs."""

_FILE_ENDINGS = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".gz", ".bz2", ".xz", ".zst"),
    *(".7z", ".rar", ".whl", ".onnx", ".ort", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npz", ".npy"),
    *(".safetensors", ".engine", ".plan", ".trt", ".tflite", ".pb", ".h5", ".keras", ".mlmodel", ".mlpackage"),
    *(".torchscript", ".xml", ".bin", ".json", ".yaml", ".yml", ".py"),
)
"""Names with these endings mean a file: of another kind of archive, model or setting."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class BundleContents:
    """Content of a bundle.

    Attributes:
        detector: The detector, fitted on all good images.
        graph: The same as an ONNX model, from images to maps and scores.
        precision: Numerical precision of the graph.
        preprocessing: From an image file to the graph's input.
        aggregation: Score aggregation, part of the graph.
        calibration: Out-of-fold scores and pixel values of good images.
        decision: What is called anomalous.
        map_range: Map values of normal pixels, (usual, highest), for example their quantiles 0.5 and 0.999.
        facts: Provenance of the detector.
        parity: Differences between graph and detector.
        speed: Speed of the graph.
        samples: Heatmaps as PNG files, by file name.
        notes: Further sentences for the model card.
        images: What the files of the good images have in common; None if nobody looked.
    """

    detector: Detector
    graph: bytes
    precision: Precision
    preprocessing: Preprocessing
    aggregation: ScoreAggregation
    calibration: Calibration
    decision: Decision
    map_range: tuple[float, float]
    facts: StudyFacts
    parity: Parity
    speed: Speed
    samples: Mapping[str, bytes]
    notes: tuple[str, ...] = ()
    images: ImageFacts | None = None


def write_bundle(output: Path, contents: BundleContents) -> Path:
    """Writes a bundle to a folder, or to one file if ``output`` ends in ``.zip``.

    It is written to a temporary folder beside ``output`` and moved there when it is complete; only then is an existing
    bundle replaced. Equal contents give equal bytes.

    Returns:
        ``output``.

    Raises:
        InputError: ``output`` exists and is not a bundle, or cannot be written.
    """
    check_output(output)
    place = Path(os.path.realpath(output))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(place.parent) as scratch:
            folder = scratch / "bundle"
            folder.mkdir()
            _write_files(folder, contents)
            _move(_zipped(folder) if _is_zip(output) else folder, place, scratch / "replaced")
    except (OSError, SafetensorError) as error:
        raise _unwritable(output, error) from error
    return output


def check_output(output: Path) -> None:
    """Refuses to replace anything but an empty folder or a bundle of the same kind; call it before a long fit.

    Raises:
        InputError: ``output`` is something else.
    """
    place = Path(os.path.realpath(output))
    try:
        if not place.exists():
            _refuse_file_name(output)
            return
        if _is_zip(output) == place.is_dir():
            found = "a folder" if place.is_dir() else "a file"
            raise InputError(f"--output {output} is {found}; give a new name (a name in .zip for one file).")
        if place.is_dir() and not any(place.iterdir()):
            return
    except OSError as error:
        raise _unwritable(output, error) from error
    obstacle = _obstacle(place)
    if obstacle:
        raise InputError(f"--output {output} exists and {obstacle}; choose a new name or remove it first.")


def _refuse_file_name(output: Path) -> None:
    """Refuses a name that clearly means a file of another kind, which would become a folder of that name."""
    ending = next((ending for ending in _FILE_ENDINGS if output.name.lower().endswith(ending)), None)
    if ending is None:
        return
    name = output.name[: -len(ending)] or "bundle"
    inside = ", which holds the graph as model.onnx" if ending == ".onnx" else ""
    raise InputError(
        f"--output {output} names a {ending} file, but a bundle is a folder or a .zip file: give "
        f"{output.with_name(name)} for a folder{inside}, or {output.with_name(name + '.zip')} for one file."
    )


def _is_zip(output: Path) -> bool:
    return output.suffix.lower() == ".zip"


def _unwritable(output: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"--output {output} cannot be written ({reason}); choose a writable place with enough room.")


def _obstacle(place: Path) -> str:
    """Why ``place`` must not be replaced; empty if it is a bundle without other files."""
    try:
        listed = runtime.read_manifest(place)["files"].keys()
    except BundleError:
        return "is not a bundle that this version reads"
    others = _files_in(place) - {runtime.MANIFEST} - listed
    return f"holds {min(others)} beside a bundle" if others else ""


def _files_in(place: Path) -> set[str]:
    if place.is_dir():
        return set(_names(place))
    with zipfile.ZipFile(place) as archive:
        return set(archive.namelist())


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    # Not by tempfile: its folders are readable by their owner only, and so would the bundle be.
    folder = parent / f".bundle-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, contents: BundleContents) -> None:
    # As bytes instead of by safetensors.torch.save_file, whose files are readable by their owner only.
    for name, content in _static_files(contents).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    # The card is written from a manifest without digests, since the final manifest holds the digest of the card.
    card = model_card(_manifest(contents, {}), contents.calibration, contents.notes)
    (folder / CARD).write_bytes(card.encode())
    (folder / runtime.MANIFEST).write_bytes(_manifest(contents, _digests(folder)).encode())


def _static_files(contents: BundleContents) -> dict[str, bytes]:
    program = Path(runtime.__file__).read_bytes()
    requirements = "".join(f"{name}{versions}\n" for name, versions in RUNTIME_PACKAGES.items())
    return {
        runtime.MODEL: contents.graph,
        WEIGHTS: save(_tensors(contents.detector)),
        runtime.CALIBRATION: contents.calibration.encode(),
        PROGRAM: program,
        REQUIREMENTS: requirements.encode(),
        **{SAMPLES + name: image for name, image in contents.samples.items()},
    }


def _digests(folder: Path) -> dict[str, str]:
    return {name: _digest(folder / name) for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    """Relative POSIX paths of all files below ``folder``, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _tensors(detector: Detector) -> dict[str, Tensor]:
    """All tensors as contiguous CPU copies: safetensors accepts no shared memory and no other memory formats."""
    own = {DETECTOR_PREFIX + name: tensor for name, tensor in detector.state.items()}
    feature_specs = detector.feature_specs
    frozen = {
        prefix + name: tensor
        for prefix, spec in zip(backbone_prefixes(len(feature_specs)), feature_specs, strict=True)
        for name, tensor in spec.backbone.tensors(spec.levels).items()
    }
    tensors = own | frozen
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def backbone_prefixes(count: int) -> list[str]:
    """Prefixes of the tensor names of each of ``count`` backbones."""
    return ["backbone."] if count == 1 else [f"backbone{place}." for place in range(count)]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _manifest(contents: BundleContents, digests: dict[str, str]) -> Manifest:
    detector = contents.detector
    packages = ("automl-ad", "torch", "timm", "onnx", "onnxruntime")
    return Manifest(
        decision=contents.decision,
        method=detector.name,
        settings=detector.settings.model_dump(mode="json"),
        backbone=_backbone_facts([_facts(spec) for spec in detector.feature_specs]),
        preprocessing=contents.preprocessing,
        images=contents.images,
        rule=contents.aggregation.name,
        precision=contents.precision,
        map_range=contents.map_range,
        facts=contents.facts,
        parity=contents.parity,
        speed=contents.speed,
        versions=Versions(**{name.replace("-", "_"): version(name) for name in packages}),
        files=digests,
    )


def _facts(spec: FeatureSpec) -> BackboneFacts:
    backbone = spec.backbone
    return BackboneFacts(
        name=backbone.name,
        levels=spec.levels,
        weights_origin=_origin(backbone.origin),
        weights_tag=backbone.weights_tag,
        licence=backbone.licence,
    )


def _backbone_facts(facts: Sequence[BackboneFacts]) -> BackboneFacts:
    """The facts of one backbone, or those of several joined, with the facts of each."""
    if len(facts) == 1:
        return facts[0]
    return BackboneFacts(
        name=BACKBONE_JOINT.join(one.name for one in facts),
        levels=(),
        weights_origin="; ".join(dict.fromkeys(one.weights_origin for one in facts)),
        weights_tag="&".join(one.weights_tag for one in facts),
        licence="; ".join(dict.fromkeys(one.licence for one in facts)),
        each=tuple(facts),
    )


def _origin(origin: str) -> str:
    """The origin without local folders, which have no place in a bundle that is passed on."""
    return Path(origin).name if Path(origin).is_absolute() else origin


def _zipped(folder: Path) -> Path:
    """The files of ``folder`` as a zip file beside it, uncompressed (weights do not compress) and with a fixed date."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in _names(folder):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr = 0o644 << 16
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return path


def _move(made: Path, place: Path, aside: Path) -> None:
    """Moves ``made`` to ``place``; an existing folder is moved ``aside``, and back if that fails."""
    if not place.is_dir():
        os.replace(made, place)
        return
    try:
        os.replace(place, aside)
        os.replace(made, place)
    except BaseException:
        if aside.exists() and not place.exists():
            os.replace(aside, place)
        raise
