"""The command line: parses, calls the library, prints.

Whatever is slow to import is imported inside the commands, so that help and usage errors come at once. Answers go to
stdout, everything else to stderr.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from automl_ad.cli_options import option, takes_search_options
from automl_ad.errors import AutomlAdError, InputError, NoCandidateError, OptionError
from automl_ad.memory import ran_out_of_memory
from automl_ad.study.settings import checked_options, option_flag
from automl_ad.synthesis.names import FAMILY_NAMES

if TYPE_CHECKING:
    from rich.console import Console

    from automl_ad.reporting.tables import Part
    from automl_ad.results import Result

DONE, FAULT, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


_INTERRUPTED = {
    "search": "everything finished so far is kept, and the same command resumes.",
    "demo": "everything that its search finished is kept, and the same command goes on from there.",
    "pick": "`automl-ad trials NAME` shows whether the pick was recorded.",
    "export": "no bundle was written, and one that was there is unchanged; the same command starts anew.",
    "predict": "the images judged so far are shown; the same command starts anew.",
    "evaluate": "nothing was measured and no report was written; the same command starts anew.",
    "assess": "the study is unchanged; the same command starts anew.",
    "synthesize": "no anomalies were written; the same command starts anew.",
    "dashboard": "the dashboard has ended; searches and exports that it started go on.",
}
"""What an interrupt leaves of each command's work; the others only look."""


class Precision(str, Enum):
    """Numbers that an exported graph computes with."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class _GuardedGroup(TyperGroup):
    """Turns whatever ends a command into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        debug = bool(ctx.params.get("debug"))
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
            raise typer.Exit(DONE) from None
        except (Exception, KeyboardInterrupt) as fault:
            # Typer shows its own errors; their class moved between its versions, hence the look at what they can do.
            if isinstance(fault, typer.Exit | typer.Abort) or hasattr(fault, "show"):
                raise
            raise typer.Exit(_explain(fault, debug, ctx.invoked_subcommand)) from None
        return result


def _explain(fault: BaseException, debug: bool, command: str | None) -> int:
    """Says on stderr what ended the command; returns the exit code."""
    if debug and not isinstance(fault, KeyboardInterrupt):
        traceback.print_exception(type(fault), fault, fault.__traceback__)
    if isinstance(fault, KeyboardInterrupt):
        _note(f"Interrupted: {_INTERRUPTED.get(command or '', 'nothing was changed; run the same command again.')}")
        return INTERRUPTED
    if isinstance(fault, AutomlAdError):
        sentence = fault.naming(option_flag(fault.option)) if isinstance(fault, OptionError) else str(fault)
        _note(f"Error: {sentence}")
        return FAULT if isinstance(fault, NoCandidateError) else BAD_INPUT
    if ran_out_of_memory(fault):
        _note("Error: Memory ran out; give fewer or smaller images, or end other programs.")
        return BAD_INPUT
    name, message = type(fault).__name__, (str(fault).splitlines() or ["no message"])[0]
    _note(f"Unexpected fault: {name}: {message} (run `automl-ad --debug COMMAND ...` to see the traceback)")
    return FAULT


def _note(line: str) -> None:
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _discard_output() -> None:
    """Lets Python flush its buffers into nothing at exit, now that the reader (such as ``head``) is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # a stream that is no file
        os.dup2(nowhere, sys.stdout.fileno())


app = typer.Typer(
    cls=_GuardedGroup,
    help="Chooses an image anomaly detector when all you have is good pictures.",
    epilog="Start with: automl-ad search FOLDER_OF_GOOD_IMAGES",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from automl_ad import __version__

        print(f"automl-ad {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


_Images = Annotated[
    Path, typer.Argument(help="Folder of good images, or a data set in any common layout.", metavar="IMAGES")
]
_Dataset = Annotated[
    Path | None,
    typer.Argument(help="Folder of labelled images, in any common layout.", metavar="[DATASET]", show_default=False),
]
_Name = Annotated[str, typer.Argument(help="Name of a study.", metavar="NAME")]
_MovedImages = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Where the study's good images are now, if they were moved; the contents are compared.",
        metavar="DIR",
        show_default="where the search read them",
    ),
]
_Bundle = Annotated[Path, typer.Argument(help="Folder or .zip file that `export` wrote.", metavar="BUNDLE")]
_Workspace = Annotated[Path | None, option("workspace")]
_Storage = Annotated[str | None, option("storage")]
_WeightsDir = Annotated[Path | None, option("weights_dir")]
_Seed = Annotated[int | None, option("seed")]
_Device = Annotated[str | None, option("device")]
_ImageSize = Annotated[int | None, option("image_size")]
_TextureDir = Annotated[Path | None, option("texture_dir")]
_Exclude = Annotated[list[Path] | None, option("exclude")]
_ExcludeGroup = Annotated[list[str] | None, option("exclude_group")]
_Defects = Annotated[Path | None, option("defects")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_JsonDocument = Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")]
_Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]
_Verbose = Annotated[bool, typer.Option("--verbose", help="Show what is logged, too.")]
_Quiet = Annotated[bool, typer.Option("--quiet", help="Show errors alone on stderr: no progress, no warnings.")]
_Trial = Annotated[int, typer.Option("--trial", help="Number of the trial.", metavar="N", min=0)]


@app.command()
@takes_search_options
def search(
    images: _Images,
    *,
    verbose: _Verbose = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
    **options: Any,
) -> None:
    """Find the detector that suits a folder of good images; the same command resumes an interrupted search."""
    if {"study_file", "preset"} <= set(options):
        raise InputError("--study and --preset exclude each other; give one of them.")
    given = checked_options(**options)
    _existing(images, "IMAGES")
    with _library() as api, _progress(verbose, quiet) as listener:
        answer = api.search(images, **given, listener=listener).answer()
    _present(answer, "search_report", as_json)


@app.command()
def trials(
    name: Annotated[
        str | None, typer.Argument(help="Name of a study; without it, lists them.", metavar="[NAME]")
    ] = None,
    workspace: _Workspace = None,
    storage: _Storage = None,
    as_json: _Json = False,
    as_csv: _Csv = False,
) -> None:
    """Show the ranked table of a study, or the studies of the workspace."""
    _only_one({"--json": as_json, "--csv": as_csv})
    from automl_ad.results import TrialsResult

    with _library() as api:
        if name is None:
            answer = api.studies(workspace=workspace, storage=storage)
        else:
            trials_of_study = api.Study.open(name, workspace=workspace, storage=storage).trials()
            answer = TrialsResult(study=name, trials=tuple(trials_of_study))
    if as_csv:
        _print_csv(answer.studies if name is None else answer.trials)
    else:
        _present(answer, "studies_report" if name is None else "trials_report", as_json)


@app.command()
def show(
    name: _Name, trial: _Trial, workspace: _Workspace = None, storage: _Storage = None, as_json: _Json = False
) -> None:
    """Show one trial: settings, scores per family and severity, timings, artifacts."""
    with _library() as api:
        answer = api.Study.open(name, workspace=workspace, storage=storage).show(trial)
    _present(answer, "trial_report", as_json)


@app.command()
def pick(
    name: _Name,
    trial: _Trial,
    note: Annotated[str, typer.Option(help="Why.", metavar="TEXT", show_default=False)] = "",
    workspace: _Workspace = None,
    storage: _Storage = None,
    as_json: _Json = False,
) -> None:
    """Record your own choice of a trial."""
    with _library() as api:
        answer = api.Study.open(name, workspace=workspace, storage=storage).pick(trial, note=note)
    _present(answer, "pick_report", as_json)


@app.command()
def export(
    name: _Name,
    output: Annotated[Path, typer.Option(help="Folder or .zip file to write.", metavar="DIR|FILE.zip")],
    trial: Annotated[str, typer.Option(help="best, picked or a number.", metavar="best|picked|N")] = "best",
    precision: Annotated[
        Precision, typer.Option(help="Numbers that the graph computes with; fp32 is exact.")
    ] = Precision.fp32,
    images: _MovedImages = None,
    workspace: _Workspace = None,
    storage: _Storage = None,
    verbose: _Verbose = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Write one detector as a self-contained bundle."""
    from automl_ad.results import ExportResult

    choice = _trial_choice(trial)
    _existing(images, "--images")
    with _library() as api, _progress(verbose, quiet) as listener:
        study = api.Study.open(name, workspace=workspace, storage=storage, images=images)
        path = study.export(output, trial=choice, listener=listener, precision=precision.value)
        answer = ExportResult(study=name, trial=choice, bundle=str(path), **dict(api.describe(path)))
    _present(answer, "export_report", as_json)


@app.command()
def predict(
    bundle: _Bundle,
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.", metavar="IMAGES")],
    output: Annotated[Path | None, typer.Option(help="Folder for heatmaps and masks.", metavar="DIR")] = None,
    overkill: Annotated[
        float | None,
        typer.Option(
            help="Share of good images that may be rejected, such as 0.01.", metavar="X", show_default="the bundle's"
        ),
    ] = None,
    review: Annotated[
        float | None,
        typer.Option(
            help="Larger share of good images that may be reviewed.", metavar="X", show_default="the bundle's"
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score above which images are rejected, instead of --overkill.", metavar="X")
    ] = None,
    mask: Annotated[
        float | None,
        typer.Option(
            help="Share of a good image's pixels that may be marked.", metavar="X", show_default="the bundle's"
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse images of another kind than the good ones instead of judging them.")
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            help="Where the bundle runs: cpu, cuda, cuda:N, or auto, which takes a GPU if there is one.",
            metavar="DEVICE",
        ),
    ] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(help="Threads to compute with.", metavar="N", min=1, show_default="one per core"),
    ] = None,
    quiet: _Quiet = False,
    as_json: _JsonDocument = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line, as they come.")] = False,
    as_csv: _Csv = False,
) -> None:
    """Judge images: scores, decisions, heatmaps and masks; each result is shown as soon as it is there.

    The memory does not grow with the number of images, except with --json.
    """
    _only_one({"--json": as_json, "--jsonl": as_jsonl, "--csv": as_csv})
    _existing(bundle, "BUNDLE")
    _existing(images, "IMAGES")
    answers = sys.stdout  # while the library is lent, sys.stdout is another
    with _library() as api:
        from automl_ad.reporting import predictions

        options = {"overkill": overkill, "review": review, "threshold": threshold, "mask": mask}
        running: dict[str, Any] = {"strict": strict, "device": device, "threads": threads}
        head, results = api.predict_stream(bundle, images, output, **options, **running)
        view: predictions.PredictionView
        if as_json:
            view = predictions.JsonDocument(answers, head)
        elif as_jsonl:
            view = predictions.JsonLines(answers)
        elif as_csv:
            view = predictions.CsvTable(answers)
        else:
            view = predictions.Rows(_console(file=answers), head)
        terminal = _console(stderr=True)
        line = predictions.StatusLine(terminal, head.images or 0) if terminal.is_terminal and not quiet else None
        tally = predictions.show_predictions(results, view, line)
    if head.left_aside and (as_jsonl or as_csv):
        from automl_ad.data.left_aside import left_aside_sentence

        _note(left_aside_sentence(head.left_aside))
    if tally.broken == tally.images:
        first = f" (the first error: {tally.first_error})" if tally.first_error else ""
        raise InputError(f"none of the {tally.images} files of {images} could be read{first}; give readable images.")


@app.command()
def evaluate(
    bundle: _Bundle,
    dataset: _Dataset = None,
    good: Annotated[Path | None, typer.Option(help="Folder of good images.", metavar="DIR")] = None,
    defects: Annotated[Path | None, typer.Option(help="Folder of defective images.", metavar="DIR")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks of the defective images, named as these.", metavar="DIR")
    ] = None,
    mask_value: Annotated[
        list[int] | None,
        typer.Option(help="Value that marks in masks; can be repeated.", metavar="N", show_default="all but 0"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for a report.", metavar="DIR")] = None,
    as_json: _Json = False,
) -> None:
    """Measure a bundle on labelled images."""
    if (dataset is not None) == (good is not None or defects is not None) or (good is None) != (defects is None):
        raise InputError("evaluate needs labelled images: give either DATASET or both --good DIR and --defects DIR.")
    if masks is not None and defects is None:
        raise InputError("--masks belongs to --defects: give both, or the data set with its masks as DATASET.")
    folders = {"dataset": dataset, "good": good, "defects": defects, "masks": masks}
    for path, named in ((bundle, "BUNDLE"), (dataset, "DATASET"), (good, "--good"), (defects, "--defects")):
        _existing(path, named)
    _existing(masks, "--masks")
    with _library() as api:
        answer = api.evaluate(bundle, **folders, mask_values=mask_value or (), output=output)
    _present(answer, "metrics_report", as_json)


@app.command()
def assess(
    name: _Name,
    dataset: _Dataset = None,
    defects: _Defects = None,
    images: _MovedImages = None,
    workspace: _Workspace = None,
    storage: _Storage = None,
    verbose: _Verbose = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Measure every finished trial of a study on labelled images, or re-rank the trials by a few real defects."""
    if dataset is None and defects is None:
        raise InputError("assess needs real defects: give labelled images as DATASET, a few as --defects DIR, or both.")
    _existing(dataset, "DATASET")
    _existing(defects, "--defects")
    _existing(images, "--images")
    with _library() as api, _progress(verbose, quiet) as listener:
        study = api.Study.open(name, workspace=workspace, storage=storage, images=images)
        answer = study.assess(dataset, defects=defects, listener=listener)
    _present(answer, "assessment_report", as_json)


@app.command()
def synthesize(
    images: _Images,
    output: Annotated[Path, typer.Option(help="Folder to write, new or empty.", metavar="DIR")],
    family: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(FAMILY_NAMES)}.", metavar="FAMILY"),
    ] = "sdas",
    strength: Annotated[
        float,
        typer.Option(help="How visible, up to 1 = easy to see.", metavar="S"),
    ] = 0.5,
    count: Annotated[int, typer.Option(help="Anomalies to draw.", metavar="N")] = 64,
    seed: _Seed = None,
    workspace: _Workspace = None,
    texture_dir: _TextureDir = None,
    image_size: _ImageSize = None,
    device: _Device = None,
    verbose: _Verbose = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Draw synthetic anomalies with masks on good images, without any search."""
    given = checked_options(
        seed=seed, workspace=workspace, texture_dir=texture_dir, image_size=image_size, device=device
    )
    drawn = {"family": family, "strength": strength, "count": count}
    _existing(images, "IMAGES")
    with _library() as api, _progress(verbose, quiet) as listener:
        answer = api.synthesize(images, output, **drawn, **given, listener=listener)
    _present(answer, "synthesis_report", as_json)


@app.command()
def audit(
    images: _Images, exclude: _Exclude = None, exclude_group: _ExcludeGroup = None, as_json: _Json = False
) -> None:
    """Report what is unusual about an image folder."""
    left_out = checked_options(exclude=exclude, exclude_group=exclude_group)
    _existing(images, "IMAGES")
    with _library() as api:
        answer = api.audit(images, **left_out)
    _present(answer, "audit_report", as_json)


@app.command()
def dashboard(
    workspace: _Workspace = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Database URL; else AUTOML_AD_STORAGE, else an SQLite file in the workspace.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to serve on.", metavar="N", min=1, max=65535, show_default="the first free from 8501"),
    ] = None,
    address: Annotated[
        str, typer.Option(help="Address to serve on; others than this machine need a token.", metavar="ADDRESS")
    ] = "127.0.0.1",
    base_path: Annotated[
        str,
        typer.Option(
            help="Path of the URL to serve below, such as /ad, behind a reverse proxy; needs a token.",
            metavar="PATH",
            show_default="the root",
        ),
    ] = "",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Look at studies, compare candidates, pick and export in a browser; Ctrl-C ends it, searches go on."""
    from automl_ad.dashboard_server import Endpoint, is_loopback, serve

    def say(place: Endpoint) -> None:
        if place.token is not None:
            reached = f"a proxy in front of {address}" if is_loopback(address) else address
            _note(
                f"Warning: whoever can reach {reached} and knows the token in this URL sees your pictures and starts "
                "searches; the connection is not encrypted."
            )
        print(place.url, flush=True)

    code = serve(workspace, storage, port=port, address=address, base_path=base_path, browser=browser, announce=say)
    if code:
        _note(f"The dashboard's server ended with exit code {code}; see its output above.")
        raise typer.Exit(FAULT)


@app.command()
def doctor(workspace: _Workspace = None, weights_dir: _WeightsDir = None, as_json: _Json = False) -> None:
    """Show versions, devices, available backbones, writable places, and what would be slow and why."""
    with redirect_stdout(sys.stderr):
        # Not through the library's front door: that imports torch, whose absence is the doctor's to explain.
        from automl_ad.diagnosis import doctor as examine

        answer = examine(workspace=workspace, weights_dir=weights_dir)
    _present(answer, "doctor_report", as_json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder to create.", metavar="DIR")] = Path("automl_ad_demo"),
    verbose: _Verbose = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Draw a small set of good parts and run a short search on it."""
    with _library() as api, _progress(verbose, quiet) as listener:
        answer = api.demo(output, listener=listener)
    _present(answer, "demo_report", as_json)


@contextmanager
def _library() -> Iterator[Any]:
    """Lends the library, and keeps what it or its dependencies print away from stdout."""
    with redirect_stdout(sys.stderr):
        from automl_ad import api

        yield api


@contextmanager
def _progress(verbose: bool, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Shows progress on stderr, with ``--verbose`` what is logged as well, with ``--quiet`` nothing."""
    from automl_ad.reporting.progress_view import log_view, progress_view
    from automl_ad.study.progress import ignore_events

    _only_one({"--verbose": verbose, "--quiet": quiet})
    if quiet:
        yield ignore_events
        return
    console = _console(stderr=True)
    with progress_view(console) as view, log_view(console, verbose):
        yield view


def _present(answer: Result, report: str, as_json: bool) -> None:
    """Prints an answer as JSON, or as the parts that ``report`` of `automl_ad.reporting.tables` makes of it."""
    if as_json:
        print(json.dumps(answer.to_json(), indent=2, allow_nan=False))
        return
    from rich.table import Table

    from automl_ad.reporting import tables

    console = _console()
    parts: Iterable[Part] = getattr(tables, report)(answer)
    for part in parts:
        console.print(part, markup=False, highlight=False, emoji=False, soft_wrap=not isinstance(part, Table))


def _print_csv(records: Iterable[Result]) -> None:
    from automl_ad.bundle.runtime import CsvRows
    from automl_ad.reporting.tables import flat_row

    rows = [flat_row(record.to_json()) for record in records]
    show = CsvRows(sys.stdout, list(dict.fromkeys(column for row in rows for column in row)))
    for row in rows:
        show(row)


def _console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A console that tells us of a broken pipe, and that is wide when nobody looks at its edges."""
    import rich.console

    class _Console(rich.console.Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    console = _Console(stderr=stderr, file=file)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console


def _only_one(given: Mapping[str, bool]) -> None:
    """Refuses options that exclude each other.

    Args:
        given: Whether each was given, by its spelling.
    """
    chosen = [option for option, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise InputError(f"{chosen[0]} and {chosen[1]} exclude each other; give one of them.")


def _existing(path: Path | None, named: str) -> Path | None:
    if path is not None and not path.exists():
        raise InputError(f"{named} {path} does not exist; check the path.")
    return path


def _trial_choice(text: str) -> str | int:
    if text in ("best", "picked"):
        return text
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"--trial {text!r} is no trial; give best, picked or a number that `automl-ad trials` shows.")
    return int(text)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Runs the command line and exits; SIGTERM counts as an interrupt."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Threads that spin while they wait halve torch's speed as soon as anything else runs on a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character must not end a search
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata, which do not help users
    app(prog_name="automl-ad")


if __name__ == "__main__":
    main()
