"""Errors caused by the user's input or environment: one sentence each, naming the file or option and a remedy."""

from __future__ import annotations


class AutomlAdError(Exception):
    """Base class of errors that the user can fix; the command line prints the message and exits with code 2."""


class InputError(AutomlAdError):
    """An image, folder, option or setting cannot be used as given."""


class OptionError(InputError):
    """An option of a search cannot be used as given.

    The command line and the dashboard name the option as they spell it; elsewhere it has its name in Python.

    Attributes:
        option: Name of the option in Python, such as ``max_size_mb``.
        problem: What is wrong and what to do: the rest of the sentence.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(option, problem)
        self.option, self.problem = option, problem

    def __str__(self) -> str:
        return self.naming(self.option)

    def naming(self, spelling: str) -> str:
        """The sentence with the option's name spelled so."""
        return f"{spelling} {self.problem}"


class NotEnoughMemoryError(AutomlAdError):
    """The work needs more memory than there is."""


class WeightsError(AutomlAdError):
    """Requested backbone weights are not available, or lack the requested levels."""


class StoreError(AutomlAdError):
    """A workspace, database or artifact cannot be read or written."""


class StudyError(AutomlAdError):
    """A study does not exist, has other settings, or has no usable candidate."""


class NoCandidateError(StudyError):
    """A search ended without one usable candidate; the command line exits with code 1."""


class BundleError(AutomlAdError):
    """A bundle is incomplete, altered or has another schema version."""


def describe_error_to_user(error: BaseException) -> str:
    """One sentence about an error, for a user who has not seen its traceback."""
    if isinstance(error, AutomlAdError):
        return str(error)
    message = (str(error).splitlines() or [""])[0]
    return f"Unexpected error: {type(error).__name__}{': ' if message else ''}{message}"
