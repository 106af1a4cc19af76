"""What runs in a worker: tasks, and the evaluators that they share."""

from __future__ import annotations

import importlib
import pickle
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import RequestError, WorkError
from landscape.sweeps.schema import Array, Sweep

Evaluate = Callable[[dict[str, Array], "Task"], Mapping[str, Any]]

SECONDS_BETWEEN_REPORTS = 0.1


class PrepareError(WorkError):
    """A factory failed, so that no task of its sweep can run."""


@dataclass(frozen=True)
class Job:
    """A task as the caller sees it: the block `region` of `sweeps[sweep]`; `number` counts its blocks."""

    sweep: int
    number: int
    region: dict[str, slice]
    points: int

    @property
    def key(self) -> tuple[int, int]:
        """What names the task within a run."""
        return self.sweep, self.number

    def scratch(self, folder: Path) -> Path:
        """Where the task may keep state of its own."""
        return folder / f"{self.sweep:03d}-{self.number:08d}"


Report = tuple[Job, float, dict[str, Any]]


class Task:
    """What a running task knows of the world.

    Args:
        scratch: A file name of its own, the same after a resume, for state from which a long task goes on;
            removed, with any suffix, when the task is done.
        send: Takes the fraction done and the postfix.
    """

    def __init__(self, scratch: Path, send: Callable[[float, dict[str, Any]], object] = lambda *_: None) -> None:
        self.scratch = scratch
        self._send = send
        self._next = 0.0

    def report(self, done: float, **postfix: Any) -> None:
        """Say how far a long task is; cheap enough for every step.

        Args:
            done: Fraction in [0, 1].
            **postfix: Short values to show behind the progress bar, such as `loss=0.12`.
        """
        if (now := time.monotonic()) >= self._next:
            self._next = now + SECONDS_BETWEEN_REPORTS
            self._send(done, postfix)


class Worker:
    """Evaluates tasks one at a time.

    Args:
        source: The sweeps, or the file that holds them pickled, read when the first task comes.
        folder: Where tasks keep state of their own.
        send: Takes reports, `(job, fraction done, postfix)`.
    """

    def __init__(
        self,
        source: Sequence[Sweep] | Path,
        folder: Path,
        send: Callable[[Report], None],
    ) -> None:
        self._source = source
        self._folder = folder
        self._send = send
        self._evaluates: dict[int, Evaluate] = {}

    def __call__(self, job: Job) -> dict[str, Array] | str:
        """Evaluate one block.

        Returns:
            Values and status by name; or, if it failed, why, in one line (exceptions don't travel well).

        Raises:
            RequestError: If the request turns out to be wrong.
            PrepareError: If the factory failed.
        """
        try:
            if isinstance(self._source, Path):
                self._source = _load(self._source)
            sweep = self._source[job.sweep]
            if job.sweep not in self._evaluates:
                self._evaluates[job.sweep] = _prepare(sweep)
            task = Task(job.scratch(self._folder), lambda done, postfix: self._send((job, done, postfix)))
            values = self._evaluates[job.sweep](sweep.coordinates(job.region), task)
            return sweep.checked(values, job.region)
        except PrepareError:
            raise
        except RequestError as error:
            raise RequestError(str(error)) from None
        except Exception as error:
            return describe(error)


def describe(error: BaseException) -> str:
    """An exception in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def _load(file: Path) -> Sequence[Sweep]:
    """Read the sweeps that the caller pickled."""
    try:
        with file.open("rb") as stream:
            sweeps: Sequence[Sweep] = pickle.load(stream)
    except Exception as error:
        raise RequestError(
            f"a worker process cannot read the sweep's arguments ({describe(error)}): they may hold only what an "
            "importable module defines, not the script itself"
        ) from None
    return sweeps


def _prepare(sweep: Sweep) -> Evaluate:
    """Import the factory of a sweep and call it."""
    factory = resolve(sweep.function)
    try:
        evaluate: Evaluate = factory(sweep.arguments)
    except RequestError:
        raise
    except Exception as error:
        raise PrepareError(f"cannot prepare '{sweep.node}': {describe(error)}") from None
    return evaluate


def resolve(name: str) -> Callable[..., Any]:
    """The function named `"package.module:function"`.

    Raises:
        RequestError: If it can't be imported or isn't callable.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise RequestError(f"'{name}' names no function, expected 'package.module:function'")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise RequestError(f"cannot import '{name}': {describe(error)}") from None
    if not callable(found):
        raise RequestError(f"'{name}' is a {type(found).__name__}, expected a function")
    function: Callable[..., Any] = found
    return function


_worker: ContextVar[Worker] = ContextVar("worker")


def start(
    source: Sequence[Sweep] | Path,
    folder: Path,
    send: Callable[[Report], None],
) -> None:
    """Make the worker of this process; an executor's initializer."""
    _worker.set(Worker(source, folder, send))


def work(job: Job) -> dict[str, Array] | str:
    """Give a job to the worker of this process."""
    return _worker.get()(job)
