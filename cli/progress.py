"""The progress bar of a training run."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class TrainingBar:
    """Samples seen, samples per second and time left on stderr, with the loss and the last recorded errors.

    Args:
        name: What is trained, shown in front.
        show: Whether to draw the bar.
    """

    def __init__(self, name: str, show: bool) -> None:
        from tqdm import tqdm

        calm = 0.1 if sys.stderr.isatty() else 30.0  # a log file wants no line for each tenth of a second
        self._bar: Any = tqdm(
            desc=name, unit=" samples", unit_scale=True, disable=not show, mininterval=calm, dynamic_ncols=True
        )

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def report(self, done: float, samples: int = 0, **values: float) -> None:
        """Show how far the run is: the fraction done, the samples seen, and values by name."""
        if done > 0:
            if self._bar.total is None and samples / done > samples:
                self._bar.initial = 0
            self._bar.total = round(samples / done)
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
        self._bar.update(samples - self._bar.n)
