"""Where tasks run: a `concurrent.futures.Executor` by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from landscape.errors import RequestError, unknown

P = ParamSpec("P")
T = TypeVar("T")

ENGINES = ("serial", "processes")


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check(name: str, workers: int | None) -> None:
    """Refuse an unknown engine or fewer than one worker.

    Raises:
        RequestError: If so.
    """
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if workers is not None and workers < 1:
        raise RequestError(f"workers is {workers}, expected at least 1: leave it out for one per core")


def make_executor(
    name: str, workers: int, initializer: Callable[..., object], initargs: tuple[Any, ...] = ()
) -> Executor:
    """An executor by name.

    Args:
        name: `"serial"`: in this process, when submitted. `"processes"`: in fresh processes with one thread each.
        workers: Number of processes.
        initializer: Called once in each worker before its tasks.
        initargs: Its arguments; for `processes` small, picklable ones.

    Returns:
        The executor. Its `shutdown(cancel_futures=True)` also ends tasks that are running in other processes.

    Raises:
        RequestError: If the engine is unknown or there is no worker.
    """
    check(name, workers)
    return Serial(initializer, initargs) if name == "serial" else Processes(workers, initializer, initargs)


def make_channel(name: str, receive: Callable[[Any], None]) -> tuple[Callable[[Any], None], Callable[[], None]]:
    """A way for messages from running tasks to the caller.

    Args:
        name: The engine.
        receive: What the caller does with a message.

    Returns:
        `send`, for the tasks, to be passed in `initargs`; and `look`, by which the caller, now and then, receives what
        has come.
    """
    if name == "serial":
        return receive, lambda: None
    mailbox = multiprocessing.get_context("spawn").SimpleQueue()

    def look() -> None:
        while not mailbox.empty():
            receive(mailbox.get())

    return mailbox.put, look


class Serial(Executor):
    """Runs a task when it is submitted; Ctrl-C goes straight through."""

    def __init__(self, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self._context = copy_context()  # a worker's own state: a sweep inside a task doesn't disturb it
        self._context.run(initializer, *initargs)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` now."""
        future: Future[T] = Future()
        try:
            future.set_result(self._context.run(fn, *args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(ProcessPoolExecutor):
    """Spawned processes that live no longer than their caller, even if that is killed."""

    def __init__(self, workers: int, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self._far_end, self._lifeline = context.Pipe(duplex=False)  # only the caller can close the near end
        super().__init__(workers, context, _begin, (self._far_end, initializer, initargs))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue `fn`; a process may be born of it."""
        with _birth():
            return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End when all is done, or, with `cancel_futures`, at once."""
        if cancel_futures:
            self._lifeline.close()
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._lifeline.close()
        self._far_end.close()


@contextmanager
def _birth() -> Iterator[None]:
    """Let processes that are spawned meanwhile inherit what they need from their first moment.

    They have one thread each, before numpy or torch are loaded, and they don't run the caller's script again, so
    that it needs no `if __name__ == "__main__"`.
    """
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in limits}
    main = sys.modules["__main__"]
    with _interrupts_held():
        os.environ.update(limits)
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Put Ctrl-C off until the end; processes that are spawned meanwhile never hear of it."""
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    ours = handler is not None and threading.current_thread() is threading.main_thread()
    if ours:  # Python's handler runs here even if another thread takes the signal
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    if hasattr(signal, "pthread_sigmask"):  # for the children, who inherit it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if ours:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _begin(lifeline: Connection, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """First steps of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals can't be blocked from birth
    warnings.simplefilter("ignore")  # the same ones, once from each process, tell nothing new
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    initializer(*initargs)


def _end_with(lifeline: Connection) -> None:
    """Wait until the caller closes its end, or is gone, and end this process wherever it is."""
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)
