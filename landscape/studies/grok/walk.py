"""How the weights move along a run: distances, turns, and a sketch of the path for analyses to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landscape.linalg.sketch import Sketch
from landscape.studies.grok.probes import STEP, Look, Probe, Quantity

DISTANCE = "distance in weight space"
SKETCH_SEED = 0
"""One sketch for all runs of a size, so that their paths can be compared."""


class Walk(Probe):
    """Where the weights are, seen from the start and from the record before.

    Args:
        size: Dimensions of the sketch; 0 for none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._sketch: Sketch | None = None
        self._memory: dict[str, Tensor] = {}

    def quantities(self) -> dict[str, Quantity]:
        """`distance_start`, `distance_record`, `update_cosine`, and `sketch` if there is one."""
        found = {
            "distance_start": Quantity("distance from the initial weights", DISTANCE),
            "distance_record": Quantity("distance from the weights of the record before", DISTANCE),
            "update_cosine": Quantity("cosine between the ways to this record and to the one before (0 at first)", "1"),
        }
        if self._size:
            found["sketch"] = Quantity("random sketch of the way from the start", DISTANCE, ("bucket", STEP))
        return found

    def coords(self) -> dict[str, Any]:
        """The sketch's dimensions."""
        return {"bucket": self._size} if self._size else {}

    def record(self, look: Look) -> Mapping[str, Any]:
        """Compare with what is remembered, and remember this."""
        theta = look.theta.double()
        start = self._memory.setdefault("start", theta.clone())
        update = theta - self._memory.get("latest", theta)
        before = self._memory.get("update", torch.zeros_like(theta))
        lengths = update.norm() * before.norm()
        self._memory |= {"latest": theta.clone(), "update": update}
        found = {
            "distance_start": float((theta - start).norm()),
            "distance_record": float(update.norm()),
            "update_cosine": float(update @ before / lengths) if lengths else 0.0,
        }
        if not self._size:
            return found
        if self._sketch is None:
            self._sketch = Sketch(len(theta), self._size, torch.Generator().manual_seed(SKETCH_SEED))
        return {**found, "sketch": self._sketch(theta - start).cpu().numpy()}

    def state_dict(self) -> dict[str, Tensor]:
        """The weights at the start and at the latest record, and the way between the last two."""
        return dict(self._memory)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Remember that again."""
        self._memory = dict(state)
