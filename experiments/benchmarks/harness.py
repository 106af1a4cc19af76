"""What benchmarks share: runs that take turns, so that whatever else the machine does meets all alike, and a table."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np


@dataclass(frozen=True)
class Seconds:
    """Seconds per call of each repetition.

    Args:
        processor: Time that this process' threads computed, shape `(repetitions,)`.
        wall: Time on the clock, which other processes lengthen.
    """

    processor: np.ndarray
    wall: np.ndarray


def take_turns(
    functions: Mapping[str, Callable[[int], Any]], repetitions: int, calls: int = 1, warm_up: int = 1
) -> dict[str, Seconds]:
    """Time functions in turns: `calls` calls of the first, of the second, …, and again.

    Args:
        functions: By name; each is given the number of the call.
        repetitions: Turns of each.
        calls: Calls in one turn.
        warm_up: Turns that don't count.
    """
    names = list(functions)
    times = np.empty((len(names), warm_up + repetitions, 2))
    for turn in range(times.shape[1]):
        for row, function in enumerate(functions.values()):
            start = time.process_time(), time.perf_counter()
            for call in range(turn * calls, (turn + 1) * calls):
                function(call)
            times[row, turn] = time.process_time() - start[0], time.perf_counter() - start[1]
    times = times[:, warm_up:] / calls
    return {name: Seconds(times[row, :, 0], times[row, :, 1]) for row, name in enumerate(names)}


def quartiles(values: np.ndarray) -> dict[str, float]:
    """The median and the quartiles around it."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "lower_quartile": float(low), "upper_quartile": float(high)}


def find_command() -> str:
    """The installed command beside this interpreter, or else the one on the path.

    Raises:
        click.ClickException: If there is none.
    """
    found = shutil.which("landscape", path=str(Path(sys.executable).parent)) or shutil.which("landscape")
    if found is None:
        raise click.ClickException("there is no command `landscape`: install the package first")
    return found


def present(result: Mapping[str, Any], title: str, rows: Sequence[Sequence[str]], as_json: bool) -> None:
    """Print one object for a machine, or a title and a table for a person; the first row names the columns."""
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.rjust(width) if place else text.ljust(width) for place, (text, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    click.echo("\n".join([title, "", *(line.rstrip() for line in lines)]))


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
