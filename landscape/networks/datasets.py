"""Data sets by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.errors import unknown
from landscape.networks.images import digits
from landscape.networks.splits import DataSet, Normalization, Split

__all__ = ["DataSet", "Normalization", "Split", "load_data"]

DATASETS = {"digits": digits}


def load_data(name: str, *, data_dir: Path | None = None, settings: Mapping[str, Any] | None = None) -> DataSet:
    """Load a data set into memory."""
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]()
