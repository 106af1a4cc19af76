"""Values and tables as text and as JSON has them: what all summaries share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.figures.style import number

Row = Sequence[str]


def table(rows: Sequence[Row], right: range = range(0)) -> list[str]:
    """Rows with aligned columns, two spaces apart; the columns in `right` are flushed right."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def indent(lines: Sequence[str]) -> list[str]:
    """Lines set in by two spaces."""
    return [f"  {line}" for line in lines]


def words(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def setting(value: Any) -> str:
    """A value of a setting, as it would be given."""
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def amount(value: float | None) -> str:
    """A loss or a length with three significant digits."""
    return "–" if value is None else number(value, 3)


def percent(value: float | None) -> str:
    """A share in percent with two decimals."""
    return "–" if value is None else f"{100 * value:.2f}"


def json_value(value: Any) -> Any:
    """A value that JSON has; None for numbers that aren't finite."""
    if isinstance(value, np.ndarray):
        return [json_value(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)
