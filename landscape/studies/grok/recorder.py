"""The observer of a run: calls the probes, keeps checkpoints, and says when the run has grokked and held it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.networks.datasets import DataSet
from landscape.networks.loop import History, Row
from landscape.objective.losses import Loss, error
from landscape.objective.objective import Objective
from landscape.studies.grok.probes import Look, Probe
from landscape.studies.grok.recipe import GrokRecipe

EVALUATED_AT_ONCE = 4096
"""Samples: small networks spend more time on many calls than on much memory."""


class Recorder:
    """Records a run of the study.

    Args:
        recipe: The study's.
        data: The run's data.
        loss: Name of the loss, or the function.
        device: Where the run trains.
        probes: What is recorded.
        keep: Keeps a checkpoint: called with the name of the moment, the step and the model.
    """

    def __init__(
        self,
        recipe: GrokRecipe,
        data: DataSet,
        loss: str | Loss,
        device: torch.device,
        probes: Sequence[Probe],
        keep: Callable[[str, int, nn.Module], None],
    ) -> None:
        self.steps = {step: place for place, step in enumerate(recipe.record_steps())}
        self._recipe, self._data, self._loss, self._device = recipe, data, loss, device
        self._probes, self._keep = probes, keep
        self._reached: set[str] = set()

    def record(self, step: int, model: nn.Module) -> Row:
        """Everything that the probes see; a diverged run is recorded where it broke off, too."""
        train = Objective(
            model,
            self._data.train,
            self._loss,
            metrics={"error": error},
            device=self._device,
            dtype=next(model.parameters()).dtype,
            batch_size=EVALUATED_AT_ONCE,
        )
        look = Look(step, model, {"train": train, "test": train.on(self._data.test)})
        row: Row = {}
        for probe in self._probes:
            if probe.steps is None or step in probe.steps:
                for name, value in probe.record(look).items():
                    row |= {f"{name} {place}": float(one) for place, one in enumerate(np.ravel(value))}
        self._keep_checkpoints(step, row, model)
        return row

    def _keep_checkpoints(self, step: int, row: Row, model: nn.Module) -> None:
        """Those whose moment has come, each once."""
        train, test = row["accuracy 0"], row["accuracy 1"]
        came = {
            "start": step == 0,
            "memorised": train >= self._recipe.memorised,
            "grokked": test >= self._recipe.threshold,
        }
        for moment, here in came.items():
            if here and moment not in self._reached:
                self._reached.add(moment)
                if moment in self._recipe.checkpoints:
                    self._keep(moment, step, model)
        every = self._recipe.checkpoint_every
        if every and self.steps.get(step, 1) % every == 0:
            self._keep(f"step={step}", step, model)

    def enough(self, history: History) -> bool:
        """Whether the last records in a row have all grokked."""
        hold = self._recipe.hold
        last = history.rows[-hold:]
        return 0 < hold == len(last) and all(row["accuracy 1"] >= self._recipe.threshold for row in last)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        probes = {str(number): probe.state_dict() for number, probe in enumerate(self._probes)}
        return {"reached": sorted(self._reached), "probes": probes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with it."""
        self._reached = set(state["reached"])
        for number, probe in enumerate(self._probes):
            remembered: Mapping[str, Tensor] = state["probes"][str(number)]
            probe.load_state_dict(remembered)
