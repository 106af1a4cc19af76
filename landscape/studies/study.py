"""What all studies share: how a request is checked, its store opened and filled, and where that runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from landscape.errors import RequestError, unknown
from landscape.sweeps import engine as engines
from landscape.sweeps import store
from landscape.sweeps.schema import Sweep
from landscape.sweeps.sweep import run

if TYPE_CHECKING:
    import xarray


class RunningOptions(TypedDict, total=False):
    """Where and how a study runs, as keyword arguments of every study; no value depends on them.

    Args:
        device: Where to compute; `cpu` by default.
        engine: `serial` (default) or `processes`.
        workers: Number of processes; by default one per core.
        overwrite: Replace a store of another recipe.
        progress: Whether to show progress on stderr; by default it is shown.
    """

    device: str
    engine: str
    workers: int | None
    overwrite: bool
    progress: bool


@dataclass(frozen=True)
class Running:
    """Where and how a study runs: `RunningOptions`, complete."""

    device: str = "cpu"
    engine: str = "serial"
    workers: int | None = None
    overwrite: bool = False
    progress: bool = True

    def run(self, path: Path, sweeps: Sequence[Sweep], describe: str) -> None:
        """Evaluate what is to do of some sweeps in a store.

        Args:
            path: The store.
            sweeps: What to evaluate.
            describe: Shown in front of the progress bar.
        """
        run(path, sweeps, engine=self.engine, workers=self.workers, progress=self.progress, describe=describe)


class Study(ABC):
    """A request that can be computed into a store.

    A study says what its result depends on (`recipe`), tries what could be wrong (`check`), and fills the store
    (`run`), going on from whatever the store holds already.

    Args:
        running: Where and how it runs.
    """

    kind: ClassVar[str]
    """The command, after which the store's node is named."""

    def __init__(self, running: Running) -> None:
        self.running = running

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on, and nothing else."""

    def check(self) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written.

        Raises:
            RequestError: If the request is wrong.
        """
        engines.check(self.running.engine, self.running.workers)

    @abstractmethod
    def run(self, path: Path) -> None:
        """Compute what the store at `path` lacks."""

    def compute(self, out: Path | str) -> xarray.DataTree:
        """Check the request and compute its store, as far as it isn't there.

        Args:
            out: The store to write. One of the same recipe is resumed.

        Returns:
            The store, as `landscape.open` gives it.

        Raises:
            RequestError: If the request is wrong; nothing has been written then.
            WorkError: If the work failed; what was done is stored.
        """
        self.check()
        attrs, overwrite = {"device": self.running.device}, self.running.overwrite
        resumed = store.create(out, self.recipe(), kind=self.kind, attrs=attrs, overwrite=overwrite)
        if not (resumed and store.attributes(out)["complete"]):
            self.run(Path(out))
            store.finish(Path(out))
        return store.open(out)


def choose_splits(asked: Sequence[str] | None, available: Iterable[str]) -> tuple[str, ...]:
    """The splits to evaluate on, each once.

    Args:
        asked: Their names; None for all.
        available: Those that the data have.

    Raises:
        RequestError: If there is none, or the data lack one.
    """
    known = tuple(available)
    chosen = tuple(dict.fromkeys(known if asked is None else asked))
    if not chosen:
        raise RequestError(f"no split is asked for: name one of {', '.join(known)}")
    for split in chosen:
        if split not in known:
            raise unknown("split", split, known)
    return chosen
