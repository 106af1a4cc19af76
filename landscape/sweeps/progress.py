"""One progress bar for a run: points done, time left, and what the tasks report."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

from landscape.sweeps.task import Job, Report


class Progress:
    """A bar on stderr; with `show=False` only what goes wrong is printed.

    Args:
        total: Number of points.
        done: Number of points that an earlier run did.
        describe: Shown in front.
        show: Whether to draw the bar.
    """

    def __init__(self, total: int, done: int, describe: str, show: bool) -> None:
        calm = 0.1 if sys.stderr.isatty() else 30.0  # a log file wants no line for each tenth of a second
        self._done = done
        self._running: dict[tuple[int, int], float] = {}
        self._ended: set[tuple[int, int]] = set()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=describe or None,
            unit="point",
            disable=not show,
            mininterval=calm,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.10g}/{total} [{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def report(self, message: Report) -> None:
        """Show how far a running task is: `(job, fraction done, postfix)`."""
        job, fraction, postfix = message
        if job.key in self._ended:  # its last report was overtaken by its result
            return
        self._running[job.key] = fraction * job.points
        self._bar.set_postfix(postfix, refresh=False)
        self._show()

    def advance(self, job: Job) -> None:
        """Show that a task has ended."""
        self._running.pop(job.key, None)
        self._ended.add(job.key)
        self._done += job.points
        self._show()

    def _show(self) -> None:
        """Move the bar; between tasks, in parts of a point."""
        self._bar.update(round(self._done + sum(self._running.values()), 2) - self._bar.n)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(text, file=sys.stderr)
