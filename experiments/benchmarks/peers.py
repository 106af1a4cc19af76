"""Packages of others that benchmarks compare us with: `make bench-peers` installs them, as dependencies of nothing."""

from __future__ import annotations

import importlib
from types import ModuleType


def find_peer(name: str) -> ModuleType | None:
    """A peer's module, or None where it isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def missing(package: str, benchmark: str) -> str:
    """What to say where a peer isn't installed."""
    return (
        f"{package} is not installed, so only ours was timed. To compare: `make bench-peers`, then "
        f"`.venv-peers/bin/python -m landscape.experiments.benchmarks.{benchmark}`"
    )
