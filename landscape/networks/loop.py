"""The one loop that every training uses: networks, curves, grokking.

It sets the learning rate, takes the steps, calls recorders, reports progress, and keeps a file from which a killed
run goes on to the same bits. All randomness of a step must be a function of the step's number (see `sampling`).
"""

from __future__ import annotations

import glob
import math
import os
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.optimizers.base import NonFiniteGradientError
from landscape.optimizers.schedules import Schedule, constant

Row = dict[str, Any]
"""Numbers by name, or what lists and dictionaries hold of them: a run's state has nothing else."""
Report = Callable[..., None]
CHECK_EVERY = 20
"""Steps between looks at the loss: a fixed number, so that a diverged run always ends at the same step."""


class Stateful(Protocol):
    """Anything whose state can be saved and restored."""

    def state_dict(self) -> Any:
        """Tensors and numbers."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore them in place."""


@dataclass
class History:
    """What was recorded along a run.

    Args:
        rows: One dictionary for each record, each with `step` (updates made so far) and `seconds`.
        diverged_at: The step after which the training loss was no longer finite; None if that never happened.
    """

    rows: list[Row] = field(default_factory=list)
    diverged_at: int | None = None


@dataclass(frozen=True)
class Resume:
    """Where a run keeps its state.

    Args:
        path: The file; written in one step, removed by whoever finishes the work.
        signature: Hash of everything that decides the run; a file with another one is refused.
        every_seconds: Time between saves.
    """

    path: Path
    signature: str
    every_seconds: float = 20.0

    def claim(self, overwrite: bool) -> None:
        """Make sure that what is kept there belongs to this run.

        Args:
            overwrite: Discard another run's state.

        Raises:
            RequestError: If the file holds another run's state that may not be discarded.
        """
        for stale in self.path.parent.glob(glob.escape(self.path.name) + ".*.new"):  # of a run killed while saving
            stale.unlink()
        if not self.path.exists() or self._read().get("signature") == self.signature:
            return
        if not overwrite:
            raise RequestError(
                f"{self.path} holds an unfinished run with other settings: repeat its command to finish it, "
                "or use --overwrite to begin anew"
            )
        self.path.unlink()

    def _read(self) -> dict[str, Any]:
        """What is kept; nothing where the file is damaged or another's."""
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a damaged file can make its reader stumble over anything
            return {}
        return content if isinstance(content, dict) else {}

    def save(self, parts: Mapping[str, Stateful], done: int, history: History, seconds: float) -> None:
        """Write the state after `done` steps aside and put it in place in one step."""
        content = {
            "signature": self.signature,
            "step": done,
            "seconds": seconds,
            "rows": history.rows,
            "state": {name: part.state_dict() for name, part in parts.items()},
        }
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        torch.save(content, partial)
        partial.replace(self.path)

    def restore(self, parts: Mapping[str, Stateful]) -> tuple[int, History, float]:
        """Restore the parts in place; returns the steps done, the history, and the seconds spent.

        Raises:
            RequestError: If the file holds another run's state.
        """
        self.claim(overwrite=False)
        content = self._read()
        try:
            for name, part in parts.items():
                part.load_state_dict(content["state"][name])
        except RequestError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as failure:
            raise RequestError(
                f"{self.path} holds the state of another network: delete it to begin anew ({failure})"
            ) from failure
        return content["step"], History(content["rows"]), content["seconds"]


def fit(
    step: Callable[[int], Tensor],
    num_steps: int,
    optimizer: Optimizer,
    state: Mapping[str, Stateful],
    *,
    schedule: Schedule = constant,
    recorder: Callable[[int], Row] | None = None,
    record_every: int = 0,
    record_at: Container[int] = (),
    enough: Callable[[History], bool] | None = None,
    resume: Resume | None = None,
    report: Report | None = None,
) -> History:
    """Train.

    Args:
        step: Makes update number `index` with the optimizer and returns its loss, a scalar tensor.
        num_steps: Number of updates.
        optimizer: Its groups' `lr` is set to `initial lr x schedule(progress)` before each step.
        state: What, beside the optimizer, changes along the run.
        schedule: The learning rate's factor as a function of progress in [0, 1).
        recorder: Called with the number of updates made, before the first and after every `record_every` and the last.
        record_every: Updates between records; 0 for the last only.
        record_at: Numbers of updates after which there are records as well, 0 for before the first.
        enough: Asked after each record but the one before the first; the run ends where it says yes.
        resume: Where to keep the state, for a run that can be killed.
        report: Told the progress now and then, `report(fraction, loss=...)`.

    Returns:
        The history. A run whose loss or, where the optimizer looks, gradient is no longer finite stops and says so.
    """
    history, first, clock = History(), 0, time.perf_counter()
    parts = {"optimizer": optimizer, **state}
    rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    if resume is not None and resume.path.exists():
        first, history, spent = resume.restore(parts)
        clock -= spent
    last_save = time.perf_counter()

    def record(done: int) -> None:
        if recorder is not None:
            history.rows.append({"step": done, "seconds": time.perf_counter() - clock, **recorder(done)})

    if first == 0 and (record_every or 0 in record_at):
        record(0)
    for index in range(first, num_steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(index / num_steps)
        done = index + 1
        try:
            value = step(index)
        except NonFiniteGradientError:
            history.diverged_at = done
            record(done)
            break
        recording = done == num_steps or (record_every > 0 and done % record_every == 0) or done in record_at
        if recording or done % CHECK_EVERY == 0:
            loss = float(value)
            if not math.isfinite(loss):
                history.diverged_at = done
            if recording or history.diverged_at is not None:
                record(done)
            if history.diverged_at is not None or (recording and enough is not None and enough(history)):
                break
            if report is not None:
                report(done / num_steps, loss=loss)
        if resume is not None and time.perf_counter() - last_save > resume.every_seconds:
            last_save = time.perf_counter()
            resume.save(parts, done, history, last_save - clock)
    return history
