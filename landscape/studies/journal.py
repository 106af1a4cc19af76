"""Files that a long measure goes on from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from landscape.measures.measured import State

WORTH_KEEPING = 0.2
"""Seconds; what took less is computed again."""


class FileJournal:
    """A journal that keeps each long computation in a file of its own.

    Measures being deterministic, the n-th computation of a resumed one is the n-th of the first.

    Args:
        folder: Where; made when it is needed, and removed by whoever finishes the work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def __call__(self, compute: Callable[[], State]) -> State:
        """The result: read if it is kept, else computed."""
        file = self._folder / f"{self._number:06d}.pt"
        self._number += 1
        if file.exists():
            found: State = torch.load(file, weights_only=True)
            return found
        start = time.perf_counter()
        state = compute()
        if time.perf_counter() - start > WORTH_KEEPING:
            self._folder.mkdir(parents=True, exist_ok=True)
            aside = file.with_suffix(f".{os.getpid()}")
            torch.save(state, aside)
            aside.replace(file)
        return state
