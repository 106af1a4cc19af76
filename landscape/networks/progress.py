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
        self._name, self._show = name, show
        self._bar: Any = None

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, done: float, samples: int = 0, **values: float) -> None:
        """Show how far the run is: the fraction done, the samples seen, and values by name."""
        if not self._show or done <= 0:
            return
        if self._bar is None:  # only now: a request that is refused is answered by one line and nothing else
            self._bar = self._make(total=round(samples / done), initial=samples)
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
        self._bar.update(samples - self._bar.n)

    def _make(self, total: int, initial: int) -> Any:
        """The bar; what an earlier run did counts as done, not as fast."""
        from tqdm import tqdm

        calm = 0.1 if sys.stderr.isatty() else 30.0  # a log file wants no line for each tenth of a second
        return tqdm(
            desc=self._name,
            total=total,
            initial=initial,
            unit=" samples",
            unit_scale=True,
            mininterval=calm,
            dynamic_ncols=True,
        )
