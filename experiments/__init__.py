"""Figures of the lecture and of papers: one file each, with a frozen recipe, `run` and `figure`.

Light: an experiment's file is imported when it is asked for.
"""

from __future__ import annotations

EXPERIMENTS: dict[str, str] = {
    "connect": "Independent optima, and Bézier and polyline curves between them (Garipov et al. 2018, figure 1).",
    "curve_optimizers": "Which optimizer, learning rate and choice of t lower the barrier fastest.",
}
"""Name of each experiment's file, with what its figure shows."""
