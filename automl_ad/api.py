"""What ``import automl_ad`` offers: the whole product as functions.

Example:
    >>> import automl_ad
    >>> study = automl_ad.search("good_images", time_budget="10m")  # doctest: +SKIP
    >>> study.export("bundle")  # doctest: +SKIP
    >>> automl_ad.load_bundle("bundle").predict("new_images")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from automl_ad.backbones.names import EMBEDDED, INSTALLED_NETWORK
from automl_ad.bundle.evaluating import evaluate as _evaluate
from automl_ad.bundle.loading import Bundle, load_bundle
from automl_ad.bundle.runtime import Images
from automl_ad.data.audit import audit as _audit
from automl_ad.data.demo_parts import draw_demo_set
from automl_ad.data.folder import excluded_names
from automl_ad.data.labelled_sets import labelled_images, read_labelled, read_labelled_folders
from automl_ad.errors import InputError
from automl_ad.methods.names import ENSEMBLE
from automl_ad.results import (
    AuditResult,
    BundleResult,
    DemoResult,
    EvaluationResult,
    PredictedImage,
    PredictionResult,
    StudiesResult,
    StudySummary,
    SynthesisResult,
    TrialCounts,
)
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url, open_engine
from automl_ad.store.repository import Repository
from automl_ad.store.stored_text import check_stored_text
from automl_ad.study.progress import Event, Listener, ignore_events
from automl_ad.study.settings import Preset, requested_settings
from automl_ad.study.study import Study
from automl_ad.study.synthesize import SynthesisRequest
from automl_ad.study.synthesize import synthesize as _synthesize
from automl_ad.workspace import workspace_folder

__all__ = [
    "Study",
    "audit",
    "demo",
    "describe",
    "evaluate",
    "load_bundle",
    "predict",
    "predict_stream",
    "search",
    "studies",
    "synthesize",
]


def search(
    images: str | Path,
    *,
    name: str | None = None,
    workspace: str | Path | None = None,
    storage: str | None = None,
    preset: Preset = "quick",
    study_file: str | Path | None = None,
    trials: int | None = None,
    time_budget: float | str | None = None,
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    weights_dir: str | Path | None = None,
    image_size: int | None = None,
    device: str = "auto",
    workers: int = 1,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    texture_dir: str | Path | None = None,
    exclude: Sequence[str | Path] = (),
    exclude_group: Sequence[str] = (),
    ensemble: bool | None = None,
    seed: int = 0,
    defects: str | Path | None = None,
    listener: Listener | None = None,
) -> Study:
    """Finds the anomaly detector that suits a folder of good images best.

    Running it again with the same name goes on where it stopped. Options that are None have the preset's values.

    Args:
        images: Folder of good images, searched recursively, or a data set in a common layout.
        name: Name of the study. The folder's by default.
        workspace: Folder of studies and caches. ``AUTOML_AD_WORKSPACE`` or ``./automl_ad_workspace`` by default.
        storage: Database URL. An SQLite file in the workspace by default.
        preset: Settings to start from; other options take precedence. One of ``quick``, ``balanced``, ``thorough`` and
            ``faithful``.
        study_file: Study file: YAML file of settings instead of a preset.
        trials: Maximum number of trials.
        time_budget: Time for the whole search: seconds, or text such as 90s, 10m or 1.5h.
        methods: Methods to search: padim, patchcore, dfr, realnet, destseg, anoseg.
        backbones: Backbones to search: timm names such as resnet18, or embedded, which needs no weights. Those that are
            named here must have weights.
        weights_dir: Folder of backbone weights, files <timm name>.safetensors.
        image_size: Working size: side, in pixels, of the square that has its area.
        device: Device: cpu, cuda:N, or auto, which takes a GPU if there is one.
        workers: Processes; this release supports 1.
        max_latency_ms: Candidates that take more milliseconds per image on this device cannot win.
        max_size_mb: Candidates of more megabytes cannot win.
        texture_dir: Folder of texture images for the family texture of synthetic anomalies.
        exclude: Images to leave out, by their paths, also relative to the folder of images.
        exclude_group: Groups of images to leave out, by the names that `audit` gives them.
        ensemble: Whether ensembles of the baseline and the best other candidates compete.
        seed: Seed of splits, synthesis, sampler and initialisation.
        defects: Folder of 1 to 20 images of real defects, which the search never reads; they re-rank its finished
            trials, in an answer of its own. See `Study.rerank`.
        listener: Called with progress.

    Returns:
        The finished study.

    Raises:
        AutomlAdError: The input cannot be used; the message says what to do.
        KeyboardInterrupt: Interrupted; everything finished is kept.
    """
    folder = Path(images)
    settings = requested_settings(
        folder,
        name=name,
        workspace=workspace,
        storage=storage,
        preset=preset,
        study_file=study_file,
        trials=trials,
        time_budget=time_budget,
        methods=methods,
        backbones=backbones,
        weights_dir=weights_dir,
        image_size=image_size,
        device=device,
        workers=workers,
        max_latency_ms=max_latency_ms,
        max_size_mb=max_size_mb,
        texture_dir=texture_dir,
        exclude=exclude,
        exclude_group=exclude_group,
        ensemble=ensemble,
        seed=seed,
        defects=defects,
    )
    target = StudyFolder(workspace_folder(workspace), name or folder.absolute().name)
    return Study.run(
        settings, target, storage, listener or ignore_events, Path(defects).absolute() if defects else None
    )


def studies(workspace: str | Path | None = None, storage: str | None = None) -> StudiesResult:
    """The studies of a workspace, in the order in which they were begun."""
    url = storage or default_url(workspace_folder(workspace))
    repository = Repository(open_engine(url, must_exist=True))
    found = []
    for record in repository.list_studies():
        counted = repository.counts(record.name, without=ENSEMBLE)
        counts = {state: counted.get(state, 0) for state in ("complete", "pruned", "failed")}
        summary = StudySummary(
            study=record.name,
            created_at=record.created_at.isoformat(),
            images=record.images,
            state="finished" if record.answer else "unfinished",
            trials=TrialCounts(**counts),
        )
        found.append(summary)
    return StudiesResult(studies=tuple(found))


def synthesize(
    images: str | Path,
    output: str | Path,
    *,
    family: str = "sdas",
    strength: float = 0.5,
    count: int = 64,
    seed: int = 0,
    workspace: str | Path | None = None,
    texture_dir: str | Path | None = None,
    image_size: int | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> SynthesisResult:
    """Draws synthetic anomalies on good images and writes them with their masks, without any search.

    ``sdas`` learns from the images first, which needs 12 or more to learn from; the other families work with one image.

    Args:
        images: Folder of good images, searched recursively, or a data set in a common layout.
        output: Folder that is new or empty, outside of ``images``. It gets ``images/``, ``masks/``,
            ``contact_sheet.png`` and, once all of these are complete, ``anomalies.json``.
        family: ``texture``, ``cutpaste``, ``poisson``, ``photometric``, ``scratch``, ``speck``, ``missing``, ``warp``
            or ``sdas``.
        strength: Above 0 and at most 1: how visible, 1 = easy to see.
        count: Anomalies; no image serves twice before all served once.
        seed: Equal seeds give equal files.
        workspace: Folder for studies and caches; ``AUTOML_AD_WORKSPACE`` or ``./automl_ad_workspace`` by default.
        texture_dir: Texture images for the family ``texture``.
        image_size: Side, in pixels, of the square that has the area of the working size; that of a search by default.
        device: ``auto``, ``cpu`` or ``cuda:N``, for ``sdas``.
        listener: Called with progress.

    Raises:
        AutomlAdError: The input cannot be used; the message says what to do.
    """
    request = SynthesisRequest(family, strength, count)
    settings = requested_settings(
        Path(images), image_size=image_size, device=device, texture_dir=texture_dir, seed=seed
    )
    return _synthesize(settings, request, Path(output), workspace_folder(workspace), listener or ignore_events)


def audit(images: str | Path, *, exclude: Sequence[str | Path] = (), exclude_group: Sequence[str] = ()) -> AuditResult:
    """What is unusual about an image folder: unreadable files, duplicates, suspects, groups, sizes.

    Args:
        images: Folder of good images, searched recursively, or a data set in a common layout.
        exclude: Images to leave out, by their paths, also relative to ``images``.
        exclude_group: Groups to leave out, by the names that the audit of the other images gives them.

    Raises:
        AutomlAdError: The input cannot be used; the message says what to do.
    """
    folder = Path(images)
    return _audit(folder, excluded_names(folder, exclude), exclude_group)


def evaluate(
    bundle: str | Path | Bundle,
    dataset: str | Path | None = None,
    *,
    good: str | Path | None = None,
    defects: str | Path | None = None,
    masks: str | Path | None = None,
    mask_values: Sequence[int] = (),
    output: str | Path | None = None,
) -> EvaluationResult:
    """Real metrics of a bundle on labelled images.

    Args:
        bundle: Path of a bundle, or one already loaded.
        dataset: Labelled images in any of the layouts of `automl_ad.data.layouts`; or else both of the following.
        good: Folder of good images.
        defects: Folder of defective images; its sub-folders name the types. Masks may lie beside the images.
        masks: Folder of masks of the defective images, named as these.
        mask_values: The values that mark in masks; every value but 0 when empty.
        output: Folder for a report to look at, ``evaluation.html``, and its figures, ``evaluation.json``.

    Returns:
        The metrics with their intervals.

    Raises:
        AutomlAdError: The input cannot be used; the message says what to do.
    """
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle))
    folder = None if output is None else Path(output)
    if dataset is not None:
        return _evaluate(loaded, read_labelled(Path(dataset), mask_values), folder)
    if good is None or defects is None:
        raise InputError("Labelled images are missing: give DATASET, or both --good and --defects.")
    there = None if masks is None else Path(masks)
    return _evaluate(loaded, read_labelled_folders(Path(good), Path(defects), there, mask_values), folder)


def predict(
    bundle: str | Path | Bundle,
    images: Images,
    output: str | Path | None = None,
    *,
    overkill: float | None = None,
    review: float | None = None,
    threshold: float | None = None,
    mask: float | None = None,
    strict: bool = False,
    device: str = "cpu",
    threads: int | None = None,
) -> PredictionResult:
    """Scores images and decides which are anomalous.

    The same as `Bundle.predict`, which returns plain values. For many images `predict_stream` keeps nothing in memory.

    Args:
        bundle: Path of a bundle, or one already loaded.
        images: A file, a folder (searched recursively), a list of files or arrays, or one array: grey, RGB or RGBA,
            uint8, uint16 or bool; see `Bundle.predict`.
        output: Folder for one heatmap and one mask an image; None for neither.
        overkill: Share of good parts that may be rejected (false positive rate), 0 to 1; the bundle's when None.
        review: Share of good parts that may be reviewed or rejected; the bundle's when None.
        threshold: Raw score above which parts are rejected, in place of ``overkill``.
        mask: Share of a good part's pixels that may be marked; the bundle's when None.
        strict: Whether images unlike the good ones that the bundle learned from are refused instead of judged.
        device: Where the bundle runs, if it is given as a path: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which takes
            a GPU if there is one.
        threads: Threads that it computes with, if it is given as a path; one per core when None.

    Raises:
        AutomlAdError: The input cannot be used; the message says what to do.
    """
    head, results = predict_stream(
        bundle,
        images,
        output,
        overkill=overkill,
        review=review,
        threshold=threshold,
        mask=mask,
        strict=strict,
        device=device,
        threads=threads,
    )
    return head.model_copy(update={"results": tuple(results)})


def predict_stream(
    bundle: str | Path | Bundle,
    images: Images,
    output: str | Path | None = None,
    *,
    overkill: float | None = None,
    review: float | None = None,
    threshold: float | None = None,
    mask: float | None = None,
    strict: bool = False,
    device: str = "cpu",
    threads: int | None = None,
) -> tuple[PredictionResult, Iterator[PredictedImage]]:
    """Scores images one after the other, without keeping the results.

    Arguments and errors as for `predict`; errors are raised before the first image is read.

    Returns:
        The answer of `predict` without its results, and an iterator of the results in the order of the images.

    Example:
        >>> head, results = predict_stream("bundle", "new_images")  # doctest: +SKIP
        >>> rejected = [image.path for image in results if image.anomalous]  # doctest: +SKIP
    """
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle), device, threads)
    shares = {"overkill": overkill, "review": review, "threshold": threshold, "mask": mask}
    head, found = loaded.stream(images, output, **shares, strict=strict)
    return PredictionResult.model_validate(head), map(PredictedImage.model_validate, found)


def describe(bundle: str | Path | Bundle) -> BundleResult:
    """What a bundle is and guarantees."""
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle))
    manifest, threshold = loaded.manifest, loaded.threshold()
    return BundleResult(
        method=manifest["method"],
        backbone=manifest["backbone"]["name"],
        precision=manifest["precision"],
        threshold=threshold.value,
        overkill=threshold.overkill,
        promise=threshold.message,
        parity=manifest["parity"],
        speed=manifest["speed"],
        size_mb=manifest["speed"]["size_mb"],
    )


def demo(output: str | Path = "automl_ad_demo", listener: Listener | None = None) -> DemoResult:
    """Draws a small set of parts, searches it on the network of every installation, exports the winner and tries it.

    Returns:
        The answer of the search, with ``dataset``, ``bundle``, ``prediction`` and ``evaluation`` added.

    Raises:
        InputError: The path of ``output`` is not UTF-8.
    """
    folder = Path(output)
    check_stored_text(folder.absolute(), "--output")
    tell = listener or ignore_events
    dataset = folder / "parts"
    if not dataset.is_dir():
        tell(Event("audit", "Drawing good and defective parts"))
        draw_demo_set(dataset)
    study = search(
        dataset,
        name="demo",
        workspace=folder / "workspace",
        backbones=[INSTALLED_NETWORK, EMBEDDED],
        trials=12,
        time_budget=120,
        listener=tell,
    )
    bundle = study.export(folder / "bundle", listener=tell)
    picture = next(image.path for image in labelled_images(dataset) if image.anomalous)
    return DemoResult(
        **dict(study.answer()),
        dataset=str(dataset),
        bundle=str(bundle),
        prediction=predict(bundle, picture, output=folder / "heatmaps"),
        evaluation=evaluate(bundle, dataset),
    )
