"""`landscape optimizers`: which methods there are, and their hyperparameters."""

from __future__ import annotations

from typing import Any

import click

from . import options


@click.command()
@options.as_json
def optimizers(as_json: bool) -> None:
    """List the optimizers with their hyperparameters and defaults.

    Each is taken by --optimizer of `landscape train` and `landscape connect`, its hyperparameters by --set NAME=VALUE.
    What a method is built around is a hyperparameter as well, such as base=adamw, and its own ones follow as
    base.NAME=VALUE.
    """
    from landscape.optimizers.registry import OPTIMIZERS
    from landscape.settings import accepts, defaults

    result: dict[str, Any] = {}
    lines: list[str] = []
    width = max(map(len, OPTIMIZERS))
    for name, entry in OPTIMIZERS.items():
        values, words = defaults(entry.build), accepts(entry.build)
        result[name] = {
            "summary": entry.summary,
            "full_batch": entry.full_batch,
            "closure": entry.closure,
            "hyperparameters": {key: {"default": value, "accepts": words[key]} for key, value in values.items()},
        }
        shown = [f"{key}={_text(value)}" for key, value in values.items()]
        lines += [f"{name.ljust(width)}  {entry.summary}", *_folded(shown, " " * (width + 4))]
    options.echo({"optimizers": result}, lines, as_json)


def _text(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return ",".join(map(_text, value))
    return "none" if value is None else str(value)


def _folded(words: list[str], indent: str, width: int = 110) -> list[str]:
    """Words in lines of a width, indented."""
    lines = [indent.rstrip(" ")]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > width or not lines[-1]:
            lines.append(indent + word)
        else:
            lines[-1] += "  " + word
    return lines[1:]
