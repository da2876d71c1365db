"""The options of the command line that come from the settings model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from automl_ad.study.settings import SEARCH_OPTIONS


def option(name: str, *, grouped: bool = False) -> Any:
    """One option of a search for a command's signature: spelling, help text, range and default.

    Args:
        name: Name in Python.
        grouped: Whether the help shows it in its group.
    """
    found = SEARCH_OPTIONS[name]
    switch = f"{found.flag}/--no-{found.flag.removeprefix('--')}"
    return typer.Option(
        switch if found.kind is bool else found.flag,
        help=found.help.removesuffix(".") + (f" ({found.bounds})." if found.bounds else "."),
        metavar=found.shown.metavar,
        show_default=found.when_absent or False,
        rich_help_panel=found.shown.panel if grouped else None,
    )


def takes_search_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command every option of `SEARCH_OPTIONS`; it gets those that are given as keyword arguments.

    An earlier name of an option is a hidden option that does the same.

    Args:
        command: Takes ``**options``, beside parameters of its own.
    """
    own = inspect.signature(command).parameters
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name])
        for name, parameter in own.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    after_images = 1
    parameters[after_images:after_images] = [*_parameters()]

    @wraps(command)
    def run(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name in own or value is not None})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters() -> list[inspect.Parameter]:
    annotations = {}
    for name, found in SEARCH_OPTIONS.items():
        annotations[name] = Annotated[found.kind | None, option(name, grouped=True)]
        if found.former is not None:
            former = typer.Option(f"--{found.former}/--no-{found.former}", hidden=True)
            annotations[found.former] = Annotated[found.kind | None, former]
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, kind, default=None, annotation=hint) for name, hint in annotations.items()]
