"""How long `landscape --help` takes, and that it imports no torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click

from .harness import as_json, find_command, present, quartiles, take_turns

LIMIT = 0.4


def loads_torch(script: str) -> bool:
    """Whether the help imports torch."""
    arguments = [sys.executable, "-X", "importtime", script, "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


@click.command()
@click.option("--repetitions", default=20, show_default=True, type=click.IntRange(1), help="Calls of the command.")
@as_json
def main(repetitions: int, as_json: bool) -> None:
    """Time `landscape --help` on the clock, in turns with an interpreter that does nothing."""
    script = find_command()
    commands = {"landscape --help": [script, "--help"], "python -c pass": [sys.executable, "-c", "pass"]}

    def call(arguments: list[str]) -> Any:
        return lambda number: subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)

    times = take_turns({name: call(arguments) for name, arguments in commands.items()}, repetitions)
    seconds = {name: quartiles(one.wall) for name, one in times.items()}
    median, torch = seconds["landscape --help"]["median"], loads_torch(script)
    result = {
        "benchmark": "startup",
        "repetitions": repetitions,
        "seconds": seconds,
        "limit": LIMIT,
        "imports_torch": torch,
        "within": median < LIMIT and not torch,
    }
    rows = [["command", "median s", "quartiles s"]]
    for name, one in seconds.items():
        rows.append([name, f"{one['median']:.3f}", f"{one['lower_quartile']:.3f} to {one['upper_quartile']:.3f}"])
    rows += [["limit", f"{LIMIT:.3f}", ""], ["imports torch", "yes" if torch else "no", ""]]
    present(result, f"start-up: wall-clock over {repetitions} calls", rows, as_json)


if __name__ == "__main__":
    main()
