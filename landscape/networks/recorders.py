"""What looks at a training run along its way."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from torch import nn

from landscape.networks.loop import History, Row, Stateful


class Recorder(Protocol):
    """Something that records a run at steps of its own."""

    @property
    def steps(self) -> Collection[int]:
        """Numbers of updates after which it looks, 0 for before the first."""

    def record(self, step: int, model: nn.Module) -> Row:
        """What is recorded after so many updates; the model is only read."""


class Observer(Recorder, Stateful, Protocol):
    """A recorder in the place of the plain history; its state goes on with a resumed run."""

    def enough(self, history: History) -> bool:
        """Whether the run may end here."""
