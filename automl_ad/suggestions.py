"""Commands that messages suggest: each can be pasted into a shell as it stands."""

from __future__ import annotations

import shlex
from os import PathLike
from typing import Any

PROGRAM = "automl-ad"


def suggested_command(command: str, *operands: str | PathLike[str], **options: Any) -> str:
    """A command of this program, quoted for a POSIX shell.

    Operands that begin with a dash come last, behind ``--``, since they would be taken for options.

    Args:
        command: Name of the command.
        *operands: What it works on, in this order.
        **options: Values of its options by their names in Python; those that are None are left out.

    Example:
        >>> suggested_command("show", "flanges", trial=3)
        'automl-ad show flanges --trial 3'
        >>> suggested_command("export", "left side", output="left side_bundle", storage=None)
        "automl-ad export 'left side' --output 'left side_bundle'"
        >>> suggested_command("show", "-x", trial=3)
        'automl-ad show --trial 3 -- -x'
    """
    named = [shlex.quote(str(operand)) for operand in operands]
    given = [_option(name, str(value)) for name, value in options.items() if value is not None]
    if any(str(operand).startswith("-") for operand in operands):
        return " ".join([PROGRAM, command, *given, "--", *named])
    return " ".join([PROGRAM, command, *named, *given])


def _option(name: str, value: str) -> str:
    flag = f"--{name.replace('_', '-')}"
    # After a space, a value that begins with a dash looks like an option.
    return f"{flag}={shlex.quote(value)}" if value.startswith("-") else f"{flag} {shlex.quote(value)}"
