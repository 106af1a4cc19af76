"""Run sweeps: find the blocks that are to do, evaluate them anywhere, store them here."""

from __future__ import annotations

import math
import pickle
import queue
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from landscape.errors import RequestError, WorkError
from landscape.sweeps import engine as engines
from landscape.sweeps import store
from landscape.sweeps.progress import Progress
from landscape.sweeps.schema import Array, Status, Sweep, Variable
from landscape.sweeps.task import Job, PrepareError, Task, start, work

__all__ = ["Sweep", "Task", "Variable", "run"]

FAILURES_SHOWN = 5
SECONDS_BETWEEN_LOOKS = 0.1


def run(
    store_path: str | Path,
    sweeps: Sequence[Sweep],
    *,
    engine: str = "serial",
    workers: int | None = None,
    progress: bool = True,
    describe: str = "",
) -> None:
    """Evaluate whatever is to do in a store, each block as one task.

    Values are written as tasks end, each block's status after its values, by this process alone. So the same
    call resumes after Ctrl-C or a kill at any moment, and ends with the same store.

    Args:
        store_path: A store that `store.create` made.
        sweeps: What to evaluate. All share one pool of workers.
        engine: `"serial"` or `"processes"`.
        workers: Number of processes; by default one per core.
        progress: Whether to draw a progress bar on stderr.
        describe: Shown in front of it.

    Raises:
        RequestError: If the request is wrong, also if a task finds that; the run stops.
        WorkError: If tasks failed (all others are done and stored), a worker died or the store can't be written.
    """
    engines.check(engine, workers)
    path = Path(store_path)
    store.attributes(path)
    with store.claim(path) as scratch:
        for sweep in sweeps:
            store.add_node(path, sweep.node, sweep.coords, sweep.stored(), sweep.attrs)
        nodes = [store.Node(path, sweep.node) for sweep in sweeps]
        jobs = [job for index, sweep in enumerate(sweeps) for job in _jobs(index, sweep, nodes[index])]
        if not jobs:
            return
        workers = 1 if engine == "serial" else min(workers or engines.default_workers(), len(jobs))
        points = sum(math.prod(len(sweep.labels[dim]) for dim in sweep.over) for sweep in sweeps)
        failures: list[str] = []
        with Progress(points, points - sum(job.points for job in jobs), describe, progress) as bar:
            send, receive = engines.make_channel(engine, bar.report)
            with _pool(engine, workers, sweeps, scratch, send) as executor:
                for job, outcome in _outcomes(executor, jobs, 1 if engine == "serial" else 2 * workers, receive):
                    failure = _store(path, sweeps[job.sweep], nodes[job.sweep], job, outcome)
                    if failure:
                        failures.append(failure)
                        if len(failures) <= FAILURES_SHOWN:
                            bar.say(failure)
                    else:
                        _remove(job.scratch(scratch / "tasks"))
                    bar.advance(job)
        if failures:
            raise WorkError(
                f"{len(failures)} of {len(jobs)} tasks failed, the first: {failures[0]}; all others are stored: "
                "mend the cause and run the same again"
            )


def _jobs(index: int, sweep: Sweep, node: store.Node) -> Iterator[Job]:
    """The blocks of a sweep with a point that is to do."""
    status = np.isin(node.read("status"), (Status.TO_DO, Status.FAILED))
    to_do = np.any(status, axis=tuple(range(len(sweep.over), status.ndim)), keepdims=True)
    for number, region in enumerate(sweep.blocks()):
        block = to_do[tuple(region.values())]
        if block.any():
            yield Job(index, number, region, block.size)


@contextmanager
def _pool(
    engine: str, workers: int, sweeps: Sequence[Sweep], scratch: Path, send: Callable[..., None]
) -> Iterator[Executor]:
    """Workers that know the sweeps; they stop at once if anything goes wrong."""
    (scratch / "tasks").mkdir(exist_ok=True)
    file = scratch / "sweeps.pickle"  # read by each worker when it is up, rather than sent to one after the other
    try:
        source = sweeps if engine == "serial" else _pickled(sweeps, file)
        executor = engines.make_executor(engine, workers, start, (source, scratch / "tasks", send))
        try:
            yield executor
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
        executor.shutdown()
    finally:
        file.unlink(missing_ok=True)


def _pickled(sweeps: Sequence[Sweep], file: Path) -> Path:
    """Write the sweeps to a file for the workers."""
    try:
        with file.open("wb") as stream:
            pickle.dump(list(sweeps), stream, protocol=pickle.HIGHEST_PROTOCOL)
    except OSError as error:
        raise WorkError(f"cannot write {file}: {error.strerror or error}") from None
    except Exception as error:
        raise RequestError(
            f"the sweep's arguments cannot be sent to worker processes ({error}): they may hold only what an "
            "importable module defines; or use the engine 'serial'"
        ) from None
    return file


def _outcomes(
    executor: Executor, jobs: Iterable[Job], window: int, receive: Callable[[], None]
) -> Iterator[tuple[Job, dict[str, Array] | str]]:
    """Keep `window` jobs with the workers and yield each with its outcome as it ends."""
    waiting = iter(jobs)
    running: dict[Future[dict[str, Array] | str], Job] = {}
    ended: queue.SimpleQueue[Future[dict[str, Array] | str]] = queue.SimpleQueue()
    try:
        while True:
            for job in islice(waiting, window - len(running)):
                future = executor.submit(work, job)
                running[future] = job
                future.add_done_callback(ended.put)
            if not running:
                return
            receive()
            try:
                future = ended.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
            yield running.pop(future), future.result()
    except BrokenExecutor:
        raise WorkError(
            "a worker process died: it was killed or ran out of memory; what was done is stored: run the same again, "
            "with fewer workers if memory is short"
        ) from None
    except (RequestError, PrepareError) as error:
        raise error from None


def _store(path: Path, sweep: Sweep, node: store.Node, job: Job, outcome: dict[str, Array] | str) -> str:
    """Write what a task found, its status last; returns why it failed, or ""."""
    failure = ""
    if isinstance(outcome, str):
        failure = outcome
        shape = [cut.stop - cut.start for cut in job.region.values()] + [len(sweep.labels[dim]) for dim in sweep.along]
        outcome = {"status": np.full(shape, Status.FAILED, np.int8)}
    elif (outcome["status"] == Status.FAILED).any():
        failure = f"{sweep.function} returned the status 'failed'"
    try:
        node.write(outcome, job.region)
    except OSError as error:
        raise WorkError(
            f"cannot write {path}: {error.strerror or error}; what was done is stored: run the same again"
        ) from None
    where = ", ".join(f"{dim}={sweep.labels[dim][cut.start]}" for dim, cut in job.region.items())
    return failure and f"{sweep.node} at {where}: {failure}"


def _remove(scratch: Path) -> None:
    """Remove what a task kept for itself."""
    for entry in scratch.parent.glob(f"{scratch.name}*"):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
