"""The two ways in which a command can end badly, and how a wrong name is answered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(ValueError):
    """The request was wrong: one line that says what was wrong, what was expected and what to do.

    The command line prints it and exits with status 2; nothing has been written.
    """


class WorkError(RuntimeError):
    """The request was right but the work failed; the command line prints it and exits with status 1."""


def reason(error: BaseException) -> str:
    """The first line of what an error says; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def unknown(kind: str, name: str, choices: Iterable[str]) -> RequestError:
    """The answer to an unknown name: the nearest valid choice first, then all of them.

    Args:
        kind: What was named, such as "optimizer".
        name: The name that came.
        choices: The valid names.

    Returns:
        The error, for the caller to raise.
    """
    names = list(choices)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return RequestError(f"unknown {kind} '{name}': {hint}(choices: {', '.join(names)})")
